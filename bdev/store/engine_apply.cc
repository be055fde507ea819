#include <algorithm>

#include "bdev/store/engine.h"
#include "reactor/base/assert.h"

/// What records do to the maps: when they are acknowledged, and again when they are replayed. The
/// same code, so that replay comes to what was there. Nothing here trusts what is on the device: a
/// function that returns false has found that it makes no sense.
namespace basalt::bdev::store {

bool Engine::free_block(const Pointer& old, uint32_t floor, const Freer& freer) {
    if (old.is_hole() || old.birth <= floor) {
        return true;  // There is nothing, or somebody else has it too.
    }
    if (!space_->free_data(old.block(), freer.holds)) {
        return false;
    }
    if (freer.holds) {
        quarantine_.push({old.block(), freer.sequence, next_read_});
    }
    return true;
}

void Engine::mark_changed(Node& node) {
    if (!node.is_changed) {
        node.is_changed = true;
        ++changed_nodes_;
    }
}

bool Engine::apply_write(Node& node,
                         const WriteTarget& target,
                         std::span<const Extent> extents,
                         std::span<const uint32_t> crcs,
                         const Freer& freer) {
    mark_changed(node);
    bool is_sound = true;
    Page* page = nullptr;
    size_t extent = 0;
    uint32_t in_extent = 0;
    uint32_t floor = target.floor;
    for (size_t i = 0; i < crcs.size(); ++i) {
        const uint64_t index = target.first + i;
        if (page == nullptr || index % kPagePointers == 0) {
            floor = page == nullptr ? target.floor : target.second_floor;
            page = &maps_.change_leaf(node.root, index, {target.node, floor});
        }
        Pointer& pointer = (*page)[index % kPagePointers];
        is_sound = free_block(pointer, floor, freer) && is_sound;
        node.mapped += pointer.is_hole() ? 1U : 0U;
        pointer = {.word = extents[extent].block + in_extent, .birth = target.node, .crc = crcs[i]};
        if (++in_extent == extents[extent].count) {
            ++extent;
            in_extent = 0;
        }
    }
    return is_sound && !maps_.is_broken();
}

bool Engine::apply_unmap(Node& node, const UnmapRecord& record, const Freer& freer) {
    mark_changed(node);
    const TreeOwner owner{record.node, record.floor};
    Page& page = maps_.change_leaf(node.root, record.first, owner);
    bool is_sound = true;
    const size_t in_page = record.first % kPagePointers;
    for (Pointer& pointer : std::span(page).subspan(in_page, record.block_count)) {
        is_sound = free_block(pointer, record.floor, freer) && is_sound;
        node.mapped -= pointer.is_hole() ? 0U : 1U;
        pointer = {};
    }
    maps_.prune(node.root, record.first, owner);
    return is_sound && !maps_.is_broken();
}

bool Engine::apply_hollow(Node& node, const HollowRecord& record, const Freer& freer) {
    node.cursor = record.first + blocks_below(record.level);
    const TreeWalk walk = maps_.find(node.root, record.first, record.level);
    if (record.level > node.root.height || !walk.is_complete() || walk.pointer.is_hole()) {
        return false;  // A sweep takes away what is there.
    }
    mark_changed(node);
    bool is_sound = true;
    if (!record.is_shared) {
        const Page& page = cache_->page(cache_->find(walk.pointer.block()));
        for (uint32_t i = 0; i < kPagePointers; ++i) {
            if ((record.blocks[i / 8] >> i % 8 & 1) != 0) {
                is_sound = free_block(page[i], record.floor, freer) && is_sound;
            }
        }
    }
    maps_.remove(
        node.root, record.first, record.level, {record.node, record.floor}, !record.is_shared);
    return is_sound && !maps_.is_broken();
}

void Engine::apply_adopt(Node& node, uint32_t source_id) {
    const Node* source = find_node(source_id);
    node.root = source == nullptr ? TreeRoot{} : source->root;
    node.mapped = source == nullptr ? 0 : source->mapped;
    node.has_map = true;
    mark_changed(node);
}

void Engine::apply_drop(Node& node) {
    node.root = {};
    node.mapped = 0;
    node.has_map = false;
    node.cursor = 0;
    mark_changed(node);
    const Node* parent = find_node(node.entry.parent);
    node.source = parent == nullptr ? 0 : parent->has_map ? node.entry.parent : parent->source;
}

}  // namespace basalt::bdev::store
