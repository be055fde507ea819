#include "nvmf/target/namespace_access.h"

namespace basalt::nvmf {

void NamespaceAccess::update(const SubsystemConfig& config,
                             ListenerId listener,
                             std::string_view host_nqn) {
    const ListenerConfig* path = config.find_listener(listener);
    by_nsid_.clear();
    for (const NamespaceConfig& space : config.namespaces) {
        uint8_t limit = kFree;
        if (!space.is_visible_to(host_nqn)) {
            limit = kHidden;
        } else if (path != nullptr && !is_accessible(path->ana_state(space.ana_group))) {
            limit = static_cast<uint8_t>(path->ana_state(space.ana_group));
        }
        if (limit != kFree) {
            by_nsid_.resize(config.namespaces_max, kFree);
            by_nsid_[space.nsid.raw() - 1] = limit;
        }
    }
}

AnaState NamespaceAccess::ana_state(Nsid nsid) const {
    const uint8_t limit = limit_of(nsid);
    return limit == kFree || limit == kHidden ? AnaState::kOptimized : static_cast<AnaState>(limit);
}

NvmeStatus NamespaceAccess::check_restricted(Nsid nsid) const {
    switch (const uint8_t limit = limit_of(nsid)) {
        case kFree: return status::kSuccess;
        case kHidden: return status::kInvalidNamespace.with_dnr();
        default: return ana_status(static_cast<AnaState>(limit));
    }
}

}  // namespace basalt::nvmf
