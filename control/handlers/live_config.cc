#include "control/handlers/live_config.h"

#include <algorithm>

#include "control/handlers/bdev_nvme_convert.h"
#include "control/handlers/convert.h"

namespace basalt::control {

namespace {

using Json = nlohmann::json;

bool has_digits(std::span<const uint8_t> bytes) {
    return std::any_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte != 0; });
}

Json namespace_params(const nvmf::NamespaceConfig& config) {
    Json params{{"nsid", config.nsid.raw()},
                {"bdev_name", config.bdev->info().name},
                {"uuid", config.uuid.to_string()}};
    if (has_digits(config.nguid)) {
        params["nguid"] = to_hex(config.nguid);
    }
    if (has_digits(config.eui64)) {
        params["eui64"] = to_hex(config.eui64);
    }
    if (!config.reservation_file.empty()) {
        params["ptpl_file"] = config.reservation_file;
    }
    return params;
}

SavedCall transport_call(const nvmf::TransportOptions& options) {
    return {.method = "nvmf_create_transport",
            .params = {{"trtype", "TCP"},
                       {"max_queue_depth", options.queue_entries_max},
                       {"max_io_qpairs_per_ctrlr", options.io_queues_max},
                       {"in_capsule_data_size", options.capsule_data_bytes},
                       {"max_io_size", options.io_bytes_max},
                       {"c2h_success", options.c2h_success}}};
}

SavedCall config_call(nvmf::AuthAlgorithms algorithms) {
    Json digests = Json::array();
    for (const nvmf::AuthHash hash : nvmf::kAuthHashes) {
        if (algorithms.has(hash)) {
            digests.push_back(nvmf::name_of(hash));
        }
    }
    Json groups = Json::array();
    for (const nvmf::DhGroup group : nvmf::kDhGroups) {
        if (algorithms.has(group)) {
            groups.push_back(nvmf::name_of(group));
        }
    }
    return {.method = "nvmf_set_config",
            .params = {{"dhchap_digests", digests}, {"dhchap_dhgroups", groups}}};
}

void add_hosts(const nvmf::Target& target,
               const nvmf::SubsystemConfig& config,
               std::vector<SavedCall>& calls) {
    for (const std::string& host : config.hosts) {
        Json params{{"nqn", config.nqn}, {"host", host}};
        if (const nvmf::HostTls* tls = nvmf::find_host_tls(config, host)) {
            params["psk"] = tls->key_name;
        }
        if (const nvmf::HostKeys* keys = target.host_keys(config.nqn, host)) {
            params["dhchap_key"] = keys->dhchap.name();
            if (keys->dhchap_controller) {
                params["dhchap_ctrlr_key"] = keys->dhchap_controller.name();
            }
        }
        calls.push_back({.method = "nvmf_subsystem_add_host", .params = std::move(params)});
    }
}

void add_subsystem(const nvmf::Target& target,
                   const nvmf::SubsystemConfig& config,
                   std::vector<SavedCall>& calls) {
    const bool is_discovery = config.type == nvmf::SubsystemType::kDiscovery;
    // The discovery subsystem is always there.
    if (!is_discovery) {
        calls.push_back({.method = "nvmf_create_subsystem",
                         .params = {{"nqn", config.nqn},
                                    {"allow_any_host", config.allow_any_host},
                                    {"serial_number", config.serial_number},
                                    {"model_number", config.model_number},
                                    {"max_namespaces", config.namespaces_max},
                                    {"min_cntlid", config.cntlid_min},
                                    {"max_cntlid", config.cntlid_max}}});
        add_hosts(target, config, calls);
        for (const nvmf::NamespaceConfig& space : config.namespaces) {
            calls.push_back(
                {.method = "nvmf_subsystem_add_ns",
                 .params = {{"nqn", config.nqn}, {"namespace", namespace_params(space)}}});
        }
    }
    if (is_discovery) {
        add_hosts(target, config, calls);
    }
    // Last, so that no host finds the subsystem half made.
    for (const nvmf::ListenerConfig& listener : config.listeners) {
        Json params{{"nqn", config.nqn},
                    {"listen_address",
                     {{"trtype", "TCP"},
                      {"adrfam", listener.address.is_ipv6() ? "IPv6" : "IPv4"},
                      {"traddr", listener.address.host()},
                      {"trsvcid", std::to_string(listener.address.port())}}}};
        if (listener.requires_tls) {
            params["secure_channel"] = true;
        }
        calls.push_back({.method = "nvmf_subsystem_add_listener", .params = std::move(params)});
    }
}

}  // namespace

std::vector<SavedCall> bdev_calls(const Context& context) {
    // First, since layers may stand on these devices.
    std::vector<SavedCall> calls = remote_calls(context.remote);
    for (const auto& device : context.devices.devices()) {
        const bdev::BdevConfig config = device->describe();
        if (!config.method.empty()) {
            calls.push_back({.method = config.method, .params = to_json(config)});
        }
    }
    return calls;
}

std::vector<SavedCall> keyring_calls(const Context& context) {
    std::vector<SavedCall> calls;
    for (const KeyInfo& key : context.keyring.list()) {
        if (!key.is_removed) {
            calls.push_back({.method = "keyring_file_add_key",
                             .params = {{"name", key.name}, {"path", key.path}}});
        }
    }
    return calls;
}

std::vector<SavedCall> nvmf_calls(const Context& context) {
    std::vector<SavedCall> calls;
    // As it is without any call, it needs none.
    if (context.target.auth_algorithms() != nvmf::AuthAlgorithms{}) {
        calls.push_back(config_call(context.target.auth_algorithms()));
    }
    if (const nvmf::TransportOptions* options = context.target.transport()) {
        calls.push_back(transport_call(*options));
    }
    for (const nvmf::SubsystemConfig* config : context.target.subsystems()) {
        add_subsystem(context.target, *config, calls);
    }
    return calls;
}

}  // namespace basalt::control
