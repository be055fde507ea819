#pragma once

#include <cstdint>

#include "bdev/qos/cost.h"
#include "bdev/qos/limits.h"
#include "reactor/base/result.h"

namespace basalt::qos {

/// One limit, in I/Os or bytes a second.
struct Limit {
    uint64_t rate = 0;        ///< 0: none.
    uint64_t burst_rate = 0;  ///< For a burst; 0: no limit of its own. Not below `rate`.

    bool operator==(const Limit&) const = default;
};

/// What a device, a host or a group may have of the time of the others. Without any limit it is
/// kPolicyNone.
struct Policy {
    Limit rw_ios{};
    Limit rw_bytes{};
    Limit r_bytes{};
    Limit w_bytes{};
    /// How long a burst lasts for which something has been saved up by being idle. Of a limit with
    /// a burst rate: so long at that rate (0: one second). Without: as many tokens as come in so
    /// long, at any speed (0: kDepthNs).
    uint32_t burst_seconds = 0;
    /// What it gets in any case out of what its group has.
    uint64_t min_ios = 0;
    uint64_t min_bytes = 0;
    /// Its share of what the group has beyond the minimums.
    uint32_t weight = kWeightDefault;

    [[nodiscard]] bool has_limits() const {
        return (rw_ios.rate | rw_bytes.rate | r_bytes.rate | w_bytes.rate) != 0;
    }
    [[nodiscard]] bool has_minimum() const { return (min_ios | min_bytes) != 0; }

    bool operator==(const Policy&) const = default;
};

/// Errors: kInvalidArgument: a number beyond its bound, a burst rate below its rate or without one,
/// a burst without any limit, a minimum above its own limit, weight 0.
[[nodiscard]] Status check(const Policy& policy);

/// Which tokens a core counts, and how many of each it gets at once.
struct Terms {
    bool counts_ios = false;
    bool counts_reads = false;
    bool counts_writes = false;
    Cost slice{};
};

/// What follows from the limits of one member, or of it and its group.
[[nodiscard]] Terms terms_of(const Policy& policy);
[[nodiscard]] Terms both(const Terms& a, const Terms& b);

}  // namespace basalt::qos
