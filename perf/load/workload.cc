#include "perf/load/workload.h"

#include <algorithm>

#include "reactor/base/assert.h"

namespace basalt::perf {

Workload::Workload(const WorkloadOptions& options) : options_(options), random_(options.seed) {
    BASALT_ASSERT(options.unit_count >= 1);
    BASALT_ASSERT(options.queue_depth >= 1);
    if (options.verifies) {
        acknowledged_.resize(options.unit_count);
        written_.resize(options.unit_count);
    }
}

void Workload::begin(LoadPhase phase) {
    phase_ = phase;
    cursor_ = 0;
}

std::optional<uint64_t> Workload::next_timed_unit() {
    uint64_t unit = options_.is_random ? random_.below(options_.unit_count) : cursor_;
    if (options_.verifies) {
        // At most queue_depth units are busy, so of one more in a row one is free, unless there
        // are no more.
        const uint64_t tries = std::min<uint64_t>(options_.unit_count, options_.queue_depth + 1);
        uint64_t tried = 0;
        while ((acknowledged_[unit] & kBusy) != 0) {
            if (++tried == tries) {
                return std::nullopt;
            }
            unit = unit + 1 == options_.unit_count ? 0 : unit + 1;
        }
    }
    if (!options_.is_random) {
        cursor_ = unit + 1 == options_.unit_count ? 0 : unit + 1;
    }
    return unit;
}

/// The next unit of kFill or kCheck.
std::optional<UnitIo> Workload::next_in_order() {
    BASALT_ASSERT(options_.verifies);
    while (cursor_ < options_.unit_count) {
        const uint64_t unit = cursor_++;
        if (phase_ == LoadPhase::kFill) {
            acknowledged_[unit] |= kBusy;
            return UnitIo{.unit = unit, .is_write = true, .generation = ++written_[unit]};
        }
        const uint32_t generation = acknowledged_[unit];
        BASALT_ASSERT((generation & kBusy) == 0);
        if (generation != 0) {
            acknowledged_[unit] |= kBusy;
            return UnitIo{.unit = unit, .is_write = false, .generation = generation};
        }
    }
    return std::nullopt;
}

std::optional<UnitIo> Workload::next() {
    if (phase_ != LoadPhase::kTimed) {
        return next_in_order();
    }
    const std::optional<uint64_t> unit = next_timed_unit();
    if (!unit) {
        return std::nullopt;
    }
    const uint32_t percent = options_.read_percent;
    const bool is_write = percent == 0 || (percent < 100 && !random_.chance(percent, 100));
    UnitIo io{.unit = *unit, .is_write = is_write};
    if (options_.verifies) {
        io.generation = is_write ? ++written_[*unit] : acknowledged_[*unit];
        acknowledged_[*unit] |= kBusy;
    }
    return io;
}

void Workload::finished(const UnitIo& io, bool succeeded) {
    if (!options_.verifies) {
        return;
    }
    uint32_t& acknowledged = acknowledged_[io.unit];
    BASALT_ASSERT((acknowledged & kBusy) != 0);
    acknowledged &= ~kBusy;
    if (io.is_write) {
        acknowledged = succeeded ? io.generation : 0;
    }
}

}  // namespace basalt::perf
