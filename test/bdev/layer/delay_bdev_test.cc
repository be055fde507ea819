#include "bdev/layer/delay_bdev.h"

#include <algorithm>
#include <map>

#include <gtest/gtest.h>

#include "bdev/core/registry.h"
#include "bdev/leaf/null_bdev.h"
#include "test/bdev/support/manual_world.h"
#include "test/bdev/support/test_io.h"

namespace basalt::bdev {
namespace {

class DelayTest : public testing::Test {
  protected:
    DelayTest() {
        const NullOptions null{.name = "Null0", .uuid = {}, .block_count = BlockCount(100)};
        base = *registry.add(std::move(NullBdev::make(null)).value());
        const DelayOptions options{
            .name = "Delay0", .uuid = {}, .latencies = {100, 1000, 200, 5000}};
        auto made = std::move(DelayBdev::make(options, *base)).value();
        delay = made.get();
        device = *registry.add(std::move(made));
        channel = std::move(device->open(world.core(0))).value();
    }

    /// How many of `total` requests take how many microseconds.
    std::map<uint64_t, int> latencies(IoOp op, int total) {
        std::map<uint64_t, int> seen;
        for (int i = 0; i < total; ++i) {
            TestIo io;
            io.prepare(op, 0, 1, 4096);
            const uint64_t start = world.clock.now;
            io.submit(*channel);
            while (!io.is_done()) {
                world.settle();
                if (!io.is_done()) {
                    world.clock.now = world.core(0).next_wakeup_ns();
                }
            }
            ++seen[(world.clock.now - start) / kNsPerUs];
        }
        return seen;
    }

    ManualWorld world{2};
    BdevRegistry registry{world.cores()};
    Device* base = nullptr;
    DelayBdev* delay = nullptr;
    Device* device = nullptr;
    std::unique_ptr<DeviceChannel> channel;
};

TEST_F(DelayTest, OneRequestInAHundredTakesTheP99Time) {
    auto reads = latencies(IoOp::kRead, 5000);
    EXPECT_EQ(reads.size(), 2U);
    EXPECT_EQ(reads[100] + reads[1000], 5000);
    EXPECT_NEAR(reads[1000], 50, 30);
    auto writes = latencies(IoOp::kWrite, 5000);
    EXPECT_EQ(writes[200] + writes[5000], 5000);
    EXPECT_NEAR(writes[5000], 50, 30);
    EXPECT_EQ(latencies(IoOp::kFlush, 10).count(100), 0U) << "a flush takes a write's time";
}

TEST_F(DelayTest, ShortDelaysOvertakeLongOnes) {
    ASSERT_TRUE(world.wait(delay->update(world.control(), world.cores(), {10, 10, 5000, 5000})));
    TestIo write;
    TestIo read;
    write.prepare(IoOp::kWrite, 0, 1, 4096);
    write.submit(*channel);
    world.pass(1000);
    read.prepare(IoOp::kRead, 0, 1, 4096);
    read.submit(*channel);
    world.pass(10 * kNsPerUs - 1);
    EXPECT_FALSE(read.is_done());
    world.pass(1);
    EXPECT_TRUE(read.is_done());
    EXPECT_FALSE(write.is_done());
    EXPECT_EQ(channel->in_flight(), 1U);
    world.pass(5 * kNsPerMs);
    EXPECT_TRUE(write.is_done());
}

TEST_F(DelayTest, UpdateReachesEveryCoreAndTheConfiguration) {
    auto other = std::move(device->open(world.core(1))).value();
    ASSERT_TRUE(world.wait(delay->update(world.control(), world.cores(), {0, 0, 7, 7})));
    TestIo read;
    read.prepare(IoOp::kRead, 0, 1, 4096);
    read.submit(*other);
    world.settle();
    EXPECT_TRUE(read.is_done());
    TestIo write;
    write.prepare(IoOp::kWrite, 0, 1, 4096);
    write.submit(*other);
    world.pass(7 * kNsPerUs - 1);
    EXPECT_FALSE(write.is_done());
    world.pass(1);
    EXPECT_TRUE(write.is_done());
    const BdevConfig config = delay->describe();
    EXPECT_EQ(config.method, "bdev_delay_create");
    EXPECT_EQ(config.parameters.back().name, "p99_write_latency");
    EXPECT_EQ(std::get<uint64_t>(config.parameters.back().value), 7U);
}

TEST_F(DelayTest, ManyHeldRequestsComeBackInOrder) {
    ASSERT_TRUE(world.wait(delay->update(world.control(), world.cores(), {50, 50, 50, 50})));
    std::vector<std::unique_ptr<TestIo>> ios;
    for (int i = 0; i < 500; ++i) {
        ios.push_back(std::make_unique<TestIo>());
        ios.back()->prepare(IoOp::kRead, 0, 1, 4096);
        ios.back()->submit(*channel);
        world.pass(100);
        const auto done =
            std::count_if(ios.begin(), ios.end(), [](const auto& io) { return io->is_done(); });
        for (int64_t k = 0; k < done; ++k) {
            ASSERT_TRUE(ios[static_cast<size_t>(k)]->is_done());
        }
    }
    world.pass(kNsPerMs);
    EXPECT_TRUE(ios.back()->is_done());
}

TEST_F(DelayTest, RefusesLatenciesThatMakeNoSense) {
    DelayOptions options{.name = "x", .uuid = {}, .latencies = {10, 9, 0, 0}};
    EXPECT_EQ(DelayBdev::make(options, *base).error().code, Errc::kInvalidArgument);
    options.latencies = {0, 0, 0, kDelayUsMax + 1};
    EXPECT_EQ(DelayBdev::make(options, *base).error().code, Errc::kInvalidArgument);
    const Status status =
        world.wait(delay->update(world.control(), world.cores(), options.latencies));
    EXPECT_EQ(status.error().code, Errc::kInvalidArgument);
    EXPECT_EQ(delay->latencies().avg_read_us, 100U);
}

}  // namespace
}  // namespace basalt::bdev
