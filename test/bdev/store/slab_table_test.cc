#include "bdev/store/slab_table.h"

#include <set>

#include <gtest/gtest.h>

namespace basalt::bdev::store {
namespace {

TEST(SlabTable, GivesEachSlabOnceUntilThereIsNone) {
    SlabTable table(130, 200);
    std::set<uint32_t> taken;
    while (const std::optional<uint32_t> slab = table.take()) {
        EXPECT_LT(*slab, 130U);
        EXPECT_TRUE(taken.insert(*slab).second);
    }
    EXPECT_EQ(taken.size(), 130U);
    EXPECT_EQ(table.free_count(), 0U);
}

TEST(SlabTable, AClaimedSlabIsNotTakenUntilItIsGivenBack) {
    SlabTable table(2, 2);
    EXPECT_TRUE(table.claim(0));
    EXPECT_FALSE(table.claim(0));
    EXPECT_FALSE(table.claim(2)) << "there is no such slab";
    EXPECT_EQ(table.take(), 1U);
    EXPECT_EQ(table.take(), std::nullopt);
    table.give(0);
    EXPECT_EQ(table.take(), 0U);
}

TEST(SlabTable, GrowsToWhatItWasMadeFor) {
    SlabTable table(64, 65);
    for (uint32_t i = 0; i < 64; ++i) {
        EXPECT_TRUE(table.take().has_value());
    }
    EXPECT_EQ(table.take(), std::nullopt);
    table.grow(65);
    EXPECT_EQ(table.take(), 64U);
}

}  // namespace
}  // namespace basalt::bdev::store
