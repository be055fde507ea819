// Volumes as block devices: data, edges, chunks, cores.
#include <array>

#include <gtest/gtest.h>

#include "test/bdev/store/pool/pool_node.h"
#include "test/bdev/support/model_check.h"

namespace basalt::bdev::store {
namespace {

using test::PoolNode;

void expect_model_holds(uint32_t block_bytes, uint32_t on_core, uint32_t misalign_max) {
    for (uint64_t seed = 1; seed <= 6; ++seed) {
        sim::FaultOptions faults;
        faults.storage_jitter_ns = 300 * kNsPerUs;
        faults.message_jitter_ns = 20 * kNsPerUs;
        PoolNode node(seed, faults);
        ASSERT_TRUE(node.create());
        ASSERT_TRUE(node.add_volume("v", 256, block_bytes));
        const auto channel = node.open_channel("v", on_core);
        const ModelOptions options{.seed = seed,
                                   .operations = 500,
                                   .queue_depth = 16,
                                   .range_blocks = 100,
                                   .misalign_max = misalign_max};
        EXPECT_EQ(
            check_against_model(*channel, channel->info(), options, [&node] { node.world.step(); }),
            "");
    }
}

TEST(Volume, KeepsWhatWasWrittenOnEitherCore) {
    expect_model_holds(4096, 0, 0);
    expect_model_holds(4096, 1, 0);
}

TEST(Volume, TakesMemoryThatIsNotAligned) {
    expect_model_holds(4096, 1, 300);
}

TEST(Volume, KeepsSectorsOf512Bytes) {
    expect_model_holds(512, 0, 0);
    expect_model_holds(512, 1, 40);
}

TEST(Volume, SectorsOfOneBlockWrittenAtOnceFromTwoCoresAreAllThere) {
    sim::FaultOptions faults;
    faults.storage_jitter_ns = 300 * kNsPerUs;
    faults.message_jitter_ns = 20 * kNsPerUs;
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        PoolNode node(seed, faults);
        ASSERT_TRUE(node.create());
        ASSERT_TRUE(node.add_volume("v", 256, 512));
        const auto one = node.open_channel("v", 0);
        const auto two = node.open_channel("v", 1);
        std::array<TestIo, 16> ios;
        for (uint32_t i = 0; i < ios.size(); ++i) {
            ios[i].prepare(IoOp::kWrite, i, 1, 512);
            ios[i].fill(static_cast<uint8_t>(i + 1));
            ios[i].submit(i % 2 == 0 ? *one : *two);
        }
        for (TestIo& io : ios) {
            node.finish(io);
            ASSERT_EQ(io.code(), Errc::kOk);
        }
        for (uint32_t i = 0; i < ios.size(); ++i) {
            ASSERT_TRUE(node.holds("v", i, 1, static_cast<uint8_t>(i + 1))) << seed << ' ' << i;
        }
    }
}

TEST(Volume, CrossesFromOnePartitionToTheNext) {
    PoolNode node(1);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v", 3 * kChunkBlocks));
    ASSERT_EQ(node.fill("v", kChunkBlocks - 7, 20, 0x77), Errc::kOk);
    EXPECT_TRUE(node.holds("v", kChunkBlocks - 7, 20, 0x77));
    EXPECT_TRUE(node.holds("v", kChunkBlocks - 8, 1, 0));
    EXPECT_TRUE(node.holds("v", kChunkBlocks + 13, 1, 0));
    const auto channel = node.open_channel("v");
    TestIo io;
    io.prepare(IoOp::kUnmap, 0, 3 * kChunkBlocks, kBlockBytes);
    EXPECT_EQ(node.run(*channel, io), Errc::kOk);
    EXPECT_TRUE(node.holds("v", kChunkBlocks - 7, 20, 0));
    EXPECT_EQ(node.pool->device_of("v")->allocated_blocks(), BlockCount(0));
}

TEST(Volume, CompareTellsADifference) {
    PoolNode node(1);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v"));
    ASSERT_EQ(node.fill("v", 0, 4, 0x12), Errc::kOk);
    const auto channel = node.open_channel("v");
    TestIo io;
    io.prepare(IoOp::kCompare, 0, 4, kBlockBytes);
    io.fill(0x12);
    EXPECT_EQ(node.run(*channel, io), Errc::kOk);
    io.data[4097] = std::byte{0};
    EXPECT_EQ(node.run(*channel, io), Errc::kCompareMismatch);
}

TEST(Volume, ASnapshotUnderWritesIsACutOfWhatWasAcknowledged) {
    sim::FaultOptions faults;
    faults.storage_jitter_ns = 300 * kNsPerUs;
    faults.message_jitter_ns = 20 * kNsPerUs;
    for (uint64_t seed = 1; seed <= 30; ++seed) {
        // Writes 1, 2, 3, … to places in two partitions, each begun when the one before has been
        // acknowledged: the snapshot has a beginning of this row, up to a write that was begun.
        PoolNode node(seed, faults);
        ASSERT_TRUE(node.create());
        ASSERT_TRUE(node.add_volume("v", 2 * kChunkBlocks));
        const auto channel = node.open_channel("v", 1);
        const auto place = [](uint32_t i) { return i / 2 + (i % 2 == 0 ? 0 : kChunkBlocks); };
        TestIo io;
        uint32_t begun = 0;
        const auto go_on = [&] {
            if (io.is_done() && begun < 60) {
                EXPECT_TRUE(begun == 0 || io.code() == Errc::kOk);
                io.prepare(IoOp::kWrite, place(begun), 1, kBlockBytes);
                io.fill(static_cast<uint8_t>(begun + 1));
                io.submit(*channel);
                ++begun;
            }
        };
        const uint32_t when = static_cast<uint32_t>(node.world.random().below(40));
        while (begun < when) {
            go_on();
            node.world.step();
        }
        const uint32_t acknowledged = begun - (io.is_done() ? 0 : 1);
        SnapshotOptions options{.volume = "v", .name = "s", .uuid = PoolNode::uuid(77)};
        std::vector<SnapshotOptions> all{options};
        Task<Status> taking = node.pool->snapshot(all);
        while (!taking.is_done() || begun < 60 || !io.is_done()) {
            go_on();
            node.world.step();
        }
        ASSERT_TRUE(taking.result());
        uint32_t found = 0;
        while (found < 60 && node.holds("s", place(found), 1, static_cast<uint8_t>(found + 1))) {
            ++found;
        }
        EXPECT_GE(found, acknowledged) << seed;
        for (uint32_t i = found; i < 60; ++i) {
            ASSERT_TRUE(node.holds("s", place(i), 1, 0)) << seed << ' ' << i;
        }
        for (uint32_t i = 0; i < 60; ++i) {
            ASSERT_TRUE(node.holds("v", place(i), 1, static_cast<uint8_t>(i + 1))) << seed;
        }
    }
}

}  // namespace
}  // namespace basalt::bdev::store
