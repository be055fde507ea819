#include "bdev/qos/device_limits.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "bdev/core/registry.h"
#include "bdev/layer/delay_bdev.h"
#include "bdev/leaf/null_bdev.h"
#include "test/bdev/qos/qos_load.h"
#include "test/bdev/support/sim_node.h"
#include "test/bdev/support/test_io.h"

namespace basalt::bdev {
namespace {

using qos::Policy;

constexpr uint64_t kMib = 1024 * 1024;

/// Null devices on two cores of a simulated machine, with load on them.
class DeviceLimitsTest : public testing::Test {
  protected:
    DeviceLimitsTest() : registry_(node_.cores()) { device_ = add_device("Null0"); }
    ~DeviceLimitsTest() override {
        if (!node_.control().is_abandoned()) {
            stop();
            for (const auto& device : registry_.devices()) {
                done(device->limits().clear(node_.control()));
            }
        }
        loads_.clear();
        channels_.clear();
    }

    Device* add_device(const std::string& name) {
        return *registry_.add(*NullBdev::make(
            {.name = name, .uuid = Uuid::make_random(), .block_count = BlockCount(1000)}));
    }
    DeviceChannel& open(Device& device, uint32_t core) {
        channels_.push_back(std::move(device.open(node_.core(core))).value());
        return *channels_.back();
    }
    QosLoad& load(Device& device, uint32_t core, QosLoad::Shape shape) {
        loads_.push_back(std::make_unique<QosLoad>(open(device, core), shape));
        return *loads_.back();
    }
    void done(Task<void> task) {
        ASSERT_TRUE(node_.world.run_until([&task] { return task.is_done(); }, 100 * kNsPerSecond));
    }
    void set(Device& device, const Policy& policy, qos::Domain* group = nullptr) {
        ASSERT_TRUE(device.limits().can_set(policy, group));
        done(device.limits().set(node_.control(), policy, group));
    }
    void start() {
        for (const auto& load : loads_) {
            load->start();
        }
    }
    void stop() {
        for (const auto& load : loads_) {
            load->stop();
        }
        EXPECT_TRUE(node_.world.run_until(
            [this] {
                return std::all_of(
                    loads_.begin(), loads_.end(), [](const auto& load) { return load->is_idle(); });
            },
            100 * kNsPerSecond));
    }
    /// Completions of all loads in the next `seconds`.
    uint64_t count(double seconds) {
        const uint64_t before = completed();
        node_.world.run_for(static_cast<uint64_t>(seconds * static_cast<double>(kNsPerSecond)));
        return completed() - before;
    }
    [[nodiscard]] uint64_t completed() const {
        uint64_t sum = 0;
        for (const auto& load : loads_) {
            EXPECT_EQ(load->failed, 0U);
            sum += load->completed;
        }
        return sum;
    }
    static void expect_near(uint64_t got, double wanted, double tolerance = 0.02) {
        EXPECT_NEAR(static_cast<double>(got), wanted, wanted * tolerance);
    }

    SimNode node_{1};
    BdevRegistry registry_;
    Device* device_ = nullptr;
    std::vector<std::unique_ptr<DeviceChannel>> channels_;
    std::vector<std::unique_ptr<QosLoad>> loads_;
};

Policy ios(uint64_t rate) {
    Policy policy;
    policy.rw_ios.rate = rate;
    return policy;
}

TEST_F(DeviceLimitsTest, IosAreKeptByBothCoresTogether) {
    for (const uint64_t rate : {1ULL, 10ULL, 1000ULL, 20'000ULL}) {
        set(*device_, ios(rate));
        auto& first = load(*device_, 0, {.depth = 64});
        auto& second = load(*device_, 1, {.depth = 4, .op = IoOp::kWrite});
        first.start();
        second.start();
        const double seconds = rate < 100 ? 20 : 1;
        expect_near(count(seconds), static_cast<double>(rate) * seconds, 0.02 + 1.0 / seconds / 10);
        // Each core gets its turn, however long the other's line is.
        EXPECT_GT(second.completed * 3, first.completed);
        first.stop();
        second.stop();
        set(*device_, {});
        node_.world.run_for(kNsPerMs);
    }
}

TEST_F(DeviceLimitsTest, BytesAreKept) {
    Policy policy;
    policy.rw_bytes.rate = 100 * kMib;
    set(*device_, policy);
    load(*device_, 0, {.depth = 32, .blocks = 1});
    load(*device_, 1, {.depth = 32, .blocks = 1, .op = IoOp::kWrite});
    start();
    expect_near(count(1) * 4096, 100.0 * kMib);
    expect_near(count(1) * 4096, 100.0 * kMib);
}

TEST_F(DeviceLimitsTest, LargeRequestsWaitForASmallRateAndGetIt) {
    Policy policy;
    policy.rw_bytes.rate = kMib;
    set(*device_, policy);
    load(*device_, 0, {.depth = 8, .blocks = 32});
    load(*device_, 1, {.depth = 8, .blocks = 32});
    start();
    expect_near(count(20) * 32 * 4096, 20.0 * kMib, 0.03);
}

TEST_F(DeviceLimitsTest, ReadsAndWritesHaveLimitsOfTheirOwn) {
    Policy policy;
    policy.r_bytes.rate = 50 * kMib;
    policy.w_bytes.rate = 10 * kMib;
    set(*device_, policy);
    // On one channel: writes that wait don't hold up reads.
    auto& channel = open(*device_, 0);
    QosLoad reads(channel, {.depth = 16});
    QosLoad writes(channel, {.depth = 16, .op = IoOp::kWrite});
    reads.start();
    writes.start();
    node_.world.run_for(kNsPerSecond);
    expect_near(reads.completed * 4096, 50.0 * kMib);
    expect_near(writes.completed * 4096, 10.0 * kMib);
    reads.stop();
    writes.stop();
    set(*device_, {});
    node_.world.run_for(kNsPerMs);
}

TEST_F(DeviceLimitsTest, UnmapsCountAsOneAndFlushesPass) {
    set(*device_, ios(100));
    auto& channel = open(*device_, 0);
    QosLoad unmaps(channel, {.depth = 4, .blocks = 1000, .op = IoOp::kUnmap});
    QosLoad flushes(channel, {.depth = 1, .op = IoOp::kFlush});
    unmaps.start();
    flushes.start();
    // A millisecond of flushes is enough to tell: as many as without limits, not a tenth of one.
    node_.world.run_for(kNsPerMs);
    flushes.stop();
    EXPECT_GT(flushes.completed, 100U);
    node_.world.run_for(kNsPerSecond / 10 - kNsPerMs);
    EXPECT_NEAR(static_cast<double>(unmaps.completed), 10, 2);
    unmaps.stop();
    set(*device_, {});
    node_.world.run_for(kNsPerMs);
}

TEST_F(DeviceLimitsTest, ABurstIsThereForWhoWasIdle) {
    Policy policy;
    policy.rw_ios = {.rate = 1000, .burst_rate = 4000};
    policy.burst_seconds = 2;
    set(*device_, policy);
    load(*device_, 0, {.depth = 32});
    load(*device_, 1, {.depth = 32});
    start();
    expect_near(count(1), 4000);
    expect_near(count(1), 4000);
    expect_near(count(1), 1000, 0.05);
    expect_near(count(1), 1000);
    stop();
    node_.world.run_for(30 * kNsPerSecond);
    start();
    expect_near(count(2), 8000);
    expect_near(count(2), 2000, 0.05);
}

TEST_F(DeviceLimitsTest, ChangesReachADeviceInUse) {
    load(*device_, 0, {.depth = 16});
    load(*device_, 1, {.depth = 16});
    set(*device_, ios(1000));
    start();
    static_cast<void>(count(0.1));
    expect_near(count(1), 1000);
    set(*device_, ios(5000));
    static_cast<void>(count(0.1));
    expect_near(count(1), 5000);
    Policy bytes;
    bytes.w_bytes.rate = kMib;  // The loads read: nothing limits them.
    set(*device_, bytes);
    EXPECT_GT(count(0.001), 500U);
    bytes.r_bytes.rate = 4 * kMib;
    set(*device_, bytes);
    static_cast<void>(count(0.1));
    expect_near(count(1), 1024);
    set(*device_, {});
    EXPECT_GT(count(0.001), 500U);
    EXPECT_FALSE(device_->limits().policy().has_limits());
}

TEST_F(DeviceLimitsTest, TakingALimitAwayLetsAllGoThatWait) {
    set(*device_, ios(1));
    auto& load_0 = load(*device_, 0, {.depth = 100});
    load_0.start();
    node_.world.run_for(kNsPerMs);
    load_0.stop();
    EXPECT_LE(load_0.completed, 2U);
    set(*device_, {});
    node_.world.run_for(kNsPerMs);
    EXPECT_TRUE(load_0.is_idle());
    EXPECT_GE(load_0.completed, 100U);
    EXPECT_EQ(load_0.failed, 0U);
}

TEST_F(DeviceLimitsTest, NothingRunsWhileNobodyDoesIo) {
    set(*device_, ios(10'000));
    load(*device_, 0, {.depth = 4});
    load(*device_, 1, {.depth = 4});
    start();
    static_cast<void>(count(0.1));
    stop();
    // Until the last tokens are home, and then never again.
    EXPECT_TRUE(node_.world.run_until_idle(kNsPerSecond));
    EXPECT_EQ(node_.core(0).next_wakeup_ns(), UINT64_MAX);
    EXPECT_EQ(node_.core(1).next_wakeup_ns(), UINT64_MAX);
}

TEST_F(DeviceLimitsTest, WhoWaitsSleepsUntilTheNextToken) {
    set(*device_, ios(10));
    auto& load_0 = load(*device_, 0, {.depth = 8});
    load_0.start();
    node_.world.run_for(kNsPerSecond);
    const uint64_t timers = node_.core(0).counters().timers + node_.core(1).counters().timers;
    node_.world.run_for(10 * kNsPerSecond);
    const uint64_t expired = node_.core(0).counters().timers + node_.core(1).counters().timers;
    EXPECT_LE(expired - timers, 10U * 10 * 3);
}

TEST_F(DeviceLimitsTest, TokensOfAnIdleCoreGoToTheOther) {
    set(*device_, ios(1000));
    auto& first = load(*device_, 0, {.depth = 32});
    auto& second = load(*device_, 1, {.depth = 32});
    first.start();
    second.start();
    static_cast<void>(count(1));
    second.stop();
    static_cast<void>(count(0.2));
    expect_near(count(1), 1000);
}

TEST_F(DeviceLimitsTest, RequestsKeepTheirOrder) {
    set(*device_, ios(1000));
    auto& channel = open(*device_, 0);
    std::vector<std::unique_ptr<TestIo>> queued;
    for (int i = 0; i < 50; ++i) {
        queued.push_back(std::make_unique<TestIo>());
        queued.back()->prepare(i % 3 == 0 ? IoOp::kWrite : IoOp::kRead, 0, 1, 4096);
        queued.back()->submit(channel);
    }
    for (size_t i = 0; i < 50; ++i) {
        node_.finish(*queued[i]);
        for (size_t later = i + 12; later < 50;
             ++later) {  // A slice and the bucket's depth at most.
            EXPECT_FALSE(queued[later]->is_done()) << i << " " << later;
        }
    }
}

TEST_F(DeviceLimitsTest, WhoeverMadeARequestMayTakeItOutOfLine) {
    set(*device_, ios(1));
    auto& channel = open(*device_, 0);
    TestIo first;
    TestIo held;
    first.prepare(IoOp::kRead, 0, 1, 4096);
    held.prepare(IoOp::kRead, 0, 1, 4096);
    first.submit(channel);
    node_.finish(first);
    held.submit(channel);
    node_.world.run_for(kNsPerMs);
    ASSERT_NE(held.request.lane, nullptr);
    held.request.lane->forget(held.request);
    held.request.complete(Errc::kCancelled);
    EXPECT_EQ(held.code(), Errc::kCancelled);
    EXPECT_EQ(channel.in_flight(), 0U);
}

TEST_F(DeviceLimitsTest, ADrainLetsAllGoThatWait) {
    set(*device_, ios(1));
    auto& load_0 = load(*device_, 0, {.depth = 64});
    auto& load_1 = load(*device_, 1, {.depth = 4});
    load_0.start();
    load_1.start();
    node_.world.run_for(kNsPerMs);
    load_0.stop();
    Event idle([](Event&, Reactor&) {});
    channels_[0]->notify_idle(idle);
    node_.world.run_for(kNsPerMs);
    EXPECT_TRUE(load_0.is_idle());
    EXPECT_EQ(load_0.failed, 0U);
    EXPECT_FALSE(load_1.is_idle());  // The other core's wait on.
}

TEST_F(DeviceLimitsTest, ADeviceMayGoAtAnyMoment) {
    for (int round = 0; round < 20; ++round) {
        Device* device = add_device("Passing");
        done(device->limits().set(node_.control(), ios(100'000), nullptr));
        auto channel = std::move(device->open(node_.core(1))).value();
        QosLoad load(*channel, {.depth = 4});
        load.start();
        node_.world.run_for(static_cast<uint64_t>(round) * 700);
        load.stop();
        ASSERT_TRUE(node_.world.run_until([&] { return load.is_idle(); }, kNsPerSecond));
        channel.reset();
        // A claim may be on its way, and the idle timer runs.
        ASSERT_TRUE(registry_.remove("Passing"));
        node_.world.run_for(kNsPerMs);
    }
}

TEST_F(DeviceLimitsTest, APowerLossInTheMiddleIsSurvived) {
    set(*device_, ios(100));
    load(*device_, 0, {.depth = 16});
    load(*device_, 1, {.depth = 16});
    start();
    node_.world.run_for(100 * kNsPerMs);
    node_.world.crash_node(node_.node);
    channels_.clear();
    loads_.clear();
}

TEST_F(DeviceLimitsTest, AnUpperDevicesLimitHoldsAboveALayer) {
    Device* delay =
        *registry_.add(*DelayBdev::make({.name = "Delay0",
                                         .uuid = Uuid::make_random(),
                                         .latencies = {.avg_read_us = 100, .p99_read_us = 100}},
                                        *device_));
    set(*delay, ios(500));
    set(*device_, ios(700));
    load(*delay, 0, {.depth = 16});
    load(*delay, 1, {.depth = 16});
    start();
    expect_near(count(1), 500);
    set(*device_, ios(300));
    static_cast<void>(count(0.1));
    expect_near(count(1), 300, 0.03);
}

// --- Groups ------------------------------------------------------------------------------------

class DeviceGroupTest : public DeviceLimitsTest {
  protected:
    DeviceGroupTest()
        : group_(node_.control(), node_.cores(), CoreId(1), &qos::Throttle::go, ios(10'000)) {
        other_ = add_device("Null1");
        third_ = add_device("Null2");
    }
    ~DeviceGroupTest() override {
        stop();
        for (Device* device : {device_, other_, third_}) {
            done(device->limits().clear(node_.control()));
        }
    }

    qos::Domain group_;
    Device* other_ = nullptr;
    Device* third_ = nullptr;
};

TEST_F(DeviceGroupTest, DevicesShareACapacityByWeightAndMinimum) {
    Policy reserved;
    reserved.min_ios = 6000;
    set(*device_, reserved, &group_);
    Policy heavy;
    heavy.weight = 300;
    set(*other_, heavy, &group_);
    set(*third_, {}, &group_);
    auto& a = load(*device_, 0, {.depth = 32});
    auto& b = load(*other_, 1, {.depth = 32});
    auto& c = load(*third_, 0, {.depth = 128});
    auto& d = load(*third_, 1, {.depth = 128});
    start();
    expect_near(count(2), 20'000);
    expect_near(a.completed, 12'000, 0.03);
    expect_near(b.completed, 6000, 0.03);
    expect_near(c.completed + d.completed, 2000, 0.06);
    // Who wants nothing leaves it to the others.
    a.stop();
    static_cast<void>(count(0.1));
    const uint64_t before = b.completed;
    expect_near(count(1), 10'000);
    expect_near(b.completed - before, 7500, 0.03);
}

TEST_F(DeviceGroupTest, MinimumsBeyondTheCapacityAreRefused) {
    Policy policy;
    policy.min_ios = 6000;
    set(*device_, policy, &group_);
    EXPECT_EQ(other_->limits().can_set(policy, &group_).error().code, Errc::kNoSpace);
    EXPECT_TRUE(device_->limits().can_set(policy, &group_));  // Its own counts once.
    policy.min_ios = 4000;
    EXPECT_TRUE(other_->limits().can_set(policy, &group_));
    policy.min_ios = 0;
    policy.min_bytes = 1;  // The group has no limit of bytes.
    EXPECT_EQ(other_->limits().can_set(policy, &group_).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(other_->limits().can_set(policy, nullptr).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(group_.can_offer(ios(5000)).error().code, Errc::kNoSpace);
    EXPECT_TRUE(group_.can_offer(ios(6000)));
    Policy one_way;
    one_way.r_bytes.rate = 1;
    EXPECT_EQ(group_.can_offer(one_way).error().code, Errc::kInvalidArgument);
}

TEST_F(DeviceGroupTest, MembersComeAndGoAndTheCapacityChangesUnderLoad) {
    set(*device_, {}, &group_);
    auto& a = load(*device_, 0, {.depth = 32});
    load(*device_, 1, {.depth = 32});
    start();
    expect_near(count(1), 10'000);
    set(*other_, {}, &group_);
    auto& b = load(*other_, 1, {.depth = 32});
    b.start();
    static_cast<void>(count(0.1));
    const uint64_t before = b.completed;
    expect_near(count(1), 10'000);
    expect_near(b.completed - before, 5000, 0.03);
    done(group_.set_capacity(ios(2000)));
    static_cast<void>(count(0.1));
    expect_near(count(1), 2000);
    // Out of the group, with a limit of its own.
    set(*other_, ios(300));
    static_cast<void>(count(0.1));
    const uint64_t alone = b.completed;
    expect_near(count(1), 2300, 0.03);
    expect_near(b.completed - alone, 300, 0.03);
    EXPECT_GT(a.completed, 0U);
}

}  // namespace
}  // namespace basalt::bdev
