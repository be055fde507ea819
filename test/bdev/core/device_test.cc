#include "bdev/core/device.h"

#include <gtest/gtest.h>

#include "bdev/core/channel_set.h"
#include "bdev/core/registry.h"
#include "test/bdev/support/fake_bdev.h"
#include "test/bdev/support/manual_world.h"
#include "test/bdev/support/test_io.h"

namespace basalt::bdev {
namespace {

class DeviceTest : public testing::Test {
  protected:
    DeviceTest() : world(2), registry(world.cores()) {
        auto made = std::make_unique<FakeBdev>("d0", 1);
        fake = made.get();
        device = *registry.add(std::move(made));
    }

    ManualWorld world;
    BdevRegistry registry;
    FakeBdev* fake = nullptr;
    Device* device = nullptr;
};

TEST_F(DeviceTest, CountsOperationsBlocksAndLatencyByCore) {
    auto first = std::move(device->open(world.core(0))).value();
    auto second = std::move(device->open(world.core(1))).value();
    TestIo read;
    TestIo write;
    read.prepare(IoOp::kRead, 0, 3, 512);
    write.prepare(IoOp::kWrite, 5, 2, 512);
    read.submit(*first);
    write.submit(*second);
    world.clock.now += 700;
    fake->complete_all(kOk);
    read.prepare(IoOp::kRead, 0, 1, 512);
    read.submit(*first);
    world.clock.now += 300;
    fake->complete_all(kOk);

    const IoStats stats = world.wait(device->read_stats(world.control()));
    EXPECT_EQ(stats.of(IoOp::kRead).count, 2U);
    EXPECT_EQ(stats.of(IoOp::kRead).blocks, 4U);
    EXPECT_EQ(stats.of(IoOp::kRead).latency_ns, 1000U);
    EXPECT_EQ(stats.of(IoOp::kRead).latency_max_ns, 700U);
    EXPECT_EQ(stats.of(IoOp::kRead).latency_min_ns, 300U);
    EXPECT_EQ(stats.of(IoOp::kWrite).count, 1U);
    EXPECT_EQ(stats.of(IoOp::kWrite).blocks, 2U);
    EXPECT_EQ(stats.of(IoOp::kFlush).count, 0U);
}

TEST_F(DeviceTest, CountsErrorsApart) {
    auto channel = std::move(device->open(world.core(0))).value();
    TestIo io;
    io.prepare(IoOp::kUnmap, 0, 10, 512);
    io.submit(*channel);
    fake->complete_all(Errc::kMediaError);
    EXPECT_EQ(io.code(), Errc::kMediaError);
    const IoStats stats = world.wait(device->read_stats(world.control()));
    EXPECT_EQ(stats.of(IoOp::kUnmap).errors, 1U);
    EXPECT_EQ(stats.of(IoOp::kUnmap).count, 0U);
    EXPECT_EQ(stats.of(IoOp::kUnmap).latency_max_ns, 0U);
    EXPECT_EQ(stats.of(IoOp::kUnmap).latency_min_ns, UINT64_MAX);
}

TEST_F(DeviceTest, ResetLeavesOnlyWhatIsUnderWay) {
    auto channel = std::move(device->open(world.core(0))).value();
    TestIo done;
    TestIo pending;
    done.prepare(IoOp::kRead, 0, 1, 512);
    pending.prepare(IoOp::kRead, 0, 1, 512);
    done.submit(*channel);
    fake->complete_all(kOk);
    pending.submit(*channel);
    EXPECT_EQ(channel->in_flight(), 1U);
    world.wait(device->reset_stats(world.control()));
    IoStats stats = world.wait(device->read_stats(world.control()));
    EXPECT_EQ(stats.of(IoOp::kRead).count, 0U);
    EXPECT_EQ(stats.in_flight, 1U);
    fake->complete_all(kOk);
    stats = world.wait(device->read_stats(world.control()));
    EXPECT_EQ(stats.of(IoOp::kRead).count, 1U);
    EXPECT_EQ(stats.in_flight, 0U);
}

TEST_F(DeviceTest, HistogramCountsWhileItIsOn) {
    auto channel = std::move(device->open(world.core(1))).value();
    TestIo io;
    const auto once = [&](uint64_t latency_ns) {
        io.prepare(IoOp::kRead, 0, 1, 512);
        io.submit(*channel);
        world.clock.now += latency_ns;
        fake->complete_all(kOk);
    };
    once(100);
    auto none = world.wait(device->read_histogram(world.control()));
    EXPECT_EQ(none.error().code, Errc::kNotFound);

    world.wait(device->enable_histogram(world.control(), true));
    once(100);
    once(5000);
    auto histogram = world.wait(device->read_histogram(world.control()));
    ASSERT_TRUE(histogram);
    EXPECT_EQ((*histogram)->total(), 2U);
    EXPECT_EQ((*histogram)->counts()[LatencyHistogram::bucket_of(100)], 1U);
    EXPECT_EQ((*histogram)->counts()[LatencyHistogram::bucket_of(5000)], 1U);

    world.wait(device->enable_histogram(world.control(), false));
    EXPECT_FALSE(device->is_histogram_enabled());
    once(100);
    world.wait(device->enable_histogram(world.control(), true));
    auto fresh = world.wait(device->read_histogram(world.control()));
    EXPECT_EQ((*fresh)->total(), 0U) << "a new one starts from zero";
}

TEST_F(DeviceTest, ChannelSetClosesOnlyWhenTheLastRequestIsDone) {
    ChannelSet set(*device);
    ASSERT_TRUE(world.wait(set.open(world.control())));
    EXPECT_EQ(device->open_channels(), 2U);
    TestIo io;
    io.prepare(IoOp::kWrite, 0, 1, 512);
    io.submit(*set.on(world.core(1)));
    Task<void> close = set.close(world.control());
    for (int i = 0; i < 100; ++i) {
        world.turn();
    }
    EXPECT_FALSE(close.is_done());
    EXPECT_EQ(device->open_channels(), 1U) << "core 0 had nothing to wait for";
    EXPECT_EQ(registry.remove("d0").error().code, Errc::kBusy);
    fake->complete_all(kOk);
    world.settle();
    EXPECT_TRUE(close.is_done());
    EXPECT_TRUE(io.is_done());
    EXPECT_EQ(set.on(world.core(0)), nullptr);
    EXPECT_TRUE(registry.remove("d0"));
}

TEST_F(DeviceTest, ChannelSetOpensEverywhereOrNowhere) {
    fake->fail_open_on = CoreId(1);
    ChannelSet set(*device);
    const Status status = world.wait(set.open(world.control()));
    EXPECT_EQ(status.error().code, Errc::kNoMemory);
    EXPECT_FALSE(set.is_open());
    EXPECT_EQ(device->open_channels(), 0U);
}

TEST_F(DeviceTest, WhatADeviceThatChangedMayNotTakeAnyMoreIsRefused) {
    auto channel = std::move(device->open(world.core(0))).value();
    TestIo io;
    io.prepare(IoOp::kRead, FakeBdev::kBlocks - 1, 1, 512);
    fake->mutable_info().block_count = BlockCount(FakeBdev::kBlocks - 1);
    io.submit(*channel);
    EXPECT_EQ(channel->in_flight(), 1U);
    world.settle();
    EXPECT_EQ(io.code(), Errc::kOutOfRange);
    EXPECT_EQ(channel->in_flight(), 0U);
    fake->mutable_info().is_read_only = true;
    io.prepare(IoOp::kWrite, 0, 1, 512);
    io.submit(*channel);
    world.settle();
    EXPECT_EQ(io.code(), Errc::kReadOnly);
    EXPECT_TRUE(fake->pending.empty());
}

TEST_F(DeviceTest, AnOperationThatItNeverHadIsOurBug) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    fake->mutable_info().supports.fill(false);
    auto channel = std::move(device->open(world.core(0))).value();
    TestIo io;
    io.prepare(IoOp::kRead, 0, 1, 512);
    EXPECT_DEATH(channel->submit(io.request), "can");
}

}  // namespace
}  // namespace basalt::bdev
