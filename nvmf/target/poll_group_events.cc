#include "nvmf/target/poll_group_events.h"

#include <memory>

#include "nvmf/wire/command.h"

namespace basalt::nvmf {

namespace {

/// The last leg of every event: home, where it is freed.
template <typename What>
void free_at_home(Event& event, Reactor&) {
    const std::unique_ptr<What> owned(static_cast<What*>(&event));
}

template <typename What>
void go_home(What& event, Reactor& here) {
    event.set_run(&free_at_home<What>);
    here.post(event.origin->reactor().core(), event);
}

}  // namespace

void PollGroup::AcceptEvent::send(PollGroup& from,
                                  CoreId to,
                                  AcceptedSocket accepted,
                                  ListenerId listener) {
    auto event = std::make_unique<AcceptEvent>();
    event->origin = &from;
    event->receiver = from.peers_[to.raw()];
    event->accepted = accepted;
    event->listener = listener;
    event->set_run([](Event& arrived, Reactor& here) {
        auto& self = static_cast<AcceptEvent&>(arrived);
        self.receiver->accept(self.accepted, self.listener);
        go_home(self, here);
    });
    from.reactor_.post(to, *event.release());
}

void PollGroup::Acceptor::on_accept(AcceptedSocket new_socket) {
    const uint32_t next = group.next_group_++ % static_cast<uint32_t>(group.peers_.size());
    AcceptEvent::send(group, CoreId(next), new_socket, id);
}

void PollGroup::AttachEvent::send(PollGroup& from, Request& request) {
    const Connection& connection = request.connection;
    const ConnectView command(request.sqe);
    auto event = std::make_unique<AttachEvent>();
    event->origin = &from;
    event->receiver = from.peers_[connection.link.home.raw()];
    event->request = &request;
    event->subsystem = connection.link.subsystem->config().id;
    event->cntlid = connection.link.cntlid;
    event->qid = connection.link.qid;
    event->member = {from.reactor_.core(), connection.id(), command.queue_entries()};
    event->disables_sq_flow_control = command.disables_sq_flow_control();
    event->host_nqn = connection.link.host_nqn;
    event->host_id = connection.link.host_id;
    event->set_run([](Event& arrived, Reactor& here) {
        auto& self = static_cast<AttachEvent&>(arrived);
        self.status = self.receiver->attach_here(self);
        self.set_run([](Event& returned, Reactor&) {
            const std::unique_ptr<AttachEvent> owned(static_cast<AttachEvent*>(&returned));
            owned->origin->attach_done(*owned);
        });
        here.post(self.origin->reactor_.core(), self);
    });
    from.reactor_.post(connection.link.home, *event.release());
}

void PollGroup::DetachEvent::send(PollGroup& from, const ControllerLink& link) {
    auto event = std::make_unique<DetachEvent>();
    event->origin = &from;
    event->receiver = from.peers_[link.home.raw()];
    event->subsystem = link.subsystem->config().id;
    event->cntlid = link.cntlid;
    event->qid = link.qid;
    event->set_run([](Event& arrived, Reactor& here) {
        auto& self = static_cast<DetachEvent&>(arrived);
        self.receiver->detach_here(self.subsystem, self.cntlid, self.qid);
        go_home(self, here);
    });
    from.reactor_.post(link.home, *event.release());
}

void PollGroup::CloseEvent::send(PollGroup& from, CoreId to, uint64_t connection_id) {
    auto event = std::make_unique<CloseEvent>();
    event->origin = &from;
    event->receiver = from.peers_[to.raw()];
    event->connection_id = connection_id;
    event->set_run([](Event& arrived, Reactor& here) {
        auto& self = static_cast<CloseEvent&>(arrived);
        self.receiver->close_here(self.connection_id);
        go_home(self, here);
    });
    from.reactor_.post(to, *event.release());
}

}  // namespace basalt::nvmf
