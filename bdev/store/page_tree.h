#pragma once

#include <cstdint>

#include "bdev/store/format.h"
#include "bdev/store/page_cache.h"
#include "bdev/store/space.h"

namespace basalt::bdev::store {

/// Where a tree begins. A value; empty: no page at all.
struct TreeRoot {
    Pointer pointer{};
    uint32_t height = 0;  ///< Levels of pages; 0: empty.

    bool operator==(const TreeRoot&) const = default;
};

/// For whom a tree is changed: decides which pages may be changed in place, and which replaced ones
/// are free. Pages and blocks born after `floor` are the node's own; older ones are shared.
struct TreeOwner {
    uint32_t node = 0;
    uint32_t floor = 0;
};

/// Blocks that one pointer at `level` leads to: 1 at level 0.
[[nodiscard]] constexpr uint64_t blocks_below(uint32_t level) {
    return uint64_t{1} << kPagePointersLog2 * level;
}

/// What a walk down a tree came to.
struct TreeWalk {
    Pointer pointer{};   ///< Of the level asked for, or a hole.
    Pointer missing{};   ///< Not a hole: the page that must be loaded first.
    uint32_t level = 0;  ///< Where it ended: of a hole, the level of the pointer that is none.

    [[nodiscard]] bool is_complete() const { return missing.is_hole(); }
};

/// The trees of a partition: walks and changes them in the cache, copies pages on their first
/// change, and gives back those that are replaced. Pure: a page that is not in the cache is asked
/// for, not read. What comes from the device may be anything: nothing here trusts a pointer.
///
/// A kind of tree (PageRank) is the maps, the slabs or the nodes. Owner: the engine. Core: the
/// partition's.
class PageTree {
  public:
    PageTree(PageCache& cache, Space& space, PageRank kind)
        : cache_(cache), space_(space), kind_(kind) {}

    /// The pointer at `level` that leads towards `index`.
    [[nodiscard]] TreeWalk find(const TreeRoot& root, uint64_t index, uint32_t level) const;

    /// The first page or block at `level` or, where a whole part is a hole, the end of that part.
    /// For going over a tree: `next` is the index after what was found.
    [[nodiscard]] TreeWalk walk(const TreeRoot& root,
                                uint64_t index,
                                uint32_t level,
                                uint64_t& next) const;

    /// Pins the pages on the way to the pointer at `level` that leads towards `index`, all of which
    /// are here. Returns how many, put into `pins`.
    uint32_t pin_path(const TreeRoot& root, uint64_t index, uint32_t level, uint32_t* pins) const;

    /// The leaf page of `index`, to be changed: copied if it has to be, made if there is none.
    /// The path is in the cache, and there are frames and free pages (kPagesAChange).
    [[nodiscard]] Page& change_leaf(TreeRoot& root, uint64_t index, const TreeOwner& owner);

    /// Takes the pointer at `level` towards `index` away, and pages that hold nothing any more.
    /// With `frees` the page that it led to, if it is one and the owner's own, is free too.
    void remove(TreeRoot& root, uint64_t index, uint32_t level, const TreeOwner& owner, bool frees);

    /// After pointers of the leaf page of `index` became holes: takes empty pages away.
    void prune(TreeRoot& root, uint64_t index, const TreeOwner& owner);

    /// Something that was freed was not in use: what is on the device makes no sense.
    [[nodiscard]] bool is_broken() const { return is_broken_; }

  private:
    [[nodiscard]] Page& own(Pointer& pointer, uint32_t level, const TreeOwner& owner);
    [[nodiscard]] Page& make(Pointer& pointer, uint32_t level, const TreeOwner& owner);
    void give_back(const Pointer& pointer, const TreeOwner& owner);
    [[nodiscard]] uint32_t rank(uint32_t level) const {
        return static_cast<uint32_t>(kind_) + level;
    }

    PageCache& cache_;
    Space& space_;
    const PageRank kind_;
    bool is_broken_ = false;
};

/// The most frames and pages that one change of a record needs: it touches two leaf pages, each
/// with the path to it, and may make the tree higher.
inline constexpr uint32_t kPagesAChange = 2 * kTreeHeightMax + 2;

}  // namespace basalt::bdev::store
