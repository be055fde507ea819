// Our host against our target over the simulated network, with everything going wrong that may:
// each command is answered once, and what is read is what was last acknowledged.
#include <algorithm>
#include <cstring>

#include <gtest/gtest.h>

#include "nvmf/initiator/host_controller.h"
#include "nvmf/wire/command_build.h"
#include "reactor/base/log.h"
#include "test/nvmf/target/target_world.h"
#include "test/sim/seeds.h"

namespace basalt::nvmf {
namespace {

constexpr uint64_t kOperations = 300;
constexpr uint32_t kWorkers = 12;
constexpr uint64_t kBlocksMax = 40;  // 20 KiB: some in the capsule, most by R2T.
constexpr uint32_t kAttempts = 200;

struct Outcome {
    uint64_t completed = 0;
    uint64_t failed = 0;   // Commands whose connection ended.
    uint64_t wrong = 0;    // Blocks read that are not what they must be.
    uint64_t refused = 0;  // Commands that the target answered with an error: never right here.
    uint32_t connections = 0;
    uint64_t moves = 0;    // Of queues, from core to core.
    uint64_t changes = 0;  // Of the configuration.
    uint64_t trace_hash = 0;
    bool is_over = false;
};

/// What each block must hold. A block whose write failed may hold either, now or, if the old
/// connection's bytes are still on their way, later: it is not used again.
class BlockModel {
  public:
    enum class State : uint8_t { kFree, kBusy, kUnknown };

    BlockModel() : tokens_(TargetWorld::kBlocks), states_(TargetWorld::kBlocks) {}

    /// A run of free blocks, made busy; none after some tries.
    [[nodiscard]] bool take(Random& random, uint64_t& first, uint64_t& count) {
        for (int tries = 0; tries < 50; ++tries) {
            count = 1 + random.below(kBlocksMax);
            first = random.below(TargetWorld::kBlocks - count);
            const auto begin = states_.begin() + static_cast<ptrdiff_t>(first);
            const auto end = begin + static_cast<ptrdiff_t>(count);
            if (std::all_of(begin, end, [](State state) { return state == State::kFree; })) {
                std::fill(begin, end, State::kBusy);
                return true;
            }
        }
        return false;
    }
    void give(uint64_t first, uint64_t count, State state) {
        std::fill_n(states_.begin() + static_cast<ptrdiff_t>(first), count, state);
    }
    [[nodiscard]] bool is_known(uint64_t block) const { return states_[block] != State::kUnknown; }

    std::vector<uint64_t>& tokens() { return tokens_; }

  private:
    std::vector<uint64_t> tokens_;  // 0: never written, so zeroes.
    std::vector<State> states_;
};

class SimulatedHost {
  public:
    /// With `forgets_a_write` one write is modelled and not sent: the broken variant.
    SimulatedHost(TargetWorld& world, uint64_t seed, bool forgets_a_write, bool uses_tls)
        : world_(world), random_(seed), forgets_a_write_(forgets_a_write) {
        const bool has_digests = random_.chance(1, 2);
        options_ = {.address = world.address,
                    .subsystem_nqn = std::string(TargetWorld::kNqn),
                    .host_nqn = "nqn.2026-11.io.basalt:host",
                    .header_digest = has_digests,
                    .data_digest = has_digests && random_.chance(1, 2),
                    .disable_sq_flow_control = random_.chance(1, 2),
                    .keep_alive_ms = 5000,
                    .command_timeout_ns = 5 * kNsPerSecond};
        if (uses_tls) {
            use_tls();
        }
    }

    /// Works until all operations are done, over as many connections as it takes.
    Task<void> work() {
        while (issued_ < kOperations && outcome.connections < kAttempts) {
            co_await one_connection(false);
        }
    }
    /// Reads everything that is known, over connections that hold.
    Task<void> check_all() { co_await one_connection(true); }

    Outcome outcome;

  private:
    void use_tls() {
        const auto key = ConfiguredPsk::parse(
            "NVMeTLSkey-1:01:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrZ:");
        HostTls tls =
            make_host_tls(*key, "key0", {options_.host_nqn, options_.subsystem_nqn}).value();
        options_.tls = tls.credentials[random_.below(tls.credentials.size())];
        world_.expect_ok(
            world_.target->add_host(options_.subsystem_nqn, options_.host_nqn, std::move(tls)));
    }

    Task<void> one_connection(bool only_checks) {
        ++outcome.connections;
        HostController controller(*world_.host, options_, nullptr);
        const Status connected = co_await controller.connect();
        if (connected) {
            HostQueue queue(*world_.host, controller.io_queue_options(QueueId(1), 10));
            const Result<ControllerId> joined = co_await queue.connect();
            if (joined && only_checks) {
                co_await check_blocks(queue);
            } else if (joined) {
                std::vector<Task<void>> workers;
                for (uint32_t i = 0; i < kWorkers; ++i) {
                    workers.push_back(worker(queue));
                }
                for (Task<void>& one : workers) {
                    co_await one;
                }
            }
            co_await queue.end();
        }
        co_await controller.end();
    }

    Task<void> worker(HostQueue& queue) {
        while (issued_ < kOperations && queue.is_live()) {
            uint64_t first = 0;
            uint64_t count = 0;
            if (!model_.take(random_, first, count)) {
                break;
            }
            ++issued_;
            if (random_.chance(1, 2)) {
                co_await write(queue, first, count);
            } else {
                co_await read(queue, first, count);
            }
        }
    }

    void prepare(HostCommand& command,
                 uint8_t opcode,
                 uint64_t first,
                 std::span<const iovec> pieces) {
        command.sqe = make_command(opcode, CommandId(0), Nsid(1));
        for (const iovec& piece : pieces) {
            command.data_bytes += static_cast<uint32_t>(piece.iov_len);
        }
        set_range(
            command.sqe, Lba(first), BlockCount(command.data_bytes / TargetWorld::kBlockBytes));
        command.pieces = pieces;
    }

    /// False if the connection has ended; what the target refuses is counted.
    bool is_answered(const HostCommand& command) {
        ++outcome.completed;
        if (command.status) {
            return true;
        }
        outcome.refused += command.status.error().detail != 0 ? 1U : 0U;
        ++outcome.failed;
        return false;
    }

    Task<void> write(HostQueue& queue, uint64_t first, uint64_t count) {
        std::vector<std::byte> data(count * TargetWorld::kBlockBytes);
        const uint64_t token = ++last_token_;
        for (size_t at = 0; at < data.size(); at += sizeof(token)) {
            std::memcpy(&data[at], &token, sizeof(token));
        }
        const size_t cut = random_.below(data.size() + 1);
        const iovec pieces[2] = {{data.data(), cut}, {data.data() + cut, data.size() - cut}};
        HostCommand command;
        prepare(command, nvme_cmd_write, first, pieces);
        if (forgets_a_write_) {
            forgets_a_write_ = false;
        } else {
            co_await execute(queue, command);
        }
        const bool is_done = is_answered(command);
        if (is_done) {
            std::fill_n(model_.tokens().begin() + static_cast<ptrdiff_t>(first), count, token);
        }
        model_.give(first, count, is_done ? BlockModel::State::kFree : BlockModel::State::kUnknown);
    }

    Task<void> read(HostQueue& queue, uint64_t first, uint64_t count) {
        std::vector<std::byte> data(count * TargetWorld::kBlockBytes, std::byte{0xee});
        const iovec piece{data.data(), data.size()};
        HostCommand command;
        prepare(command, nvme_cmd_read, first, {&piece, 1});
        co_await execute(queue, command);
        if (is_answered(command)) {
            compare(data, first, count);
        }
        model_.give(first, count, BlockModel::State::kFree);
    }

    Task<void> check_blocks(HostQueue& queue) {
        for (uint64_t block = 0; block < TargetWorld::kBlocks; ++block) {
            if (model_.is_known(block)) {
                co_await read(queue, block, 1);
            }
        }
    }

    void compare(std::span<const std::byte> data, uint64_t first, uint64_t count) {
        for (uint64_t i = 0; i < count; ++i) {
            const uint64_t token = model_.tokens()[first + i];
            bool is_right = true;
            for (size_t at = 0; at < TargetWorld::kBlockBytes; at += sizeof(token)) {
                const auto word = data.subspan(i * TargetWorld::kBlockBytes + at, sizeof(token));
                is_right = is_right && std::memcmp(word.data(), &token, sizeof(token)) == 0;
            }
            outcome.wrong += is_right ? 0U : 1U;
        }
    }

    TargetWorld& world_;
    Random random_;
    bool forgets_a_write_;
    HostOptions options_;
    BlockModel model_;
    uint64_t issued_ = 0;
    uint64_t last_token_ = 0;
};

/// What an operator does, at any time and to whatever there is, until he is told to stop: moves
/// queues from core to core; adds and removes namespaces, addresses and hosts beside those that the
/// tested host uses.
class Operator {
  public:
    enum class Habit : uint8_t { kRests, kMoves, kChangesAll };

    Operator(TargetWorld& world, uint64_t seed, Habit habit)
        : is_over(habit == Habit::kRests), world_(world), random_(seed), habit_(habit) {
        world.add_malloc("Extra", TargetWorld::kBlocks, TargetWorld::kBlockBytes);
    }

    Task<void> work() {
        // Busy at first, then now and then: some runs take hours.
        for (uint32_t round = 0; round < 2000 && !is_over; ++round) {
            const uint64_t longest_ns = round < 500 ? 100 * kNsPerUs : 100 * kNsPerMs;
            co_await sleep_for(*world_.control, random_.below(longest_ns));
            switch (habit_ == Habit::kMoves ? 0 : random_.below(4)) {
                case 0: co_await move_queues(); break;
                case 1: co_await change_namespace(); break;
                case 2: co_await change_listener(); break;
                default: co_await change_host(); break;
            }
        }
    }

    bool is_over;
    uint64_t moves = 0;
    uint64_t changes = 0;

  private:
    Task<void> move_queues() {
        auto reading = world_.target->queues(nqn_);
        const auto queues = co_await reading;
        for (const QueueInfo& queue : *queues) {
            const CoreId to(static_cast<uint32_t>(random_.below(TargetWorld::kReactors)));
            auto moving = world_.target->move_queue(nqn_, queue.cntlid, queue.qid, to);
            const Status moved = co_await moving;
            moves += moved && to != queue.core ? 1U : 0U;
        }
    }
    Task<void> change_namespace() {
        constexpr Nsid kExtra(9);
        if (world_.target->find(nqn_)->find_namespace(kExtra) == nullptr) {
            NamespaceOptions options;
            options.device = world_.registry->find("Extra");
            options.claim = world_.registry->claim(*options.device, "a namespace").value();
            options.nsid = kExtra;
            auto adding = world_.target->add_namespace(nqn_, std::move(options));
            const auto added = co_await adding;
            EXPECT_TRUE(added.has_value());
        } else {
            auto removing = world_.target->remove_namespace(nqn_, kExtra);
            const Status removed = co_await removing;
            EXPECT_TRUE(removed.has_value());
        }
        ++changes;
    }
    Task<void> change_listener() {
        const SocketAddress extra = sim::World::address(world_.server, 4421);
        if (has_listener_) {
            auto removing = world_.target->remove_listener(nqn_, extra);
            const Status removed = co_await removing;
            EXPECT_TRUE(removed.has_value());
        } else {
            auto adding = world_.target->add_listener(nqn_, extra);
            const auto added = co_await adding;
            EXPECT_TRUE(added.has_value());
        }
        has_listener_ = !has_listener_;
        ++changes;
    }
    Task<void> change_host() {
        const std::string another = "nqn.2026-11.io.basalt:another";
        if (has_host_) {
            auto removing = world_.target->remove_host(nqn_, another);
            const Status removed = co_await removing;
            EXPECT_TRUE(removed.has_value());
        } else {
            auto adding = world_.target->add_host(nqn_, another);
            const Status added = co_await adding;
            EXPECT_TRUE(added.has_value());
        }
        has_host_ = !has_host_;
        ++changes;
    }

    TargetWorld& world_;
    Random random_;
    const Habit habit_;
    const std::string nqn_{TargetWorld::kNqn};
    bool has_listener_ = false;
    bool has_host_ = false;
};

Outcome run(uint64_t seed,
            const sim::FaultOptions& faults,
            bool forgets_a_write = false,
            bool uses_tls = false,
            Operator::Habit habit = Operator::Habit::kRests) {
    // Hosts and targets that lose each other a hundred times an hour have much to say.
    Log::set_level(LogLevel::kError);
    TransportOptions options;
    if (seed % 2 == 1) {
        options.requests = kRequestsPerGroupMin;  // Fewer than there are workers.
    }
    TargetWorld world(seed, sim::calm(), options);
    SimulatedHost host(world, seed, forgets_a_write, uses_tls);
    world.world.faults() = faults;
    constexpr uint64_t kLimitNs = 36'000 * kNsPerSecond;
    Operator around(world, seed, habit);
    Task<void> changing = around.work();
    Task<void> working = host.work();
    bool is_over = world.world.run_until([&] { return working.is_done(); }, kLimitNs);
    around.is_over = true;
    world.world.faults() = sim::calm();
    world.world.run_for(600 * kNsPerSecond);  // Partitions heal, the target notices who has gone.
    Task<void> checking = host.check_all();
    is_over = world.world.run_until([&] { return checking.is_done(); }, kLimitNs) && is_over;
    is_over = changing.is_done() && is_over;
    host.outcome.moves = around.moves;
    host.outcome.changes = around.changes;
    host.outcome.is_over = is_over;
    host.outcome.trace_hash = world.world.trace_hash();
    return host.outcome;
}

TEST(HostAndTarget, AllIsDoneOverOneConnectionWhenNothingFails) {
    for (const uint64_t seed : Seeds(10)) {
        const Outcome outcome = run(seed, sim::calm());
        EXPECT_TRUE(outcome.is_over);
        EXPECT_EQ(outcome.failed, 0U);
        EXPECT_EQ(outcome.wrong, 0U);
        EXPECT_EQ(outcome.connections, 2U);
        EXPECT_EQ(outcome.completed, kOperations + TargetWorld::kBlocks);
    }
}

TEST(HostAndTarget, NothingAcknowledgedIsLostUnderSwarmFaults) {
    uint64_t failed = 0;
    uint64_t succeeded = 0;
    const Seeds seeds(60);
    for (const uint64_t seed : seeds) {
        const Outcome outcome = run(seed, sim::swarm(seed));
        EXPECT_TRUE(outcome.is_over) << "seed " << seed;
        EXPECT_EQ(outcome.wrong, 0U) << "seed " << seed;
        EXPECT_EQ(outcome.refused, 0U) << "seed " << seed;
        failed += outcome.failed;
        succeeded += outcome.completed - outcome.failed;
    }
    if (seeds.are_usual()) {
        // Both outcomes must have been tried.
        EXPECT_GT(failed, 100U);
        EXPECT_GT(succeeded, 60 * kOperations / 2);
    }
}

TEST(HostAndTarget, NothingAcknowledgedIsLostThroughTlsEither) {
    uint64_t failed = 0;
    uint64_t succeeded = 0;
    const Seeds seeds(20);
    for (const uint64_t seed : seeds) {
        const Outcome outcome =
            run(seed, seed % 4 == 0 ? sim::calm() : sim::swarm(seed), false, true);
        EXPECT_TRUE(outcome.is_over) << "seed " << seed;
        EXPECT_EQ(outcome.wrong, 0U) << "seed " << seed;
        EXPECT_EQ(outcome.refused, 0U) << "seed " << seed;
        failed += outcome.failed;
        succeeded += outcome.completed - outcome.failed;
    }
    if (seeds.are_usual()) {
        EXPECT_GT(failed, 20U);
        EXPECT_GT(succeeded, 20 * kOperations / 2);
    }
}

TEST(HostAndTarget, NothingFailsBecauseAQueueMoves) {
    uint64_t moves = 0;
    for (uint64_t seed = 0; seed < 20; ++seed) {
        const Outcome outcome = run(seed, sim::calm(), false, false, Operator::Habit::kMoves);
        EXPECT_TRUE(outcome.is_over) << "seed " << seed;
        EXPECT_EQ(outcome.failed, 0U) << "seed " << seed;
        EXPECT_EQ(outcome.wrong, 0U) << "seed " << seed;
        EXPECT_EQ(outcome.completed, kOperations + TargetWorld::kBlocks) << "seed " << seed;
        moves += outcome.moves;
    }
    EXPECT_GT(moves, 200U);
}

TEST(HostAndTarget, NothingFailsBecauseSomethingElseIsReconfigured) {
    uint64_t changes = 0;
    uint64_t moves = 0;
    for (uint64_t seed = 0; seed < 20; ++seed) {
        const Outcome outcome = run(seed, sim::calm(), false, false, Operator::Habit::kChangesAll);
        EXPECT_TRUE(outcome.is_over) << "seed " << seed;
        EXPECT_EQ(outcome.failed, 0U) << "seed " << seed;
        EXPECT_EQ(outcome.wrong, 0U) << "seed " << seed;
        EXPECT_EQ(outcome.completed, kOperations + TargetWorld::kBlocks) << "seed " << seed;
        changes += outcome.changes;
        moves += outcome.moves;
    }
    EXPECT_GT(changes, 200U);
    EXPECT_GT(moves, 50U);
}

TEST(HostAndTarget, NothingAcknowledgedIsLostWhenQueuesMoveUnderSwarmFaults) {
    uint64_t moves = 0;
    uint64_t failed = 0;
    for (uint64_t seed = 100; seed < 130; ++seed) {
        const Outcome outcome = run(seed, sim::swarm(seed), false, false, Operator::Habit::kMoves);
        EXPECT_TRUE(outcome.is_over) << "seed " << seed;
        EXPECT_EQ(outcome.wrong, 0U) << "seed " << seed;
        EXPECT_EQ(outcome.refused, 0U) << "seed " << seed;
        moves += outcome.moves;
        failed += outcome.failed;
    }
    EXPECT_GT(moves, 1000U);
    EXPECT_GT(failed, 50U);
}

TEST(HostAndTarget, TheSameSeedGivesTheSameHistory) {
    for (const uint64_t seed : Seeds(3)) {
        EXPECT_EQ(run(seed, sim::swarm(seed)).trace_hash, run(seed, sim::swarm(seed)).trace_hash);
    }
}

TEST(HostAndTarget, AForgottenWriteIsCaught) {
    uint32_t caught = 0;
    for (const uint64_t seed : Seeds(10)) {
        caught += run(seed, sim::calm(), true).wrong > 0 ? 1U : 0U;
    }
    // Not in runs in which later writes covered all of it before anybody looked.
    EXPECT_GE(caught, 7U);
}

}  // namespace
}  // namespace basalt::nvmf
