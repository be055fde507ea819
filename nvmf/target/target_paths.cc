// By which paths hosts reach the namespaces of a subsystem: ANA states and groups, and what the
// discovery log tells beyond the target's own listeners.

#include <algorithm>

#include "nvmf/target/target.h"
#include "nvmf/wire/nqn.h"
#include "reactor/base/log.h"

namespace basalt::nvmf {

namespace {

struct AnnounceAna {
    PollGroup* group = nullptr;
    SubsystemId id;
    std::optional<ListenerId> listener;

    static Task<void> run(Reactor&, AnnounceAna& self) {
        self.group->announce_ana(self.id, self.listener);
        co_return;
    }
};

/// Calls visit(ListenerConfig&, AnaGroupState&) for each group that is in transition.
template <typename Config, typename Visit>
void for_each_transition(Config& config, Visit visit) {
    for (auto& listener : config.listeners) {
        for (auto& group : listener.ana_groups) {
            if (group.state == AnaState::kChange) {
                visit(listener, group);
            }
        }
    }
}

}  // namespace

void Target::watch_transitions() {
    uint64_t first_ns = UINT64_MAX;
    for (const auto& state : subsystems_) {
        for_each_transition(*state->config, [&](const auto&, const AnaGroupState& group) {
            first_ns = std::min(first_ns, group.change_ends_ns);
        });
    }
    control_.stop_timer(transition_timer_);
    if (first_ns != UINT64_MAX && !is_ending_) {
        const uint64_t now_ns = control_.now_ns();
        control_.start_timer(transition_timer_, first_ns > now_ns ? first_ns - now_ns : 0);
    }
}

Task<void> Target::end_transitions() {
    is_ending_transitions_ = true;
    {
        co_await changes_.acquire();
        const AsyncMutex::Turn turn(changes_);
        for (const auto& state : subsystems_) {
            auto ended = end_transitions_of(*state);
            co_await ended;
        }
        watch_transitions();
    }
    is_ending_transitions_ = false;
}

Task<void> Target::end_transitions_of(SubsystemState& state) {
    auto next = std::make_unique<SubsystemConfig>(*state.config);
    std::vector<ListenerId> changed;
    const uint64_t now_ns = control_.now_ns();
    for_each_transition(*next, [&](ListenerConfig& listener, AnaGroupState& group) {
        if (group.change_ends_ns > now_ns) {
            return;
        }
        group.state = AnaState::kInaccessible;
        ++group.changes;
        if (changed.empty() || changed.back() != listener.id) {
            changed.push_back(listener.id);
            ++listener.ana_changes;
        }
    });
    if (changed.empty()) {
        co_return;
    }
    BASALT_LOG(kWarn,
               "nvmf",
               "ANA groups of {} were in transition for {} s: they are inaccessible now",
               next->nqn,
               uint32_t{kAnaTransitionSeconds});
    auto published = publish(state, std::move(next));
    const Status outcome = co_await published;
    BASALT_ASSERT(outcome.has_value());  // Nothing is opened, so nothing can fail.
    for (const ListenerId listener : changed) {
        auto announced = announce_ana(state.config->id, listener);
        co_await announced;
    }
}

Task<void> Target::announce_ana(SubsystemId id, std::optional<ListenerId> listener) {
    for (uint32_t i = 0; i < groups_.size(); ++i) {
        AnnounceAna announced{groups_[i], id, listener};
        visit<AnnounceAna> trip(control_, CoreId(i), announced, &AnnounceAna::run);
        co_await trip;
    }
}

Task<Status> Target::set_ana_state(std::string nqn,
                                   SocketAddress address,
                                   AnaState ana,
                                   uint32_t ana_group) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    SubsystemState* state = find_state(nqn);
    if (state == nullptr) {
        co_return Errc::kNotFound;
    }
    if (!state->config->ana_reporting) {
        co_return Errc::kNotSupported;
    }
    if (ana_group > state->config->namespaces_max) {
        co_return Errc::kInvalidArgument;
    }
    auto next = std::make_unique<SubsystemConfig>(*state->config);
    const auto path = std::find_if(
        next->listeners.begin(), next->listeners.end(), [&](const ListenerConfig& listener) {
            return listener.address == address;
        });
    if (path == next->listeners.end()) {
        co_return Errc::kNotFound;
    }
    const ListenerId listener = path->id;
    bool has_changed = false;
    for (uint32_t group = 1; group <= path->ana_groups.size(); ++group) {
        AnaGroupState& each = path->ana_groups[group - 1];
        if ((ana_group == 0 || group == ana_group) && each.state != ana) {
            each.state = ana;
            each.change_ends_ns = control_.now_ns() + kAnaTransitionNs;
            ++each.changes;
            has_changed = true;
        }
    }
    if (!has_changed) {
        co_return kOk;
    }
    ++path->ana_changes;
    auto published = publish(*state, std::move(next));
    const Status outcome = co_await published;
    BASALT_ASSERT(outcome.has_value());  // Nothing is opened, so nothing can fail.
    watch_transitions();
    auto announced = announce_ana(state->config->id, listener);
    co_await announced;
    co_return kOk;
}

Task<Status> Target::set_ana_group(std::string nqn, Nsid nsid, uint32_t ana_group) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    SubsystemState* state = find_state(nqn);
    if (state == nullptr || state->config->find_namespace(nsid) == nullptr) {
        co_return Errc::kNotFound;
    }
    if (!state->config->ana_reporting) {
        co_return Errc::kNotSupported;
    }
    if (ana_group == 0 || ana_group > state->config->namespaces_max) {
        co_return Errc::kInvalidArgument;
    }
    auto next = std::make_unique<SubsystemConfig>(*state->config);
    const auto moved = std::find_if(
        next->namespaces.begin(), next->namespaces.end(), [&](const NamespaceConfig& space) {
            return space.nsid == nsid;
        });
    if (moved->ana_group == ana_group) {
        co_return kOk;
    }
    count_ana_change(*next, {moved->ana_group, ana_group});
    moved->ana_group = ana_group;
    auto published = publish(*state, std::move(next));
    const Status outcome = co_await published;
    BASALT_ASSERT(outcome.has_value());  // Nothing is opened, so nothing can fail.
    auto announced = announce_ana(state->config->id, std::nullopt);
    co_await announced;
    co_return kOk;
}

Task<Status> Target::show_namespace(std::string nqn,
                                    Nsid nsid,
                                    std::string host_nqn,
                                    bool is_shown) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    SubsystemState* state = find_state(nqn);
    if (state == nullptr || state->config->find_namespace(nsid) == nullptr) {
        co_return Errc::kNotFound;
    }
    if (!is_valid_nqn(host_nqn)) {
        co_return Errc::kInvalidArgument;
    }
    auto next = std::make_unique<SubsystemConfig>(*state->config);
    NamespaceConfig& space = *std::find_if(
        next->namespaces.begin(), next->namespaces.end(), [&](const NamespaceConfig& each) {
            return each.nsid == nsid;
        });
    if (space.is_auto_visible) {
        co_return Errc::kPermissionDenied;
    }
    auto& hosts = space.visible_hosts;
    const auto at = std::lower_bound(hosts.begin(), hosts.end(), host_nqn);
    const bool was_shown = at != hosts.end() && *at == host_nqn;
    if (was_shown == is_shown) {
        co_return kOk;
    }
    if (is_shown) {
        hosts.insert(at, host_nqn);
    } else {
        hosts.erase(at);
    }
    count_ana_change(*next, {space.ana_group});
    auto published = publish(*state, std::move(next));
    const Status outcome = co_await published;
    BASALT_ASSERT(outcome.has_value());  // Nothing is opened, so nothing can fail.
    const std::vector<std::string> audience(1, host_nqn);
    auto announced = announce_namespace(state->config->id, nsid, &audience);
    co_await announced;
    co_return kOk;
}

// --- Discovery ---------------------------------------------------------------------------------

Task<Status> Target::publish_discovery(std::unique_ptr<SubsystemConfig> next) {
    SubsystemState* state = find_state(kDiscoveryNqn);
    next->discovery_generation = ++discovery_generation_;
    auto published = publish(*state, std::move(next));
    const Status outcome = co_await published;
    BASALT_ASSERT(outcome.has_value());  // Nothing is opened, so nothing can fail.
    DiscoveryAudience everybody;
    co_await announce_discovery(everybody);
    co_return kOk;
}

Task<Status> Target::add_referral(Referral referral) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const SubsystemConfig* discovery = find(kDiscoveryNqn);
    if (discovery == nullptr) {
        co_return Errc::kNotFound;
    }
    if (!is_valid_nqn(referral.subsystem_nqn)) {
        co_return Errc::kInvalidArgument;
    }
    auto next = std::make_unique<SubsystemConfig>(*discovery);
    for (const Referral& other : next->referrals) {
        if (other.subsystem_nqn == referral.subsystem_nqn && other.address == referral.address) {
            co_return kOk;
        }
    }
    next->referrals.push_back(std::move(referral));
    auto published = publish_discovery(std::move(next));
    co_return co_await published;
}

Task<Status> Target::remove_referral(std::string subsystem_nqn, SocketAddress address) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const SubsystemConfig* discovery = find(kDiscoveryNqn);
    if (discovery == nullptr) {
        co_return Errc::kNotFound;
    }
    auto next = std::make_unique<SubsystemConfig>(*discovery);
    const auto removed = std::erase_if(next->referrals, [&](const Referral& each) {
        return each.subsystem_nqn == subsystem_nqn && each.address == address;
    });
    if (removed == 0) {
        co_return Errc::kNotFound;
    }
    auto published = publish_discovery(std::move(next));
    co_return co_await published;
}

Task<Status> Target::set_discovery_filter(DiscoveryFilter filter) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const SubsystemConfig* discovery = find(kDiscoveryNqn);
    if (discovery == nullptr) {
        co_return Errc::kNotFound;
    }
    if (discovery->discovery_filter == filter) {
        co_return kOk;
    }
    auto next = std::make_unique<SubsystemConfig>(*discovery);
    next->discovery_filter = filter;
    auto published = publish_discovery(std::move(next));
    co_return co_await published;
}

}  // namespace basalt::nvmf
