// Where a volume or snapshot is different from an older one, and how it gets independent of it.
#include <algorithm>
#include <utility>
#include <vector>

#include "bdev/store/pool/pool.h"
#include "bdev/store/pool/pool_visits.h"
#include "reactor/base/assert.h"

namespace basalt::bdev::store {

namespace {

/// Rounds over all partitions before the caller gets what there is.
constexpr uint32_t kChangedRounds = 64;
/// What a partition does before the control thread is asked whether to go on.
constexpr uint32_t kFlattenSteps = 64;
constexpr uint64_t kFlattenBlocks = kWriteBlocksMax;

void append(std::vector<ChangedRange>& ranges, const ChangedRange& more) {
    if (!ranges.empty() && ranges.back().end() == more.first &&
        ranges.back().is_hole == more.is_hole) {
        ranges.back().count += more.count;
    } else {
        ranges.push_back(more);
    }
}

}  // namespace

// ---- changed ranges

struct Pool::Comparison {
    uint32_t older;
    uint32_t newer;
    uint64_t from;
    std::vector<ChangedStep> steps;

    static Task<void> run(Reactor&, Visit<Comparison>& visit) {
        const Comparison& all = visit.argument;
        Result<ChangedStep> step =
            co_await visit.partition().changed(all.older, all.newer, all.from);
        if (step) {
            visit.argument.steps[visit.index] = std::move(*step);
        } else {
            visit.status = step.error();
        }
    }

    /// Appends what all partitions have looked at, up to `end` of the volume; they go on from
    /// there.
    void take(uint64_t end, std::vector<ChangedRange>& ranges) {
        uint64_t limit = UINT64_MAX;
        for (const ChangedStep& step : steps) {
            limit = std::min(limit, step.is_end ? UINT64_MAX : step.next);
        }
        std::vector<ChangedRange> found;
        for (const ChangedStep& step : steps) {
            for (ChangedRange range : step.ranges) {
                const uint64_t range_end = std::min({range.end(), limit, end});
                if (range.first < range_end) {
                    range.count = range_end - range.first;
                    found.push_back(range);
                }
            }
        }
        std::sort(found.begin(), found.end(), [](const ChangedRange& a, const ChangedRange& b) {
            return a.first < b.first;
        });
        for (const ChangedRange& range : found) {
            append(ranges, range);
        }
        from = std::min(limit, end);
    }
};

Task<Result<ChangedStep>> Pool::changed(std::string older,
                                        std::string newer,
                                        uint64_t from,
                                        size_t ranges_max) {
    BASALT_ASSERT(ranges_max > 0);
    const VolumeEntry* volume = catalogue_.find_volume(newer);
    const SnapshotEntry* snapshot = catalogue_.find_snapshot(newer);
    const SnapshotEntry* base = catalogue_.find_snapshot(older);
    if ((volume == nullptr && snapshot == nullptr) || (!older.empty() && base == nullptr)) {
        co_return Errc::kNotFound;
    }
    const uint32_t before = base == nullptr ? 0 : base->node;
    const uint32_t after = volume != nullptr ? volume->head : snapshot->node;
    const uint64_t end = volume != nullptr ? volume->size_blocks : snapshot->size_blocks;
    if (!is_ancestor(before, after)) {
        co_return Errc::kInvalidArgument;
    }
    if (is_closing_) {
        co_return Errc::kBusy;
    }
    const Look look(*this);
    co_return co_await compare(before, after, from, end, ranges_max);
}

Task<Result<ChangedStep>> Pool::compare(
    uint32_t older, uint32_t newer, uint64_t from, uint64_t end, size_t max) {
    Comparison all{older, newer, from, std::vector<ChangedStep>(seats_.size())};
    ChangedStep step;
    for (uint32_t round = 0; round < kChangedRounds && all.from < end && step.ranges.size() <= max;
         ++round) {
        const Status status = co_await on_seats<Comparison>(all, &Comparison::run);
        if (!status) {
            co_return status.error();
        }
        all.take(end, step.ranges);
    }
    step.next = all.from;
    if (step.ranges.size() > max) {
        step.next = step.ranges[max].first;
        step.ranges.resize(max);
    }
    step.is_end = step.next >= end;
    co_return std::move(step);
}

bool Pool::is_ancestor(uint32_t older, uint32_t newer) const {
    // A parent's id is lower than its child's.
    while (newer > older) {
        const NodeEntry* node = catalogue_.find_node(newer);
        BASALT_ASSERT(node != nullptr);
        newer = node->parent;
    }
    return newer == older;
}

// ---- flattening

struct Pool::Flattening {
    struct Leg {
        uint64_t next = 0;
        uint64_t copied = 0;
        bool is_end = false;
    };

    uint32_t head;
    uint32_t keep;
    std::vector<Leg> legs;

    static Task<void> run(Reactor&, Visit<Flattening>& visit) {
        Leg& leg = visit.argument.legs[visit.index];
        uint64_t copied = 0;
        for (uint32_t i = 0; i < kFlattenSteps && !leg.is_end && copied < kFlattenBlocks; ++i) {
            const uint32_t head = visit.argument.head;
            const uint32_t keep = visit.argument.keep;
            const uint64_t from = leg.next;
            const Result<FlattenStep> step = co_await visit.partition().flatten(head, keep, from);
            if (!step) {
                visit.status = step.error();
                co_return;
            }
            leg.next = step->next;
            leg.is_end = step->is_end;
            copied += step->blocks_copied;
        }
        leg.copied += copied;
    }
};

Task<Status> Pool::flatten(std::string name, FlattenFrom from) {
    const VolumeEntry* volume = catalogue_.find_volume(name);
    if (volume == nullptr) {
        co_return Errc::kNotFound;
    }
    const Uuid uuid = volume->uuid;
    if (is_closing_ || volume->is_receiving || flattening_.count(uuid) != 0) {
        co_return Errc::kBusy;
    }
    const Look look(*this);
    flattening_[uuid] = {.name = name, .size_blocks = volume->size_blocks};
    Status status = Errc::kTryAgain;
    while (!status && status.error().code == Errc::kTryAgain) {
        status = co_await flatten_once(uuid, from);
    }
    flattening_.erase(uuid);
    co_return status;
}

Status Pool::stop_flatten(std::string_view name) {
    const VolumeEntry* volume = catalogue_.find_volume(name);
    const auto found = volume == nullptr ? flattening_.end() : flattening_.find(volume->uuid);
    if (found == flattening_.end()) {
        return Errc::kNotFound;
    }
    found->second.is_stopped = true;
    return kOk;
}

/// kTryAgain: what it was to be made independent of is another one by now.
Task<Status> Pool::flatten_once(Uuid uuid, FlattenFrom from) {
    const auto found = catalogue_.volumes().find(uuid);
    if (found == catalogue_.volumes().end()) {
        co_return Errc::kNotFound;
    }
    const NodeEntry head = *catalogue_.find_node(found->second.head);
    if (head.parent == 0) {
        co_return from == FlattenFrom::kAll ? Status(kOk) : Status(Errc::kInvalidArgument);
    }
    const uint32_t keep = from == FlattenFrom::kAll ? 0 : catalogue_.find_node(head.parent)->parent;
    Flattening all{head.id, keep, std::vector<Flattening::Leg>(seats_.size())};
    const Status copied = co_await flatten_all(uuid, all);
    if (!copied && copied.error().code == Errc::kReadOnly) {
        co_return Errc::kBusy;  // A snapshot of it was taken: there is another head.
    }
    if (!copied) {
        co_return copied;
    }
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const auto now = catalogue_.volumes().find(uuid);
    if (now == catalogue_.volumes().end()) {
        co_return Errc::kNotFound;
    }
    NodeEntry changed = *catalogue_.find_node(now->second.head);
    if (changed.id != head.id) {
        co_return Errc::kBusy;
    }
    // An ancestor that was deleted meanwhile has left to the next one what it had.
    const NodeEntry* parent = catalogue_.find_node(changed.parent);
    if (keep != 0 && (changed.parent != head.parent || parent->parent != keep)) {
        co_return Errc::kTryAgain;
    }
    changed.parent = keep;
    std::vector<CatalogueChange> changes{changed};
    const Status status = co_await commit(changes);
    if (status) {
        std::vector<NodeEntry> nodes{changed};
        co_await tell_nodes(nodes);
        start_sweep();  // One that was deleted may have one child less.
    }
    co_return status;
}

Task<Status> Pool::flatten_all(Uuid uuid, Flattening& all) {
    const auto is_end = [](const Flattening::Leg& leg) { return leg.is_end; };
    while (!std::all_of(all.legs.begin(), all.legs.end(), is_end)) {
        if (is_cancelled_ || flattening_.at(uuid).is_stopped) {
            co_return Errc::kCancelled;
        }
        const Status status = co_await on_seats<Flattening>(all, &Flattening::run);
        if (!status) {
            co_return status;
        }
        FlattenReport& report = flattening_.at(uuid);
        report.blocks_copied = 0;
        report.blocks_passed = report.size_blocks;
        for (const Flattening::Leg& leg : all.legs) {
            report.blocks_copied += leg.copied;
            report.blocks_passed =
                leg.is_end ? report.blocks_passed : std::min(report.blocks_passed, leg.next);
        }
    }
    co_return kOk;
}

}  // namespace basalt::bdev::store
