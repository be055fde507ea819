// Which connections are on which core: where new ones go, and how others follow.

#include <algorithm>
#include <utility>

#include "nvmf/target/poll_group.h"
#include "nvmf/target/poll_group_events.h"
#include "reactor/base/log.h"

namespace basalt::nvmf {

CoreId PollGroup::place_for_next() {
    const auto groups = static_cast<uint32_t>(peers_.size());
    uint32_t best = next_group_++ % groups;
    if (placement_.size() == groups) {
        for (uint32_t i = 1; i < groups; ++i) {
            const uint32_t other = (best + i) % groups;
            best = placement_[other] < placement_[best] ? other : best;
        }
        ++placement_[best];
    }
    return CoreId(best);
}

void PollGroup::begin_period() {
    ++period_;
    active_queues_ = 0;
    work_ = 0;
}

PollGroup::PeriodLoad PollGroup::period_load() const {
    return {.busy_ns = reactor_.counters().busy_ns,
            .connections = connection_count_,
            .active_queues = active_queues_,
            .work = work_};
}

bool PollGroup::move_some(CoreId to, uint64_t work, uint64_t work_max) {
    Connection* best = nullptr;
    uint64_t best_distance = UINT64_MAX;
    for_each_connection([&](Connection& connection) {
        const uint64_t done = connection.period_work().in(period_);
        const uint64_t distance = done < work ? work - done : done - work;
        if (done > 0 && done < work_max && distance < best_distance && connection.can_move()) {
            best = &connection;
            best_distance = distance;
        }
    });
    return best != nullptr && move(best->id(), to);
}

bool PollGroup::move(uint64_t connection_id, CoreId to) {
    Connection* connection = find_connection(connection_id);
    if (connection == nullptr || !connection->can_move() || is_ending_ || to == reactor_.core() ||
        to.raw() >= peers_.size()) {
        return false;
    }
    connection->begin_move(to);
    return true;
}

void PollGroup::send_away(Connection& connection, AcceptedSocket released, CoreId to) {
    remove(connection);
    --stats_.io_queues;
    part(connection);
    departed_.push_back({connection.id(), to});
    MoveEvent::send(*this, to, std::unique_ptr<Connection>(&connection), std::move(released));
}

void PollGroup::receive(MoveEvent& event) {
    Connection& connection = *event.connection.release();  // Owned through the list again.
    add(connection);
    // One that moves is not refused: without a place it is not counted here.
    connection.place = admission_.take_connection(connection.link.host_nqn);
    ++stats_.io_queues;
    Subsystem* subsystem = find_subsystem(event.subsystem);
    if (subsystem == nullptr || subsystem->is_closing() || is_ending_) {
        connection.arrive_unwanted(*this, std::move(event.released));
        return;
    }
    join(connection, *subsystem);
    // The configuration may have changed here while the connection was on its way, or before.
    const std::string_view why_not = judge_queue(*subsystem, connection);
    connection.arrive(*this, std::move(event.released));
    if (!why_not.empty()) {
        connection.close(why_not);
    }
}

void PollGroup::MoveEvent::send(PollGroup& from,
                                CoreId to,
                                std::unique_ptr<Connection> connection,
                                AcceptedSocket released) {
    connection->place = {};  // It is this core's.
    auto event = std::make_unique<MoveEvent>();
    event->origin = &from;
    event->receiver = from.peers_[to.raw()];
    event->connection_id = connection->id();
    event->subsystem = connection->link.subsystem_id;
    event->home = connection->link.home;
    event->cntlid = connection->link.cntlid;
    event->qid = connection->link.qid;
    event->connection = std::move(connection);
    event->released = std::move(released);
    event->set_run(
        [](Event& arrived, Reactor& here) { static_cast<MoveEvent&>(arrived).arrive(here); });
    Journey::begin(std::move(event), to);
}

void PollGroup::MoveEvent::arrive(Reactor& here) {
    BASALT_LOG(kInfo,
               "nvmf",
               "connection {}, queue {} of controller {}: from core {} to core {}",
               connection_id,
               qid.raw(),
               cntlid.raw(),
               origin->reactor_.core().raw(),
               here.core().raw());
    // Word of it goes ahead of whatever the connection says to its controller from here.
    set_run([](Event& arrived, Reactor& there) {
        static_cast<MoveEvent&>(arrived).tell_controller(there);
    });
    receiver->receive(*this);
    here.post(home, *this);
}

void PollGroup::MoveEvent::tell_controller(Reactor& here) {
    Subsystem* of_home = receiver->peers_[here.core().raw()]->find_subsystem(subsystem);
    Controller* controller = of_home == nullptr ? nullptr : of_home->find_controller(cntlid);
    if (controller != nullptr) {
        controller->queue_moved(qid, connection_id, receiver->reactor_.core());
    }
    set_run(
        [](Event& arrived, Reactor& there) { static_cast<MoveEvent&>(arrived).come_back(there); });
    here.post(origin->reactor_.core(), *this);
}

void PollGroup::MoveEvent::come_back(Reactor& here) {
    std::erase_if(origin->departed_,
                  [&](const Departed& each) { return each.connection_id == connection_id; });
    set_run([](Event& arrived, Reactor& there) { static_cast<MoveEvent&>(arrived).settle(there); });
    here.post(receiver->reactor_.core(), *this);
}

void PollGroup::MoveEvent::settle(Reactor& here) {
    if (Connection* moved = receiver->find_connection(connection_id)) {
        moved->settled();
    }
    Journey::go_home(*this, here);
}

}  // namespace basalt::nvmf
