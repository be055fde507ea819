#include "nvmf/target/options.h"

#include <algorithm>

namespace basalt::nvmf {

bool DiscoveryFilter::shows(const SocketAddress& listener, const SocketAddress& reached_at) const {
    const bool is_any = listener.host() == "0.0.0.0" || listener.host() == "::";
    if (same_address && !is_any && listener.host() != reached_at.host()) {
        return false;
    }
    return !same_port || listener.port() == reached_at.port();
}

void share_buffers(TransportOptions& options, uint32_t shared, uint32_t reactors) {
    BASALT_ASSERT(reactors > 0);
    const TransportOptions defaults;
    const auto share = [&](uint32_t by_default) {
        const uint64_t count =
            uint64_t{by_default} * shared / (uint64_t{reactors} * kSharedBuffersPerReactor);
        return static_cast<uint32_t>(std::max<uint64_t>(count, kBuffersOfASizeMin));
    };
    options.shared_buffers = shared;
    options.small_buffers = share(defaults.small_buffers);
    options.medium_buffers = share(defaults.medium_buffers);
    options.large_buffers = share(defaults.large_buffers);
}

bool SubsystemConfig::allows(std::string_view host_nqn) const {
    return allow_any_host || std::binary_search(hosts.begin(), hosts.end(), host_nqn);
}

bool NamespaceConfig::is_visible_to(std::string_view host_nqn) const {
    return is_auto_visible ||
           std::binary_search(visible_hosts.begin(), visible_hosts.end(), host_nqn);
}

bool SubsystemConfig::requires_authentication(std::string_view host_nqn) const {
    return std::binary_search(dhchap_hosts.begin(), dhchap_hosts.end(), host_nqn);
}

void set_dhchap_host(SubsystemConfig& config, const std::string& host_nqn, bool has_key) {
    std::erase(config.dhchap_hosts, host_nqn);
    if (has_key) {
        const auto at =
            std::lower_bound(config.dhchap_hosts.begin(), config.dhchap_hosts.end(), host_nqn);
        config.dhchap_hosts.insert(at, host_nqn);
    }
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

const HostRate* SubsystemConfig::find_rate(std::string_view host_nqn) const {
    const auto at = std::find_if(host_rates.begin(), host_rates.end(), [&](const HostRate& rate) {
        return rate.host_nqn == host_nqn;
    });
    return at == host_rates.end() ? nullptr : &*at;
}

qos::Flow* SubsystemConfig::flow_of(std::string_view host_nqn) const {
    const HostRate* own = find_rate(host_nqn);
    return own != nullptr ? own->flow : other_hosts;
}

const NamespaceConfig* SubsystemConfig::find_namespace(Nsid nsid) const {
    const auto at = std::lower_bound(
        namespaces.begin(), namespaces.end(), nsid, [](const NamespaceConfig& config, Nsid wanted) {
            return config.nsid < wanted;
        });
    return at != namespaces.end() && at->nsid == nsid ? &*at : nullptr;
}

}  // namespace basalt::nvmf
