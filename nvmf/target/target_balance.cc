#include <algorithm>
#include <utility>
#include <vector>

#include "nvmf/target/target.h"
#include "reactor/base/log.h"

// Which reactor serves which queue: once a period the control thread looks at all reactors, tells
// the one that accepts where there is room, and has one queue move if the load is uneven.

namespace basalt::nvmf {

namespace {

struct ReadLoad {
    PollGroup* group = nullptr;
    PollGroup::PeriodLoad load;

    static Task<void> run(Reactor&, ReadLoad& self) {
        self.load = self.group->period_load();
        co_return;
    }
};

struct MoveSome {
    PollGroup* group = nullptr;
    BalanceMove move;
    bool has_moved = false;

    static Task<void> run(Reactor&, MoveSome& self) {
        self.has_moved =
            self.group->move_some(CoreId(self.move.to), self.move.work, self.move.work_max);
        co_return;
    }
};

struct BeginPeriod {
    PollGroup* group = nullptr;
    const std::vector<uint32_t>* connections = nullptr;

    static Task<void> run(Reactor&, BeginPeriod& self) {
        self.group->begin_period();
        self.group->set_placement(*self.connections);
        co_return;
    }
};

struct MoveQueue {
    PollGroup* group = nullptr;
    SubsystemId subsystem;
    ControllerId cntlid;
    QueueId qid;
    CoreId to;
    bool is_found = false;
    bool has_moved = false;

    static Task<void> run(Reactor&, MoveQueue& self) {
        uint64_t id = 0;
        self.group->for_each_connection([&](const Connection& connection) {
            const ControllerLink& link = connection.link;
            if (link.subsystem != nullptr && link.subsystem_id == self.subsystem &&
                link.cntlid == self.cntlid && link.qid == self.qid && !connection.is_closing()) {
                self.is_found = true;
                id = connection.id();
            }
        });
        if (self.is_found) {
            self.has_moved = self.group->move(id, self.to);
        }
        co_return;
    }
};

}  // namespace

void Target::set_balancing(bool is_on, uint64_t period_ns) {
    balance_period_ns_ = period_ns;
    is_balancing_ = is_on && !is_ended_;
    control_.stop_timer(balance_timer_);
    if (is_balancing_) {
        control_.start_timer(balance_timer_, balance_period_ns_);
    }
}

void Target::on_balance_timer() {
    if (!is_balance_under_way_) {
        is_balance_under_way_ = true;
        balance().detach();
    }
    control_.start_timer(balance_timer_, balance_period_ns_);
}

Task<void> Target::balance() {
    {
        co_await changes_.acquire();
        const AsyncMutex::Turn turn(changes_);
        const uint64_t now_ns = control_.now_ns();
        const uint64_t period_ns = now_ns - std::exchange(period_began_ns_, now_ns);
        std::vector<ReactorLoad> loads;
        std::vector<uint32_t> connections;
        busy_before_ns_.resize(groups_.size());
        for (uint32_t i = 0; i < groups_.size(); ++i) {
            ReadLoad read{groups_[i], {}};
            visit<ReadLoad> trip(control_, CoreId(i), read, &ReadLoad::run);
            co_await trip;
            const uint64_t busy_ns =
                read.load.busy_ns - std::exchange(busy_before_ns_[i], read.load.busy_ns);
            loads.push_back({.busy_permille = static_cast<uint32_t>(std::min<uint64_t>(
                                 1000, period_ns == 0 ? 0 : busy_ns * 1000 / period_ns)),
                             .active_queues = read.load.active_queues,
                             .work = read.load.work});
            connections.push_back(read.load.connections);
        }
        if (const auto wanted = balance_policy_.observe(loads)) {
            MoveSome moved{groups_[wanted->from], *wanted};
            visit<MoveSome> trip(control_, CoreId(wanted->from), moved, &MoveSome::run);
            co_await trip;
        }
        for (uint32_t i = 0; i < groups_.size(); ++i) {
            BeginPeriod begun{groups_[i], &connections};
            visit<BeginPeriod> trip(control_, CoreId(i), begun, &BeginPeriod::run);
            co_await trip;
        }
    }
    is_balance_under_way_ = false;
}

Task<Status> Target::move_queue(std::string nqn, ControllerId cntlid, QueueId qid, CoreId to) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const SubsystemConfig* config = find(nqn);
    if (config == nullptr) {
        co_return Errc::kNotFound;
    }
    if (to.raw() >= reactor_count_) {
        co_return Errc::kInvalidArgument;
    }
    for (uint32_t i = 0; i < groups_.size(); ++i) {
        MoveQueue moved{groups_[i], config->id, cntlid, qid, to};
        visit<MoveQueue> trip(control_, CoreId(i), moved, &MoveQueue::run);
        co_await trip;
        if (moved.is_found) {
            co_return CoreId(i) == to || moved.has_moved ? kOk : Status(Errc::kNotSupported);
        }
    }
    co_return Errc::kNotFound;
}

}  // namespace basalt::nvmf
