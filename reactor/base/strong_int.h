#pragma once

#include <compare>
#include <concepts>
#include <cstdint>

namespace basalt {

/// An integer that is one kind of quantity and refuses to mix with others. It has construction,
/// raw() and comparison; arithmetic only where the quantity has it (see the operators beside each
/// type).
template <typename Tag, std::integral Rep>
class StrongInt {
  public:
    using Raw = Rep;

    constexpr StrongInt() = default;
    constexpr explicit StrongInt(Rep value) : value_(value) {}
    [[nodiscard]] constexpr Rep raw() const { return value_; }
    // clang-tidy 14 takes the 0 that a defaulted <=> compares with for a null pointer.
    // NOLINTNEXTLINE(modernize-use-nullptr)
    constexpr auto operator<=>(const StrongInt&) const = default;

  private:
    Rep value_ = 0;
};

/// A reactor's index, 0-based and dense; not the number of the processor it is pinned to.
using CoreId = StrongInt<struct CoreIdTag, uint32_t>;

/// A block address on a device, in the device's blocks.
using Lba = StrongInt<struct LbaTag, uint64_t>;
/// A number of blocks.
using BlockCount = StrongInt<struct BlockCountTag, uint64_t>;

constexpr Lba operator+(Lba first, BlockCount count) {
    return Lba(first.raw() + count.raw());
}
constexpr BlockCount operator-(Lba end, Lba first) {
    return BlockCount(end.raw() - first.raw());
}
constexpr BlockCount operator+(BlockCount a, BlockCount b) {
    return BlockCount(a.raw() + b.raw());
}

}  // namespace basalt
