#include <algorithm>
#include <utility>

#include "bdev/store/engine.h"
#include "reactor/base/assert.h"

/// What only a deleted node holds is given back, one page of its map after the other. What it has
/// in common with its only child stays, and is the child's from then on (Engine::floor_of).
namespace basalt::bdev::store {

namespace {

uint64_t align_down(uint64_t index, uint32_t level) {
    return index / blocks_below(level) * blocks_below(level);
}

}  // namespace

Node* Engine::heir_of(uint32_t id, uint32_t& count) {
    Node* heir = only_child_of(id, count);
    while (count == 1 && heir->entry.is_hidden && !heir->has_map) {
        // It was swept itself, or never held anything: what is below it counts.
        uint32_t grandchildren = 0;
        Node* below = only_child_of(heir->entry.id, grandchildren);
        if (grandchildren > 1) {
            break;
        }
        heir = below;
        count = grandchildren;
    }
    return heir;
}

Difference Engine::next_difference(const Node& node, Node* heir, uint64_t from) {
    Difference found;
    uint64_t index = from;
    while (node.root.height > 0 && index < blocks_below(node.root.height)) {
        uint64_t next = 0;
        for (uint32_t level = node.root.height; level >= 1; --level) {
            const TreeWalk mine = maps_.walk(node.root, index, level, next);
            if (!mine.is_complete()) {
                found.walk = mine;
                found.index = index;
                return found;
            }
            if (mine.pointer.is_hole()) {
                break;
            }
            found.level = level;
            found.index = align_down(index, level);
            // A page is at least as young as what it leads to.
            found.is_shared = mine.pointer.birth <= floor_of(node, index);
            // A deleted heir that is partly swept no longer has what its own heir may have.
            uint32_t children = 0;
            for (Node* other = heir; other != nullptr && !found.is_shared;
                 other = other->entry.is_hidden ? heir_of(other->entry.id, children) : nullptr) {
                const TreeWalk theirs = maps_.find(other->root, index, level);
                if (!theirs.is_complete()) {
                    found.walk = theirs;
                    found.index = index;
                    return found;
                }
                found.is_shared = theirs.pointer.block() == mine.pointer.block();
            }
            if (found.is_shared || level == 1) {
                return found;
            }
        }
        index = next;
    }
    found.is_end = true;
    return found;
}

Task<Result<bool>> Engine::sweep(uint32_t id) {
    co_await begin_care();
    const Result<bool> swept = co_await sweep_step(id);
    end_care();
    co_return swept;
}

Task<Result<bool>> Engine::sweep_step(uint32_t id) {
    Node* node = find_node(id);
    if (node == nullptr || !node->entry.is_hidden) {
        co_return Errc::kNotFound;
    }
    if (is_failed_) {
        co_return failure_;  // What is gone in memory may be there on the device.
    }
    if (!node->has_map) {
        co_return true;
    }
    uint32_t children = 0;
    Node* heir = heir_of(id, children);
    // An heir that is deleted too and partly swept has passed on what it had in common with this
    // node, so a comparison with it would free what its own heir has. It comes first.
    while (heir != nullptr && heir->entry.is_hidden && heir->has_map && heir->cursor > 0) {
        node = heir;
        heir = heir_of(node->entry.id, children);
    }
    if (children > 1) {
        co_return Errc::kBusy;
    }
    const bool is_of_heir = node->entry.id != id;
    id = node->entry.id;
    Slot& slot = slots_[options_.requests];
    slot.hollow = {.node = id};
    if (heir != nullptr && !heir->has_map) {
        slot.op = SlotOp::kMove;
        slot.node = heir->entry.id;
        slot.first = 0;
        slot.end = UINT64_MAX;
    } else {
        Difference found = next_difference(*node, heir, node->cursor);
        while (!found.walk.is_complete()) {
            const bool is_loaded = co_await PageWait(loader_, found.walk.missing);
            if (!is_loaded) {
                damaged({id, node->cursor, loader_.last_damaged(), true});
                co_return Errc::kMediaError;
            }
            found = next_difference(*node, heir, node->cursor);
        }
        slot.op = found.is_end ? SlotOp::kDrop : SlotOp::kHollow;
        slot.node = heir == nullptr ? id : heir->entry.id;
        slot.first = found.is_end ? 0 : found.index;
        slot.end = found.is_end ? UINT64_MAX : found.index + blocks_below(found.level);
    }
    co_await run_spare_slot();
    if (!slot.status) {
        co_return slot.status.error();
    }
    co_return slot.op != SlotOp::kHollow && !is_of_heir;
}

void Engine::run_hollow(Slot& slot) {
    Node& node = *find_node(slot.hollow.node);
    Node* heir = slot.node == slot.hollow.node ? nullptr : find_node(slot.node);
    const Difference found = next_difference(node, heir, node.cursor);
    if (!found.walk.is_complete()) {
        wait_for_page(slot, found.walk);
        return;
    }
    // Under the lock it may be found that the heir differs in more detail, but not elsewhere.
    BASALT_ASSERT(!found.is_end && found.index >= slot.first);
    BASALT_ASSERT(found.index + blocks_below(found.level) <= slot.end);
    HollowRecord& record = slot.hollow;
    record.floor = floor_of(node, found.index);
    record.first = found.index;
    record.level = found.level;
    record.is_shared = found.is_shared;
    record.blocks.fill(0);
    if (!found.is_shared) {
        const TreeWalk mine = maps_.find(node.root, found.index, 0);
        const TreeWalk theirs =
            heir == nullptr ? TreeWalk{} : maps_.find(heir->root, found.index, 0);
        if (!mine.is_complete() || !theirs.is_complete()) {
            wait_for_page(slot, mine.is_complete() ? theirs : mine);
            return;
        }
        mark_freed(node, heir, record);
    }
    if (!pass_gate(slot, {0, sizeof(LogHollow) + sizeof(LogAdopt)})) {
        return;
    }
    const bool fits = log_.block_for(sizeof(LogHollow)).append(record);
    BASALT_ASSERT(fits);
    // What lies below a shared page is not looked at, and need not be here.
    pin(slot, node.root, found.index, found.is_shared ? found.level : 0);
    slot.is_data_done = true;
    enter_device(slot);
}

void Engine::mark_freed(const Node& node, const Node* heir, HollowRecord& record) {
    const TreeWalk leaf = maps_.find(node.root, record.first, 1);
    const Page& mine = *cache_->get(leaf.pointer.block());
    const Page* theirs = nullptr;
    if (heir != nullptr) {
        const TreeWalk other = maps_.find(heir->root, record.first, 1);
        theirs = other.pointer.is_hole() ? nullptr : cache_->get(other.pointer.block());
    }
    for (uint32_t i = 0; i < kPagePointers; ++i) {
        const bool is_own = !mine[i].is_hole() && mine[i].birth > record.floor;
        const bool is_theirs = theirs != nullptr && (*theirs)[i].block() == mine[i].block();
        if (is_own && !is_theirs) {
            record.blocks[i / 8] |= static_cast<uint8_t>(1U << i % 8);
        }
    }
}

void Engine::run_move(Slot& slot) {
    if (find_node(slot.node)->has_map) {
        slot.op = SlotOp::kHollow;  // It was written to meanwhile: the next step compares.
        end_change(slot, kOk);
        return;
    }
    if (!pass_gate(slot, {0, sizeof(LogAdopt) + sizeof(LogRecordHead)})) {
        return;
    }
    Node& node = *find_node(slot.hollow.node);
    Node& heir = *find_node(slot.node);
    // One block of the log: replay does both or none.
    LogBlockWriter& block = log_.block_for(sizeof(LogAdopt) + sizeof(LogRecordHead));
    const bool fits = block.append(AdoptRecord{heir.entry.id, node.entry.id}) &&
                      block.append(DropRecord{node.entry.id});
    BASALT_ASSERT(fits);
    apply_adopt(heir, node.entry.id);
    apply_drop(node);
    for (auto& [id, other] : nodes_) {
        if (!other.has_map && other.source == node.entry.id) {
            other.source = heir.entry.id;  // Only the heir's descendants had it.
        }
    }
    slot.is_data_done = true;
    enter_device(slot);
}

void Engine::run_drop(Slot& slot) {
    if (!pass_gate(slot, {0, sizeof(LogRecordHead)})) {
        return;
    }
    const bool fits = log_.block_for(sizeof(LogRecordHead)).append(DropRecord{slot.hollow.node});
    BASALT_ASSERT(fits);
    apply_drop(*find_node(slot.hollow.node));
    slot.is_data_done = true;
    enter_device(slot);
}

}  // namespace basalt::bdev::store
