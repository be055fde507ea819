#include <algorithm>
#include <utility>

#include "bdev/store/engine.h"
#include "reactor/base/assert.h"

/// Going over the maps of nodes: to read what is theirs, to count it, to say what is different.
namespace basalt::bdev::store {

namespace {

/// Where a block is that a leaf page leads to; 0: nowhere.
uint64_t block_in(const Page* leaf, uint64_t index) {
    return leaf == nullptr ? 0 : (*leaf)[index % kPagePointers].block();
}

}  // namespace

// --- Scrub ---------------------------------------------------------------------------------------

Task<Result<ScrubStep>> Engine::scrub(uint32_t id, uint64_t from) {
    co_await begin_care();
    ScrubStep step;
    const Result<bool> found = co_await scrub_range(id, from, step);
    if (found && *found) {
        co_await scrub_data(id, step);
    }
    end_care();
    if (!found) {
        co_return found.error();
    }
    co_return std::move(step);
}

/// As own_range(), but verifies the pages on the way too, and goes on behind those that are bad.
/// False: there is nothing to be read for now, or at all (step.is_end).
Task<Result<bool>> Engine::scrub_range(uint32_t id, uint64_t from, ScrubStep& step) {
    constexpr uint64_t kPagesMax = 256;
    uint64_t& next = found_.next;
    uint64_t index = from;
    found_.before = from == 0 ? UINT64_MAX : from - 1;
    while (index < UINT64_MAX && step.pages_read < kPagesMax) {
        const Node* node = find_node(id);
        if (node == nullptr) {
            co_return Errc::kNotFound;
        }
        if (!node->has_map) {
            index = UINT64_MAX;
            break;
        }
        const uint32_t floor = floor_of(*node, index);
        const TreeWalk leaf = own_page(node->root, index, floor, next);
        const TreeWalk walk =
            leaf.is_complete() && !leaf.pointer.is_hole() ? maps_.find(node->root, index, 0) : leaf;
        if (!walk.is_complete()) {
            const DamagedBlock where{.node = id, .block = index};
            const Status is_here = co_await fetch(walk.missing, where);
            if (!is_here) {
                const uint64_t below = blocks_below(walk.level);
                const uint64_t first = index / below * below;
                step.damaged.push_back({id, first, walk.missing.block(), true, below});
                index = first + below;
            }
            continue;
        }
        if (!leaf.pointer.is_hole() && found_.before / kPagePointers != index / kPagePointers) {
            co_await scrub_pages(id, index, step);
            found_.before = index;
            node = find_node(id);
            const TreeWalk again =
                node == nullptr ? TreeWalk{} : own_page(node->root, index, floor, next);
            const bool is_same = again.pointer == leaf.pointer;
            if (!is_same || cache_->get(leaf.pointer.block()) == nullptr) {
                continue;  // It was changed meanwhile, or had to give way.
            }
        }
        if (own_part(leaf, index, floor, found_)) {
            step.next = next;
            co_return true;
        }
        index = next;
    }
    step.next = index;
    step.is_end = index == UINT64_MAX;
    co_return false;
}

/// Reads the pages on the way to `index`, but for those that were verified, from the device where
/// they may be on it as they are here. A bad one is not missed as long as it is here.
Task<void> Engine::scrub_pages(uint32_t id, uint64_t index, ScrubStep& step) {
    const uint64_t before = found_.before;
    for (uint32_t level = 1; level <= kTreeHeightMax; ++level) {
        const Node* node = find_node(id);
        const bool is_known = before / blocks_below(level) == index / blocks_below(level);
        if (node == nullptr || level > node->root.height || (is_known && before != UINT64_MAX)) {
            co_return;
        }
        const Pointer pointer = maps_.find(node->root, index, level).pointer;
        const uint32_t frame = cache_->find(pointer.block());
        if (pointer.is_hole() || frame == PageCache::kNone ||
            cache_->frame(frame).state != PageCache::State::kClean) {
            continue;
        }
        const auto memory = data_memory().first(kBlockBytes);
        const uint32_t crc = cache_->frame(frame).crc;
        const Status read = co_await DeviceCall(port_, IoOp::kRead, pointer.block(), memory);
        ++step.pages_read;
        node = find_node(id);
        const bool is_there =
            node != nullptr && maps_.find(node->root, index, level).pointer == pointer;
        if (is_there && (!read || crc32c(memory) != crc)) {
            const uint64_t below = blocks_below(level);
            const DamagedBlock bad{id, index / below * below, pointer.block(), true, below};
            step.damaged.push_back(bad);
            damaged(bad);
        }
    }
}

Task<void> Engine::scrub_data(uint32_t id, ScrubStep& step) {
    const BlockRange range = found_.range;
    iovec memory{data_memory().data(), range.count * kBlockBytes};
    PartitionIo io;
    io.op = PartitionOp::kRead;
    io.node = id;
    io.first = range.first;
    io.count = range.count;
    io.pieces = &memory;
    io.piece_count = 1;
    co_await PartitionCall(*this, io);
    step.blocks_read = range.count;
    if (io.status) {
        co_return;
    }
    // Which ones: each for itself.
    memory.iov_len = kBlockBytes;
    io.count = 1;
    for (uint64_t i = 0; i < range.count; ++i) {
        io.first = range.first + i;
        co_await PartitionCall(*this, io);
        const Node* node = find_node(id);
        if (!io.status && node != nullptr) {
            const TreeWalk walk = maps_.find(map_of(*node), io.first, 0);
            step.damaged.push_back({id, io.first, walk.pointer.block()});
        }
    }
}

// --- What is a node's own ------------------------------------------------------------------------

Task<Result<bool>> Engine::own_range(uint32_t id, uint64_t from, Found& found) {
    uint64_t& next = found.next;
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
        const TreeWalk leaf = own_page(node->root, index, floor, next);
        const TreeWalk walk =
            leaf.is_complete() && !leaf.pointer.is_hole() ? maps_.find(node->root, index, 0) : leaf;
        if (!walk.is_complete()) {
            const Status is_here = co_await fetch(walk.missing);
            if (!is_here) {
                co_return Errc::kMediaError;
            }
            continue;
        }
        if (own_part(leaf, index, floor, found)) {
            co_return true;
        }
        index = next;
    }
    co_return false;
}

/// The first blocks of a leaf page, from `from` up to `found.next`, that are the node's own;
/// `found.next` is then behind them.
bool Engine::own_part(const TreeWalk& leaf, uint64_t from, uint32_t floor, Found& found) {
    if (leaf.pointer.is_hole()) {
        return false;
    }
    const Page& page = *cache_->get(leaf.pointer.block());
    const auto is_own = [&](uint64_t i) {
        const Pointer& pointer = page[i % kPagePointers];
        return !pointer.is_hole() && pointer.birth > floor;
    };
    uint64_t first = from;
    while (first < found.next && !is_own(first)) {
        ++first;
    }
    uint64_t end = first;
    while (end < found.next && is_own(end)) {
        ++end;
    }
    if (end == first) {
        return false;
    }
    found.range = {first, end - first};
    found.next = end;
    return true;
}

/// The leaf page of `index`, or a hole: nothing up to `next` is younger than `floor`.
TreeWalk Engine::own_page(const TreeRoot& root, uint64_t index, uint32_t floor, uint64_t& next) {
    TreeWalk walk;
    for (uint32_t level = root.height; level >= 1; --level) {
        walk = maps_.walk(root, index, level, next);
        if (!walk.is_complete() || walk.pointer.is_hole()) {
            return walk;
        }
        if (walk.pointer.birth <= floor) {
            return {.level = level};  // All of it is somebody else's.
        }
    }
    if (root.height == 0) {
        next = UINT64_MAX;
    } else if (index >= blocks_below(root.height)) {
        next = UINT64_MAX;
        return {.level = kTreeHeightMax};
    }
    return walk;
}

// --- What only one node holds --------------------------------------------------------------------

Task<Result<uint64_t>> Engine::exclusive_blocks(uint32_t id) {
    co_await begin_care();
    uint64_t blocks = 0;
    Result<bool> found = co_await own_range(id, 0, found_);
    while (found && *found) {
        const BlockRange range = found_.range;
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
        found = co_await own_range(id, found_.next, found_);
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
    constexpr uint32_t kPagesMax = 256;
    co_await begin_care();
    uint32_t pages = 0;
    ChangedStep step;
    Status outcome = kOk;
    uint64_t index = from;
    while (outcome && index < UINT64_MAX && step.ranges.size() < kRangesMax && pages < kPagesMax) {
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
            ++pages;
            continue;
        }
        const DamagedBlock where{.node = newer, .block = index};
        const Status is_here = co_await fetch(missing.missing, where);
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
                         std::vector<ChangedRange>& ranges) {
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
    const auto leaf_of = [&](const TreeRoot& root) {
        const TreeWalk leaf = maps_.find(root, index, 1);
        return leaf.pointer.is_hole() ? nullptr : cache_->get(leaf.pointer.block());
    };
    const Page* old_page = leaf_of(before);
    const Page* new_page = leaf_of(after);
    next = (index / kPagePointers + 1) * kPagePointers;
    for (; index < next; ++index) {
        const uint64_t old_block = block_in(old_page, index);
        const uint64_t new_block = block_in(new_page, index);
        if (old_block == new_block) {
            continue;
        }
        const bool is_hole = new_block == 0;
        if (!ranges.empty() && ranges.back().end() == index && ranges.back().is_hole == is_hole) {
            ++ranges.back().count;
        } else {
            ranges.push_back({index, 1, is_hole});
        }
    }
    return {};
}

}  // namespace basalt::bdev::store
