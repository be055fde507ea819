#pragma once

#include <bit>
#include <compare>
#include <cstdint>

#include "reactor/base/assert.h"
#include "reactor/base/strong_int.h"
#include "replication/limits.h"

namespace basalt::replication {

/// Which version of the map a head works by. Granted by the authority, never twice; 0 is none.
using Epoch = StrongInt<struct EpochTag, uint64_t>;

/// A replica's place in its volume's list, 0 to replicas - 1.
using ReplicaId = StrongInt<struct ReplicaIdTag, uint32_t>;

/// Orders the writes of a volume: those of a later epoch come later. The default is before all.
struct OpNumber {
    Epoch epoch;
    uint64_t count = 0;  ///< Within the head's tenure, from 1.

    constexpr auto operator<=>(const OpNumber&) const = default;  // NOLINT(*nullptr): no pointer
    [[nodiscard]] constexpr bool is_none() const { return *this == OpNumber{}; }
};

/// Blocks `first` to `first + count - 1` of the volume. A value.
struct BlockRange {
    uint64_t first = 0;
    uint32_t count = 0;

    constexpr bool operator==(const BlockRange&) const = default;
    [[nodiscard]] constexpr uint64_t end() const { return first + count; }
    [[nodiscard]] constexpr bool covers(uint64_t block) const {
        return block >= first && block < end();
    }
    [[nodiscard]] constexpr bool overlaps(BlockRange other) const {
        return first < other.end() && other.first < end();
    }
};

/// The first block after `block` that no range with `block` in it has.
[[nodiscard]] constexpr uint64_t boundary_after(uint64_t block) {
    return (block / kRangeBoundaryBlocks + 1) * kRangeBoundaryBlocks;
}

/// A set of replicas. A value.
class ReplicaSet {
  public:
    constexpr ReplicaSet() = default;
    constexpr explicit ReplicaSet(uint32_t bits) : bits_(bits) {}
    /// The first `count` replicas.
    [[nodiscard]] static constexpr ReplicaSet all(uint32_t count) {
        return ReplicaSet((1U << count) - 1);
    }
    [[nodiscard]] static constexpr ReplicaSet of(uint32_t index) { return ReplicaSet(1U << index); }

    constexpr bool operator==(const ReplicaSet&) const = default;
    [[nodiscard]] constexpr uint32_t bits() const { return bits_; }
    [[nodiscard]] constexpr bool has(uint32_t index) const { return ((bits_ >> index) & 1U) != 0; }
    [[nodiscard]] constexpr bool empty() const { return bits_ == 0; }
    [[nodiscard]] constexpr uint32_t count() const {
        return static_cast<uint32_t>(std::popcount(bits_));
    }
    [[nodiscard]] constexpr bool contains(ReplicaSet other) const {
        return (other.bits_ & ~bits_) == 0;
    }
    constexpr ReplicaSet operator|(ReplicaSet other) const {
        return ReplicaSet(bits_ | other.bits_);
    }
    constexpr ReplicaSet operator&(ReplicaSet other) const {
        return ReplicaSet(bits_ & other.bits_);
    }
    constexpr ReplicaSet operator-(ReplicaSet other) const {
        return ReplicaSet(bits_ & ~other.bits_);
    }
    constexpr void add(uint32_t index) { bits_ |= 1U << index; }
    constexpr void remove(uint32_t index) { bits_ &= ~(1U << index); }

  private:
    uint32_t bits_ = 0;
};

/// What a write does to its blocks.
enum class WriteKind : uint8_t {
    kData,
    kZeroes,
    kUnmap,
    kBarrier,  ///< To none: begins a generation, whose name is this write's number.
};

}  // namespace basalt::replication
