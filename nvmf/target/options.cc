#include "nvmf/target/options.h"

#include <algorithm>

namespace basalt::nvmf {

bool SubsystemConfig::allows(std::string_view host_nqn) const {
    return allow_any_host || std::binary_search(hosts.begin(), hosts.end(), host_nqn);
}

bool NamespaceConfig::is_visible_to(std::string_view host_nqn) const {
    return is_auto_visible ||
           std::binary_search(visible_hosts.begin(), visible_hosts.end(), host_nqn);
}

bool SubsystemConfig::listens_on(ListenerId listener) const {
    // Discovery is answered on every address: a host may ask the I/O port what else there is.
    return type == SubsystemType::kDiscovery || find_listener(listener) != nullptr;
}

const ListenerConfig* SubsystemConfig::find_listener(ListenerId listener) const {
    const auto at =
        std::find_if(listeners.begin(), listeners.end(), [&](const ListenerConfig& config) {
            return config.id == listener;
        });
    return at == listeners.end() ? nullptr : &*at;
}

const NamespaceConfig* SubsystemConfig::find_namespace(Nsid nsid) const {
    const auto at = std::lower_bound(
        namespaces.begin(), namespaces.end(), nsid, [](const NamespaceConfig& config, Nsid wanted) {
            return config.nsid < wanted;
        });
    return at != namespaces.end() && at->nsid == nsid ? &*at : nullptr;
}

}  // namespace basalt::nvmf
