// The head as a device, from its own core and from another one.

#include "replication/head/replica_bdev.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "bdev/core/registry.h"
#include "bdev/layer/passthrough_bdev.h"
#include "replication/head/replica_channel.h"
#include "test/bdev/support/test_io.h"
#include "test/replication/head/cluster.h"

namespace basalt::replication::test {
namespace {

ClusterOptions options() {
    ClusterOptions how;
    how.settings = {.blocks = 1024, .window_ops = 64, .reads = 32};
    return how;
}

TEST(ReplicaBdev, DoesWhatADeviceDoesFromEveryCoreAndUnderALayer) {
    Cluster cluster(options());
    cluster.start(0);
    bdev::BdevRegistry registry({cluster.here->core(), cluster.control->core()});
    const ReplicaBdevOptions how{.name = "vol0", .uuid = Cluster::kVolume};
    auto* volume = registry.add(std::make_unique<ReplicaBdev>(how, cluster.head())).value();
    EXPECT_EQ(volume->info().product_name, "Replicated volume");
    EXPECT_EQ(volume->info().block_count.raw(), 1024U);
    const bdev::PassthroughOptions layer{.name = "layer0", .uuid = {}};
    auto* above = registry.add(std::make_unique<bdev::PassthroughBdev>(layer, *volume)).value();
    for (Reactor* core : {cluster.here, cluster.control}) {
        auto channel = std::move(above->open(*core)).value();
        const uint8_t value = core == cluster.here ? 7 : 9;
        bdev::TestIo io;
        const auto run = [&](bdev::IoOp op, uint64_t first, uint64_t count) {
            io.submit(*channel);
            EXPECT_TRUE(cluster.world.run_until([&] { return io.is_done(); }, 10 * kNsPerSecond))
                << static_cast<int>(op) << " " << first << " " << count;
            return io.request.status;
        };
        io.prepare(bdev::IoOp::kWrite, 230, 60, kBlockBytes, 3, 512);
        io.fill(value);
        EXPECT_EQ(run(bdev::IoOp::kWrite, 230, 60), kOk);
        io.prepare(bdev::IoOp::kFlush, 0, 0, kBlockBytes);
        EXPECT_EQ(run(bdev::IoOp::kFlush, 0, 0), kOk);
        io.prepare(bdev::IoOp::kRead, 230, 60, kBlockBytes, 5);
        EXPECT_EQ(run(bdev::IoOp::kRead, 230, 60), kOk);
        EXPECT_TRUE(std::all_of(io.data, io.data + io.size_bytes, [&](std::byte byte) {
            return byte == std::byte{value};
        }));
        io.prepare(bdev::IoOp::kCompare, 230, 60, kBlockBytes);
        io.fill(value);
        EXPECT_EQ(run(bdev::IoOp::kCompare, 230, 60), kOk);
        io.data[io.size_bytes - 1] = std::byte{0};
        EXPECT_EQ(run(bdev::IoOp::kCompare, 230, 60), Errc::kCompareMismatch);
        io.prepare(bdev::IoOp::kUnmap, 0, 1024, kBlockBytes);
        EXPECT_EQ(run(bdev::IoOp::kUnmap, 0, 1024), kOk);
        io.prepare(bdev::IoOp::kRead, 288, 2, kBlockBytes);
        EXPECT_EQ(run(bdev::IoOp::kRead, 288, 2), kOk);
        EXPECT_EQ(io.data[0], std::byte{0});
        // More than a channel has operations for.
        std::vector<bdev::TestIo> many(ReplicaChannel::kOperations + 50);
        for (uint64_t i = 0; i < many.size(); ++i) {
            many[i].prepare(bdev::IoOp::kWrite, i, 1, kBlockBytes);
            many[i].submit(*channel);
        }
        EXPECT_TRUE(cluster.world.run_until(
            [&] {
                return std::all_of(many.begin(), many.end(), [](const bdev::TestIo& one) {
                    return one.is_done();
                });
            },
            10 * kNsPerSecond));
        for (const bdev::TestIo& one : many) {
            EXPECT_EQ(one.request.status, kOk);
        }
        channel.reset();
    }
    EXPECT_TRUE(registry.remove("layer0"));
    EXPECT_TRUE(registry.remove("vol0"));
}

}  // namespace
}  // namespace basalt::replication::test
