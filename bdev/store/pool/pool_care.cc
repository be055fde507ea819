// What a pool tells of itself, and whether it is as it should be.
#include <vector>

#include "bdev/store/pool/pool.h"
#include "bdev/store/pool/pool_visits.h"
#include "reactor/base/log.h"

namespace basalt::bdev::store {

Task<Result<CheckReport>> Pool::check() {
    struct Check {
        std::vector<CheckReport> reports;

        static Task<void> run(Reactor&, Visit<Check>& visit) {
            const Result<CheckReport> report = co_await visit.partition().check();
            if (report) {
                visit.argument.reports[visit.index] = *report;
            } else {
                visit.status = report.error();
            }
        }
    };
    if (is_closing_) {
        co_return Errc::kBusy;
    }
    const Look look(*this);
    Check check{std::vector<CheckReport>(seats_.size())};
    const Status status = co_await on_seats<Check>(check, &Check::run);
    if (!status) {
        co_return status.error();
    }
    CheckReport sum;
    for (const CheckReport& report : check.reports) {
        sum.data_blocks += report.data_blocks;
        sum.page_blocks += report.page_blocks;
        sum.leaked_blocks += report.leaked_blocks;
        sum.missing_blocks += report.missing_blocks;
        sum.doubled_blocks += report.doubled_blocks;
        sum.broken_pages += report.broken_pages;
        sum.wrong_counts += report.wrong_counts;
    }
    co_return sum;
}

Task<std::vector<PartitionStats>> Pool::all_stats() {
    using All = std::vector<PartitionStats>;
    All all(seats_.size());
    const auto read = [](Reactor&, Visit<All>& visit) -> Task<void> {
        visit.argument[visit.index] = visit.partition().stats();
        co_return;
    };
    static_cast<void>(co_await on_seats<All>(all, read));
    co_return all;
}

Task<std::vector<PartitionStats>> Pool::stats() {
    if (is_closing_) {
        co_return std::vector<PartitionStats>();
    }
    const Look look(*this);
    std::vector<PartitionStats> all = co_await all_stats();
    co_return all;
}

PoolUsage Pool::sum_up(const std::vector<PartitionStats>& all) const {
    const uint64_t slab_blocks = identity_.layout.slab_blocks;
    PoolUsage usage{.total = slabs_->slab_count() * slab_blocks,
                    .free = slabs_->free_count() * slab_blocks};
    for (const PartitionStats& one : all) {
        usage.free += one.data_blocks_free;
    }
    return usage;
}

Task<PoolUsage> Pool::usage() {
    const std::vector<PartitionStats> all = co_await stats();
    co_return sum_up(all);
}

void Pool::look_later() {
    constexpr uint64_t kSpaceLookNs = kNsPerSecond;
    home_.control.start_timer(space_timer_, kSpaceLookNs);
}

Task<void> Pool::look_at_space() {
    co_await space_turn_.acquire();
    const AsyncMutex::Turn turn(space_turn_);
    if (is_closing_) {
        co_return;  // Whoever closes it waits for our turn, and begins again if it stays open.
    }
    const std::vector<PartitionStats> all = co_await all_stats();
    judge_space(sum_up(all));
    if (!is_closing_) {
        look_later();
    }
}

void Pool::judge_space(const PoolUsage& usage) {
    // One percent more, or a pool at the edge would tell so again and again.
    const uint32_t edge = is_low_on_space_ && low_space_percent_ > 0 ? 1 : 0;
    const uint64_t percent = low_space_percent_ + edge;
    const bool is_low = usage.free * 100 < usage.total * percent;
    if (is_low == is_low_on_space_) {
        return;
    }
    is_low_on_space_ = is_low;
    low_space_events_ += is_low ? 1 : 0;
    if (is_low) {
        BASALT_LOG(kWarn,
                   "store",
                   "pool {} is low on space: {} of {} blocks are free",
                   identity_.name,
                   usage.free,
                   usage.total);
    } else {
        BASALT_LOG(kInfo, "store", "pool {} is not low on space any more", identity_.name);
    }
}

Task<Result<uint64_t>> Pool::exclusive_blocks(std::string name) {
    struct Sum {
        uint32_t node;
        std::vector<uint64_t> blocks;

        static Task<void> run(Reactor&, Visit<Sum>& visit) {
            const Result<uint64_t> blocks =
                co_await visit.partition().exclusive_blocks(visit.argument.node);
            if (blocks) {
                visit.argument.blocks[visit.index] = *blocks;
            } else {
                visit.status = blocks.error();
            }
        }
    };
    const VolumeEntry* volume = catalogue_.find_volume(name);
    const SnapshotEntry* snapshot = catalogue_.find_snapshot(name);
    if (volume == nullptr && snapshot == nullptr) {
        co_return Errc::kNotFound;
    }
    if (is_closing_) {
        co_return Errc::kBusy;
    }
    const Look look(*this);
    Sum sum{volume != nullptr ? volume->head : snapshot->node,
            std::vector<uint64_t>(seats_.size())};
    const Status status = co_await on_seats<Sum>(sum, &Sum::run);
    if (!status) {
        co_return status.error();
    }
    uint64_t blocks = 0;
    for (const uint64_t one : sum.blocks) {
        blocks += one;
    }
    co_return blocks;
}

}  // namespace basalt::bdev::store
