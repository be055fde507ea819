#pragma once

#include <cstdint>

#include "reactor/base/result.h"

namespace basalt::health {

inline constexpr uint64_t kNsPerSecond = 1'000'000'000;

/// When silence counts as what. Settings of the cluster; all times in nanoseconds. A value.
struct HealthSettings {
    /// Nodes report this often.
    uint64_t heartbeat_interval_ns = 10 * kNsPerSecond;
    /// The leading control process looks at all nodes this often.
    uint64_t scan_interval_ns = 15 * kNsPerSecond;
    /// A node that was silent for longer is down.
    uint64_t down_after_ns = 30 * kNsPerSecond;
    /// A node that has been down for so long is out: what was on it is made anew elsewhere. Shorter
    /// than most restarts would copy much for nothing.
    uint64_t out_after_ns = 600 * kNsPerSecond;
    /// The same when all nodes of a rack or a datacenter are down at once: that is a switch or a
    /// power line, which comes back with all data, and copying a rack would be a storm.
    uint64_t domain_out_after_ns = 3600 * kNsPerSecond;
    /// No node is put out if fewer than so many, in percent of those that aren't out, are up: with
    /// that many away it is likelier that this process is the one cut off, and there is little
    /// room.
    uint32_t up_percent_min = 50;

    bool operator==(const HealthSettings&) const = default;
};

/// Whether `settings` make sense together: no time is 0, down_after is at least two heartbeats (or
/// one that is late makes a node down) and domain_out_after at least out_after; the percentage is
/// at most 100. Errors: kInvalidArgument.
[[nodiscard]] Status validate(const HealthSettings& settings);

}  // namespace basalt::health
