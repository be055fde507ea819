#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "nvmf/target/request.h"

namespace basalt::nvmf {

/// The requests of one connection, by transfer tag. Memory is reserved when Connect tells the
/// queue's depth, and a request made in it when it is first needed: a queue costs what it has used
/// (the system backs memory that is touched).
///
/// Owner and core: its Connection.
class RequestTable {
  public:
    explicit RequestTable(Connection& connection) : connection_(connection) {}
    RequestTable(const RequestTable&) = delete;
    RequestTable& operator=(const RequestTable&) = delete;
    ~RequestTable() { free_.clear(); }

    /// Reserves memory for so many more. All that there was is in use by now.
    void add(uint32_t count);
    /// A free request, until take() still free; null if the queue has no more.
    [[nodiscard]] Request* next();
    /// `request` is what next() has returned.
    void take(Request& request);
    /// Makes it free, and the first to be used again, while it is hot.
    void give_back(Request& request);

    /// Those that are not free.
    [[nodiscard]] uint32_t in_use_count() const { return in_use_; }
    /// The request with that tag, free or not; null: there is none.
    [[nodiscard]] Request* find(uint16_t tag) const {
        return tag < made_.size() ? made_[tag].get() : nullptr;
    }

    /// All that were ever used, as pointers.
    [[nodiscard]] auto begin() const { return made_.begin(); }
    [[nodiscard]] auto end() const { return made_.end(); }

  private:
    struct EndRequest {
        void operator()(Request* request) const { request->~Request(); }
    };

    Connection& connection_;
    std::vector<std::unique_ptr<std::byte[]>> memory_;
    std::vector<std::unique_ptr<bdev::DeepCompletions[]>> deep_memory_;  // Of the same requests.
    std::byte* fresh_ = nullptr;                                         // Where the next is made.
    bdev::DeepCompletions* fresh_deep_ = nullptr;                        // Of that one.
    size_t capacity_ = 0;
    std::vector<std::unique_ptr<Request, EndRequest>> made_;  // The index is the transfer tag.
    RequestList free_;
    uint32_t in_use_ = 0;
};

}  // namespace basalt::nvmf
