// What a host that does one thing at a time notices of one that has many connections and keeps all
// of them full, on the same reactor. In virtual time, which counts the reactor's turns.
#include <algorithm>
#include <array>
#include <optional>

#include <gtest/gtest.h>

#include "nvmf/initiator/host_controller.h"
#include "nvmf/wire/command_build.h"
#include "reactor/base/log.h"
#include "test/nvmf/target/admin_host.h"
#include "test/nvmf/target/late_bdev.h"

namespace basalt::nvmf {
namespace {

constexpr uint32_t kDepth = 127;  // What a queue of 128 entries takes.

/// What a host does: on `queues` queues `depth` commands at a time.
struct Load {
    uint32_t queues = 1;
    uint32_t depth = 1;
    uint8_t opcode = nvme_cmd_read;
    uint32_t bytes = 4096;
    uint64_t commands_max = UINT64_MAX;
};

/// A machine of its own with one controller.
class LoadHost {
  public:
    LoadHost(TargetWorld& world, const std::string& name, Load load, Nsid nsid)
        : world_(world),
          reactor_(world.world.add_reactor(world.world.add_node())),
          load_(load),
          nsid_(nsid) {
        const HostOptions options{.address = world.address,
                                  .subsystem_nqn = std::string(TargetWorld::kNqn),
                                  .host_nqn = "nqn.2026-11.io.basalt:" + name,
                                  .command_timeout_ns = 1000 * kNsPerSecond};
        controller_ = std::make_unique<HostController>(reactor_, options, nullptr);
        Task<void> connecting = connect();
        BASALT_ASSERT(world.world.run_until([&] { return connecting.is_done(); }, kNsPerSecond));
        gather();
    }
    /// How many of its I/O queues are on each reactor.
    std::array<uint32_t, TargetWorld::kReactors> places() {
        std::array<uint32_t, TargetWorld::kReactors> found{};
        const auto queues = world_.run(world_.target->queues(std::string(TargetWorld::kNqn)));
        for (const QueueInfo& queue : *queues) {
            found[queue.core.raw()] += queue.qid != kAdminQueueId ? 1U : 0U;
        }
        return found;
    }
    void begin() { working_.push_back(work()); }
    bool is_done() const { return working_.front().is_done(); }
    void end() {
        load_.commands_max = 0;
        BASALT_ASSERT(working_.empty() ||
                      world_.world.run_until([&] { return is_done(); }, 100 * kNsPerSecond));
        Task<void> ending = close();
        BASALT_ASSERT(world_.world.run_until([&] { return ending.is_done(); }, kNsPerSecond));
    }

    uint64_t commands = 0;
    uint64_t longest_ns = 0;

  private:
    Task<void> connect() {
        const Status connected = co_await controller_->connect();
        BASALT_ASSERT(connected.has_value());
        for (uint32_t i = 0; i < load_.queues; ++i) {
            const QueueId qid(static_cast<uint16_t>(i + 1));
            queues_.push_back(std::make_unique<HostQueue>(
                reactor_, controller_->io_queue_options(qid, load_.depth + 1)));
            const Result<ControllerId> joined = co_await queues_.back()->connect();
            BASALT_ASSERT(joined.has_value());
        }
    }
    /// All queues to one reactor.
    void gather() {
        for (uint32_t i = 0; i < load_.queues; ++i) {
            world_.expect_ok(world_.target->move_queue(std::string(TargetWorld::kNqn),
                                                       controller_->id(),
                                                       QueueId(static_cast<uint16_t>(i + 1)),
                                                       CoreId(0)));
        }
        world_.world.run_for(kNsPerMs);
        const auto queues = world_.run(world_.target->queues(std::string(TargetWorld::kNqn)));
        for (const QueueInfo& queue : *queues) {
            BASALT_ASSERT(queue.qid == kAdminQueueId || queue.core == CoreId(0));
        }
    }
    Task<void> work() {
        std::vector<Task<void>> workers;
        for (const auto& queue : queues_) {
            for (uint32_t i = 0; i < load_.depth; ++i) {
                workers.push_back(worker(*queue));
            }
        }
        for (Task<void>& one : workers) {
            co_await one;
        }
    }
    Task<void> worker(HostQueue& queue) {
        std::vector<std::byte> data(load_.bytes);
        const iovec piece{data.data(), data.size()};
        while (commands < load_.commands_max) {
            ++commands;
            HostCommand command;
            command.sqe = make_command(load_.opcode, CommandId(0), nsid_);
            command.data_bytes = load_.bytes;
            set_range(command.sqe, Lba(0), BlockCount(load_.bytes / TargetWorld::kBlockBytes));
            command.pieces = {&piece, 1};
            const uint64_t began_ns = reactor_.now_ns();
            co_await execute(queue, command);
            BASALT_ASSERT(command.status.has_value());
            longest_ns = std::max(longest_ns, reactor_.now_ns() - began_ns);
        }
    }
    Task<void> close() {
        for (const auto& queue : queues_) {
            co_await queue->end();
        }
        co_await controller_->end();
    }

    TargetWorld& world_;
    Reactor& reactor_;
    Load load_;
    Nsid nsid_;
    std::unique_ptr<HostController> controller_;
    std::vector<std::unique_ptr<HostQueue>> queues_;
    std::vector<Task<void>> working_;
};

struct Outcome {
    uint64_t alone_ns = 0;   // The modest host's longest command.
    uint64_t beside_ns = 0;  // The same beside the greedy one.
    uint64_t greedy_commands = 0;
};

Outcome compare(uint64_t seed,
                const Load& modest,
                const Load& greedy,
                uint64_t device_ns,
                const TransportOptions& options) {
    Log::set_level(LogLevel::kError);
    Outcome outcome;
    for (const bool is_beside : {false, true}) {
        TargetWorld world(seed, sim::calm(), options);
        LateBdev& device = LateBdev::add(world, "Late");
        device.delay_max_ns = device_ns;
        LoadHost quiet(world, "quiet", modest, device.nsid);
        std::optional<LoadHost> loud;
        if (is_beside) {
            loud.emplace(world, "loud", greedy, device.nsid);
            loud->begin();
            world.world.run_for(20 * kNsPerMs);
        }
        quiet.begin();
        EXPECT_TRUE(world.world.run_until([&] { return quiet.is_done(); }, 100 * kNsPerSecond));
        (is_beside ? outcome.beside_ns : outcome.alone_ns) = quiet.longest_ns;
        if (is_beside) {
            outcome.greedy_commands = loud->commands;
            loud->end();
        }
        quiet.end();
    }
    return outcome;
}

void check(const Load& modest,
           const Load& greedy,
           uint64_t device_ns,
           const TransportOptions& options = {}) {
    for (uint64_t seed = 0; seed < 3; ++seed) {
        const Outcome outcome = compare(seed, modest, greedy, device_ns, options);
        EXPECT_GT(outcome.greedy_commands, 20 * modest.commands_max) << "it was greedy";
        EXPECT_LT(outcome.beside_ns, 3 * outcome.alone_ns)
            << "seed " << seed << ": alone " << outcome.alone_ns;
    }
}

TEST(Fairness, SmallReadsOfOneWaitForNoBacklogOfAnother) {
    check({.commands_max = 50}, {.queues = 16, .depth = kDepth}, 0);
}

TEST(Fairness, ALargeReadFindsABufferWhateverAnotherHostWants) {
    // 128 buffers of 128 KiB, and 2032 commands that want one for a millisecond each.
    check({.bytes = 131072, .commands_max = 20},
          {.queues = 16, .depth = kDepth, .bytes = 131072},
          kNsPerMs);
}

TEST(Fairness, ALargeWriteFindsABufferWhateverAnotherHostWants) {
    check({.opcode = nvme_cmd_write, .bytes = 65536, .commands_max = 20},
          {.queues = 16, .depth = kDepth, .opcode = nvme_cmd_write, .bytes = 65536},
          kNsPerMs);
}

TEST(Fairness, AWriteInTheCapsuleFindsABufferWhateverAnotherHostWants) {
    // 1024 buffers of 4 KiB, and 2032 commands.
    check({.opcode = nvme_cmd_write, .commands_max = 20},
          {.queues = 16, .depth = kDepth, .opcode = nvme_cmd_write},
          kNsPerMs);
}

/// Far fewer than the 2032 commands of the greedy.
TransportOptions few_requests() {
    TransportOptions options;
    options.requests = 64;
    options.capsule_requests = kCapsuleRequestsPerGroupMin;
    return options;
}

TEST(Fairness, AReadFindsARequestWhateverAnotherHostWants) {
    check({.commands_max = 20}, {.queues = 16, .depth = kDepth}, kNsPerMs, few_requests());
}

TEST(Fairness, AWriteInTheCapsuleFindsARequestWhateverAnotherHostWants) {
    check({.opcode = nvme_cmd_write, .commands_max = 20},
          {.queues = 16, .depth = kDepth, .opcode = nvme_cmd_write},
          kNsPerMs,
          few_requests());
}

TEST(Fairness, ALargeWriteFindsARequestWhateverAnotherHostWants) {
    check({.opcode = nvme_cmd_write, .bytes = 65536, .commands_max = 20},
          {.queues = 16, .depth = kDepth, .opcode = nvme_cmd_write, .bytes = 65536},
          kNsPerMs,
          few_requests());
}

// --- The balancer
// ----------------------------------------------------------------------------------

TEST(Balancing, NewConnectionsGoWhereThereAreTheFewest) {
    TargetWorld world(1);
    LateBdev& device = LateBdev::add(world, "Late");
    device.delay_max_ns = 0;
    LoadHost first(world, "first", {.queues = 6, .depth = 1}, device.nsid);
    world.target->set_balancing(true);
    world.world.run_for(2 * kNsPerSecond);
    EXPECT_EQ(first.places()[0], 6U) << "idle queues stay where they are";
    AdminHost admin(world);
    std::vector<std::unique_ptr<ScriptedHost>> others;
    for (uint16_t qid = 1; qid <= 4; ++qid) {
        ScriptedHost& io = *others.emplace_back(std::make_unique<ScriptedHost>(world));
        ASSERT_TRUE(io.handshake());
        ASSERT_TRUE(io.connect(QueueId(qid), admin.cntlid).status().ok());
    }
    EXPECT_EQ(first.places()[0], 6U);
    EXPECT_EQ(first.places()[1], 4U);
    first.end();
}

constexpr uint64_t kPeriodNs = 2 * kNsPerMs;

/// A device whose completions come one by one: a turn that finds many at once costs no more than
/// one that finds one.
LateBdev& add_uneven_device(TargetWorld& world) {
    Log::set_level(LogLevel::kError);
    world.world.faults().network_jitter_ns = 10 * kNsPerUs;
    LateBdev& device = LateBdev::add(world, "Late");
    device.delay_max_ns = 100 * kNsPerUs;
    return device;
}

/// How many of all queues are on reactor 0 at the end of each period.
std::vector<uint32_t> watch(TargetWorld& world, LoadHost& host, uint32_t periods) {
    std::vector<uint32_t> found;
    for (uint32_t i = 0; i < periods; ++i) {
        world.world.run_for(kPeriodNs);
        found.push_back(host.places()[0]);
    }
    return found;
}

/// The share of a period for which each reactor is busy, in thousandths.
std::array<uint64_t, TargetWorld::kReactors> busy_permille(TargetWorld& world) {
    std::array<uint64_t, TargetWorld::kReactors> found{};
    for (const bool is_end : {false, true}) {
        for (uint32_t i = 0; i < found.size(); ++i) {
            const uint64_t busy_ns =
                world.world.reactor(world.server, CoreId(i)).counters().busy_ns;
            found[i] = is_end ? (busy_ns - found[i]) * 1000 / kPeriodNs : busy_ns;
        }
        world.world.run_for(is_end ? 0 : kPeriodNs);
    }
    return found;
}

TEST(Balancing, ABusyReactorGivesQueuesToAnIdleOneUntilTheyAreEven) {
    constexpr uint32_t kQueues = 12;  // Each keeps a reactor busy for 6 to 10 % of the time.
    TargetWorld world(1);
    LateBdev& device = add_uneven_device(world);
    LoadHost host(world, "busy", {.queues = kQueues, .depth = 8}, device.nsid);
    host.begin();
    EXPECT_EQ(watch(world, host, 5), std::vector(5, kQueues)) << "nobody balances";
    EXPECT_GT(busy_permille(world)[0], 600U);
    EXPECT_LT(busy_permille(world)[1], 50U);

    world.target->set_balancing(true, kPeriodNs);
    const std::vector<uint32_t> counts = watch(world, host, 16);
    EXPECT_TRUE(std::is_sorted(counts.rbegin(), counts.rend())) << "one after the other";
    EXPECT_EQ(counts.back(), 7U) << "eight and four are not even, and six moves where five do";
    const auto busy = busy_permille(world);
    EXPECT_LT(busy[0], busy[1] + BalancePolicy::kGapPermille);
    EXPECT_EQ(watch(world, host, 35), std::vector(35, 7U)) << "and then they stay";
    host.end();
}

TEST(Balancing, AQueueThatWouldMakeTheOtherReactorTheBusierOneStays) {
    TargetWorld world(2);
    LateBdev& device = add_uneven_device(world);
    LoadHost host(world, "heavy", {.queues = 3, .depth = 48}, device.nsid);
    host.begin();
    world.target->set_balancing(true, kPeriodNs);
    const std::vector<uint32_t> counts = watch(world, host, 10);
    EXPECT_EQ(counts.back(), 2U);
    const auto busy = busy_permille(world);
    EXPECT_GT(busy[0], busy[1] + BalancePolicy::kGapPermille) << "as even as three can be";
    EXPECT_EQ(watch(world, host, 35), std::vector(35, 2U));
    host.end();
}

}  // namespace
}  // namespace basalt::nvmf
