#include "control/health/settings.h"

namespace basalt::health {

Status validate(const HealthSettings& settings) {
    const bool has_times = settings.heartbeat_interval_ns > 0 && settings.scan_interval_ns > 0 &&
                           settings.out_after_ns > 0;
    // Not twice the interval: that may be more than 64 bits have.
    const bool has_patience = settings.down_after_ns / 2 >= settings.heartbeat_interval_ns;
    const bool is_ordered = settings.domain_out_after_ns >= settings.out_after_ns;
    if (!has_times || !has_patience || !is_ordered || settings.up_percent_min > 100) {
        return Errc::kInvalidArgument;
    }
    return kOk;
}

}  // namespace basalt::health
