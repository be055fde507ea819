// Which hosts may use a subsystem, and how they prove who they are.

#include <algorithm>

#include "nvmf/target/target.h"
#include "nvmf/wire/nqn.h"

namespace basalt::nvmf {

Task<Status> Target::add_host(std::string nqn,
                              std::string host_nqn,
                              std::optional<HostTls> tls,
                              HostKeys keys) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    SubsystemState* state = find_state(nqn);
    if (state == nullptr) {
        co_return Errc::kNotFound;
    }
    if (!is_valid_nqn(host_nqn)) {
        co_return Errc::kInvalidArgument;
    }
    if (const Status checked = check_keys(keys); !checked) {
        co_return checked.error();
    }
    auto next = std::make_unique<SubsystemConfig>(*state->config);
    const auto at = std::lower_bound(next->hosts.begin(), next->hosts.end(), host_nqn);
    if (at != next->hosts.end() && *at == host_nqn) {
        co_return Errc::kExists;
    }
    next->hosts.insert(at, host_nqn);
    if (tls) {
        BASALT_ASSERT(tls->host_nqn == host_nqn);
        next->tls_hosts.push_back(std::move(*tls));
    }
    if (keys.dhchap) {
        set_dhchap_host(*next, host_nqn, true);
    }
    // Before a host can come with them.
    set_keys(*state, host_nqn, std::move(keys));
    next->discovery_generation = ++discovery_generation_;
    auto published = publish(*state, std::move(next));
    const Status outcome = co_await published;
    DiscoveryAudience audience{.allowed_by = nullptr, .host = host_nqn};
    co_await announce_discovery(audience);
    co_return outcome;
}

Task<Status> Target::set_host_tls(std::string nqn, HostTls tls) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    SubsystemState* state = find_state(nqn);
    if (state == nullptr ||
        !std::binary_search(
            state->config->hosts.begin(), state->config->hosts.end(), tls.host_nqn)) {
        co_return Errc::kNotFound;
    }
    auto next = std::make_unique<SubsystemConfig>(*state->config);
    std::erase_if(next->tls_hosts,
                  [&](const HostTls& host) { return host.host_nqn == tls.host_nqn; });
    const std::string host_nqn = tls.host_nqn;
    const SubsystemId id = next->id;
    next->tls_hosts.push_back(std::move(tls));
    next->discovery_generation = ++discovery_generation_;
    auto published = publish(*state, std::move(next));
    const Status outcome = co_await published;
    co_await generated_keys_.revoke(id, host_nqn);
    DiscoveryAudience audience{.allowed_by = nullptr, .host = host_nqn};
    co_await announce_discovery(audience);
    co_return outcome;
}

Task<Status> Target::remove_host(std::string nqn, std::string host_nqn) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    SubsystemState* state = find_state(nqn);
    if (state == nullptr) {
        co_return Errc::kNotFound;
    }
    auto next = std::make_unique<SubsystemConfig>(*state->config);
    if (std::erase(next->hosts, host_nqn) == 0) {
        co_return Errc::kNotFound;
    }
    std::erase_if(next->tls_hosts, [&](const HostTls& host) { return host.host_nqn == host_nqn; });
    set_dhchap_host(*next, host_nqn, false);
    next->discovery_generation = ++discovery_generation_;
    auto published = publish(*state, std::move(next));
    const Status outcome = co_await published;
    state->keys.erase(host_nqn);
    co_await generated_keys_.revoke(state->config->id, host_nqn);
    DiscoveryAudience audience{.allowed_by = nullptr, .host = host_nqn};
    co_await announce_discovery(audience);
    co_return outcome;
}

Task<Status> Target::allow_any_host(std::string nqn, bool is_allowed) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    SubsystemState* state = find_state(nqn);
    if (state == nullptr) {
        co_return Errc::kNotFound;
    }
    auto next = std::make_unique<SubsystemConfig>(*state->config);
    next->allow_any_host = is_allowed;
    next->discovery_generation = ++discovery_generation_;
    auto published = publish(*state, std::move(next));
    const Status outcome = co_await published;
    DiscoveryAudience audience{.allowed_by = nullptr, .host = {}};
    co_await announce_discovery(audience);
    co_return outcome;
}

}  // namespace basalt::nvmf
