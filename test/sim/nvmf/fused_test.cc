// Compare and Write from many hosts at once, on several cores, over one slow device: no step of a
// counter is lost, and no plain write vanishes between a compare and its write.
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "bdev/leaf/file_bdev.h"
#include "nvmf/initiator/host_controller.h"
#include "nvmf/wire/command_build.h"
#include "reactor/base/log.h"
#include "test/nvmf/target/target_world.h"

namespace basalt::nvmf {
namespace {

constexpr uint32_t kHosts = 6;
constexpr uint32_t kCounters = 3;
constexpr uint64_t kStepsOfAHost = 40;
constexpr uint64_t kBlockBytes = TargetWorld::kBlockBytes;
constexpr Nsid kSlowNamespace{3};

using Block = std::array<std::byte, kBlockBytes>;

Block filled(uint64_t value) {
    Block block;
    for (size_t at = 0; at < block.size(); at += sizeof(value)) {
        std::memcpy(&block[at], &value, sizeof(value));
    }
    return block;
}

/// The value of a block, every word of which must say the same.
uint64_t value_of(const Block& block) {
    uint64_t value = 0;
    std::memcpy(&value, block.data(), sizeof(value));
    EXPECT_EQ(block, filled(value)) << "a torn block";
    return value;
}

/// Submits both halves as neighbours, and goes on when both are answered.
class ExecutePair {
  public:
    ExecutePair(HostQueue& queue, HostCommand& first, HostCommand& second)
        : queue_(queue), halves_{&first, &second} {}

    [[nodiscard]] bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> awaiter) {
        resume_.awaiter = awaiter;
        resume_.set_run(
            [](Event& event, Reactor&) { static_cast<Resume&>(event).awaiter.resume(); });
        for (HostCommand* half : halves_) {
            half->set_done(
                [](HostCommand&, void* self) {
                    auto& pair = *static_cast<ExecutePair*>(self);
                    if (--pair.awaited_ == 0) {
                        pair.queue_.reactor().defer(pair.resume_);
                    }
                },
                this);
            BASALT_ASSERT(queue_.submit(*half).has_value());
        }
    }
    void await_resume() const {}

  private:
    struct Resume : Event {
        std::coroutine_handle<> awaiter;
    };

    HostQueue& queue_;
    std::array<HostCommand*, 2> halves_;
    uint32_t awaited_ = 2;
    Resume resume_;
};

/// A target with one more namespace: a file on a drive that takes requests in any order.
class SlowWorld : public TargetWorld {
  public:
    explicit SlowWorld(uint64_t seed) : TargetWorld(seed, jitter()) {
        Log::set_level(LogLevel::kError);
        world.add_drive(
            server, "/d", {.size_bytes = 64 * kBlockBytes, .alignment_bytes = kBlockBytes});
        bdev::FileOptions options;
        options.name = "File0";
        options.path = "/d";
        options.block_size_bytes = kBlockBytes;
        BASALT_ASSERT(
            registry->add(bdev::FileBdev::open(options, world.file_system(server)).value())
                .has_value());
        BASALT_ASSERT(add_namespace("File0") == kSlowNamespace);
    }

  private:
    static sim::FaultOptions jitter() {
        sim::FaultOptions faults;
        faults.storage_jitter_ns = 200 * kNsPerUs;
        faults.network_jitter_ns = 50 * kNsPerUs;
        return faults;
    }
};

/// One host with its controller and one I/O queue.
class CountingHost {
  public:
    CountingHost(SlowWorld& world, uint64_t seed)
        : world_(world),
          random_(seed),
          controller_(*world.host,
                      {.address = world.address,
                       .subsystem_nqn = std::string(TargetWorld::kNqn),
                       .host_nqn = "nqn.2026-11.io.basalt:host"},
                      nullptr) {}

    Task<void> connect() {
        const Status connected = co_await controller_.connect();
        BASALT_ASSERT(connected.has_value());
        queue_ =
            std::make_unique<HostQueue>(*world_.host, controller_.io_queue_options(QueueId(1), 32));
        const Result<ControllerId> joined = co_await queue_->connect();
        BASALT_ASSERT(joined.has_value());
    }
    Task<void> end() {
        co_await queue_->end();
        co_await controller_.end();
    }

    /// Adds one to counters until it has done so often enough.
    Task<void> count() {
        while (steps < kStepsOfAHost) {
            const uint64_t counter = random_.below(kCounters);
            const uint64_t seen = co_await read(counter);
            if (co_await step(counter, seen, seen + 1)) {
                ++steps;
                ++added[counter];
            } else {
                ++lost_races;
            }
        }
    }

    /// Writes noise around the counters, which is none of their business.
    Task<void> write_around(uint64_t times) {
        for (uint64_t i = 0; i < times; ++i) {
            co_await write(kCounters + random_.below(8), i);
        }
    }

    Task<uint64_t> read(uint64_t block) {
        Block data{};
        HostCommand command;
        const iovec piece{data.data(), data.size()};
        prepare(command, nvme_cmd_read, block, piece);
        co_await execute(*queue_, command);
        EXPECT_TRUE(command.status);
        co_return value_of(data);
    }
    Task<void> write(uint64_t block, uint64_t value) {
        Block data = filled(value);
        HostCommand command;
        const iovec piece{data.data(), data.size()};
        prepare(command, nvme_cmd_write, block, piece);
        co_await execute(*queue_, command);
        EXPECT_TRUE(command.status);
    }
    /// Whether the block held `expected`, and holds `wanted` now.
    Task<bool> step(uint64_t block, uint64_t expected, uint64_t wanted) {
        Block old_data = filled(expected);
        Block new_data = filled(wanted);
        HostCommand compare;
        HostCommand write;
        const iovec old_piece{old_data.data(), old_data.size()};
        const iovec new_piece{new_data.data(), new_data.size()};
        prepare(compare, nvme_cmd_compare, block, old_piece);
        prepare(write, nvme_cmd_write, block, new_piece);
        compare.sqe.flags = static_cast<uint8_t>(compare.sqe.flags | 1U);
        write.sqe.flags = static_cast<uint8_t>(write.sqe.flags | 2U);
        ExecutePair both(*queue_, compare, write);
        co_await both;
        if (!compare.status) {
            EXPECT_EQ(compare.status.error().code, Errc::kCompareMismatch);
            EXPECT_EQ(write.status.error().detail, status::kAbortedFailedFused.with_dnr().raw());
            co_return false;
        }
        EXPECT_TRUE(write.status);
        co_return true;
    }

    uint64_t steps = 0;
    uint64_t lost_races = 0;
    std::array<uint64_t, kCounters> added{};

  private:
    static void prepare(HostCommand& command, uint8_t opcode, uint64_t block, const iovec& piece) {
        command.sqe = make_command(opcode, CommandId(0), kSlowNamespace);
        set_range(command.sqe, Lba(block), BlockCount(1));
        command.data_bytes = kBlockBytes;
        command.pieces = {&piece, 1};
    }

    SlowWorld& world_;
    Random random_;
    HostController controller_;
    std::unique_ptr<HostQueue> queue_;
};

class FusedHosts : public testing::TestWithParam<uint64_t> {
  protected:
    FusedHosts() {
        for (uint32_t i = 0; i < kHosts; ++i) {
            hosts.push_back(std::make_unique<CountingHost>(world, GetParam() * 100 + i));
            finish(hosts.back()->connect());
        }
    }
    ~FusedHosts() override {
        for (const auto& host : hosts) {
            finish(host->end());
        }
    }
    template <typename T>
    T finish(Task<T> task) {
        return world.run(std::move(task));
    }
    template <typename T>
    void finish_all(std::vector<Task<T>>& tasks) {
        for (Task<T>& task : tasks) {
            BASALT_ASSERT(
                world.world.run_until([&] { return task.is_done(); }, 600 * kNsPerSecond));
        }
    }

    SlowWorld world{GetParam()};
    std::vector<std::unique_ptr<CountingHost>> hosts;
};

TEST_P(FusedHosts, LoseNoStepOfACounter) {
    std::vector<Task<void>> tasks;
    for (const auto& host : hosts) {
        tasks.push_back(host->count());
        tasks.push_back(host->write_around(100));
    }
    finish_all(tasks);
    uint64_t lost_races = 0;
    for (uint64_t counter = 0; counter < kCounters; ++counter) {
        uint64_t sum = 0;
        for (const auto& host : hosts) {
            sum += host->added[counter];
        }
        EXPECT_EQ(finish(hosts[0]->read(counter)), sum);
    }
    for (const auto& host : hosts) {
        lost_races += host->lost_races;
    }
    EXPECT_GT(lost_races, kHosts * kStepsOfAHost / 4) << "they must have met";
}

TEST_P(FusedHosts, NeverHideAPlainWrite) {
    uint32_t stepped_first = 0;
    for (uint64_t round = 1; round <= 60; ++round) {
        finish(hosts[0]->write(0, round * 10));
        std::vector<Task<void>> writes;
        std::vector<Task<bool>> steps;
        writes.push_back(hosts[2 + round % 4]->write(0, round * 10 + 2));
        world.world.run_for((round % 10) * 20 * kNsPerUs);
        steps.push_back(hosts[round % 2]->step(0, round * 10, round * 10 + 1));
        finish_all(steps);
        finish_all(writes);
        stepped_first += steps[0].result() ? 1U : 0U;
        // Before the compare it makes the step fail, after the write it overwrites it.
        ASSERT_EQ(finish(hosts[1]->read(0)), round * 10 + 2) << "round " << round;
    }
    EXPECT_GT(stepped_first, 0U);
}

INSTANTIATE_TEST_SUITE_P(Seeds, FusedHosts, testing::Range(uint64_t{1}, uint64_t{9}));

}  // namespace
}  // namespace basalt::nvmf
