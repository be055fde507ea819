#include "bdev/store/space.h"

#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "test/bdev/store/store_testing.h"

namespace basalt::bdev::store {
namespace {

/// A partition's space on a device with a few slabs of 256 blocks.
class SpaceTest : public testing::Test {
  protected:
    SpaceTest()
        : layout_(PoolLayout::plan((uint64_t{24} << 20U) / kBlockBytes, 1).value()),
          table_(layout_.slab_count, layout_.slab_count),
          space_(std::move(Space::make(layout_, table_)).value()) {}

    uint32_t take(SlabKind kind) { return space_->take_slab(kind).value(); }
    std::vector<Extent> allocate(uint32_t count) {
        std::vector<Extent> extents(count);
        extents.resize(space_->allocate(count, extents));
        return extents;
    }
    uint64_t allocate_page() {
        return space_->allocate_page([](uint64_t) { return true; });
    }

    const PoolLayout layout_;
    SlabTable table_;
    std::unique_ptr<Space> space_;
};

TEST_F(SpaceTest, ABlockIsHeldThenUsedThenHeldUntilItIsReleased) {
    take(SlabKind::kData);
    const uint64_t free = space_->data_free();
    const std::vector<Extent> extents = allocate(10);
    ASSERT_EQ(extents.size(), 1U);
    EXPECT_EQ(space_->data_free(), free - 10);
    EXPECT_EQ(space_->data_held(), 10U);
    EXPECT_FALSE(space_->is_data_used(extents[0].block));
    space_->commit(extents[0]);
    EXPECT_TRUE(space_->is_data_used(extents[0].block + 9));
    EXPECT_EQ(space_->data_used(), 10U);
    EXPECT_TRUE(space_->free_data(extents[0].block, true));
    EXPECT_FALSE(space_->is_data_used(extents[0].block));
    EXPECT_EQ(space_->data_held(), 1U);
    EXPECT_FALSE(space_->free_data(extents[0].block, true)) << "it was not used";
    space_->release(extents[0].block);
    EXPECT_EQ(space_->data_free(), free - 9);
    EXPECT_TRUE(space_->free_data(extents[0].block + 1, false));
    EXPECT_EQ(space_->data_free(), free - 8);
}

TEST_F(SpaceTest, NoBlockIsGivenTwice) {
    take(SlabKind::kData);
    take(SlabKind::kData);
    std::set<uint64_t> seen;
    while (space_->data_free() >= 7) {
        for (const Extent& extent : allocate(7)) {
            for (uint32_t i = 0; i < extent.count; ++i) {
                EXPECT_TRUE(space_->owns(extent.block + i, 1, SlabKind::kData));
                EXPECT_TRUE(seen.insert(extent.block + i).second);
            }
        }
    }
    EXPECT_EQ(seen.size(), 2 * layout_.slab_blocks / 7 * 7);
}

TEST_F(SpaceTest, WhatIsScatteredIsFoundInPieces) {
    take(SlabKind::kData);
    const uint32_t all = layout_.slab_blocks;
    for (const Extent& extent : allocate(all)) {
        space_->commit(extent);
    }
    EXPECT_EQ(space_->data_free(), 0U);
    const uint64_t first = space_->slab_first(space_->slabs(SlabKind::kData)[0]);
    for (uint32_t i = 0; i < all; i += 3) {
        ASSERT_TRUE(space_->free_data(first + i, false));
    }
    const std::vector<Extent> extents = allocate(20);
    EXPECT_EQ(extents.size(), 20U);
    space_->abandon(extents[0]);
    EXPECT_EQ(space_->data_held(), 19U);
}

TEST_F(SpaceTest, ReplayUsesOnlyWhatIsFreeAndOurs) {
    const uint32_t slab = take(SlabKind::kData);
    const uint32_t pages = take(SlabKind::kPages);
    const uint64_t first = space_->slab_first(slab);
    EXPECT_TRUE(space_->use({first + 5, 3}));
    EXPECT_FALSE(space_->use({first + 7, 2})) << "one of the two is in use";
    EXPECT_FALSE(space_->use({space_->slab_first(pages) + 5, 1})) << "a block for pages";
    EXPECT_FALSE(space_->use({layout_.slab(layout_.slab_count - 1), 1})) << "nobody's slab";
    EXPECT_FALSE(space_->use({0, 1})) << "no slab at all";
    EXPECT_FALSE(space_->free_data(layout_.slab(layout_.slab_count - 1), false));
}

TEST_F(SpaceTest, ASlabIsOnesOnly) {
    EXPECT_TRUE(space_->add_slab(3, SlabKind::kData, true));
    EXPECT_FALSE(space_->add_slab(3, SlabKind::kPages, true));
    EXPECT_FALSE(space_->add_slab(layout_.slab_count, SlabKind::kData, true));
    EXPECT_TRUE(table_.claim(4));
    EXPECT_FALSE(space_->add_slab(4, SlabKind::kData, true)) << "another partition's";
    EXPECT_TRUE(space_->has_slab(3, SlabKind::kData));
    EXPECT_FALSE(space_->has_slab(3, SlabKind::kPages));
    EXPECT_FALSE(space_->has_slab(UINT32_MAX, SlabKind::kData));
}

TEST_F(SpaceTest, APageThatACheckpointLeadsToIsFreeAfterTheNext) {
    take(SlabKind::kPages);
    const uint64_t free = space_->pages_free();
    EXPECT_EQ(free, layout_.slab_blocks - 2) << "the first two are the bitmap's";
    const uint64_t kept = allocate_page();
    const uint64_t gone = allocate_page();
    EXPECT_TRUE(space_->free_page(gone));
    EXPECT_FALSE(space_->free_page(gone));
    EXPECT_EQ(space_->pages_free(), free - 1);
    EXPECT_TRUE(space_->leave_page(kept));
    EXPECT_FALSE(space_->leave_page(kept));
    EXPECT_EQ(space_->pages_leaving(), 1U);
    EXPECT_EQ(space_->pages_free(), free - 1);
    space_->begin_checkpoint();
    EXPECT_EQ(space_->pages_free(), free - 1);
    space_->end_checkpoint();
    EXPECT_EQ(space_->pages_free(), free);
    EXPECT_EQ(space_->pages_leaving(), 0U);
}

TEST_F(SpaceTest, ABitmapComesBackAsItWas) {
    const uint32_t slab = take(SlabKind::kData);
    const uint64_t first = space_->slab_first(slab);
    ASSERT_TRUE(space_->use({first + 5, 3}));
    ASSERT_TRUE(space_->use({first + 70, 100}));
    test::Block bitmap{};
    space_->copy_bitmap(slab, bitmap);
    SlabTable table(layout_.slab_count, layout_.slab_count);
    const auto other = std::move(Space::make(layout_, table)).value();
    ASSERT_TRUE(other->add_slab(slab, SlabKind::kData, true));
    ASSERT_TRUE(other->load_bitmap(slab, bitmap));
    EXPECT_EQ(other->data_used(), 103U);
    EXPECT_TRUE(other->is_data_used(first + 169));
    EXPECT_FALSE(other->is_data_used(first + 170));
}

TEST_F(SpaceTest, ABitmapOfMoreThanTheSlabHasIsRefused) {
    const uint32_t slab = take(SlabKind::kData);
    test::Block bitmap{};
    bitmap[layout_.slab_blocks / 8] = std::byte{1};
    EXPECT_FALSE(space_->load_bitmap(slab, bitmap));
}

TEST_F(SpaceTest, AnEmptySlabGoesBackWhenTheCheckpointIsDurable) {
    const uint32_t kept = take(SlabKind::kData);
    take(SlabKind::kData);
    take(SlabKind::kData);
    const uint32_t pages = take(SlabKind::kPages);
    const uint32_t free = table_.free_count();
    ASSERT_TRUE(space_->use({space_->slab_first(kept), 1}));
    space_->give_up_empty(0);
    space_->begin_checkpoint();
    EXPECT_EQ(table_.free_count(), free) << "the last checkpoint has it still";
    space_->end_checkpoint();
    EXPECT_EQ(table_.free_count(), free + 1) << "one that is empty stays";
    EXPECT_EQ(space_->slabs(SlabKind::kData).size(), 2U);
    EXPECT_TRUE(space_->has_slab(kept, SlabKind::kData));
    EXPECT_TRUE(space_->has_slab(pages, SlabKind::kPages)) << "one of pages stays";
}

}  // namespace
}  // namespace basalt::bdev::store
