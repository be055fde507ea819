#include "bdev/store/page_tree.h"

#include <algorithm>
#include <array>

#include "reactor/base/assert.h"

namespace basalt::bdev::store {

namespace {

size_t slot_of(uint64_t index, uint32_t level) {
    return static_cast<size_t>(index / blocks_below(level - 1) % kPagePointers);
}

bool is_empty(const Page& page) {
    return std::ranges::all_of(page, [](const Pointer& pointer) { return pointer.is_hole(); });
}

}  // namespace

TreeWalk PageTree::find(const TreeRoot& root, uint64_t index, uint32_t level) const {
    if (root.height == 0 || index >= blocks_below(root.height) || level > root.height) {
        return {.level = kTreeHeightMax};
    }
    Pointer pointer = root.pointer;
    for (uint32_t at = root.height; at > level; --at) {
        if (pointer.is_hole()) {
            return {.level = at};
        }
        const Page* page = cache_.get(pointer.block());
        if (page == nullptr) {
            return {.missing = pointer, .level = at};
        }
        pointer = (*page)[slot_of(index, at)];
    }
    return {.pointer = pointer, .level = level};
}

TreeWalk PageTree::walk(const TreeRoot& root,
                        uint64_t index,
                        uint32_t level,
                        uint64_t& next) const {
    const TreeWalk found = find(root, index, level);
    const uint32_t at = std::max(found.level, level);
    next = at >= kTreeHeightMax ? UINT64_MAX : (index / blocks_below(at) + 1) * blocks_below(at);
    return found;
}

uint32_t PageTree::pin_path(const TreeRoot& root,
                            uint64_t index,
                            uint32_t level,
                            uint32_t* pins) const {
    uint32_t count = 0;
    if (root.height == 0 || index >= blocks_below(root.height)) {
        // The tree grows above its root, which is then on the way to everything.
        if (root.height != 0) {
            const uint32_t frame = cache_.find(root.pointer.block());
            if (frame != PageCache::kNone) {
                cache_.pin(frame);
                pins[count++] = frame;
            }
        }
        return count;
    }
    Pointer pointer = root.pointer;
    for (uint32_t at = root.height; at > level && !pointer.is_hole(); --at) {
        const uint32_t frame = cache_.find(pointer.block());
        BASALT_ASSERT(frame != PageCache::kNone);
        cache_.pin(frame);
        pins[count++] = frame;
        pointer = cache_.page(frame)[slot_of(index, at)];
    }
    return count;
}

Page& PageTree::make(Pointer& pointer, uint32_t level, const TreeOwner& owner) {
    const uint64_t block = space_.allocate_page([this](uint64_t free) {
        const uint32_t frame = cache_.find(free);
        return frame == PageCache::kNone || cache_.frame(frame).state != PageCache::State::kLoading;
    });
    const uint32_t frame = cache_.add_dirty(block, rank(level));
    cache_.frame(frame).is_resident = kind_ != PageRank::kMap;
    pointer = {.word = block, .birth = owner.node, .crc = 0};
    return cache_.page(frame);
}

void PageTree::give_back(const Pointer& pointer, const TreeOwner& owner) {
    if (pointer.birth <= owner.floor) {
        return;
    }
    const uint32_t frame = cache_.find(pointer.block());
    const bool is_new =
        frame != PageCache::kNone && cache_.frame(frame).state == PageCache::State::kDirty;
    if (is_new) {
        cache_.drop(frame);
    }
    const bool was_used =
        is_new ? space_.free_page(pointer.block()) : space_.leave_page(pointer.block());
    is_broken_ = is_broken_ || !was_used;
}

Page& PageTree::own(Pointer& pointer, uint32_t level, const TreeOwner& owner) {
    if (pointer.is_hole()) {
        return make(pointer, level, owner);
    }
    const uint32_t frame = cache_.find(pointer.block());
    BASALT_ASSERT(frame != PageCache::kNone);
    PageCache::Frame& state = cache_.frame(frame);
    BASALT_ASSERT(state.state != PageCache::State::kLoading);
    if (state.state == PageCache::State::kDirty && pointer.birth == owner.node) {
        state.is_summed = false;
        return cache_.page(frame);
    }
    const Pointer old = pointer;
    cache_.pin(frame);  // Until it is copied.
    Page& page = make(pointer, level, owner);
    page = cache_.page(frame);
    state.is_resident = false;
    cache_.unpin(frame);
    give_back(old, owner);
    return page;
}

Page& PageTree::change_leaf(TreeRoot& root, uint64_t index, const TreeOwner& owner) {
    if (root.height == 0) {
        root.height = 1;
        while (index >= blocks_below(root.height)) {
            ++root.height;
        }
    }
    while (index >= blocks_below(root.height)) {
        const Pointer below = root.pointer;
        ++root.height;
        BASALT_ASSERT(root.height <= kTreeHeightMax);
        make(root.pointer, root.height, owner)[0] = below;
    }
    Pointer* pointer = &root.pointer;
    for (uint32_t level = root.height;; --level) {
        Page& page = own(*pointer, level, owner);
        if (level == 1) {
            return page;
        }
        pointer = &page[slot_of(index, level)];
    }
}

void PageTree::remove(
    TreeRoot& root, uint64_t index, uint32_t level, const TreeOwner& owner, bool frees) {
    BASALT_ASSERT(level >= 1 && level <= root.height);
    std::array<Pointer*, kTreeHeightMax + 1> path{};
    Pointer* pointer = &root.pointer;
    for (uint32_t at = root.height; at > level; --at) {
        path[at] = pointer;
        Page& page = own(*pointer, at, owner);
        pointer = &page[slot_of(index, at)];
    }
    if (frees && !pointer->is_hole()) {
        give_back(*pointer, owner);
    }
    *pointer = {};
    for (uint32_t at = level + 1; at <= root.height; ++at) {
        if (!is_empty(cache_.page(cache_.find(path[at]->block())))) {
            return;
        }
        give_back(*path[at], owner);
        *path[at] = {};
    }
    root = {};
}

void PageTree::prune(TreeRoot& root, uint64_t index, const TreeOwner& owner) {
    const TreeWalk leaf = find(root, index, 1);
    BASALT_ASSERT(leaf.is_complete());
    if (!leaf.pointer.is_hole() && is_empty(cache_.page(cache_.find(leaf.pointer.block())))) {
        remove(root, index, 1, owner, true);
    }
}

}  // namespace basalt::bdev::store
