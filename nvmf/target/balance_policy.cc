#include "nvmf/target/balance_policy.h"

#include <algorithm>

#include "reactor/base/assert.h"

namespace basalt::nvmf {

namespace {

struct Extremes {
    uint32_t most = 0;
    uint32_t least = 0;
};

template <typename Value>
Extremes extremes_of(std::span<const ReactorLoad> loads, Value value) {
    Extremes found;
    for (uint32_t i = 1; i < loads.size(); ++i) {
        found.most = value(loads[i]) > value(loads[found.most]) ? i : found.most;
        found.least = value(loads[i]) < value(loads[found.least]) ? i : found.least;
    }
    return found;
}

}  // namespace

std::optional<BalanceMove> BalancePolicy::even_time(std::span<const ReactorLoad> loads) {
    const Extremes at = extremes_of(loads, [](const ReactorLoad& l) { return l.busy_permille; });
    const ReactorLoad& most = loads[at.most];
    const uint32_t gap = most.busy_permille - loads[at.least].busy_permille;
    if (gap < kGapPermille || most.active_queues < 2) {
        return std::nullopt;
    }
    // Half of the difference is best, and more than all of it would make the other one the busier.
    const uint64_t whole = most.work * gap / most.busy_permille;
    return BalanceMove{at.most, at.least, whole / 2, whole * 9 / 10};
}

std::optional<BalanceMove> BalancePolicy::even_number(std::span<const ReactorLoad> loads) {
    for (const ReactorLoad& load : loads) {
        if (load.busy_permille < kFullPermille) {
            return std::nullopt;
        }
    }
    const Extremes at = extremes_of(loads, [](const ReactorLoad& l) { return l.active_queues; });
    const ReactorLoad& most = loads[at.most];
    if (most.active_queues < loads[at.least].active_queues + kActiveQueuesGap) {
        return std::nullopt;
    }
    return BalanceMove{at.most, at.least, most.work / most.active_queues, UINT64_MAX};
}

std::optional<BalanceMove> BalancePolicy::observe(std::span<const ReactorLoad> loads) {
    ++since_last_move_;
    std::optional<BalanceMove> wanted;
    if (loads.size() > 1) {
        wanted = even_time(loads);
        wanted = wanted ? wanted : even_number(loads);
    }
    if (!wanted) {
        uneven_.reset();
        uneven_periods_ = 0;
        return std::nullopt;
    }
    const Way way{wanted->from, wanted->to};
    uneven_periods_ = uneven_ == way ? uneven_periods_ + 1 : 1;
    uneven_ = way;
    const bool is_return = last_move_ == Way{way.to, way.from} && since_last_move_ < kReturnPeriods;
    if (uneven_periods_ < kUnevenPeriods || is_return) {
        return std::nullopt;
    }
    uneven_.reset();
    uneven_periods_ = 0;
    last_move_ = way;
    since_last_move_ = 0;
    return wanted;
}

}  // namespace basalt::nvmf
