// The target's listening addresses and what it can tell about its connections.

#include <algorithm>

#include "nvmf/target/target.h"
#include "reactor/base/log.h"

namespace basalt::nvmf {

namespace {

/// Listening sockets live on this core; it deals the connections out to all.
constexpr CoreId kAcceptingCore{0};

struct StartListening {
    PollGroup* group = nullptr;
    ListenerId id;
    SocketAddress address;
    Result<SocketAddress> bound{Errc::kCancelled};

    static Task<void> run(Reactor&, StartListening& self) {
        self.bound = self.group->listen(self.id, self.address);
        co_return;
    }
};

struct StopListening {
    PollGroup* group = nullptr;
    ListenerId id;

    static Task<void> run(Reactor&, StopListening& self) {
        self.group->stop_listening(self.id);
        co_return;
    }
};

struct ReadControllers {
    PollGroup* group = nullptr;
    SubsystemId id;
    std::vector<ControllerInfo>* out = nullptr;

    static Task<void> run(Reactor&, ReadControllers& self) {
        Subsystem* subsystem = self.group->find_subsystem(self.id);
        if (subsystem == nullptr) {
            co_return;
        }
        auto& controllers = subsystem->controllers();
        for (Controller* at = controllers.front(); at != nullptr; at = controllers.next(*at)) {
            self.out->push_back(
                {at->id(), at->identity().host_nqn, at->identity().host_id, at->io_queue_count()});
        }
    }
};

struct ReadQueues {
    PollGroup* group = nullptr;
    SubsystemId id;
    std::vector<QueueInfo>* out = nullptr;

    static Task<void> run(Reactor& there, ReadQueues& self) {
        self.group->for_each_connection([&](Connection& connection) {
            if (!connection.is_live() || connection.link.subsystem->config().id != self.id) {
                return;
            }
            self.out->push_back({connection.link.cntlid,
                                 connection.link.qid,
                                 there.core(),
                                 connection.link.host_nqn,
                                 connection.queue_entries(),
                                 connection.local(),
                                 connection.peer()});
        });
        co_return;
    }
};

struct ReadStats {
    PollGroup* group = nullptr;
    PollGroupStats stats;

    static Task<void> run(Reactor&, ReadStats& self) {
        self.stats = self.group->stats();
        co_return;
    }
};

}  // namespace

Task<Result<Target::SharedListener>> Target::share_listener(SocketAddress address,
                                                            bool is_automatic) {
    for (SharedListener& listener : listeners_) {
        if (listener.address == address) {
            listener.is_automatic = listener.is_automatic && is_automatic;
            co_return listener;
        }
    }
    // Its lower 16 bits are the port id that hosts see: 1 to FFFEh, and not that of another.
    const auto is_port_id_free = [&] {
        const uint32_t port_id = next_listener_id_ & 0xffffU;
        return port_id != 0 && port_id != 0xffff &&
               std::none_of(listeners_.begin(), listeners_.end(), [&](const SharedListener& each) {
                   return (each.id.raw() & 0xffffU) == port_id;
               });
    };
    while (!is_port_id_free()) {
        ++next_listener_id_;
    }
    const ListenerId id(next_listener_id_++);
    StartListening started{groups_[kAcceptingCore.raw()], id, address};
    visit<StartListening> trip(control_, kAcceptingCore, started, &StartListening::run);
    co_await trip;
    if (!started.bound) {
        co_return started.bound.error();
    }
    const SharedListener listener{id, *started.bound, is_automatic};
    listeners_.push_back(listener);
    co_return listener;
}

bool Target::is_listener_used(const SharedListener& listener) const {
    return std::any_of(subsystems_.begin(), subsystems_.end(), [&](const auto& state) {
        const auto& configs = state->config->listeners;
        return std::any_of(configs.begin(), configs.end(), [&](const ListenerConfig& config) {
            // An automatic one lasts as long as any I/O address of the same host.
            return config.id == listener.id ||
                   (listener.is_automatic && config.address.host() == listener.address.host());
        });
    });
}

Task<void> Target::drop_unused_listeners() {
    for (size_t i = 0; i < listeners_.size();) {
        if (is_listener_used(listeners_[i])) {
            ++i;
            continue;
        }
        const ListenerId id = listeners_[i].id;
        listeners_.erase(listeners_.begin() + static_cast<std::ptrdiff_t>(i));
        StopListening stopped{groups_[kAcceptingCore.raw()], id};
        visit<StopListening> trip(control_, kAcceptingCore, stopped, &StopListening::run);
        co_await trip;
    }
}

Task<void> Target::stop_listeners() {
    for (const SharedListener& listener : listeners_) {
        StopListening stopped{groups_[kAcceptingCore.raw()], listener.id};
        visit<StopListening> trip(control_, kAcceptingCore, stopped, &StopListening::run);
        co_await trip;
    }
    listeners_.clear();
}

Task<void> Target::add_discovery_listener(SocketAddress beside) {
    const uint16_t port = transport_->discovery_port;
    if (port == 0 || beside.port() == port) {
        co_return;
    }
    const auto address = SocketAddress::parse(beside.host(), port);
    BASALT_ASSERT(address.has_value());
    auto shared = share_listener(*address, true);
    const auto listener = co_await shared;
    if (!listener) {
        BASALT_LOG(kWarn,
                   "nvmf",
                   "no discovery on {}: {}; hosts can still discover on {}",
                   address->to_string(),
                   describe(listener.error().code),
                   beside.to_string());
    }
}

Task<Result<SocketAddress>> Target::add_listener(std::string nqn,
                                                 SocketAddress address,
                                                 AnaState ana,
                                                 bool requires_tls) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    SubsystemState* state = find_state(nqn);
    if (state == nullptr || !transport_) {
        co_return Errc::kNotFound;
    }
    if (ana != AnaState::kOptimized && !state->config->ana_reporting) {
        co_return Errc::kNotSupported;
    }
    for (const ListenerConfig& other : state->config->listeners) {
        if (other.address == address) {
            co_return Errc::kExists;
        }
    }
    auto shared = share_listener(address, false);
    const auto listener = co_await shared;
    if (!listener) {
        co_return listener.error();
    }
    auto next = std::make_unique<SubsystemConfig>(*state->config);
    ListenerConfig added{listener->id, listener->address, requires_tls};
    if (next->ana_reporting) {
        const AnaGroupState group{.state = ana,
                                  .change_ends_ns = control_.now_ns() + kAnaTransitionNs};
        added.ana_groups.assign(next->namespaces_max, group);
    }
    next->listeners.push_back(std::move(added));
    next->discovery_generation = ++discovery_generation_;
    auto published = publish(*state, std::move(next));
    const Status outcome = co_await published;
    BASALT_ASSERT(outcome.has_value());  // No namespace is opened, so nothing can fail.
    watch_transitions();
    if (state->config->type == SubsystemType::kNvm) {
        auto discovery = add_discovery_listener(listener->address);
        co_await discovery;
    }
    DiscoveryAudience audience{.allowed_by = state->config.get(), .host = {}};
    co_await announce_discovery(audience);
    co_return listener->address;
}

Task<Status> Target::remove_listener(std::string nqn, SocketAddress address) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    SubsystemState* state = find_state(nqn);
    if (state == nullptr) {
        co_return Errc::kNotFound;
    }
    auto next = std::make_unique<SubsystemConfig>(*state->config);
    const auto removed = std::erase_if(next->listeners, [&](const ListenerConfig& listener) {
        return listener.address == address;
    });
    if (removed == 0) {
        co_return Errc::kNotFound;
    }
    next->discovery_generation = ++discovery_generation_;
    auto published = publish(*state, std::move(next));
    const Status outcome = co_await published;
    BASALT_ASSERT(outcome.has_value());
    co_await drop_unused_listeners();
    DiscoveryAudience audience{.allowed_by = state->config.get(), .host = {}};
    co_await announce_discovery(audience);
    co_return kOk;
}

// --- What there is -----------------------------------------------------------------------------

Task<Result<std::vector<ControllerInfo>>> Target::controllers(std::string nqn) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const SubsystemConfig* config = find(nqn);
    if (config == nullptr) {
        co_return Errc::kNotFound;
    }
    std::vector<ControllerInfo> all;
    for (uint32_t i = 0; i < groups_.size(); ++i) {
        ReadControllers read{groups_[i], config->id, &all};
        visit<ReadControllers> trip(control_, CoreId(i), read, &ReadControllers::run);
        co_await trip;
    }
    co_return all;
}

Task<Result<std::vector<QueueInfo>>> Target::queues(std::string nqn) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const SubsystemConfig* config = find(nqn);
    if (config == nullptr) {
        co_return Errc::kNotFound;
    }
    std::vector<QueueInfo> all;
    for (uint32_t i = 0; i < groups_.size(); ++i) {
        ReadQueues read{groups_[i], config->id, &all};
        visit<ReadQueues> trip(control_, CoreId(i), read, &ReadQueues::run);
        co_await trip;
    }
    co_return all;
}

Task<std::vector<PollGroupStats>> Target::stats() {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    std::vector<PollGroupStats> all;
    for (uint32_t i = 0; i < groups_.size(); ++i) {
        ReadStats read{groups_[i], {}};
        visit<ReadStats> trip(control_, CoreId(i), read, &ReadStats::run);
        co_await trip;
        all.push_back(read.stats);
    }
    co_return all;
}

}  // namespace basalt::nvmf
