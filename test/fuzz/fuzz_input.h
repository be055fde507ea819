#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace basalt {

/// The bytes of a fuzzer's input, taken one after the other; zeroes once they are used up.
class FuzzInput {
  public:
    FuzzInput(const uint8_t* data, size_t size) : rest_(data, size) {}

    [[nodiscard]] bool is_empty() const { return rest_.empty(); }
    uint8_t u8() {
        if (rest_.empty()) {
            return 0;
        }
        const uint8_t byte = rest_.front();
        rest_ = rest_.subspan(1);
        return byte;
    }
    uint16_t u16() {
        const uint32_t low = u8();
        return static_cast<uint16_t>(low | (uint32_t{u8()} << 8U));
    }
    uint32_t u32() {
        const uint32_t low = u16();
        return low | (uint32_t{u16()} << 16U);
    }
    /// 0 to end - 1.
    uint32_t below(uint32_t end) { return (end > 256 ? u16() : u8()) % end; }
    /// At most `count` bytes.
    std::span<const std::byte> bytes(size_t count) {
        const size_t taken = std::min(count, rest_.size());
        const auto out = std::as_bytes(rest_.first(taken));
        rest_ = rest_.subspan(taken);
        return out;
    }

  private:
    std::span<const uint8_t> rest_;
};

}  // namespace basalt
