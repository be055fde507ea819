#include "replication/link/block_buffer.h"

#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace basalt::replication {
namespace {

class BlockBuffersTest : public ::testing::Test {
  protected:
    static constexpr BlockBuffers::Counts kCounts{.small = 2, .large = 1};

    std::vector<std::byte> region_ = std::vector<std::byte>(BlockBuffers::region_bytes(kCounts));
    BlockBuffers buffers_{region_, kCounts};
};

struct Asker {
    static void granted(void* context, BlockRef buffer) {
        static_cast<Asker*>(context)->got = std::move(buffer);
    }

    BlockRef got{};
    BlockWaiter waiter{granted, this};
};

TEST_F(BlockBuffersTest, GivesRoomForTheBlocksAndTheirSums) {
    const BlockRef small = buffers_.try_take(3);
    const BlockRef large = buffers_.try_take(kRangeBlocksMax);
    ASSERT_TRUE(small.is_valid() && large.is_valid());
    EXPECT_EQ(small.bytes().size(), 3U * kBlockBytes);
    EXPECT_EQ(small.sums().size(), 3U);
    EXPECT_EQ(large.bytes().size(), size_t{kRangeBlocksMax} * kBlockBytes);
    EXPECT_EQ(large.sums().size(), kRangeBlocksMax);
    EXPECT_FALSE(buffers_.try_take(5).is_valid());
}

TEST_F(BlockBuffersTest, IsFreeWhenTheLastHolderEnds) {
    BlockRef one = buffers_.try_take(5);
    BlockRef other = one;
    one.reset();
    EXPECT_EQ(buffers_.free_count(5), 0U);
    const BlockRef third = std::move(other);
    EXPECT_EQ(buffers_.free_count(5), 0U);
    BlockRef replaced = buffers_.try_take(1);
    replaced = third;
    EXPECT_EQ(buffers_.free_count(1), 2U);
}

TEST_F(BlockBuffersTest, ServesWhoWaitsInOrder) {
    BlockRef held = buffers_.try_take(8);
    Asker first;
    Asker second;
    buffers_.wait(first.waiter, 8);
    buffers_.wait(second.waiter, 64);
    held.reset();
    ASSERT_TRUE(first.got.is_valid());
    EXPECT_EQ(first.got.blocks(), 8U);
    EXPECT_FALSE(second.got.is_valid());
    first.got.reset();
    ASSERT_TRUE(second.got.is_valid());
    EXPECT_EQ(second.got.blocks(), 64U);
}

TEST_F(BlockBuffersTest, LetsNobodyOvertakeWhoWaits) {
    BlockRef held = buffers_.try_take(8);
    Asker first;
    Asker second;
    Asker third;
    buffers_.wait(first.waiter, 8);
    buffers_.wait(second.waiter, 8);
    buffers_.wait(third.waiter, 8);
    buffers_.cancel(third.waiter);
    buffers_.cancel(first.waiter);
    EXPECT_FALSE(buffers_.try_take(8).is_valid());
    held.reset();
    EXPECT_FALSE(first.got.is_valid());
    EXPECT_TRUE(second.got.is_valid());
    EXPECT_FALSE(third.got.is_valid());
}

TEST(BlockDigest, DependsOnEachSumAndItsPlace) {
    const std::vector<uint32_t> sums{1, 2, 3};
    EXPECT_EQ(digest_of(sums), digest_of(std::vector<uint32_t>{1, 2, 3}));
    EXPECT_NE(digest_of(sums), digest_of(std::vector<uint32_t>{2, 1, 3}));
    EXPECT_NE(digest_of(sums), digest_of(std::vector<uint32_t>{1, 2}));
    EXPECT_NE(digest_of(std::vector<uint32_t>{0}), digest_of(std::vector<uint32_t>{0, 0}));
}

}  // namespace
}  // namespace basalt::replication
