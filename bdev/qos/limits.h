#pragma once

#include <cstdint>

#include "reactor/io/clock.h"

namespace basalt::qos {

/// What a core gets of a limit at once: so long's worth of it, or one I/O if that is more. Shorter
/// costs more messages (two a slice), longer makes the cores take turns more coarsely. SPDK's time
/// slice is as long.
inline constexpr uint64_t kSliceNs = kNsPerMs;

/// Tokens that a limit without a burst keeps while nobody takes them. Over a second, a host that
/// has been idle gets 1 % more than its limit; a core that is late by less than this loses nothing.
inline constexpr uint64_t kDepthNs = 10 * kNsPerMs;

/// A core that has used no token for so long gives them all back.
inline constexpr uint64_t kIdleReturnNs = 10 * kNsPerMs;

/// How far a reservation may bring a member ahead of the others' shares. Without a bound, a member
/// that loses its reservation would wait until the others have caught up with all it ever got.
inline constexpr uint64_t kLeadNsMax = 100 * kNsPerMs;

/// A limit per second; a minimum, too. Above, arithmetic in nanoseconds has nothing left to count.
inline constexpr uint64_t kIosPerSecondMax = 1'000'000'000;
inline constexpr uint64_t kBytesPerSecondMax = uint64_t{1} << 40U;

/// A day; longer bursts are no bursts.
inline constexpr uint32_t kBurstSecondsMax = 86'400;

inline constexpr uint32_t kWeightDefault = 100;
inline constexpr uint32_t kWeightMax = 10'000;

/// Members of one group, or hosts of one subsystem with settings of their own. All that wait are
/// looked at for each slice: 256 take about a microsecond.
inline constexpr uint32_t kMembersMax = 256;

/// How often the end of a member looks whether all cores have let go.
inline constexpr uint64_t kDrainPollNs = 200 * kNsPerUs;

}  // namespace basalt::qos
