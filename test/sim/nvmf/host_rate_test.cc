// Several hosts over both reactors of a target, each with limits, bursts, minimums and weights of
// its own: what each of them gets in virtual time, while settings change and others come and go.
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "nvmf/initiator/host_controller.h"
#include "nvmf/wire/command_build.h"
#include "test/nvmf/target/target_world.h"

namespace basalt::nvmf {
namespace {

constexpr uint64_t kMib = 1024 * 1024;
constexpr Nsid kNull{2};  // Blocks of 4 KiB.

std::string host_nqn(uint32_t index) {
    return "nqn.2026-11.io.basalt:host" + std::to_string(index);
}

/// One host: two queues, on different reactors, and workers that never wait.
class RateHost {
  public:
    struct Load {
        uint32_t workers = 8;  ///< On each queue.
        uint32_t blocks = 1;
        bool writes = false;
        Nsid nsid = kNull;
    };

    RateHost(TargetWorld& world, uint32_t index, Load load) : world_(world), load_(load) {
        HostOptions options{.address = world.address,
                            .subsystem_nqn = std::string(TargetWorld::kNqn),
                            .host_nqn = host_nqn(index),
                            .host_id = HostId{static_cast<uint8_t>(index + 1)}};
        controller_ = std::make_unique<HostController>(*world.host, options, nullptr);
        data_.resize(size_t{load.blocks} * 4096);
    }
    ~RateHost() { stop(); }

    void start() {
        auto starting = connect();
        BASALT_ASSERT(world_.world.run_until([&] { return starting.is_done(); }, kNsPerSecond * 9));
        for (uint32_t i = 0; i < 2 * load_.workers; ++i) {
            workers_.push_back(worker(*queues_[i % 2]));
        }
    }
    void stop() {
        if (is_over_) {
            return;
        }
        is_over_ = true;
        auto ending = end();
        EXPECT_TRUE(world_.world.run_until([&] { return ending.is_done(); }, 200 * kNsPerSecond));
    }

    uint64_t done = 0;
    uint64_t failed = 0;

  private:
    Task<void> connect() {
        const Status connected = co_await controller_->connect();
        BASALT_ASSERT(connected.has_value());
        for (uint16_t qid = 1; qid <= 2; ++qid) {
            queues_.push_back(std::make_unique<HostQueue>(
                *world_.host, controller_->io_queue_options(QueueId(qid), 128)));
            const Result<ControllerId> joined = co_await queues_.back()->connect();
            BASALT_ASSERT(joined.has_value());
        }
    }
    Task<void> worker(HostQueue& queue) {
        const iovec piece{data_.data(), data_.size()};
        while (!is_over_) {
            HostCommand command;
            command.sqe = make_command(
                load_.writes ? nvme_cmd_write : nvme_cmd_read, CommandId(0), load_.nsid);
            set_range(command.sqe, Lba(0), BlockCount(load_.blocks));
            command.pieces = {&piece, 1};
            command.data_bytes = static_cast<uint32_t>(data_.size());
            co_await execute(queue, command);
            if (!command.status) {
                ++failed;
                co_return;
            }
            ++done;
        }
    }
    Task<void> end() {
        for (Task<void>& one : workers_) {
            co_await one;
        }
        for (auto& queue : queues_) {
            co_await queue->end();
        }
        co_await controller_->end();
    }

    TargetWorld& world_;
    const Load load_;
    std::unique_ptr<HostController> controller_;
    std::vector<std::unique_ptr<HostQueue>> queues_;
    std::vector<std::byte> data_;
    std::vector<Task<void>> workers_;
    bool is_over_ = false;
};

class HostRateTest : public testing::Test {
  protected:
    ~HostRateTest() override {
        for (const auto& host : hosts_) {
            EXPECT_EQ(host->failed, 0U);
        }
        // Hosts at a low limit would take long to end.
        for (uint32_t i = 0; i < hosts_.size(); ++i) {
            set(i, {});
        }
        hosts_.clear();
    }

    RateHost& add(RateHost::Load load) {
        const auto index = static_cast<uint32_t>(hosts_.size());
        hosts_.push_back(std::make_unique<RateHost>(world_, index, load));
        hosts_.back()->start();
        return *hosts_.back();
    }
    void set(uint32_t index, const qos::Policy& policy) {
        world_.expect_ok(
            world_.target->set_host_rate(std::string(TargetWorld::kNqn), host_nqn(index), policy));
    }
    void share(const qos::Policy& capacity) {
        world_.expect_ok(world_.target->set_capacity(std::string(TargetWorld::kNqn), capacity));
    }
    /// What each host gets in so many seconds.
    std::vector<double> count(uint64_t seconds) {
        std::vector<uint64_t> before;
        for (const auto& host : hosts_) {
            before.push_back(host->done);
        }
        world_.world.run_for(seconds * kNsPerSecond);
        std::vector<double> got;
        for (size_t i = 0; i < hosts_.size(); ++i) {
            got.push_back(static_cast<double>(hosts_[i]->done - before[i]));
        }
        return got;
    }
    static void expect_near(double got, double wanted, double tolerance = 0.02) {
        EXPECT_NEAR(got, wanted, wanted * tolerance);
    }

    TargetWorld world_{7};
    std::vector<std::unique_ptr<RateHost>> hosts_;
};

qos::Policy ios(uint64_t rate) {
    qos::Policy policy;
    policy.rw_ios.rate = rate;
    return policy;
}

TEST_F(HostRateTest, EachHostKeepsItsLimitOverAllItsQueues) {
    set(0, ios(1000));
    set(1, ios(3000));
    qos::Policy bytes;
    bytes.w_bytes.rate = 8 * kMib;
    set(2, bytes);
    add({.workers = 16});
    add({.workers = 4, .writes = true});
    add({.workers = 8, .blocks = 8, .writes = true});  // By R2T.
    world_.world.run_for(kNsPerSecond / 10);
    const std::vector<double> got = count(1);
    expect_near(got[0], 1000);
    expect_near(got[1], 3000);
    expect_near(got[2] * 8 * 4096, 8.0 * kMib);
}

TEST_F(HostRateTest, LimitsChangeUnderLoadAndNothingFails) {
    add({.workers = 8, .writes = true});
    add({.workers = 8});
    for (const uint64_t rate : {2000ULL, 500ULL, 4000ULL}) {
        set(0, ios(rate));
        set(1, ios(2 * rate));
        world_.world.run_for(kNsPerSecond / 5);
        const std::vector<double> got = count(1);
        expect_near(got[0], static_cast<double>(rate));
        expect_near(got[1], static_cast<double>(2 * rate));
    }
    set(0, {});
    world_.world.run_for(kNsPerSecond / 100);
    const uint64_t before = hosts_[0]->done;
    world_.world.run_for(kNsPerSecond / 20);
    EXPECT_GT(hosts_[0]->done - before, 4000U / 20 * 2);
}

TEST_F(HostRateTest, ABurstIsThereForAHostThatWasIdle) {
    qos::Policy policy;
    policy.rw_ios = {.rate = 500, .burst_rate = 2000};
    policy.burst_seconds = 2;
    set(0, policy);
    add({.workers = 8});
    expect_near(count(2)[0], 4000, 0.03);
    expect_near(count(2)[0], 1000, 0.05);
}

TEST_F(HostRateTest, AMinimumIsHonouredUnderContentionAndTheRestSharedByWeight) {
    share(ios(4000));
    qos::Policy reserved;
    reserved.min_ios = 2000;
    set(0, reserved);
    qos::Policy heavy;
    heavy.weight = 300;
    set(1, heavy);
    add({.workers = 8, .writes = true});
    add({.workers = 32});
    add({.workers = 32, .writes = true});  // Without settings: one place, weight 100.
    world_.world.run_for(kNsPerSecond / 5);
    std::vector<double> got = count(2);
    expect_near(got[0], 4000, 0.03);
    expect_near(got[1], 3000, 0.03);
    expect_near(got[2], 1000, 0.05);
    expect_near(got[0] + got[1] + got[2], 8000);
    // Another one comes to the place of those without settings and shares it.
    add({.workers = 8});
    world_.world.run_for(kNsPerSecond / 5);
    got = count(2);
    expect_near(got[0], 4000, 0.03);
    expect_near(got[1], 3000, 0.03);
    expect_near(got[2] + got[3], 1000, 0.05);
    EXPECT_GT(got[3], 100);
    // Without the capacity everybody gets all there is.
    set(0, ios(1000));
    share({});
    world_.world.run_for(kNsPerSecond / 100);
    const uint64_t before = hosts_[2]->done;
    world_.world.run_for(kNsPerSecond / 50);
    EXPECT_GT(hosts_[2]->done - before, 200U);
}

TEST_F(HostRateTest, AHostAtItsLimitHoldsNoMemoryFromOthers) {
    // 128 commands in each queue, more than there are buffers of some sizes.
    set(0, ios(50));
    add({.workers = 100, .blocks = 32, .writes = true});
    set(1, ios(50));
    add({.workers = 100, .writes = true});
    set(2, ios(50));
    add({.workers = 100, .blocks = 32});
    auto& free = add({.workers = 4, .blocks = 32, .writes = true});
    world_.world.run_for(kNsPerSecond / 10);
    const uint64_t before = free.done;
    world_.world.run_for(kNsPerSecond / 10);
    EXPECT_GT(free.done - before, 500U);
}

TEST_F(HostRateTest, TheDevicesLimitHoldsForAllHostsTogether) {
    bdev::Device* device = world_.registry->find("Null0");
    auto limiting = device->limits().set(*world_.control, ios(1000), nullptr);
    ASSERT_TRUE(world_.world.run_until([&] { return limiting.is_done(); }, kNsPerSecond));
    add({.workers = 8});
    add({.workers = 8, .writes = true});
    world_.world.run_for(kNsPerSecond / 10);
    const std::vector<double> got = count(1);
    expect_near(got[0] + got[1], 1000);
    auto clearing = device->limits().clear(*world_.control);
    ASSERT_TRUE(world_.world.run_until([&] { return clearing.is_done(); }, kNsPerSecond));
}

TEST_F(HostRateTest, HostsComeAndGoWhileTheyWait) {
    set(0, ios(100));
    for (int round = 0; round < 10; ++round) {
        TargetWorld& world = world_;
        auto host = std::make_unique<RateHost>(world, 0, RateHost::Load{.workers = 2});
        host->start();
        world.world.run_for((1 + world.world.random().below(30)) * kNsPerMs);
        host->stop();
    }
    EXPECT_TRUE(world_.target->find(TargetWorld::kNqn)->find_rate(host_nqn(0)) != nullptr);
}

}  // namespace
}  // namespace basalt::nvmf
