#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "nvmf/target/poll_group.h"

// What poll groups say to each other. Each event is made by its sender, runs on the receiver's
// core, and goes home to be freed; setting a connection up is rare, so they are allocated one by
// one.

namespace basalt::nvmf {

/// How every event travels: out, back home, and there it is freed. A group counts those that are
/// not home yet, because each names it.
struct PollGroup::Journey {
    template <typename What>
    static void begin(std::unique_ptr<What> event, CoreId to) {
        PollGroup& origin = *event->origin;
        ++origin.events_under_way_;
        origin.reactor_.post(to, *event.release());
    }

    template <typename What>
    static void go_home(What& event, Reactor& here) {
        event.set_run([](Event& returned, Reactor&) {
            static_cast<void>(end(static_cast<What&>(returned)));
        });
        here.post(event.origin->reactor_.core(), event);
    }

    template <typename What>
    [[nodiscard]] static std::unique_ptr<What> end(What& event) {
        --event.origin->events_under_way_;
        return std::unique_ptr<What>(&event);
    }
};

/// A new connection for the receiver.
struct PollGroup::AcceptEvent : Event {
    static void send(PollGroup& from, CoreId to, AcceptedSocket accepted, ListenerId listener);

    PollGroup* origin = nullptr;
    PollGroup* receiver = nullptr;
    AcceptedSocket accepted;
    ListenerId listener;
};

/// One listening socket; deals the connections out to the groups in turn.
struct PollGroup::Acceptor final : ListenHandler {
    Acceptor(PollGroup& owner, ListenerId listener_id) : group(owner), id(listener_id) {}

    void on_accept(AcceptedSocket accepted) override;

    PollGroup& group;
    const ListenerId id;
    std::unique_ptr<Listener> listener;
};

/// An I/O queue asks its controller to admit it; comes back with the answer.
struct PollGroup::AttachEvent : Event {
    static void send(PollGroup& from, Request& request);

    PollGroup* origin = nullptr;
    PollGroup* receiver = nullptr;
    Request* request = nullptr;  ///< The Connect; its connection is held meanwhile.
    SubsystemId subsystem;
    ControllerId cntlid;
    QueueId qid;
    QueueMember member;
    ListenerId listener;
    bool disables_sq_flow_control = false;
    std::string host_nqn;
    std::array<uint8_t, 16> host_id{};
    NvmeStatus status;
    QueueSettings settings;
};

/// A message of a host that authenticates goes to the control thread; comes back when it is
/// applied.
struct PollGroup::AuthEvent : AuthJob {
    static void send(PollGroup& from, Request& request, TargetExchange& exchange);

    PollGroup* origin = nullptr;
    Authenticator* authenticator = nullptr;
    Request* request = nullptr;  ///< It holds its connection meanwhile.
};

/// An I/O queue's goodbye to its controller.
struct PollGroup::DetachEvent : Event {
    static void send(PollGroup& from, const ControllerLink& link);

    PollGroup* origin = nullptr;
    PollGroup* receiver = nullptr;
    SubsystemId subsystem;
    ControllerId cntlid;
    QueueId qid;
};

/// A controller asks one of its I/O queues to abort a command; comes back with the answer, which
/// may take until the host has sent the command's data.
struct PollGroup::AbortEvent : Event {
    explicit AbortEvent(Request& abort);
    static void send(PollGroup& from, Request& abort, const QueueMember& member);

    void arrive();
    void return_with(bool aborted);

    PollGroup* origin = nullptr;
    PollGroup* receiver = nullptr;
    Request& request;  ///< The Abort; its connection is held meanwhile.
    uint64_t connection_id = 0;
    AbortWaiter waiter;
    Timer patience;
    bool was_aborted = false;
};

/// A controller tells one of its I/O queues what its host has set.
struct PollGroup::SettingsEvent : Event {
    explicit SettingsEvent(Request& set_features) : request(set_features) {}
    static void send(PollGroup& from,
                     Request& request,
                     const QueueMember& member,
                     QueueSettings settings);

    PollGroup* origin = nullptr;
    PollGroup* receiver = nullptr;
    Request& request;  ///< Set Features; its connection is held meanwhile.
    uint64_t connection_id = 0;
    QueueSettings settings;
};

/// Goes from core to core and sums up what a subsystem has done; home again, it goes on with the
/// Get Log Page that wants to know.
struct PollGroup::HealthEvent : Event {
    explicit HealthEvent(Request& get_log_page) : request(get_log_page) {}
    static void send(PollGroup& from, Request& request);

    void arrive(Reactor& here);

    PollGroup* origin = nullptr;
    Request& request;  ///< Its connection is held meanwhile.
    SubsystemId subsystem;
    Nsid nsid;
    uint32_t next_core = 0;
    HealthCounters sum;
};

/// Goes from core to core and notes the controllers of a subsystem; home again, it goes on with the
/// Identify that wants to know.
struct PollGroup::ControllersEvent : Event {
    explicit ControllersEvent(Request& identify) : request(identify) {}
    static void send(PollGroup& from, Request& request);

    void arrive(Reactor& here);

    PollGroup* origin = nullptr;
    Request& request;  ///< Its connection is held meanwhile.
    SubsystemId subsystem;
    Nsid nsid{0};  ///< Only those whose hosts see it; 0: all.
    uint32_t next_core = 0;
    std::vector<uint16_t> found;
};

/// A controller's word to one of its I/O queues: close.
struct PollGroup::CloseEvent : Event {
    static void send(PollGroup& from, CoreId to, uint64_t connection_id);

    PollGroup* origin = nullptr;
    PollGroup* receiver = nullptr;
    uint64_t connection_id = 0;
};

/// A connection goes to another core, then word of that to its controller's. What that core sends
/// where the connection was arrives there before the event comes back, and is sent on; all of it
/// has arrived when the event comes to the connection once more, which may then move again.
struct PollGroup::MoveEvent : Event {
    static void send(PollGroup& from,
                     CoreId to,
                     std::unique_ptr<Connection> connection,
                     AcceptedSocket released);

    void arrive(Reactor& here);
    void tell_controller(Reactor& here);
    void come_back(Reactor& here);
    void settle(Reactor& here);

    PollGroup* origin = nullptr;
    PollGroup* receiver = nullptr;
    std::unique_ptr<Connection> connection;  ///< On its way.
    AcceptedSocket released;
    uint64_t connection_id = 0;
    SubsystemId subsystem;
    CoreId home;
    ControllerId cntlid;
    QueueId qid;
};

template <typename What>
bool PollGroup::forward(What& event) {
    const auto left = std::find_if(departed_.begin(), departed_.end(), [&](const Departed& each) {
        return each.connection_id == event.connection_id;
    });
    if (left == departed_.end()) {
        return false;
    }
    event.receiver = peers_[left->to.raw()];
    reactor_.post(left->to, event);
    return true;
}

}  // namespace basalt::nvmf
