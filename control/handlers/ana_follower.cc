#include "control/handlers/ana_follower.h"

#include <string>
#include <utility>
#include <vector>

#include "reactor/base/log.h"

namespace basalt::control {

namespace {

using replication::ReplicatedVolume;

struct AnaChange {
    std::string nqn;
    SocketAddress address;
    nvmf::AnaState state;
    uint32_t group;
};

void add_changes(const nvmf::SubsystemConfig& subsystem,
                 uint32_t group,
                 ReplicatedVolume::Role role,
                 std::vector<AnaChange>& changes) {
    for (const nvmf::ListenerConfig& listener : subsystem.listeners) {
        const bool is_accessible = nvmf::is_accessible(listener.ana_state(group));
        if (role == ReplicatedVolume::Role::kServes && !is_accessible) {
            changes.push_back({subsystem.nqn, listener.address, nvmf::AnaState::kOptimized, group});
        } else if (role == ReplicatedVolume::Role::kStandby && is_accessible) {
            changes.push_back(
                {subsystem.nqn, listener.address, nvmf::AnaState::kInaccessible, group});
        }
    }
}

std::vector<AnaChange> find_changes(const Context& context) {
    std::vector<AnaChange> changes;
    for (const nvmf::SubsystemConfig* subsystem : context.target.subsystems()) {
        if (!subsystem->ana_reporting) {
            continue;
        }
        for (const nvmf::NamespaceConfig& each : subsystem->namespaces) {
            const ReplicatedVolume* volume = context.replicated.find(each.bdev->info().name);
            if (volume != nullptr) {
                add_changes(*subsystem, each.ana_group, volume->role(), changes);
            }
        }
    }
    return changes;
}

Task<void> follow(Context& context) {
    const RunningCall running(context);
    while (std::exchange(context.have_heads_changed, false)) {
        const std::vector<AnaChange> changes = find_changes(context);
        for (const AnaChange& change : changes) {
            Task<Status> setting = context.target.set_ana_state(
                change.nqn, change.address, change.state, change.group);
            const Status set = co_await setting;
            // What is gone meanwhile needs no state.
            if (!set && set.error().code != Errc::kNotFound) {
                BASALT_LOG(kError,
                           "nvmf",
                           "{}: the ANA state of group {} can't be set: {}",
                           change.nqn,
                           change.group,
                           describe(set.error().code));
            }
        }
    }
    context.follows_heads = false;
}

}  // namespace

void follow_heads(Context& context) {
    context.have_heads_changed = true;
    if (!context.is_stopping && !std::exchange(context.follows_heads, true)) {
        follow(context).detach();
    }
}

}  // namespace basalt::control
