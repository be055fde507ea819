#include "bdev/qos/groups.h"

#include <algorithm>

#include "bdev/qos/throttle.h"

namespace basalt::qos {

Status Groups::create(const std::string& name, const Policy& capacity) {
    if (find(name) != nullptr) {
        return Errc::kExists;
    }
    // Groups on different cores, as far as there are some.
    const CoreId home = cores_[groups_.size() % cores_.size()];
    auto made = std::make_unique<Domain>(control_, cores_, home, &Throttle::go);
    BASALT_CHECK(made->can_offer(capacity));
    if (name.empty() || !capacity.has_limits()) {
        return Errc::kInvalidArgument;
    }
    groups_.push_back(
        {name, std::make_unique<Domain>(control_, cores_, home, &Throttle::go, capacity)});
    return kOk;
}

Status Groups::remove(std::string_view name) {
    const Domain* domain = find(name);
    if (domain == nullptr) {
        return Errc::kNotFound;
    }
    if (!domain->flows().empty()) {
        return Errc::kBusy;
    }
    std::erase_if(groups_, [&](const Group& group) { return group.domain.get() == domain; });
    return kOk;
}

Domain* Groups::find(std::string_view name) {
    const auto at = std::find_if(
        groups_.begin(), groups_.end(), [&](const Group& group) { return group.name == name; });
    return at == groups_.end() ? nullptr : at->domain.get();
}

std::string_view Groups::name_of(const Domain* domain) const {
    for (const Group& group : groups_) {
        if (group.domain.get() == domain) {
            return group.name;
        }
    }
    return {};
}

}  // namespace basalt::qos
