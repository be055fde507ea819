// Several hosts over both reactors register, acquire, preempt, release and clear at random, with
// I/O under way on a slow device: no command gets through that its host had no right to, and after
// Preempt and Abort nothing of the preempted host reaches the medium any more.
#include "nvmf/target/reservation/reservation.h"

#include <algorithm>
#include <cstring>

#include <gtest/gtest.h>

#include "bdev/leaf/file_bdev.h"
#include "nvmf/initiator/host_controller.h"
#include "nvmf/target/reservation/reservation_view.h"
#include "nvmf/wire/command_build.h"
#include "reactor/base/log.h"
#include "test/nvmf/target/target_world.h"

namespace basalt::nvmf {
namespace {

constexpr uint32_t kHosts = 3;
constexpr uint32_t kWorkersPerHost = 4;
constexpr uint32_t kChanges = 40;
constexpr uint32_t kBlockBytes = 512;
constexpr uint64_t kBlocksPerHost = 16;  // Each host writes to its own.
constexpr Nsid kNsid{3};

struct Outcome {
    uint32_t granted = 0;       ///< I/O that got through.
    uint32_t refused = 0;       ///< Reservation conflicts.
    uint32_t wrong_io = 0;      ///< I/O answered against the rules.
    uint32_t wrong_change = 0;  ///< Reservation commands answered against the rules.
    uint32_t late_writes = 0;   ///< Blocks that changed after Preempt and Abort.
    uint32_t aborts = 0;        ///< Preempt and Abort that took somebody's right to write.
    uint32_t broken = 0;        ///< Anything that must not fail here.
};

HostId host_id(uint32_t index) {
    return HostId{static_cast<uint8_t>(index + 1)};
}

uint64_t key_of(uint32_t index) {
    return 0x100U + index;
}

/// What the hosts' rights were: one view for each time between two changes. While a change is under
/// way, what was before and what comes after are both right.
class RightsHistory {
  public:
    RightsHistory() { views_.emplace_back(); }

    void begin_change() { is_changing_ = true; }
    void end_change(const ReservationState& state) {
        is_changing_ = false;
        views_.emplace_back(state);
    }
    [[nodiscard]] size_t now() const { return views_.size() - 1; }

    struct Verdict {
        bool may_pass = false;
        bool may_conflict = false;
    };
    /// Of a command that was sent at time `from` and is answered now.
    [[nodiscard]] Verdict judge(size_t from,
                                const HostId& host,
                                IoAccess access,
                                const ReservationView* next) const {
        Verdict verdict;
        const auto add = [&](const ReservationView& view) {
            (view.allows(host, access) ? verdict.may_pass : verdict.may_conflict) = true;
        };
        for (size_t i = from; i < views_.size(); ++i) {
            add(views_[i]);
        }
        if (is_changing_ && next != nullptr) {
            add(*next);
        }
        return verdict;
    }
    [[nodiscard]] const ReservationView& current() const { return views_.back(); }

  private:
    std::vector<ReservationView> views_;
    bool is_changing_ = false;
};

/// The whole run: hosts, their workers, and one sequence that changes the reservation.
class Run {
  public:
    Run(TargetWorld& world, uint64_t seed) : world_(world), random_(seed ^ 0x5eed), model_(false) {
        for (uint32_t i = 0; i < kHosts; ++i) {
            HostOptions options{.address = world.address,
                                .subsystem_nqn = std::string(TargetWorld::kNqn),
                                .host_nqn = "nqn.2026-11.io.basalt:host" + std::to_string(i),
                                .host_id = host_id(i)};
            controllers_.push_back(std::make_unique<HostController>(*world.host, options, nullptr));
        }
    }

    Task<void> all() {
        for (auto& controller : controllers_) {
            const Status connected = co_await controller->connect();
            outcome.broken += connected ? 0U : 1U;
            // Two I/O queues: with the admin queue in between, they are on different reactors.
            for (uint16_t qid = 1; qid <= 2; ++qid) {
                queues_.push_back(std::make_unique<HostQueue>(
                    *world_.host, controller->io_queue_options(QueueId(qid), 32)));
                const Result<ControllerId> joined = co_await queues_.back()->connect();
                outcome.broken += joined ? 0U : 1U;
            }
        }
        std::vector<Task<void>> workers;
        for (uint32_t i = 0; i < kHosts * kWorkersPerHost; ++i) {
            workers.push_back(worker(i % kHosts));
        }
        co_await changes();
        is_over_ = true;
        for (Task<void>& one : workers) {
            co_await one;
        }
        for (auto& queue : queues_) {
            co_await queue->end();
        }
        for (auto& controller : controllers_) {
            co_await controller->end();
        }
    }

    Outcome outcome;

  private:
    HostQueue& any_queue(uint32_t host) { return *queues_[host * 2 + random_.below(2)]; }

    static NvmeStatus status_of(const HostCommand& command) {
        return command.status ? status::kSuccess
                              : NvmeStatus::from_raw(command.status.error().detail);
    }

    // --- I/O.

    Task<void> worker(uint32_t host) {
        std::vector<std::byte> data(kBlocksPerHost * kBlockBytes);
        while (!is_over_) {
            const bool is_write = random_.chance(2, 3);
            // One block comes in the capsule; all of them wait for an R2T after they are judged.
            const bool is_long = random_.chance(1, 2);
            const uint64_t first =
                host * kBlocksPerHost + (is_long ? 0 : random_.below(kBlocksPerHost));
            const uint64_t count = is_long ? kBlocksPerHost : 1;
            const uint64_t token = ++last_token_;
            for (uint64_t i = 0; i < count; ++i) {
                std::memcpy(&data[i * kBlockBytes], &token, sizeof(token));
            }
            const iovec piece{data.data(), count * kBlockBytes};
            HostCommand command;
            command.sqe =
                make_command(is_write ? nvme_cmd_write : nvme_cmd_read, CommandId(0), kNsid);
            set_range(command.sqe, Lba(first), BlockCount(count));
            command.pieces = {&piece, 1};
            command.data_bytes = static_cast<uint32_t>(piece.iov_len);
            const size_t from = history_.now();
            co_await execute(any_queue(host), command);
            judge(host, is_write ? IoAccess::kWrite : IoAccess::kRead, from, status_of(command));
        }
    }

    void judge(uint32_t host, IoAccess access, size_t from, NvmeStatus answer) {
        const auto verdict = history_.judge(from, host_id(host), access, next_ ? &*next_ : nullptr);
        if (answer.ok()) {
            ++outcome.granted;
            outcome.wrong_io += verdict.may_pass ? 0U : 1U;
        } else if (answer.is(status::kReservationConflict)) {
            ++outcome.refused;
            outcome.wrong_io += verdict.may_conflict ? 0U : 1U;
        } else {
            ++outcome.broken;
        }
    }

    // --- Changes, one after the other: then the model knows what each is to bring.

    ReservationEvent any_event(uint32_t host) {
        constexpr std::array kActions{ReservationAction::kRegister,
                                      ReservationAction::kRegister,
                                      ReservationAction::kUnregister,
                                      ReservationAction::kAcquire,
                                      ReservationAction::kAcquire,
                                      ReservationAction::kPreempt,
                                      ReservationAction::kPreemptAndAbort,
                                      ReservationAction::kPreemptAndAbort,
                                      ReservationAction::kPreemptAndAbort,
                                      ReservationAction::kRelease,
                                      ReservationAction::kClear};
        ReservationEvent event;
        event.action = kActions[random_.below(kActions.size())];
        event.host = host_id(host);
        event.current_key = key_of(host);
        event.type = static_cast<ReservationType>(1 + random_.below(kReservationTypeMax));
        event.other_key = event.action == ReservationAction::kRegister
                              ? key_of(host)
                              : key_of(static_cast<uint32_t>(random_.below(kHosts)));
        const bool is_preempt = event.action == ReservationAction::kPreempt ||
                                event.action == ReservationAction::kPreemptAndAbort;
        if (is_preempt && random_.chance(2, 3)) {
            // The holder, or with a type for all registrants everybody.
            const Registrant* holder = model_.state().find(model_.state().holder);
            event.other_key = holder == nullptr ? 0 : holder->key;
        }
        if (event.action == ReservationAction::kRelease) {
            event.type = model_.state().type;
        }
        return event;
    }

    static Sqe command_of(const ReservationEvent& event) {
        using enum ReservationAction;
        uint8_t opcode = nvme_cmd_resv_acquire;
        uint32_t action = static_cast<uint32_t>(event.action) - static_cast<uint32_t>(kAcquire);
        if (event.action <= kReplaceKey) {
            opcode = nvme_cmd_resv_register;
            action = static_cast<uint32_t>(event.action);
        } else if (event.action >= kRelease) {
            opcode = nvme_cmd_resv_release;
            action = static_cast<uint32_t>(event.action) - static_cast<uint32_t>(kRelease);
        }
        Sqe sqe = make_command(opcode, CommandId(0), kNsid);
        const bool has_type = opcode != nvme_cmd_resv_register;
        sqe.cdw10.set(action | (has_type ? static_cast<uint32_t>(event.type) << 8U : 0U));
        return sqe;
    }

    Task<void> changes() {
        for (uint32_t i = 0; i < kChanges; ++i) {
            co_await sleep_for(*world_.host, random_.below(8 * kNsPerMs));
            co_await check_fenced();
            const auto host = static_cast<uint32_t>(random_.below(kHosts));
            ReservationEvent event = any_event(host);
            if (!model_.state().is_registered(event.host) && random_.chance(2, 3)) {
                event.action = ReservationAction::kRegister;  // Strangers can do nothing else.
                event.other_key = key_of(host);
            }
            co_await change(host, event);
        }
    }

    Task<void> change(uint32_t host, ReservationEvent event) {
        Reservation after = model_;
        const ReservationOutcome expected = after.apply(event);
        next_.emplace(after.state());
        history_.begin_change();
        std::array<uint64_t, 2> keys{event.current_key, event.other_key};
        HostCommand command;
        command.sqe = command_of(event);
        command.data_bytes = command.sqe.opcode == nvme_cmd_resv_release ? 8 : 16;
        const iovec piece{keys.data(), command.data_bytes};
        command.pieces = {&piece, 1};
        co_await execute(any_queue(host), command);
        const NvmeStatus answer = status_of(command);
        outcome.wrong_change += answer.is(expected.status) ? 0U : 1U;
        model_ = after;
        history_.end_change(model_.state());
        next_.reset();
        co_await watch_aborted(expected);
    }

    // --- The medium after Preempt and Abort.

    Task<void> watch_aborted(const ReservationOutcome& expected) {
        for (uint32_t i = 0; i < kHosts; ++i) {
            const bool is_aborted =
                std::find(expected.aborted.begin(), expected.aborted.end(), host_id(i)) !=
                expected.aborted.end();
            if (is_aborted && !history_.current().allows(host_id(i), IoAccess::kWrite)) {
                ++outcome.aborts;
                fenced_[i] = co_await read_area(i);
            }
        }
    }
    /// Before the next change: what was fenced off has not moved since.
    Task<void> check_fenced() {
        for (uint32_t i = 0; i < kHosts; ++i) {
            if (!fenced_[i].empty()) {
                const std::vector<std::byte> now = co_await read_area(i);
                outcome.late_writes += now == fenced_[i] ? 0U : 1U;
                fenced_[i].clear();
            }
        }
    }
    Task<std::vector<std::byte>> read_area(uint32_t area) {
        std::vector<std::byte> data(kBlocksPerHost * kBlockBytes);
        // By whoever may read.
        uint32_t reader = 0;
        while (!history_.current().allows(host_id(reader), IoAccess::kRead)) {
            ++reader;
        }
        const iovec piece{data.data(), data.size()};
        HostCommand command;
        command.sqe = make_command(nvme_cmd_read, CommandId(0), kNsid);
        set_range(command.sqe, Lba(area * kBlocksPerHost), BlockCount(kBlocksPerHost));
        command.pieces = {&piece, 1};
        command.data_bytes = static_cast<uint32_t>(data.size());
        co_await execute(any_queue(reader), command);
        outcome.broken += command.status ? 0U : 1U;
        co_return data;
    }

    TargetWorld& world_;
    Random random_;
    Reservation model_;
    RightsHistory history_;
    std::optional<ReservationView> next_;  // What the change under way leads to.
    std::array<std::vector<std::byte>, kHosts> fenced_;
    std::vector<std::unique_ptr<HostController>> controllers_;
    std::vector<std::unique_ptr<HostQueue>> queues_;
    uint64_t last_token_ = 0;
    bool is_over_ = false;
};

Outcome run(uint64_t seed) {
    Log::set_level(LogLevel::kError);
    TargetWorld world(seed);
    // A drive that takes up to 3 ms, while a change takes some 100 us.
    bdev::FileOptions options;
    options.name = "File0";
    options.path = "/dev/slow";
    options.block_size_bytes = kBlockBytes;
    world.world.add_drive(
        world.server, options.path, {.size_bytes = 1U << 20U, .alignment_bytes = kBlockBytes});
    auto device = bdev::FileBdev::open(options, world.world.file_system(world.server)).value();
    BASALT_ASSERT(world.registry->add(std::move(device)).has_value());
    BASALT_ASSERT(world.add_namespace("File0") == kNsid);
    world.world.faults().storage_jitter_ns = 3 * kNsPerMs;
    world.world.faults().message_jitter_ns = 30 * kNsPerUs;
    world.world.faults().network_jitter_ns = 50 * kNsPerUs;
    world.world.faults().reactor_pause_ppm = 200;
    world.world.faults().reactor_pause_ns_max = kNsPerMs;
    Run run(world, seed);
    Task<void> running = run.all();
    EXPECT_TRUE(world.world.run_until([&] { return running.is_done(); }, 600 * kNsPerSecond));
    world.world.faults() = sim::calm();
    return run.outcome;
}

TEST(ReservationsOverReactors, NoCommandGetsThroughWithoutTheRight) {
    Outcome sum;
    for (uint64_t seed = 0; seed < 12; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        const Outcome outcome = run(seed);
        EXPECT_EQ(outcome.wrong_io, 0U);
        EXPECT_EQ(outcome.wrong_change, 0U);
        EXPECT_EQ(outcome.late_writes, 0U);
        EXPECT_EQ(outcome.broken, 0U);
        sum.granted += outcome.granted;
        sum.refused += outcome.refused;
        sum.aborts += outcome.aborts;
    }
    // All of it must have been tried.
    EXPECT_GT(sum.granted, 1000U);
    EXPECT_GT(sum.refused, 1000U);
    EXPECT_GT(sum.aborts, 10U);
    RecordProperty("granted", static_cast<int>(sum.granted));
    RecordProperty("refused", static_cast<int>(sum.refused));
    RecordProperty("aborts", static_cast<int>(sum.aborts));
}

}  // namespace
}  // namespace basalt::nvmf
