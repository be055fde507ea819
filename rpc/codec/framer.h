#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "rpc/limits.h"

namespace basalt::rpc {

/// Cuts a byte stream into JSON objects and arrays, which follow each other with nothing or white
/// space between them, as SPDK's clients send them.
///
/// It counts braces and brackets outside strings and leaves all other grammar to the parser. Each
/// byte is looked at once, however the stream is cut. Owner: a connection. Not thread safe. Once it
/// has reported an error, the stream is of no more use.
class Framer {
  public:
    enum class Status : uint8_t {
        kNeedMore,  ///< No complete value yet.
        kValue,     ///< A value; take() returns it.
        kGarbage,   ///< Something that does not begin a JSON object or array.
        kTooLarge,  ///< A value longer than the limit.
        kTooDeep,   ///< A value nested deeper than the limit.
    };

    explicit Framer(size_t value_bytes_max = kRequestBytesMax, uint32_t depth_max = kJsonDepthMax)
        : value_bytes_max_(value_bytes_max), depth_max_(depth_max) {}

    /// Adds bytes from the stream. They are copied.
    void append(std::string_view bytes);

    /// Looks for the next value in what has been added. The same again until take().
    [[nodiscard]] Status scan();

    /// Removes and returns the value that scan() found.
    [[nodiscard]] std::string take();

    /// Bytes of an incomplete value that are waiting for the rest.
    [[nodiscard]] size_t buffered_bytes() const { return buffer_.size() - begin_; }

  private:
    [[nodiscard]] Status scan_on();
    [[nodiscard]] Status step(char c);

    size_t value_bytes_max_;
    uint32_t depth_max_;
    std::string buffer_;
    size_t begin_ = 0;    // Where the present value begins in buffer_; before it all is taken.
    size_t scanned_ = 0;  // Bytes of the present value looked at.
    uint32_t depth_ = 0;
    bool in_string_ = false;
    bool escaped_ = false;
    Status found_ = Status::kNeedMore;  // Anything else stays until take().
};

}  // namespace basalt::rpc
