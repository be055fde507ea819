// No write lands after its host has been told that the association is over, however slow the device
// is: the host may have sent it again by another path, and written something newer since.
#include <gtest/gtest.h>

#include "nvmf/initiator/host_controller.h"
#include "nvmf/wire/command_build.h"
#include "reactor/base/log.h"
#include "test/nvmf/target/late_bdev.h"

namespace basalt::nvmf {
namespace {

constexpr uint32_t kQueues = 3;
constexpr uint32_t kWorkers = 8;

/// How the association ends, and how its host knows.
enum class End : uint8_t {
    kDisabled,  ///< The host disables the controller and sees CSTS.RDY become 0.
    kClosed,    ///< The target closes, because the host is no longer allowed.
};

class WritingHost {
  public:
    WritingHost(TargetWorld& world, LateBdev& late, uint64_t seed)
        : world_(world), late_(late), random_(seed) {
        const HostOptions options{.address = world.address,
                                  .subsystem_nqn = std::string(TargetWorld::kNqn),
                                  .host_nqn = "nqn.2026-11.io.basalt:host",
                                  .disable_sq_flow_control = random_.chance(1, 2),
                                  .keep_alive_ms = 5000,
                                  .command_timeout_ns = 1000 * kNsPerSecond};
        controller = std::make_unique<HostController>(*world.host, options, nullptr);
    }

    /// Writes on several queues until they end.
    Task<void> write() {
        const Status connected = co_await controller->connect();
        BASALT_ASSERT(connected.has_value());
        for (uint32_t i = 0; i < kQueues; ++i) {
            const QueueId qid(static_cast<uint16_t>(i + 1));
            queues_.push_back(std::make_unique<HostQueue>(
                *world_.host, controller->io_queue_options(qid, 1 + kWorkers)));
            const Result<ControllerId> joined = co_await queues_.back()->connect();
            BASALT_ASSERT(joined.has_value());
        }
        is_connected = true;
        std::vector<Task<void>> workers;
        for (const auto& queue : queues_) {
            for (uint32_t i = 0; i < kWorkers; ++i) {
                workers.push_back(worker(*queue));
            }
        }
        for (Task<void>& one : workers) {
            co_await one;
        }
        for (const auto& queue : queues_) {
            co_await queue->end();
        }
    }

    std::unique_ptr<HostController> controller;
    bool is_connected = false;

  private:
    Task<void> worker(HostQueue& queue) {
        while (queue.is_live()) {
            const uint64_t count = 1 + random_.below(40);
            std::vector<std::byte> data(count * TargetWorld::kBlockBytes);
            const iovec piece{data.data(), data.size()};
            HostCommand command;
            command.sqe = make_command(nvme_cmd_write, CommandId(0), late_.nsid);
            command.data_bytes = static_cast<uint32_t>(data.size());
            set_range(
                command.sqe, Lba(random_.below(TargetWorld::kBlocks - count)), BlockCount(count));
            command.pieces = {&piece, 1};
            co_await execute(queue, command);
        }
    }

    TargetWorld& world_;
    LateBdev& late_;
    Random random_;
    std::vector<std::unique_ptr<HostQueue>> queues_;
};

struct Outcome {
    uint64_t landed_before = 0;
    uint64_t landed_after = 0;
    bool had_writes_waiting = false;
};

Outcome run(uint64_t seed, End end) {
    Log::set_level(LogLevel::kError);
    TargetWorld world(seed);
    LateBdev& late = LateBdev::add(world, "Late");
    late.random = Random(seed);
    late.delay_max_ns = 50 * kNsPerMs;
    WritingHost host(world, late, seed);
    Task<void> writing = host.write();
    BASALT_ASSERT(world.world.run_until([&] { return host.is_connected; }, kNsPerSecond));
    world.world.run_for(world.world.random().below(100 * kNsPerMs));
    const std::string nqn(TargetWorld::kNqn);
    for (uint16_t qid = 1; qid <= kQueues; ++qid) {
        if (world.world.random().chance(1, 2)) {
            const CoreId to(static_cast<uint32_t>(world.world.random().below(2)));
            static_cast<void>(
                world.run(world.target->move_queue(nqn, host.controller->id(), QueueId(qid), to)));
        }
    }
    Outcome outcome;
    outcome.had_writes_waiting = late.held_count() > 0;
    switch (end) {
        case End::kDisabled: {
            Task<Status> disabling = host.controller->disable();
            BASALT_ASSERT(world.world.run_until([&] { return disabling.is_done(); }, kNsPerSecond));
            EXPECT_TRUE(disabling.result().has_value());
            break;
        }
        case End::kClosed: world.expect_ok(world.target->allow_any_host(nqn, false)); break;
    }
    if (end != End::kDisabled) {
        const HostQueue& admin = host.controller->admin();
        EXPECT_TRUE(world.world.run_until(
            [&] { return admin.phase() == HostQueue::Phase::kClosed; }, 100 * kNsPerSecond));
    }
    outcome.landed_before = late.landed_writes;
    world.world.run_for(kNsPerSecond);
    outcome.landed_after = late.landed_writes;
    Task<void> ending = host.controller->end();
    BASALT_ASSERT(world.world.run_until([&] { return ending.is_done() && writing.is_done(); },
                                        100 * kNsPerSecond));
    return outcome;
}

void check(End end) {
    uint32_t with_writes_waiting = 0;
    for (uint64_t seed = 0; seed < 40; ++seed) {
        const Outcome outcome = run(seed, end);
        EXPECT_EQ(outcome.landed_after, outcome.landed_before) << "seed " << seed;
        EXPECT_GT(outcome.landed_before, 0U);
        with_writes_waiting += outcome.had_writes_waiting ? 1U : 0U;
    }
    EXPECT_GT(with_writes_waiting, 30U);
}

TEST(LateWrite, NoneLandsAfterTheControllerIsDisabled) {
    check(End::kDisabled);
}

TEST(LateWrite, NoneLandsAfterTheTargetHasClosedTheAdminQueue) {
    check(End::kClosed);
}

}  // namespace
}  // namespace basalt::nvmf
