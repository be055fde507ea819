// How the control thread changes a poll group: subsystems, namespaces, listeners.

#include <algorithm>

#include "nvmf/target/poll_group.h"
#include "nvmf/target/poll_group_events.h"
#include "reactor/base/log.h"

namespace basalt::nvmf {

Result<SocketAddress> PollGroup::listen(ListenerId id, const SocketAddress& address) {
    auto acceptor = std::make_unique<Acceptor>(*this, id);
    BASALT_TRY(acceptor->listener, reactor_.network().listen(address, *acceptor));
    acceptors_.push_back(std::move(acceptor));
    return acceptors_.back()->listener->local_address();
}

void PollGroup::stop_listening(ListenerId id) {
    std::erase_if(acceptors_, [&](const auto& acceptor) { return acceptor->id == id; });
}

Subsystem* PollGroup::find_subsystem(std::string_view nqn) {
    for (const auto& subsystem : subsystems_) {
        if (subsystem->config().nqn == nqn) {
            return subsystem.get();
        }
    }
    return nullptr;
}

Subsystem* PollGroup::find_subsystem(SubsystemId id) {
    for (const auto& subsystem : subsystems_) {
        if (subsystem->config().id == id) {
            return subsystem.get();
        }
    }
    return nullptr;
}

Result<std::vector<std::unique_ptr<Namespace>>> PollGroup::open_new(Subsystem* subsystem,
                                                                    const SubsystemConfig& next) {
    std::vector<std::unique_ptr<Namespace>> opened;
    for (const NamespaceConfig& config : next.namespaces) {
        Namespace* current =
            subsystem == nullptr ? nullptr : subsystem->find_namespace(config.nsid);
        if (current != nullptr && current->config().bdev == config.bdev) {
            continue;
        }
        BASALT_TRY(auto channel, config.bdev->open_channel(reactor_));
        opened.push_back(
            std::make_unique<Namespace>(config, reactor_, std::move(channel), fences_));
    }
    return opened;
}

Task<Status> PollGroup::apply(const SubsystemConfig& next) {
    Subsystem* subsystem = find_subsystem(next.id);
    auto opened = open_new(subsystem, next);
    if (!opened) {
        co_return opened.error();
    }
    if (subsystem == nullptr) {
        subsystems_.push_back(std::make_unique<Subsystem>(next));
        subsystem = subsystems_.back().get();
    }
    subsystem->set_config(next);
    discovery_generation_ = std::max(discovery_generation_, next.discovery_generation);
    ++subsystem->namespaces_version;
    auto& slots = subsystem->namespaces();
    std::vector<std::unique_ptr<Namespace>> leaving;
    for (auto& slot : slots) {
        if (slot == nullptr) {
            continue;
        }
        const NamespaceConfig* config = next.find_namespace(slot->config().nsid);
        if (config == nullptr || config->bdev != slot->config().bdev) {
            subsystem->retire(*slot);
            leaving.push_back(std::move(slot));
        } else {
            slot->set_config(*config);
        }
    }
    for (auto& entering : *opened) {
        const uint32_t index = entering->config().nsid.raw() - 1;
        if (index >= slots.size()) {
            slots.resize(index + 1);
        }
        slots[index] = std::move(entering);
    }
    close_disallowed(*subsystem);
    update_access(*subsystem);
    if (!leaving.empty()) {
        for_each_connection([&](Connection& connection) {
            if (connection.link.subsystem == subsystem) {
                connection.rate().refuse_orphans();
            }
        });
    }
    auto drained = drain(next.id, std::move(leaving));
    co_await drained;
    co_return kOk;
}

Task<void> PollGroup::drain(SubsystemId id, std::vector<std::unique_ptr<Namespace>> leaving) {
    for (const auto& left : leaving) {
        while (left->uses() > 0) {
            // Nobody waits for a rate here that nobody will have.
            for_each_connection([&](Connection& connection) { connection.rate().hurry(*left); });
            co_await sleep_for(reactor_, kDrainPollNs);
        }
        Subsystem* subsystem = find_subsystem(id);
        BASALT_ASSERT(subsystem != nullptr);  // Changes wait for each other.
        subsystem->retire(*left);
    }
}

std::string_view PollGroup::judge_queue(const Subsystem& subsystem, const Connection& connection) {
    const SubsystemConfig& config = subsystem.config();
    const std::string& host_nqn = connection.link.host_nqn;
    if (!config.allows(host_nqn)) {
        return "its host is no longer allowed";
    }
    if (!config.listens_on(connection.listener())) {
        return "its listener was removed";
    }
    const bool is_secure = !connection.tls_identity().empty();
    const ListenerConfig* listener = config.find_listener(connection.listener());
    if (!is_secure && requires_tls(config, listener, host_nqn)) {
        return "its host must use TLS from now on";
    }
    if (is_secure && !is_generated_identity(connection.tls_identity()) &&
        find_host_tls(config, host_nqn) == nullptr) {
        return "its host has no key any more";
    }
    return {};
}

void PollGroup::close_disallowed(Subsystem& subsystem) {
    for_each_connection([&](Connection& connection) {
        if (connection.link.subsystem != &subsystem) {
            return;
        }
        if (const auto why = judge_queue(subsystem, connection); !why.empty()) {
            connection.close(why);
        }
    });
}

void PollGroup::update_access(Connection& connection, const Subsystem& subsystem) {
    ControllerLink& link = connection.link;
    link.access.update(subsystem.config(), connection.listener(), link.host_nqn);
    qos::Flow* const flow =
        connection.is_admin_queue() ? nullptr : subsystem.config().flow_of(link.host_nqn);
    link.lane = flow == nullptr ? nullptr : &flow->lane_on(reactor_);
}

void PollGroup::update_access(Subsystem& subsystem) {
    for_each_connection([&](Connection& connection) {
        if (connection.link.subsystem == &subsystem) {
            update_access(connection, subsystem);
        }
    });
}

Task<void> PollGroup::remove_subsystem(SubsystemId id, uint64_t discovery_generation) {
    Subsystem* subsystem = find_subsystem(id);
    if (subsystem == nullptr) {
        co_return;
    }
    subsystem->set_closing();
    discovery_generation_ = std::max(discovery_generation_, discovery_generation);
    for_each_connection([&](Connection& connection) {
        if (connection.link.subsystem == subsystem) {
            connection.close("its subsystem was deleted");
        }
    });
    // Controllers here wait for the goodbye of I/O queues on other cores.
    while (subsystem->connections > 0 || !subsystem->controllers().empty()) {
        co_await sleep_for(reactor_, kDrainPollNs);
    }
    std::erase_if(subsystems_, [&](const auto& candidate) { return candidate.get() == subsystem; });
}

void PollGroup::announce_namespaces(SubsystemId id,
                                    std::span<const Nsid> changed,
                                    const std::vector<std::string>* hosts) {
    Subsystem* subsystem = find_subsystem(id);
    if (subsystem == nullptr) {
        return;
    }
    auto& controllers = subsystem->controllers();
    for (Controller* at = controllers.front(); at != nullptr; at = controllers.next(*at)) {
        if (hosts != nullptr &&
            !std::binary_search(hosts->begin(), hosts->end(), at->identity().host_nqn)) {
            continue;
        }
        const Connection* admin = at->admin();
        for (const Nsid nsid : changed) {
            if (hosts == nullptr && admin != nullptr && !admin->link.access.is_visible(nsid)) {
                continue;
            }
            at->namespace_changed(nsid);
        }
    }
}

void PollGroup::announce_ana(SubsystemId id, std::optional<ListenerId> listener) {
    Subsystem* subsystem = find_subsystem(id);
    if (subsystem == nullptr) {
        return;
    }
    auto& controllers = subsystem->controllers();
    for (Controller* at = controllers.front(); at != nullptr; at = controllers.next(*at)) {
        if (at->admin() != nullptr && (!listener || at->admin()->listener() == *listener)) {
            at->raise(AsyncEvent::kAnaChanged);
        }
    }
}

void PollGroup::announce_discovery(const DiscoveryAudience& audience) {
    for (const auto& subsystem : subsystems_) {
        if (!subsystem->is_discovery()) {
            continue;
        }
        auto& controllers = subsystem->controllers();
        for (Controller* at = controllers.front(); at != nullptr; at = controllers.next(*at)) {
            if (audience.has(at->identity().host_nqn)) {
                at->raise(AsyncEvent::kDiscoveryChanged);
            }
        }
    }
}

Task<void> PollGroup::close_all() {
    is_ending_ = true;
    for_each_connection([](Connection& connection) { connection.close("the target stops"); });
    while (connection_count_ > 0 || events_under_way_ > 0) {
        co_await sleep_for(reactor_, kDrainPollNs);
    }
}

}  // namespace basalt::nvmf
