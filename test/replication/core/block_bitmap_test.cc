#include "replication/core/block_bitmap.h"

#include <gtest/gtest.h>

#include "reactor/io/random.h"

namespace basalt::replication {
namespace {

TEST(BlockBitmap, RunsAreAsManySingleBlocks) {
    Random random(7);
    for (int round = 0; round < 2000; ++round) {
        const uint64_t blocks = 1 + random.below(300);
        BlockBitmap runs(blocks);
        BlockBitmap singles(blocks);
        for (uint64_t i = random.below(4); i > 0; --i) {
            const uint64_t first = random.below(blocks + 1);
            const uint64_t count = random.below(blocks - first + 1);
            runs.set_run(first, count);
            for (uint64_t block = first; block < first + count; ++block) {
                singles.set(block);
            }
        }
        ASSERT_EQ(runs.count(), singles.count());
        for (uint64_t block = 0; block < blocks; ++block) {
            ASSERT_EQ(runs.has(block), singles.has(block));
            uint64_t clear = block;
            while (clear < blocks && singles.has(clear)) {
                ++clear;
            }
            ASSERT_EQ(runs.next_clear(block), clear);
        }
    }
}

TEST(BlockBitmap, AllIsAllAndNoMore) {
    BlockBitmap bitmap(130);
    bitmap.set_all();
    EXPECT_EQ(bitmap.count(), 130U);
    EXPECT_EQ(bitmap.next_clear(0), 130U);
    bitmap.clear({64, 1});
    EXPECT_EQ(bitmap.next_clear(3), 64U);
}

}  // namespace
}  // namespace basalt::replication
