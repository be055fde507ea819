#pragma once

#include <cstdint>

namespace basalt {

/// Reactors of one process, the control thread's included. 64 keeps the rings between all pairs
/// (64 x 63 rings of 1024 slots) under 36 MiB, and no machine we know wants more dataplane cores.
inline constexpr uint32_t kReactorsMax = 64;

/// Slots of one message ring. A full ring is backpressure: the sender keeps the event and retries.
inline constexpr uint32_t kMessageRingSlots = 1024;

/// Messages that one poll takes from all rings together, so that a flood can't starve I/O.
inline constexpr uint32_t kMessagesPerPoll = 64;

/// Ready events that one poll runs before it looks at I/O again.
inline constexpr uint32_t kEventsPerPoll = 1024;

/// Timers that one poll expires.
inline constexpr uint32_t kTimersPerPoll = 64;

/// Idle time before a reactor in adaptive mode goes to sleep. Longer than the gap between the I/Os
/// of a host at queue depth 1 (10 to 50 us), and short enough that 100 idle hosts with a keep alive
/// each every few seconds cost well under 1 % of a core.
inline constexpr uint64_t kIdleBeforeSleepNs = 100'000;

inline constexpr uint32_t kCacheLineBytes = 64;

static_assert((kMessageRingSlots & (kMessageRingSlots - 1)) == 0,
              "a ring's size is a power of two");
static_assert(kMessagesPerPoll <= kMessageRingSlots);

}  // namespace basalt
