#include "bdev/qos/device_limits.h"

#include <functional>
#include <string_view>
#include <utility>

#include "bdev/core/device.h"

namespace basalt::qos {

namespace {

// Domains of different devices have different homes, so that no core divides for all.
CoreId home_of(const bdev::Device& device) {
    const size_t hash = std::hash<std::string_view>{}(device.info().name);
    return device.cores()[hash % device.cores().size()];
}

}  // namespace

/// A visit that gives a core's channels the lane of another flow.
struct DeviceLimits::Switch {
    bdev::Device& device;
    Flow* flow;
};

DeviceLimits::~DeviceLimits() {
    if (domain_ != nullptr && !domain_->is_abandoned()) {
        retire(std::move(own_), domain_, flow_).detach();
    }
}

Task<void> DeviceLimits::retire(std::unique_ptr<Domain> own, Domain* domain, Flow* flow) {
    auto removing = domain->remove(*flow);
    co_await removing;
    own.reset();
}

Status DeviceLimits::can_set(const Policy& policy, Domain* group) const {
    if (group != nullptr) {
        return group->can_have(policy, group == domain_ ? flow_ : nullptr);
    }
    BASALT_CHECK(check(policy));
    // There is nobody to share with.
    return policy.has_minimum() ? Status(Errc::kInvalidArgument) : kOk;
}

Task<void> DeviceLimits::switch_there(Reactor& there, Switch& change) {
    change.device.use_lane(there, change.flow != nullptr ? &change.flow->lane_on(there) : nullptr);
    co_return;
}

Task<void> DeviceLimits::set(Reactor& control, Policy policy, Domain* group) {
    policy_ = policy;
    const bool is_free = group == nullptr && !policy.has_limits();
    const bool stays =
        domain_ != nullptr && !is_free && (group != nullptr ? group == domain_ : own_ != nullptr);
    if (stays) {
        auto changing = domain_->change(*flow_, policy);
        co_await changing;
        co_return;
    }
    const std::unique_ptr<Domain> old_own = std::move(own_);
    Domain* const old_domain = std::exchange(domain_, nullptr);
    Flow* const old_flow = std::exchange(flow_, nullptr);
    if (is_free && old_domain == nullptr) {
        co_return;
    }
    if (!is_free) {
        if (group == nullptr) {
            own_ =
                std::make_unique<Domain>(control, device_.cores(), home_of(device_), &Throttle::go);
        }
        domain_ = group != nullptr ? group : own_.get();
        auto adding = domain_->add(policy);
        flow_ = co_await adding;
    }
    Switch change{device_, flow_};
    for (const CoreId core : device_.cores()) {
        visit<Switch> there(control, core, change, &switch_there);
        co_await there;
    }
    if (old_domain != nullptr) {
        auto removing = old_domain->remove(*old_flow);
        co_await removing;
    }
}

}  // namespace basalt::qos
