#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

namespace basalt {

/// Bytes that nobody else shall see: the contents of a key. Wiped when they go, moved and never
/// copied, and without any way into a log line. Owner: whoever holds it. Any thread.
class Secret {
  public:
    Secret() = default;
    /// Takes a copy; the caller wipes the original.
    explicit Secret(std::span<const std::byte> bytes);
    explicit Secret(std::string_view text);
    /// `size_bytes` zeroes, to be written through writable().
    [[nodiscard]] static Secret zeroes(size_t size_bytes);

    Secret(const Secret&) = delete;
    Secret& operator=(const Secret&) = delete;
    Secret(Secret&& other) noexcept
        : bytes_(std::move(other.bytes_)), size_(std::exchange(other.size_, 0)) {}
    Secret& operator=(Secret&& other) noexcept;
    ~Secret() { wipe(); }

    [[nodiscard]] std::span<const std::byte> bytes() const { return {bytes_.get(), size_}; }
    [[nodiscard]] std::span<std::byte> writable() { return {bytes_.get(), size_}; }
    /// The same as text, without the line ends and blanks that an editor leaves behind.
    [[nodiscard]] std::string_view text() const;
    [[nodiscard]] bool empty() const { return size_ == 0; }

    /// Whether both are the same, in a time that depends on their sizes alone.
    [[nodiscard]] bool equals(const Secret& other) const;

    /// Overwrites and frees the bytes; empty afterwards.
    void wipe();

  private:
    std::unique_ptr<std::byte[]> bytes_;
    size_t size_ = 0;
};

/// Overwrites memory that held a secret in a way that a compiler does not leave out.
void wipe_bytes(std::span<std::byte> bytes);

}  // namespace basalt
