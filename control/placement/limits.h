#pragma once

#include <cstdint>

namespace basalt::placement {

/// Drives of a tree. A selection's cost grows with the domains of one level, not with this.
inline constexpr uint32_t kDrivesMax = 100'000;

/// Bytes of a datacenter's, rack's or host's name: what a DNS name has at most.
inline constexpr uint32_t kNameBytesMax = 253;

/// Drives that one selection may want: replicas, or data and parity of an erasure code.
inline constexpr uint32_t kSlotsMax = 32;

/// Steps of a rule. Each level once for narrowing and once for spreading is 8.
inline constexpr uint32_t kRuleStepsMax = 8;

/// The sum of all weights stays below this, so that it is exact in a double.
inline constexpr uint64_t kWeightSumMax = uint64_t{1} << 53;

}  // namespace basalt::placement
