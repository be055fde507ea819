#include "nvmf/target/generated_keys.h"

#include <algorithm>
#include <utility>

#include "nvmf/target/limits.h"
#include "nvmf/target/poll_group.h"

namespace basalt::nvmf {

namespace {

struct AddVisit {
    PollGroup& group;
    const GeneratedKey& key;
};

Task<void> add_there(Reactor& /*there*/, AddVisit& request) {
    request.group.tls().add(request.key);
    co_return;
}

struct RemoveVisit {
    PollGroup& group;
    const std::vector<std::string>& identities;
};

Task<void> remove_there(Reactor& /*there*/, RemoveVisit& request) {
    for (const std::string& identity : request.identities) {
        request.group.tls().remove(identity);
    }
    co_return;
}

/// Collects the identities that connections have shown.
struct UseVisit {
    PollGroup& group;
    std::vector<std::string>& in_use;
};

Task<void> look_there(Reactor& /*there*/, UseVisit& request) {
    request.group.for_each_connection([&](const Connection& connection) {
        if (is_generated_identity(connection.tls_identity())) {
            request.in_use.emplace_back(connection.tls_identity());
        }
    });
    co_return;
}

}  // namespace

GeneratedKeys::GeneratedKeys(Reactor& control, const std::vector<PollGroup*>& groups)
    : control_(control), groups_(groups) {
    timer_.set([](Timer&, void* self) { static_cast<GeneratedKeys*>(self)->sweep().detach(); },
               this);
}

Task<void> GeneratedKeys::add(GeneratedKey key) {
    co_await turns_.acquire();
    const AsyncMutex::Turn turn(turns_);
    if (is_ended_) {
        co_return;
    }
    const auto is_same_host = [&](const Entry& entry) {
        return entry.subsystem == key.subsystem && entry.host_nqn == key.host_nqn;
    };
    if (std::count_if(entries_.begin(), entries_.end(), is_same_host) >= kGeneratedKeysPerHost) {
        std::vector<std::string> oldest{
            std::find_if(entries_.begin(), entries_.end(), is_same_host)->identity};
        co_await remove(std::move(oldest));
    }
    entries_.push_back({key.subsystem, key.host_nqn, key.credential.identity, control_.now_ns()});
    for (uint32_t i = 0; i < groups_.size(); ++i) {
        AddVisit request{*groups_[i], key};
        visit<AddVisit> there(control_, CoreId(i), request, &add_there);
        co_await there;
    }
    watch();
}

Task<void> GeneratedKeys::revoke(SubsystemId subsystem, std::string host_nqn) {
    co_await turns_.acquire();
    const AsyncMutex::Turn turn(turns_);
    std::vector<std::string> revoked;
    for (const Entry& entry : entries_) {
        if (entry.subsystem == subsystem && entry.host_nqn == host_nqn) {
            revoked.push_back(entry.identity);
        }
    }
    if (!is_ended_ && !revoked.empty()) {
        co_await remove(std::move(revoked));
    }
}

Task<void> GeneratedKeys::remove(std::vector<std::string> identities) {
    std::erase_if(entries_, [&](const Entry& entry) {
        return std::find(identities.begin(), identities.end(), entry.identity) != identities.end();
    });
    for (uint32_t i = 0; i < groups_.size(); ++i) {
        RemoveVisit request{*groups_[i], identities};
        visit<RemoveVisit> there(control_, CoreId(i), request, &remove_there);
        co_await there;
    }
}

Task<void> GeneratedKeys::sweep() {
    co_await turns_.acquire();
    const AsyncMutex::Turn turn(turns_);
    if (is_ended_) {
        co_return;
    }
    std::vector<std::string> in_use;
    for (uint32_t i = 0; i < groups_.size(); ++i) {
        UseVisit request{*groups_[i], in_use};
        visit<UseVisit> there(control_, CoreId(i), request, &look_there);
        co_await there;
    }
    std::vector<std::string> idle;
    for (Entry& entry : entries_) {
        if (std::find(in_use.begin(), in_use.end(), entry.identity) != in_use.end()) {
            entry.used_ns = control_.now_ns();
        } else if (control_.now_ns() - entry.used_ns >= kGeneratedKeyIdleNs) {
            idle.push_back(entry.identity);
        }
    }
    if (!idle.empty()) {
        co_await remove(std::move(idle));
    }
    watch();
}

void GeneratedKeys::watch() {
    if (!entries_.empty() && !timer_.is_running()) {
        control_.start_timer(timer_, kGeneratedKeyIdleNs);
    }
}

Task<void> GeneratedKeys::end() {
    co_await turns_.acquire();
    const AsyncMutex::Turn turn(turns_);
    is_ended_ = true;
    control_.stop_timer(timer_);
    entries_.clear();
}

}  // namespace basalt::nvmf
