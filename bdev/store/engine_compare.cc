#include <algorithm>
#include <utility>

#include "bdev/store/engine.h"
#include "reactor/base/assert.h"

/// Going over the maps of nodes: to read what is theirs, to count it, to say what is different.
namespace basalt::bdev::store {

// --- Scrub ---------------------------------------------------------------------------------------

Task<Result<ScrubStep>> Engine::scrub(uint32_t id, uint64_t from) {
    if (find_node(id) == nullptr) {
        co_return Errc::kNotFound;
    }
    if (std::exchange(is_caring_, true)) {
        co_return Errc::kBusy;
    }
    ScrubStep step;
    BlockRange range;
    const Result<bool> found = co_await own_range(id, from, range, step.next);
    if (found && *found) {
        const uint64_t before = counters_.damaged_blocks;
        iovec memory{data_memory().data(), range.count * kBlockBytes};
        PartitionIo io;
        io.op = PartitionOp::kRead;
        io.node = id;
        io.first = range.first;
        io.count = range.count;
        io.pieces = &memory;
        io.piece_count = 1;
        is_scrubbed_ = false;
        io.context = this;
        io.complete = [](PartitionIo&, void* self) {
            auto& engine = *static_cast<Engine*>(self);
            engine.is_scrubbed_ = true;
            engine.care_done_.notify();
        };
        submit(io);
        while (!is_scrubbed_) {
            co_await care_done_.wait();
        }
        step.blocks_read = range.count;
        step.blocks_damaged = counters_.damaged_blocks - before;
    }
    step.is_end = found && !*found;
    end_care();
    if (!found) {
        co_return found.error();
    }
    co_return step;
}

Task<Result<bool>> Engine::own_range(uint32_t id,
                                     uint64_t from,
                                     BlockRange& range,
                                     uint64_t& next) {
    uint64_t index = from;
    while (index < UINT64_MAX) {
        const Node* node = find_node(id);
        if (node == nullptr) {
            co_return Errc::kNotFound;
        }
        if (!node->has_map) {
            co_return false;
        }
        const uint32_t floor = floor_of(*node, index);
        const TreeWalk leaf = own_page(*node, index, floor, next);
        const TreeWalk walk =
            leaf.is_complete() && !leaf.pointer.is_hole() ? maps_.find(node->root, index, 0) : leaf;
        if (!walk.is_complete()) {
            const Status is_here = co_await fetch(walk.missing);
            if (!is_here) {
                co_return Errc::kMediaError;
            }
            continue;
        }
        if (!leaf.pointer.is_hole()) {
            const Page& page = *cache_->get(leaf.pointer.block());
            const auto is_own = [&](uint64_t i) {
                const Pointer& pointer = page[i % kPagePointers];
                return !pointer.is_hole() && pointer.birth > floor;
            };
            uint64_t first = index;
            while (first < next && !is_own(first)) {
                ++first;
            }
            range.first = first;
            while (first < next && is_own(first)) {
                ++first;
            }
            range.count = first - range.first;
            if (range.count > 0) {
                next = first;
                co_return true;
            }
        }
        index = next;
    }
    co_return false;
}

TreeWalk Engine::own_page(const Node& node, uint64_t index, uint32_t floor, uint64_t& next) {
    TreeWalk walk;
    for (uint32_t level = node.root.height; level >= 1; --level) {
        walk = maps_.walk(node.root, index, level, next);
        if (!walk.is_complete() || walk.pointer.is_hole()) {
            return walk;
        }
        if (walk.pointer.birth <= floor) {
            return {.level = level};  // All of it is somebody else's.
        }
    }
    if (node.root.height == 0) {
        next = UINT64_MAX;
    } else if (index >= blocks_below(node.root.height)) {
        next = UINT64_MAX;
        return {.level = kTreeHeightMax};
    }
    return walk;
}

// --- What only one node holds --------------------------------------------------------------------

Task<Result<uint64_t>> Engine::exclusive_blocks(uint32_t id) {
    if (find_node(id) == nullptr) {
        co_return Errc::kNotFound;
    }
    if (std::exchange(is_caring_, true)) {
        co_return Errc::kBusy;
    }
    uint64_t blocks = 0;
    uint64_t next = 0;
    BlockRange range;
    Result<bool> found = co_await own_range(id, next, range, next);
    while (found && *found) {
        for (uint64_t index = range.first; index < range.first + range.count;) {
            bool is_shared = false;
            const TreeWalk missing = find_in_children(id, index, is_shared);
            if (missing.is_complete()) {
                blocks += is_shared ? 0U : 1U;
                ++index;
                continue;
            }
            const Status is_here = co_await fetch(missing.missing);
            if (!is_here) {
                end_care();
                co_return Errc::kMediaError;
            }
        }
        found = co_await own_range(id, next, range, next);
    }
    end_care();
    if (!found) {
        co_return found.error();
    }
    co_return blocks;
}

TreeWalk Engine::find_in_children(uint32_t id, uint64_t index, bool& is_shared) {
    const Node* node = find_node(id);
    if (node == nullptr) {
        return {};
    }
    const TreeWalk mine = maps_.find(node->root, index, 0);
    if (!mine.is_complete()) {
        return mine;
    }
    for (const auto& [child_id, child] : nodes_) {
        if (!child.is_listed || child.entry.parent != id) {
            continue;
        }
        const TreeWalk theirs = maps_.find(map_of(child), index, 0);
        if (!theirs.is_complete()) {
            return theirs;
        }
        is_shared = is_shared || theirs.pointer.block() == mine.pointer.block();
    }
    return {};
}

// --- What is different ---------------------------------------------------------------------------

Task<Result<ChangedStep>> Engine::changed(uint32_t older, uint32_t newer, uint64_t from) {
    constexpr size_t kRangesMax = 256;
    if (std::exchange(is_caring_, true)) {
        co_return Errc::kBusy;
    }
    ChangedStep step;
    Status outcome = kOk;
    uint64_t index = from;
    while (outcome && index < UINT64_MAX && step.ranges.size() < kRangesMax) {
        const Node* new_node = find_node(newer);
        const Node* old_node = find_node(older);
        if (new_node == nullptr || (old_node == nullptr && older != 0)) {
            outcome = Errc::kNotFound;
            break;
        }
        const TreeRoot after = map_of(*new_node);
        const TreeRoot before = old_node == nullptr ? TreeRoot{} : map_of(*old_node);
        uint64_t next = 0;
        const TreeWalk missing = compare(before, after, index, next, step.ranges);
        if (missing.is_complete()) {
            index = next;
            continue;
        }
        const Status is_here = co_await fetch(missing.missing);
        outcome = is_here;
    }
    step.next = index;
    step.is_end = index == UINT64_MAX;
    end_care();
    if (!outcome) {
        co_return outcome.error();
    }
    co_return std::move(step);
}

TreeWalk Engine::compare(const TreeRoot& before,
                         const TreeRoot& after,
                         uint64_t index,
                         uint64_t& next,
                         std::vector<BlockRange>& ranges) {
    const uint32_t height = std::max(before.height, after.height);
    if (height == 0 || index >= blocks_below(height)) {
        next = UINT64_MAX;
        return {};
    }
    for (uint32_t level = height; level >= 1; --level) {
        // A tree that is lower has nothing but a hole beyond its end, and before it no page at this
        // level that the other's could be the same as.
        const bool has_old = level <= before.height || index >= blocks_below(before.height);
        const bool has_new = level <= after.height || index >= blocks_below(after.height);
        if (!has_old || !has_new) {
            continue;
        }
        const TreeWalk old_walk = maps_.find(before, index, level);
        const TreeWalk new_walk = maps_.find(after, index, level);
        if (!old_walk.is_complete() || !new_walk.is_complete()) {
            return old_walk.is_complete() ? new_walk : old_walk;
        }
        if (old_walk.pointer.block() == new_walk.pointer.block()) {
            next = (index / blocks_below(level) + 1) * blocks_below(level);
            return {};
        }
    }
    const TreeWalk old_walk = maps_.find(before, index, 0);
    const TreeWalk new_walk = maps_.find(after, index, 0);
    if (!old_walk.is_complete() || !new_walk.is_complete()) {
        return old_walk.is_complete() ? new_walk : old_walk;
    }
    next = (index / kPagePointers + 1) * kPagePointers;
    for (; index < next; ++index) {
        const uint64_t old_block = maps_.find(before, index, 0).pointer.block();
        if (old_block == maps_.find(after, index, 0).pointer.block()) {
            continue;
        }
        if (!ranges.empty() && ranges.back().first + ranges.back().count == index) {
            ++ranges.back().count;
        } else {
            ranges.push_back({index, 1});
        }
    }
    return {};
}

}  // namespace basalt::bdev::store
