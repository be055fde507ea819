#pragma once

#include <cstdint>

#include "reactor/io/clock.h"

namespace basalt::nvmf {

/// Controllers through which one subsystem is reached. Two fabrics to two controllers are 4; each
/// path more costs a queue pair on each core.
inline constexpr uint32_t kPathsMax = 8;

/// Commands of one namespace that one core has under way, or keeps until a path is there. More wait
/// in line as requests. Twice the entries of a queue, so that two paths can be kept busy.
inline constexpr uint32_t kRemoteOperations = 256;

/// Entries of an I/O queue, unless the controller has fewer: what Linux and SPDK ask for.
inline constexpr uint32_t kRemoteQueueEntries = 128;

/// How often a command is sent again after the controller has failed it without "do not retry".
/// SPDK's bdev_retry_count.
inline constexpr int32_t kRetriesDefault = 3;

/// How often a command is sent again because its connection ended or its path can't serve it.
/// There is always a next path or a reconnect, and their time is bounded elsewhere
/// (fast_io_fail_timeout_sec, ctrlr_loss_timeout_sec), but a command that makes every controller
/// hang up must not go round for ever.
inline constexpr uint32_t kPathRetriesMax = 100;

/// The pause before a command is tried again on a path that has just failed it, unless the
/// controller names one (CRDT).
inline constexpr uint64_t kRetryDelayNs = 100 * kNsPerMs;
inline constexpr uint64_t kCrdtUnitNs = 100 * kNsPerMs;

/// Reconnecting: the first attempt comes at once, the next after this; then twice as long each
/// time, up to reconnect_delay_sec.
inline constexpr uint64_t kReconnectDelayNsMin = 100 * kNsPerMs;

/// What holds if nobody says otherwise: attempts every 2 s at last, a path is given up after 10
/// minutes as Linux does it, and commands wait that long.
inline constexpr int32_t kControllerLossTimeoutSec = 600;
inline constexpr uint32_t kReconnectDelaySec = 2;

/// A controller that no longer hears from us stops executing within its keep alive time; this is
/// for the clocks' and timers' grain.
inline constexpr uint64_t kFenceMarginNs = kNsPerSecond;

/// How often a device whose namespace has gone is tried to be removed while somebody uses it.
inline constexpr uint64_t kSweepPeriodNs = kNsPerSecond;

/// Bytes of an ANA log that are read: 1024 groups with a namespace each.
inline constexpr uint32_t kAnaLogBytesMax = 64 * 1024;

/// A log of several pieces that changes while it is read is read again, so often at a time.
inline constexpr uint32_t kAnaLogAttempts = 4;
/// What a controller could not be asked for is asked for again after this.
inline constexpr uint64_t kRefreshRetryNs = kNsPerSecond;

/// Subsystems of a discovery log that are attached at most, and referrals that are followed.
inline constexpr uint32_t kDiscoveredSubsystemsMax = 256;
inline constexpr uint32_t kReferralDepthMax = 4;
inline constexpr uint32_t kReferralsMax = 64;
/// How often they are read again. Nobody tells of what changes there, for we keep a connection to
/// the first service only (nvme-stas keeps one to each; Linux's nvme-cli reads them once).
inline constexpr uint64_t kReferralPeriodNs = 60 * kNsPerSecond;

}  // namespace basalt::nvmf
