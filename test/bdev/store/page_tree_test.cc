#include "bdev/store/page_tree.h"

#include <array>
#include <map>

#include <gtest/gtest.h>

#include "reactor/io/random.h"

namespace basalt::bdev::store {
namespace {

/// A tree of a map in memory, with all its pages in the cache.
class PageTreeTest : public testing::Test {
  protected:
    PageTreeTest()
        : layout_(PoolLayout::plan((uint64_t{24} << 20U) / kBlockBytes, 1).value()),
          table_(layout_.slab_count, layout_.slab_count),
          space_(std::move(Space::make(layout_, table_)).value()) {
        EXPECT_TRUE(space_->take_slab(SlabKind::kPages).has_value());
    }

    void put(TreeRoot& root, uint64_t index, uint64_t value, TreeOwner owner) {
        Page& page = tree_.change_leaf(root, index, owner);
        page[index % kPagePointers] = {.word = value, .birth = owner.node, .crc = 0};
    }
    void clear(TreeRoot& root, uint64_t index, TreeOwner owner) {
        tree_.change_leaf(root, index, owner)[index % kPagePointers] = {};
        tree_.prune(root, index, owner);
    }
    uint64_t at(const TreeRoot& root, uint64_t index) const {
        const TreeWalk walk = tree_.find(root, index, 0);
        EXPECT_TRUE(walk.is_complete());
        return walk.pointer.block();
    }
    void checkpoint() {
        static_cast<void>(cache_->seal());
        cache_->end_sealed();
        space_->begin_checkpoint();
        space_->end_checkpoint();
    }

    const PoolLayout layout_;
    SlabTable table_;
    std::unique_ptr<Space> space_;
    std::unique_ptr<PageCache> cache_ = std::move(PageCache::make(512)).value();
    PageTree tree_{*cache_, *space_, PageRank::kMap};
};

constexpr TreeOwner kFirst{.node = 1, .floor = 0};
constexpr TreeOwner kSecond{.node = 2, .floor = 1};

TEST_F(PageTreeTest, AnEmptyTreeHasNothingAndNeedsNothing) {
    const TreeRoot root;
    uint64_t next = 0;
    const TreeWalk walk = tree_.walk(root, 0, 0, next);
    EXPECT_TRUE(walk.is_complete());
    EXPECT_TRUE(walk.pointer.is_hole());
    EXPECT_EQ(next, UINT64_MAX);
}

TEST_F(PageTreeTest, GrowsAboveItsRootAndShrinksToNothing) {
    TreeRoot root;
    put(root, 3, 33, kFirst);
    EXPECT_EQ(root.height, 1U);
    put(root, 300, 44, kFirst);
    EXPECT_EQ(root.height, 2U);
    put(root, uint64_t{1} << 40U, 55, kFirst);
    EXPECT_EQ(root.height, 6U);
    EXPECT_EQ(at(root, 3), 33U);
    EXPECT_EQ(at(root, 300), 44U);
    EXPECT_EQ(at(root, uint64_t{1} << 40U), 55U);
    EXPECT_EQ(at(root, 4), 0U);
    for (const uint64_t index : {uint64_t{300}, uint64_t{3}, uint64_t{1} << 40U}) {
        clear(root, index, kFirst);
    }
    EXPECT_EQ(root, TreeRoot{});
    EXPECT_EQ(space_->pages_used(), 0U);
    EXPECT_EQ(cache_->dirty(), 0U);
    EXPECT_FALSE(tree_.is_broken());
}

TEST_F(PageTreeTest, AWalkSkipsWhatIsNotThere) {
    TreeRoot root;
    put(root, 5, 50, kFirst);
    put(root, 70'000, 70, kFirst);
    std::map<uint64_t, uint64_t> found;
    uint32_t steps = 0;
    for (uint64_t index = 0, next = 0; index != UINT64_MAX; index = next, ++steps) {
        const TreeWalk walk = tree_.walk(root, index, 0, next);
        if (!walk.pointer.is_hole()) {
            found[index] = walk.pointer.block();
        }
    }
    const std::map<uint64_t, uint64_t> expected{{5, 50}, {70'000, 70}};
    EXPECT_EQ(found, expected);
    EXPECT_LT(steps, 1300U) << "pages that are not there cost one step each";
}

TEST_F(PageTreeTest, AChangeAfterASnapshotCopiesThePathAndLeavesTheOldTreeAlone) {
    TreeRoot old;
    put(old, 5, 50, kFirst);
    put(old, 1000, 60, kFirst);
    checkpoint();
    const uint64_t pages = space_->pages_used();
    EXPECT_EQ(pages, 3U);
    TreeRoot head = old;
    put(head, 5, 51, kSecond);
    EXPECT_EQ(space_->pages_used(), pages + 2) << "root and leaf";
    put(head, 6, 52, kSecond);
    EXPECT_EQ(space_->pages_used(), pages + 2) << "its own pages are changed in place";
    EXPECT_EQ(at(old, 5), 50U);
    EXPECT_EQ(at(old, 6), 0U);
    EXPECT_EQ(at(head, 5), 51U);
    EXPECT_EQ(at(head, 1000), 60U);
    EXPECT_EQ(tree_.find(old, 1000, 1).pointer, tree_.find(head, 1000, 1).pointer) << "shared";
    EXPECT_EQ(space_->pages_leaving(), 0U) << "the snapshot has them";
}

TEST_F(PageTreeTest, AChangeAfterACheckpointGivesBackOnlyOwnPages) {
    TreeRoot root;
    put(root, 5, 50, kFirst);
    checkpoint();
    put(root, 5, 51, kFirst);
    EXPECT_EQ(space_->pages_leaving(), 1U) << "the checkpoint leads to it still";
    checkpoint();
    EXPECT_EQ(space_->pages_used(), 1U);
}

TEST_F(PageTreeTest, APageThatIsNotHereIsAskedFor) {
    TreeRoot root;
    put(root, 5, 50, kFirst);
    put(root, 300, 60, kFirst);
    checkpoint();
    const Pointer leaf = tree_.find(root, 5, 1).pointer;
    cache_->drop(cache_->find(leaf.block()));
    const TreeWalk walk = tree_.find(root, 5, 0);
    EXPECT_FALSE(walk.is_complete());
    EXPECT_EQ(walk.missing, leaf);
    EXPECT_EQ(at(root, 300), 60U);
}

TEST_F(PageTreeTest, PinsThePathDownToALevel) {
    TreeRoot root;
    put(root, 5, 50, kFirst);
    put(root, 70'000, 60, kFirst);
    ASSERT_EQ(root.height, 3U);
    std::array<uint32_t, kTreeHeightMax> pins{};
    EXPECT_EQ(tree_.pin_path(root, 5, 0, pins.data()), 3U);
    EXPECT_EQ(pins[0], cache_->find(root.pointer.block()));
    EXPECT_EQ(pins[2], cache_->find(tree_.find(root, 5, 1).pointer.block()));
    EXPECT_EQ(tree_.pin_path(root, 5, 2, pins.data() + 3), 1U);
    EXPECT_EQ(pins[3], pins[0]);
    for (uint32_t i = 0; i < 4; ++i) {
        cache_->unpin(pins[i]);
    }
}

TEST_F(PageTreeTest, APageThatWasNotInUseSaysThatSomethingIsBroken) {
    TreeRoot root;
    put(root, 5, 50, kFirst);
    checkpoint();
    ASSERT_TRUE(space_->leave_page(root.pointer.block()));
    put(root, 5, 51, kFirst);
    EXPECT_TRUE(tree_.is_broken());
}

TEST_F(PageTreeTest, RandomChangesOfTwoTreesThatShareComeToWhatTheyShould) {
    Random random(7);
    TreeRoot first;
    std::map<uint64_t, uint64_t> first_model;
    for (uint32_t i = 0; i < 200; ++i) {
        const uint64_t index = random.below(3) * 66'000 + random.below(600);
        put(first, index, i + 1, kFirst);
        first_model[index] = i + 1;
    }
    checkpoint();
    TreeRoot second = first;
    std::map<uint64_t, uint64_t> second_model = first_model;
    for (uint32_t i = 0; i < 2000; ++i) {
        const uint64_t index = random.below(3) * 66'000 + random.below(600);
        if (random.chance(1, 2)) {
            put(second, index, i + 1000, kSecond);
            second_model[index] = i + 1000;
        } else {
            clear(second, index, kSecond);
            second_model.erase(index);
        }
        if (i % 100 == 0) {
            checkpoint();
        }
    }
    for (uint64_t part = 0; part < 3; ++part) {
        for (uint64_t i = 0; i < 600; ++i) {
            const uint64_t index = part * 66'000 + i;
            ASSERT_EQ(at(first, index), first_model.count(index) != 0 ? first_model[index] : 0);
            ASSERT_EQ(at(second, index), second_model.count(index) != 0 ? second_model[index] : 0);
        }
    }
    EXPECT_FALSE(tree_.is_broken());
}

}  // namespace
}  // namespace basalt::bdev::store
