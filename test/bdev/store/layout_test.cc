#include "bdev/store/layout.h"

#include <gtest/gtest.h>

namespace basalt::bdev::store {
namespace {

constexpr uint64_t kMiB = 256;  // In blocks.
constexpr uint64_t kTiB = kMiB << 20U;

TEST(PoolLayout, PartsFollowOneAnotherAndEndInsideTheDevice) {
    for (const uint64_t blocks : {64 * kMiB, 1000 * kMiB + 17, kTiB, 100 * kTiB}) {
        for (const uint32_t partitions : {1U, 2U, 8U}) {
            const PoolLayout layout = PoolLayout::plan(blocks, partitions).value();
            ASSERT_TRUE(layout.is_sound());
            EXPECT_EQ(PoolLayout::superblock(Place::kA), 0U);
            EXPECT_EQ(PoolLayout::superblock(Place::kB), 1U);
            uint64_t next = 2;
            for (const Place half : {Place::kA, Place::kB}) {
                EXPECT_EQ(layout.catalogue(half), next);
                next += layout.catalogue_blocks;
            }
            for (uint32_t partition = 0; partition < partitions; ++partition) {
                for (const Place place : {Place::kA, Place::kB}) {
                    EXPECT_EQ(layout.checkpoint(partition, place), next);
                    next += layout.checkpoint_blocks;
                }
                EXPECT_EQ(layout.log(partition), next);
                next += layout.log_blocks;
            }
            EXPECT_EQ(layout.slabs_first(), next);
            EXPECT_LE(layout.slab(layout.slab_count), blocks);
            EXPECT_GT(layout.slab(layout.slab_count + 1), blocks);
            EXPECT_EQ(layout.slab_of(layout.slab(3) - 1), 2U);
        }
    }
}

TEST(PoolLayout, FixedPartsCostLittle) {
    const PoolLayout layout = PoolLayout::plan(kTiB, 4).value();
    EXPECT_LT(layout.slabs_first(), kTiB / 50);
    EXPECT_EQ(layout.slab_blocks, kSlabBlocksMax);
    EXPECT_EQ(layout.log_blocks, 256 * kMiB);
}

TEST(PoolLayout, ADeviceThatIsTooSmallIsRefused) {
    EXPECT_EQ(PoolLayout::plan(0, 1).error().code, Errc::kNoSpace);
    EXPECT_EQ(PoolLayout::plan(2 * kMiB, 1).error().code, Errc::kNoSpace);
    EXPECT_TRUE(PoolLayout::plan(16 * kMiB, 1));
    EXPECT_EQ(PoolLayout::plan(16 * kMiB, 8).error().code, Errc::kNoSpace);
}

TEST(PoolLayout, AnImpossibleNumberOfPartitionsIsRefused) {
    EXPECT_EQ(PoolLayout::plan(kTiB, 0).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(PoolLayout::plan(kTiB, kPartitionsMax + 1).error().code, Errc::kInvalidArgument);
    EXPECT_TRUE(PoolLayout::plan(kTiB, kPartitionsMax));
}

TEST(PoolLayout, AGrownDeviceHasMoreSlabsAndNothingElseMoves) {
    const PoolLayout before = PoolLayout::plan(1000 * kMiB, 2).value();
    const PoolLayout after = before.grown(3000 * kMiB);
    EXPECT_TRUE(after.is_sound());
    EXPECT_GT(after.slab_count, 2 * before.slab_count);
    PoolLayout same = after;
    same.slab_count = before.slab_count;
    same.device_blocks = before.device_blocks;
    EXPECT_EQ(same, before);
    EXPECT_EQ(before.grown(10), before);
}

TEST(PoolLayout, GrowthEndsWhereTheCheckpointCanListNoMoreSlabs) {
    const PoolLayout layout = PoolLayout::plan(64 * kMiB, 1).value().grown(kTiB);
    EXPECT_TRUE(layout.is_sound());
    EXPECT_GE(layout.slab_count, 8 * (64 * kMiB / layout.slab_blocks));
}

TEST(PoolLayout, ACheckpointHasRoomForAllNotesBesideTheSlabs) {
    EXPECT_EQ(PoolLayout::plan(16 * kMiB, 1).value().notes_max(), 1024U);
    EXPECT_EQ(PoolLayout::plan(500 * kMiB, 1).value().notes_max(), 4 * 500 * kMiB / 64);
    EXPECT_EQ(PoolLayout::plan(kTiB, 1).value().notes_max(), 16384U);
    for (const uint64_t blocks : {16 * kMiB, 1000 * kMiB, kTiB}) {
        const PoolLayout layout = PoolLayout::plan(blocks, 1).value().grown(kTiB);
        const uint64_t slabs = sizeof(CheckpointHead) + layout.slab_count * sizeof(MetaSlab);
        const uint64_t notes = uint64_t{layout.notes_max()} * kCheckpointNoteBytesMax;
        EXPECT_LE(slabs + notes, uint64_t{layout.checkpoint_blocks} * kBlockBytes);
        PoolLayout bad = layout;
        bad.checkpoint_blocks = static_cast<uint32_t>(slabs / kBlockBytes + 1);
        EXPECT_FALSE(bad.is_sound());
    }
}

TEST(PoolLayout, NumbersThatDoNotFitEachOtherAreUnsound) {
    const PoolLayout sound = PoolLayout::plan(1000 * kMiB, 2).value();
    PoolLayout bad = sound;
    bad.slab_count += 1;
    EXPECT_FALSE(bad.is_sound());
    bad = sound;
    bad.slab_blocks = 300;
    EXPECT_FALSE(bad.is_sound());
    bad = sound;
    bad.partition_count = 0;
    EXPECT_FALSE(bad.is_sound());
    bad = sound;
    bad.checkpoint_blocks = 0;
    EXPECT_FALSE(bad.is_sound());
    bad = sound;
    bad.log_blocks = UINT32_MAX;
    EXPECT_FALSE(bad.is_sound());
}

}  // namespace
}  // namespace basalt::bdev::store
