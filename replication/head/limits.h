#pragma once

#include <cstdint>

#include "replication/limits.h"

namespace basalt::replication {

/// Parts of hosts' requests that have been begun; requests wait while all are in use. More than
/// reads and writes that the core takes are of no use, fewer than a front end's queues have
/// would let fast requests wait for slow ones.
inline constexpr uint32_t kPartsMax = 1024;

/// Parts under way of one request, so that a large one, an unmap of a volume say, leaves room for
/// others. Four keep three replicas busy.
inline constexpr uint32_t kPartsOfOneMax = 4;

/// How often a scrub looks at a block that is not the same at all replicas, or is being written,
/// and how long it waits in between: for a repair, or for the write.
inline constexpr uint32_t kScrubAttempts = 8;
inline constexpr uint64_t kScrubPauseUs = 5'000;

/// Ranges that hosts' reads found bad and that nobody has looked at yet. What comes when there are
/// more is found again by the next read or scrub.
inline constexpr uint32_t kSuspectsMax = 64;

/// How often the core is told the time while it waits for something.
inline constexpr uint64_t kTickMinUs = 1'000;
inline constexpr uint64_t kTickMaxUs = 50'000;

/// How often replicas are asked to delete a snapshot until all have, and how often in a row before
/// another one has its turn.
inline constexpr uint64_t kLinePollNs = 100'000'000;
inline constexpr uint32_t kLineAsks = 20;

/// How long an authority waits until it tries again to lock the map file that another process has
/// for a moment. A change takes two durable writes: a few milliseconds.
inline constexpr uint64_t kMapRetryNs = 5'000'000;

/// How often the process that has the head looks whether another one has taken the volume, when no
/// replica tells it: until then it says that it serves.
inline constexpr uint64_t kMapWatchNs = 500'000'000;

/// Clocks of two machines may differ by so much in rate: a lease is waited for by a 1/32 longer.
inline constexpr uint64_t kLeaseDriftDivisor = 32;

}  // namespace basalt::replication
