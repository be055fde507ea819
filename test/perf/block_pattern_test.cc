#include "perf/load/block_pattern.h"

#include <vector>

#include <gtest/gtest.h>

namespace basalt::perf {
namespace {

using Block = std::vector<std::byte>;

constexpr BlockStamp kStamp{.lba = Lba(77), .generation = 5, .seed = 0x1234};

Block block_of(const BlockStamp& stamp, size_t bytes = 512) {
    Block block(bytes);
    write_pattern(block, stamp);
    return block;
}

BlockVerdict judge(const Block& block) {
    BlockStamp found;
    return check_pattern(block, kStamp, found);
}

TEST(BlockPattern, WhatWasWrittenIsRight) {
    EXPECT_EQ(judge(block_of(kStamp)), BlockVerdict::kRight);
    EXPECT_EQ(judge(block_of(kStamp, 4096)), BlockVerdict::kRight);
}

TEST(BlockPattern, EveryFlippedBitIsFound) {
    Block block = block_of(kStamp);
    for (size_t bit = 0; bit < block.size() * 8; ++bit) {
        const auto mask = static_cast<std::byte>(1U << (bit % 8));
        block[bit / 8] ^= mask;
        EXPECT_EQ(judge(block), BlockVerdict::kCorrupt) << "bit " << bit;
        block[bit / 8] ^= mask;
    }
}

TEST(BlockPattern, TellsStaleMisplacedForeignAndTooNewApart) {
    BlockStamp stamp = kStamp;
    stamp.generation = 4;
    EXPECT_EQ(judge(block_of(stamp)), BlockVerdict::kStale);
    stamp.generation = 6;
    EXPECT_EQ(judge(block_of(stamp)), BlockVerdict::kTooNew);
    stamp = kStamp;
    stamp.lba = Lba(78);
    EXPECT_EQ(judge(block_of(stamp)), BlockVerdict::kMisplaced);
    stamp = kStamp;
    stamp.seed = 1;
    EXPECT_EQ(judge(block_of(stamp)), BlockVerdict::kForeign);
}

TEST(BlockPattern, DataThatNeverArrivedIsNotTakenForRight) {
    Block block = block_of(kStamp);
    spoil_pattern(block);
    EXPECT_EQ(judge(block), BlockVerdict::kCorrupt);
}

}  // namespace
}  // namespace basalt::perf
