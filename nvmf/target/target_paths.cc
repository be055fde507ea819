// By which paths hosts reach the namespaces of a subsystem: ANA states and groups.

#include <algorithm>

#include "nvmf/target/target.h"

namespace basalt::nvmf {

namespace {

struct AnnounceAna {
    PollGroup* group;
    SubsystemId id;
    std::optional<ListenerId> listener;

    static Task<void> run(Reactor&, AnnounceAna& self) {
        self.group->announce_ana(self.id, self.listener);
        co_return;
    }
};

}  // namespace

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
        AnaGroup& each = path->ana_groups[group - 1];
        if ((ana_group == 0 || group == ana_group) && each.state != ana) {
            each.state = ana;
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

}  // namespace basalt::nvmf
