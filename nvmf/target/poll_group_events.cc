#include "nvmf/target/poll_group_events.h"

#include <memory>
#include <utility>

#include "nvmf/target/admin_commands.h"
#include "nvmf/target/identify.h"
#include "nvmf/wire/command.h"

namespace basalt::nvmf {

void PollGroup::AcceptEvent::send(PollGroup& from,
                                  CoreId to,
                                  AcceptedSocket accepted,
                                  ListenerId listener) {
    auto event = std::make_unique<AcceptEvent>();
    event->origin = &from;
    event->receiver = from.peers_[to.raw()];
    event->accepted = std::move(accepted);
    event->listener = listener;
    event->set_run([](Event& arrived, Reactor& here) {
        auto& self = static_cast<AcceptEvent&>(arrived);
        self.receiver->accept(std::move(self.accepted), self.listener);
        Journey::go_home(self, here);
    });
    Journey::begin(std::move(event), to);
}

void PollGroup::Acceptor::on_accept(AcceptedSocket new_socket) {
    AcceptEvent::send(group, group.place_for_next(), std::move(new_socket), id);
}

void PollGroup::AttachEvent::send(PollGroup& from, Request& request) {
    const Connection& connection = request.connection();
    const ConnectView command(request.sqe);
    auto event = std::make_unique<AttachEvent>();
    event->origin = &from;
    event->receiver = from.peers_[connection.link.home.raw()];
    event->request = &request;
    event->subsystem = connection.link.subsystem->config().id;
    event->cntlid = connection.link.cntlid;
    event->qid = connection.link.qid;
    event->member = {from.reactor_.core(), connection.id(), command.queue_entries()};
    event->listener = connection.listener();
    event->disables_sq_flow_control = command.disables_sq_flow_control();
    event->host_nqn = connection.link.host_nqn;
    event->host_id = connection.link.host_id;
    event->set_run([](Event& arrived, Reactor& here) {
        auto& self = static_cast<AttachEvent&>(arrived);
        self.status = self.receiver->attach_here(self);
        self.set_run([](Event& returned, Reactor&) {
            const auto owned = Journey::end(static_cast<AttachEvent&>(returned));
            owned->origin->attach_done(*owned);
        });
        here.post(self.origin->reactor_.core(), self);
    });
    Journey::begin(std::move(event), connection.link.home);
}

void PollGroup::AuthEvent::send(PollGroup& from, Request& request, TargetExchange& exchange) {
    const Connection& connection = request.connection();
    auto event = std::make_unique<AuthEvent>();
    event->origin = &from;
    event->authenticator = &from.authenticator_;
    event->request = &request;
    event->exchange = &exchange;
    event->subsystem = connection.link.subsystem->config().id;
    event->message = request.payload();
    event->home = from.reactor_.core();
    event->set_run([](Event& arrived, Reactor&) {
        auto& self = static_cast<AuthEvent&>(arrived);
        self.authenticator->add(self);
    });
    event->return_run = [](Event& returned, Reactor&) {
        const auto owned = Journey::end(static_cast<AuthEvent&>(returned));
        owned->request->connection().authentication().applied(*owned->request);
    };
    Journey::begin(std::move(event), from.authenticator_.core());
}

void PollGroup::DetachEvent::send(PollGroup& from, const ControllerLink& link) {
    auto event = std::make_unique<DetachEvent>();
    event->origin = &from;
    event->receiver = from.peers_[link.home.raw()];
    event->subsystem = link.subsystem_id;
    event->cntlid = link.cntlid;
    event->qid = link.qid;
    event->set_run([](Event& arrived, Reactor& here) {
        auto& self = static_cast<DetachEvent&>(arrived);
        self.receiver->detach_here(self.subsystem, self.cntlid, self.qid);
        Journey::go_home(self, here);
    });
    Journey::begin(std::move(event), link.home);
}

void PollGroup::CloseEvent::send(PollGroup& from, CoreId to, uint64_t connection_id) {
    auto event = std::make_unique<CloseEvent>();
    event->origin = &from;
    event->receiver = from.peers_[to.raw()];
    event->connection_id = connection_id;
    event->set_run([](Event& arrived, Reactor& here) {
        auto& self = static_cast<CloseEvent&>(arrived);
        if (self.receiver->forward(self)) {
            return;
        }
        self.receiver->close_here(self.connection_id);
        Journey::go_home(self, here);
    });
    Journey::begin(std::move(event), to);
}

PollGroup::AbortEvent::AbortEvent(Request& abort)
    : request(abort),
      waiter(
          AbortView(abort.sqe).cid_to_abort(),
          [](void* self, bool aborted) { static_cast<AbortEvent*>(self)->return_with(aborted); },
          this) {}

void PollGroup::AbortEvent::send(PollGroup& from, Request& abort, const QueueMember& member) {
    auto event = std::make_unique<AbortEvent>(abort);
    event->origin = &from;
    event->receiver = from.peers_[member.core.raw()];
    event->connection_id = member.connection_id;
    event->set_run([](Event& arrived, Reactor&) { static_cast<AbortEvent&>(arrived).arrive(); });
    Journey::begin(std::move(event), member.core);
}

void PollGroup::AbortEvent::arrive() {
    if (receiver->forward(*this)) {
        return;
    }
    Connection* connection = receiver->find_connection(connection_id);
    if (connection == nullptr) {
        return_with(false);
        return;
    }
    patience.set(
        [](Timer&, void* context) {
            auto& self = *static_cast<AbortEvent*>(context);
            self.receiver->find_connection(self.connection_id)->forget_abort(self.waiter);
            self.return_with(false);
        },
        this);
    receiver->reactor_.start_timer(patience, receiver->options().abort_patience_ms * kNsPerMs);
    connection->abort(waiter);
}

void PollGroup::AbortEvent::return_with(bool aborted) {
    receiver->reactor_.stop_timer(patience);
    was_aborted = aborted;
    set_run([](Event& returned, Reactor&) {
        const auto owned = Journey::end(static_cast<AbortEvent&>(returned));
        finish_abort(owned->request, owned->was_aborted);
    });
    receiver->reactor_.post(origin->reactor_.core(), *this);
}

void PollGroup::HealthEvent::send(PollGroup& from, Request& request) {
    auto event = std::make_unique<HealthEvent>(request);
    event->origin = &from;
    event->subsystem = request.connection().link.subsystem->config().id;
    const Nsid nsid = request.sqe.nsid();
    event->nsid = nsid == Nsid(0) ? kNsidAll : nsid;
    event->set_run(
        [](Event& arrived, Reactor& here) { static_cast<HealthEvent&>(arrived).arrive(here); });
    Journey::begin(std::move(event), CoreId(0));
}

void PollGroup::HealthEvent::arrive(Reactor& here) {
    const PollGroup& group = *origin->peers_[here.core().raw()];
    for (const auto& each : group.subsystems_) {
        if (each->config().id == subsystem) {
            sum.add(each->health(nsid));
        }
    }
    if (++next_core < origin->peers_.size()) {
        here.post(CoreId(next_core), *this);
        return;
    }
    set_run([](Event& returned, Reactor&) {
        const auto owned = Journey::end(static_cast<HealthEvent&>(returned));
        finish_log_page(owned->request, owned->sum);
    });
    here.post(origin->reactor_.core(), *this);
}

void PollGroup::ControllersEvent::send(PollGroup& from, Request& request) {
    auto event = std::make_unique<ControllersEvent>(request);
    event->origin = &from;
    event->subsystem = request.connection().link.subsystem->config().id;
    if (IdentifyView(request.sqe).cns() == NVME_IDENTIFY_CNS_NS_CTRL_LIST) {
        event->nsid = request.sqe.nsid();
    }
    event->set_run([](Event& arrived, Reactor& here) {
        static_cast<ControllersEvent&>(arrived).arrive(here);
    });
    Journey::begin(std::move(event), CoreId(0));
}

void PollGroup::ControllersEvent::arrive(Reactor& here) {
    PollGroup& group = *origin->peers_[here.core().raw()];
    if (Subsystem* there = group.find_subsystem(subsystem)) {
        const NamespaceConfig* space = there->config().find_namespace(nsid);
        auto& controllers = there->controllers();
        for (Controller* at = controllers.front(); at != nullptr; at = controllers.next(*at)) {
            const bool sees = space != nullptr && space->is_visible_to(at->identity().host_nqn);
            if (nsid == Nsid(0) || sees) {
                found.push_back(at->id().raw());
            }
        }
    }
    if (++next_core < origin->peers_.size()) {
        here.post(CoreId(next_core), *this);
        return;
    }
    set_run([](Event& returned, Reactor&) {
        auto owned = Journey::end(static_cast<ControllersEvent&>(returned));
        finish_controller_list(owned->request, std::move(owned->found));
    });
    here.post(origin->reactor_.core(), *this);
}

void PollGroup::SettingsEvent::send(PollGroup& from,
                                    Request& request,
                                    const QueueMember& member,
                                    QueueSettings settings) {
    auto event = std::make_unique<SettingsEvent>(request);
    event->origin = &from;
    event->receiver = from.peers_[member.core.raw()];
    event->connection_id = member.connection_id;
    event->settings = settings;
    event->set_run([](Event& arrived, Reactor& here) {
        auto& self = static_cast<SettingsEvent&>(arrived);
        if (self.receiver->forward(self)) {
            return;
        }
        Connection* connection = self.receiver->find_connection(self.connection_id);
        if (connection != nullptr && connection->link.settings.version < self.settings.version) {
            connection->link.settings = self.settings;
        }
        self.set_run([](Event& returned, Reactor&) {
            const auto owned = Journey::end(static_cast<SettingsEvent&>(returned));
            if (--owned->request.scratch == 0) {
                owned->request.connection().complete(owned->request, status::kSuccess);
            }
        });
        here.post(self.origin->reactor_.core(), self);
    });
    Journey::begin(std::move(event), member.core);
}

}  // namespace basalt::nvmf
