#pragma once

#include <cstdint>

#include "reactor/io/clock.h"
#include "replication/limits.h"

namespace basalt::replication {

/// A peer of which nothing is heard, pings included, or that takes nothing of what is sent to it,
/// for so long is dead. Four pings; a head drops a replica after 5 s, a host's I/O may wait 3.
inline constexpr uint64_t kSilenceNs = 2 * kNsPerSecond;

/// Between two attempts to connect: doubled at each failure, and then somewhere in the upper half,
/// so that the heads of a store that comes back do not all ask at once.
inline constexpr uint64_t kReconnectMinNs = 50 * kNsPerMs;
inline constexpr uint64_t kReconnectMaxNs = 2 * kNsPerSecond;

/// Requests of one connection that a head has under way at most, whatever the store allows.
inline constexpr uint32_t kRequestsMax = 256;

/// Messages of one volume that wait for credits at most: all that its head may have outstanding,
/// and as many reads again that it has given up.
inline constexpr uint32_t kLinkMessagesMax = kWindowOpsMax + 2 * kReadsMax + 64;

/// Requests that a store takes of one connection at a time: its credits. Each may hold a buffer, of
/// 256 KiB at most.
inline constexpr uint16_t kCreditsPerConnection = 128;

/// Connections of one core of a store. More are turned away.
inline constexpr uint32_t kConnectionsMax = 64;

/// Of these, how many may not have said hello yet, and how long they may take.
inline constexpr uint32_t kHalfOpenMax = 16;
inline constexpr uint64_t kHelloTimeoutNs = 5 * kNsPerSecond;

/// Volumes that one connection may speak of.
inline constexpr uint32_t kVolumesPerConnection = 4096;

/// Lines that a peer can provoke go to the log so often at most.
inline constexpr uint64_t kLogPeriodNs = kNsPerSecond;

}  // namespace basalt::replication
