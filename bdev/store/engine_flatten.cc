#include <algorithm>
#include <utility>

#include "bdev/store/engine.h"
#include "reactor/base/assert.h"

/// A head gets blocks and pages of its own instead of those that it has from ancestors. Each copy
/// is a write like any other, but one that gives way to what hosts write; so this may be stopped,
/// by a crash too, and begun again at any time.
namespace basalt::bdev::store {

Task<Result<FlattenStep>> Engine::flatten(uint32_t id, uint32_t keep, uint64_t from) {
    co_await begin_care();
    FlattenStep step;
    Status outcome = kOk;
    found_.next = from;
    const Result<bool> found = co_await inherited_range(id, keep, found_);
    step.next = found_.next;
    if (!found) {
        outcome = found.error();
    } else if (*found) {
        outcome = co_await copy_range(id, found_.range);
        step.blocks_copied = outcome ? found_.range.count : 0;
        if (!outcome && outcome.error().code == Errc::kTryAgain) {
            step.next = from;  // Somebody wrote there. What is left is another one's next time.
            outcome = kOk;
        }
    } else {
        // What it holds now it would hold too if its parent were another one.
        Slot& slot = slots_[options_.requests];
        slot.op = SlotOp::kAdopt;
        slot.node = id;
        slot.first = 0;
        slot.end = UINT64_MAX;
        co_await run_spare_slot();
        outcome = slot.status;
        step.is_end = true;
    }
    end_care();
    if (!outcome) {
        co_return outcome.error();
    }
    co_return step;
}

Task<Result<bool>> Engine::inherited_range(uint32_t id, uint32_t keep, Found& found) {
    uint64_t& next = found.next;
    uint64_t index = next;
    while (index < UINT64_MAX) {
        const Node* node = find_node(id);
        if (node == nullptr || !node->is_listed) {
            co_return Errc::kNotFound;
        }
        if (node->entry.is_frozen) {
            co_return Errc::kReadOnly;
        }
        const TreeRoot root = map_of(*node);
        const uint32_t floor = floor_of(*node, index);
        const TreeWalk leaf = own_page(root, index, keep, next);
        const TreeWalk walk =
            leaf.is_complete() && !leaf.pointer.is_hole() ? maps_.find(root, index, 0) : leaf;
        if (!walk.is_complete()) {
            const DamagedBlock where{.node = id, .block = index};
            const Status is_here = co_await fetch(walk.missing, where);
            if (!is_here) {
                co_return Errc::kMediaError;
            }
            continue;
        }
        if (leaf.pointer.is_hole()) {
            index = next;
            continue;
        }
        // A page of an ancestor's may lead to nothing but what is kept. One copy makes it ours.
        const bool is_page_foreign = is_foreign(root, index, floor);
        const Page& page = *cache_->get(leaf.pointer.block());
        const uint64_t page_first = index / kPagePointers * kPagePointers;
        const auto is_inherited = [&](uint64_t i) {
            const Pointer& pointer = page[i % kPagePointers];
            return !pointer.is_hole() && pointer.birth > keep && pointer.birth <= floor;
        };
        uint64_t first = is_page_foreign ? page_first : index;
        while (first < next && !is_inherited(first)) {
            ++first;
        }
        uint64_t end = first;
        while (end < next && is_inherited(end)) {
            ++end;
        }
        for (uint64_t i = page_first; end == first && is_page_foreign && i < next; ++i) {
            if (!page[i % kPagePointers].is_hole()) {
                first = i;
                end = i + 1;
            }
        }
        if (end > first) {
            found.range = {first, end - first};
            next = end;
            std::copy_n(page.begin() + first % kPagePointers, end - first, expected_.begin());
            co_return true;
        }
        index = next;
    }
    co_return false;
}

bool Engine::is_foreign(const TreeRoot& root, uint64_t index, uint32_t floor) {
    for (uint32_t level = root.height; level >= 1; --level) {
        if (maps_.find(root, index, level).pointer.birth <= floor) {
            return true;
        }
    }
    return false;
}

Task<Status> Engine::copy_range(uint32_t id, BlockRange range) {
    iovec memory{data_memory().data(), range.count * kBlockBytes};
    PartitionIo io;
    io.op = PartitionOp::kRead;
    io.node = id;
    io.first = range.first;
    io.count = range.count;
    io.pieces = &memory;
    io.piece_count = 1;
    co_await PartitionCall(*this, io);
    if (io.status) {
        io.op = PartitionOp::kWrite;
        io.expected = expected_.data();
        co_await PartitionCall(*this, io);
    }
    co_return io.status;
}

void Engine::run_adopt(Slot& slot) {
    Node& node = *find_node(slot.node);
    if (node.has_map || node.source == 0) {
        end_change(slot, kOk);
        return;
    }
    if (node.entry.is_frozen) {
        end_change(slot, Errc::kReadOnly);
        return;
    }
    if (!pass_gate(slot, {0, sizeof(LogAdopt)})) {
        return;
    }
    give_map(node);
    slot.is_data_done = true;
    enter_device(slot);
}

}  // namespace basalt::bdev::store
