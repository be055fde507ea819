// What a pool tells of itself, and whether it is as it should be.
#include <vector>

#include "bdev/store/pool/pool.h"
#include "bdev/store/pool/pool_visits.h"

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

Task<std::vector<PartitionStats>> Pool::stats() {
    using All = std::vector<PartitionStats>;
    if (is_closing_) {
        co_return All();
    }
    const Look look(*this);
    All all = co_await all_stats();
    co_return all;
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

Task<PoolUsage> Pool::usage() {
    const std::vector<PartitionStats> all = co_await stats();
    const uint64_t slab_blocks = identity_.layout.slab_blocks;
    PoolUsage usage{.total = slabs_->slab_count() * slab_blocks,
                    .free = slabs_->free_count() * slab_blocks};
    for (const PartitionStats& one : all) {
        usage.free += one.data_blocks_free;
    }
    co_return usage;
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
