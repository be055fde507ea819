// What hosts may do with a subsystem in a second.

#include <algorithm>

#include "nvmf/target/target.h"
#include "nvmf/wire/nqn.h"

namespace basalt::nvmf {

qos::Domain& Target::rates_of(SubsystemState& state) {
    if (state.rates == nullptr) {
        const CoreId home = cores_[state.config->id.raw() % cores_.size()];
        state.rates =
            std::make_unique<qos::Domain>(control_, cores_, home, &ConnectionRate::granted);
    }
    return *state.rates;
}

Task<void> Target::end_rates(SubsystemState& state) {
    while (state.rates != nullptr && !state.rates->flows().empty()) {
        auto removing = state.rates->remove(*state.rates->flows().front());
        co_await removing;
    }
}

Task<Status> Target::set_host_rate(std::string nqn, std::string host_nqn, qos::Policy policy) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    SubsystemState* state = find_state(nqn);
    if (state == nullptr) {
        co_return Errc::kNotFound;
    }
    if (!is_valid_nqn(host_nqn) || state->config->type == SubsystemType::kDiscovery) {
        co_return Errc::kInvalidArgument;
    }
    const HostRate* current = state->config->find_rate(host_nqn);
    qos::Flow* flow = current == nullptr ? nullptr : current->flow;
    const bool is_free = policy == qos::Policy{};
    if (is_free && flow == nullptr) {
        co_return kOk;
    }
    qos::Domain& domain = rates_of(*state);
    if (const Status possible = domain.can_have(policy, flow); !possible) {
        co_return possible.error();
    }
    auto next = std::make_unique<SubsystemConfig>(*state->config);
    std::erase_if(next->host_rates, [&](const HostRate& rate) { return rate.flow == flow; });
    if (!is_free && flow == nullptr) {
        auto adding = domain.add(policy);
        flow = co_await adding;
    } else if (!is_free) {
        auto changing = domain.change(*flow, policy);
        co_await changing;
    }
    if (!is_free) {
        HostRate rate;
        rate.host_nqn = host_nqn;
        rate.policy = policy;
        rate.flow = flow;
        next->host_rates.push_back(std::move(rate));
    }
    auto published = publish(*state, std::move(next));
    const Status outcome = co_await published;
    BASALT_ASSERT(outcome.has_value());  // Nothing is opened, so nothing can fail.
    if (is_free) {
        auto removing = domain.remove(*flow);
        co_await removing;
    }
    co_return kOk;
}

Task<Status> Target::set_capacity(std::string nqn, qos::Policy capacity) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    SubsystemState* state = find_state(nqn);
    if (state == nullptr) {
        co_return Errc::kNotFound;
    }
    if (state->config->type == SubsystemType::kDiscovery) {
        co_return Errc::kInvalidArgument;
    }
    qos::Domain& domain = rates_of(*state);
    if (const Status possible = domain.can_offer(capacity); !possible) {
        co_return possible.error();
    }
    auto setting = domain.set_capacity(capacity);
    co_await setting;
    auto next = std::make_unique<SubsystemConfig>(*state->config);
    next->capacity = capacity;
    qos::Flow* leaving = nullptr;
    if (capacity.has_limits() && next->other_hosts == nullptr) {
        auto adding = domain.add(qos::Policy{});
        next->other_hosts = co_await adding;
    } else if (!capacity.has_limits()) {
        leaving = std::exchange(next->other_hosts, nullptr);
    }
    auto published = publish(*state, std::move(next));
    const Status outcome = co_await published;
    BASALT_ASSERT(outcome.has_value());  // Nothing is opened, so nothing can fail.
    if (leaving != nullptr) {
        auto removing = domain.remove(*leaving);
        co_await removing;
    }
    co_return kOk;
}

}  // namespace basalt::nvmf
