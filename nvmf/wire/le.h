#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstdint>

namespace basalt::nvmf {

static_assert(std::endian::native == std::endian::little,
              "the wire is little-endian; a big-endian host needs a byte swap in Le");

/// An integer as it lies on the wire: little-endian, alignment 1. Made of it, a wire structure has
/// no padding and may lie at any address, so a header is read where the network put it.
template <std::unsigned_integral T>
class Le {
  public:
    constexpr Le() = default;
    constexpr explicit Le(T value) : bytes_(std::bit_cast<Bytes>(value)) {}

    [[nodiscard]] constexpr T get() const { return std::bit_cast<T>(bytes_); }
    constexpr void set(T value) { bytes_ = std::bit_cast<Bytes>(value); }
    constexpr bool operator==(const Le&) const = default;

  private:
    using Bytes = std::array<uint8_t, sizeof(T)>;
    Bytes bytes_{};
};

using Le16 = Le<uint16_t>;
using Le32 = Le<uint32_t>;
using Le64 = Le<uint64_t>;
static_assert(sizeof(Le64) == 8 && alignof(Le64) == 1);

}  // namespace basalt::nvmf
