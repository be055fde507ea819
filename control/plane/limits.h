#pragma once

#include <cstdint>

#include "reactor/io/clock.h"

namespace basalt::cluster {

/// How often the control role looks what is due. A leader's lease lasts four of these.
inline constexpr uint64_t kTickNs = 500 * kNsPerMs;
inline constexpr uint64_t kLeaderLeaseNs = 2'000 * kNsPerMs;
static_assert(kLeaderLeaseNs >= 4 * kTickNs);

/// Between two tries to reach a store that can't be reached.
inline constexpr uint64_t kReopenPauseNs = 1'000 * kNsPerMs;

/// How long a change waits until this process's own copy shows it.
inline constexpr uint64_t kSeenTimeoutNs = 2'000 * kNsPerMs;
inline constexpr uint64_t kSeenPollNs = kNsPerMs;

/// After which a node that does not answer counts as silent, and after which a call that changes
/// something there is given up.
inline constexpr uint64_t kInfoTimeoutNs = 3'000 * kNsPerMs;
inline constexpr uint64_t kChangeTimeoutNs = 20'000 * kNsPerMs;

/// How long an attachment waits for the head, which asks all copies first, to serve.
inline constexpr uint64_t kServesWaitNs = 3'000 * kNsPerMs;
inline constexpr uint64_t kServesPollNs = 50 * kNsPerMs;

/// Connections to daemons that are kept. Beyond that, those that nobody uses are closed.
inline constexpr uint32_t kChannelsMax = 4096;

/// Hosts that an attachment may name.
inline constexpr uint32_t kHostsMax = 1024;

/// Labels of a node.
inline constexpr uint32_t kLabelsMax = 64;

}  // namespace basalt::cluster
