// A pool whose device grows under it. The device is a volume of another pool, which can be resized.
#include <gtest/gtest.h>

#include "test/bdev/store/pool/pool_node.h"

namespace basalt::bdev::store {
namespace {

using test::PoolNode;

constexpr uint64_t kSmall = 4096;
constexpr uint64_t kLarge = 3 * kSmall;

class PoolOnVolume {
  public:
    explicit PoolOnVolume(uint64_t seed, const sim::FaultOptions& faults = sim::calm())
        : node(seed, faults) {
        EXPECT_TRUE(node.create()) << node.problem;
        EXPECT_TRUE(node.add_volume("base", kSmall));
        PoolOptions options;
        options.name = "q";
        options.uuid = PoolNode::uuid(900);
        options.partition.cache_pages = kCachePagesMin;
        auto made = node.wait(Pool::create(node.home(), base(), options, node.problem));
        EXPECT_TRUE(made) << node.problem;
        inner = std::move(*made);
        VolumeOptions volume;
        volume.name = "v";
        volume.uuid = PoolNode::uuid(901);
        volume.size_blocks = 100'000;
        EXPECT_TRUE(node.wait(inner->create_volume(volume)));
    }
    PoolOnVolume(const PoolOnVolume&) = delete;
    PoolOnVolume& operator=(const PoolOnVolume&) = delete;
    ~PoolOnVolume() {
        node.world.crash_node(node.node);
        inner.reset();
    }

    Device& base() { return *node.pool->device_of("base"); }

    void cut_power() {
        node.world.crash_node(node.node);
        inner.reset();
        ASSERT_TRUE(node.cut_power()) << node.problem;
        PartitionOptions options;
        options.cache_pages = kCachePagesMin;
        auto opened = node.wait(Pool::open(node.home(), base(), options, node.problem));
        ASSERT_TRUE(opened) << node.problem;
        inner = std::move(*opened);
    }
    Errc transfer(IoOp op, uint64_t first, uint8_t value) {
        const auto channel = std::move(inner->device_of("v")->open(node.core(1))).value();
        TestIo io;
        io.prepare(op, first, 16, kBlockBytes);
        if (op == IoOp::kWrite) {
            io.fill(value);
        }
        const Errc code = node.run(*channel, io);
        EXPECT_TRUE(op != IoOp::kRead || io.data[5] == std::byte{value});
        return code;
    }
    /// Writes until there is no space; blocks written.
    uint64_t fill_up(uint64_t first) {
        uint64_t at = first;
        while (transfer(IoOp::kWrite, at, 0x33) == Errc::kOk) {
            at += 16;
        }
        return at - first;
    }
    uint64_t total() { return node.wait(inner->usage()).total; }

    PoolNode node;
    std::unique_ptr<Pool> inner;
};

TEST(PoolGrowth, GivesVolumesInUseTheSpaceThatTheDeviceGot) {
    PoolOnVolume on(1);
    const uint64_t before = on.total();
    const auto used = std::move(on.inner->device_of("v")->open(on.node.core(0))).value();
    const uint64_t written = on.fill_up(0);
    EXPECT_GT(written, kSmall / 2);
    EXPECT_EQ(*on.node.wait(on.inner->grow()), 0U);
    EXPECT_EQ(on.transfer(IoOp::kWrite, 50'000, 1), Errc::kNoSpace);
    ASSERT_TRUE(on.node.wait(on.node.pool->resize("base", kLarge)));
    const Result<uint64_t> grown = on.node.wait(on.inner->grow());
    ASSERT_TRUE(grown);
    EXPECT_GT(*grown, kLarge - kSmall - 200);
    EXPECT_EQ(on.total(), before + *grown);
    EXPECT_GT(on.fill_up(50'000), kSmall);
    EXPECT_EQ(on.transfer(IoOp::kRead, 0, 0x33), Errc::kOk);
}

TEST(PoolGrowth, AnyMomentOfAPowerCutLeavesTheOldSizeOrTheNew) {
    sim::FaultOptions faults;
    faults.storage_jitter_ns = 300 * kNsPerUs;
    uint32_t olds = 0;
    uint32_t news = 0;
    for (uint64_t seed = 1; seed <= 30; ++seed) {
        PoolOnVolume on(seed, faults);
        ASSERT_EQ(on.transfer(IoOp::kWrite, 32, 0x44), Errc::kOk);
        ASSERT_TRUE(on.node.wait(on.node.pool->resize("base", kLarge)));
        const uint64_t small = on.total();
        Task<Result<uint64_t>> growing = on.inner->grow();
        on.node.world.run_for(on.node.world.random().below(2 * kNsPerMs));
        const bool is_done = growing.is_done();
        on.node.world.crash_node(on.node.node);
        // What is on the device says it: opening takes the growth by itself.
        on.cut_power();
        EXPECT_GT(on.total(), small);
        EXPECT_EQ(on.transfer(IoOp::kRead, 32, 0x44), Errc::kOk);
        EXPECT_GT(on.fill_up(50'000), kSmall);
        const Result<CheckReport> report = on.node.wait(on.inner->check());
        ASSERT_TRUE(report && report->is_clean());
        (is_done ? news : olds) += 1;
    }
    EXPECT_GT(olds, 3U);
    EXPECT_GT(news, 3U);
}

TEST(PoolGrowth, ASuperblockThatCanNotBeWrittenCostsNothing) {
    for (uint64_t seed = 1; seed <= 10; ++seed) {
        PoolOnVolume on(seed);
        ASSERT_EQ(on.transfer(IoOp::kWrite, 32, 0x44), Errc::kOk);
        ASSERT_TRUE(on.node.wait(on.node.pool->resize("base", kLarge)));
        const uint64_t small = on.total();
        on.node.world.faults().write_error_ppm = 1'000'000;
        for (uint32_t attempt = 0; attempt < 3; ++attempt) {
            EXPECT_FALSE(on.node.wait(on.inner->grow()));
        }
        on.node.world.faults().write_error_ppm = 0;
        EXPECT_EQ(on.total(), small);
        on.cut_power();
        EXPECT_GT(on.total(), small);
        EXPECT_EQ(on.transfer(IoOp::kRead, 32, 0x44), Errc::kOk);
    }
}

}  // namespace
}  // namespace basalt::bdev::store
