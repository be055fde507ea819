#include "control/handlers/live_config.h"

#include <algorithm>

#include "control/handlers/bdev_nvme_convert.h"
#include "control/handlers/convert.h"
#include "control/handlers/nvmf_auth_handlers.h"
#include "control/handlers/qos_convert.h"
#include "control/handlers/replication_convert.h"
#include "control/handlers/transport_words.h"
#include "nvmf/target/io/write_protection.h"
#include "nvmf/wire/nqn.h"

namespace basalt::control {

namespace {

using Json = nlohmann::json;

bool has_digits(std::span<const uint8_t> bytes) {
    return std::any_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte != 0; });
}

const char* ana_text(nvmf::AnaState state) {
    switch (state) {
        case nvmf::AnaState::kOptimized: return "optimized";
        case nvmf::AnaState::kNonOptimized: return "non_optimized";
        case nvmf::AnaState::kInaccessible: return "inaccessible";
        case nvmf::AnaState::kPersistentLoss: return "persistent_loss";
        case nvmf::AnaState::kChange: break;
    }
    return "change";
}

Json namespace_params(const nvmf::NamespaceConfig& config, bool ana_reporting) {
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
    if (ana_reporting) {
        params["anagrpid"] = config.ana_group;
    }
    if (!config.is_auto_visible) {
        params["no_auto_visible"] = true;
    }
    // "Until power cycle" ends with this process.
    if (config.protection->state() == nvmf::WriteProtect::kProtected) {
        params["write_protected"] = true;
    }
    return params;
}

SavedCall transport_call(const nvmf::TransportOptions& options) {
    SavedCall call{.method = "nvmf_create_transport",
                   .params = {{"trtype", "TCP"},
                              {"max_queue_depth", options.queue_entries_max},
                              {"max_io_qpairs_per_ctrlr", options.io_queues_max},
                              {"in_capsule_data_size", options.capsule_data_bytes},
                              {"max_io_size", options.io_bytes_max},
                              {"c2h_success", options.c2h_success},
                              {"max_aq_depth", options.admin_queue_entries_max},
                              {"sock_priority", options.socket_priority},
                              {"abort_timeout_sec", options.abort_patience_ms / 1000},
                              {"handshake_timeout_ms", options.handshake_timeout_ms},
                              {"authentication_timeout_ms", options.authentication_timeout_ms},
                              {"max_opening_connections", options.opening_max},
                              {"max_opening_per_address", options.opening_per_address_max},
                              {"max_connections_per_host", options.host_connections_max},
                              {"max_controllers_per_host", options.host_controllers_max}}};
    if (options.shared_buffers != 0) {
        call.params["num_shared_buffers"] = options.shared_buffers;
    }
    return call;
}

SavedCall referral_call(const nvmf::Referral& referral) {
    return {.method = "nvmf_discovery_add_referral",
            .params = {{"address", address_params(referral.address)},
                       {"secure_channel", referral.secure_channel},
                       {"subnqn", referral.subsystem_nqn}}};
}

SavedCall config_call(nvmf::AuthAlgorithms algorithms, nvmf::DiscoveryFilter filter) {
    Json filters = Json::array();
    if (filter.same_address) {
        filters.push_back("address");
    }
    if (filter.same_port) {
        filters.push_back("svcid");
    }
    return {.method = "nvmf_set_config",
            .params = {{"dhchap_digests", digest_names(algorithms)},
                       {"dhchap_dhgroups", group_names(algorithms)},
                       {"discovery_filters", filters}}};
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

void add_namespaces(const nvmf::SubsystemConfig& config, std::vector<SavedCall>& calls) {
    for (const nvmf::NamespaceConfig& space : config.namespaces) {
        calls.push_back({.method = "nvmf_subsystem_add_ns",
                         .params = {{"nqn", config.nqn},
                                    {"namespace", namespace_params(space, config.ana_reporting)}}});
        for (const std::string& host : space.visible_hosts) {
            calls.push_back(
                {.method = "nvmf_ns_add_host",
                 .params = {{"nqn", config.nqn}, {"nsid", space.nsid.raw()}, {"host", host}}});
        }
    }
}

/// A path with groups in several states begins as inaccessible, so that no host finds a group
/// better than it is while the calls are made.
void add_listener(const nvmf::SubsystemConfig& config,
                  const nvmf::ListenerConfig& listener,
                  std::vector<SavedCall>& calls) {
    const auto& groups = listener.ana_groups;
    const auto differs = [&](const nvmf::AnaGroupState& group) {
        return group.state != groups.front().state;
    };
    const nvmf::AnaState all = std::any_of(groups.begin(), groups.end(), differs)
                                   ? nvmf::AnaState::kInaccessible
                                   : listener.ana_state(1);
    const Json path{{"nqn", config.nqn}, {"listen_address", address_params(listener.address)}};
    Json params = path;
    if (listener.requires_tls) {
        params["secure_channel"] = true;
    }
    if (all != nvmf::AnaState::kOptimized) {
        params["ana_state"] = ana_text(all);
    }
    calls.push_back({.method = "nvmf_subsystem_add_listener", .params = std::move(params)});
    for (uint32_t group = 1; group <= groups.size(); ++group) {
        if (listener.ana_state(group) != all) {
            Json state = path;
            state["ana_state"] = ana_text(listener.ana_state(group));
            state["anagrpid"] = group;
            calls.push_back(
                {.method = "nvmf_subsystem_listener_set_ana_state", .params = std::move(state)});
        }
    }
}

void add_rates(const nvmf::SubsystemConfig& config, std::vector<SavedCall>& calls) {
    if (config.capacity.has_limits()) {
        Json params = policy_params(config.capacity);
        params["nqn"] = config.nqn;
        calls.push_back({.method = "nvmf_subsystem_set_qos_limit", .params = std::move(params)});
    }
    for (const nvmf::HostRate& rate : config.host_rates) {
        Json params = policy_params(rate.policy);
        params["nqn"] = config.nqn;
        params["host"] = rate.host_nqn;
        calls.push_back(
            {.method = "nvmf_subsystem_set_host_qos_limit", .params = std::move(params)});
    }
}

void add_subsystem(const nvmf::Target& target,
                   const nvmf::SubsystemConfig& config,
                   std::vector<SavedCall>& calls) {
    if (config.type == nvmf::SubsystemType::kDiscovery) {  // It is always there.
        add_hosts(target, config, calls);
        for (const nvmf::Referral& referral : config.referrals) {
            calls.push_back(referral_call(referral));
        }
    } else {
        calls.push_back({.method = "nvmf_create_subsystem",
                         .params = {{"nqn", config.nqn},
                                    {"allow_any_host", config.allow_any_host},
                                    {"serial_number", config.serial_number},
                                    {"model_number", config.model_number},
                                    {"max_namespaces", config.namespaces_max},
                                    {"min_cntlid", config.cntlid_min},
                                    {"max_cntlid", config.cntlid_max},
                                    {"ana_reporting", config.ana_reporting}}});
        add_hosts(target, config, calls);
        add_rates(config, calls);
        add_namespaces(config, calls);
    }
}

void add_limits(const Context& context, const bdev::Device& device, std::vector<SavedCall>& calls) {
    Json params = policy_params(device.limits().policy());
    if (device.limits().group() != nullptr) {
        params["qos_group"] = context.groups.name_of(device.limits().group());
    }
    if (!params.empty()) {
        params["name"] = device.info().name;
        calls.push_back({.method = "bdev_set_qos_limit", .params = std::move(params)});
    }
}

}  // namespace

std::vector<SavedCall> bdev_calls(const Context& context) {
    // First, since layers may stand on these devices.
    std::vector<SavedCall> calls = remote_calls(context.remote);
    for (SavedCall& call : replication_calls(context)) {
        calls.push_back(std::move(call));
    }
    for (const auto& device : context.devices.devices()) {
        const bdev::BdevConfig config = device->describe();
        if (!config.method.empty()) {
            calls.push_back({.method = config.method, .params = to_json(config)});
        }
    }
    for (const qos::Groups::Group& group : context.groups.all()) {
        Json params = policy_params(group.domain->capacity());
        params["name"] = group.name;
        calls.push_back({.method = "bdev_qos_group_create", .params = std::move(params)});
    }
    for (const auto& device : context.devices.devices()) {
        add_limits(context, *device, calls);
    }
    for (const auto& pool : context.pools.all()) {
        if (pool->low_space_percent() != bdev::store::kLowSpacePercentDefault) {
            calls.push_back({.method = "bdev_store_set_low_space",
                             .params = {{"lvs_name", pool->identity().name},
                                        {"percent", pool->low_space_percent()}}});
        }
    }
    for (SavedCall& call : replica_drive_calls(context)) {
        calls.push_back(std::move(call));
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
    const nvmf::AuthAlgorithms algorithms = context.target.auth_algorithms();
    const nvmf::SubsystemConfig* discovery = context.target.find(nvmf::kDiscoveryNqn);
    const nvmf::DiscoveryFilter filter =
        discovery == nullptr ? nvmf::DiscoveryFilter() : discovery->discovery_filter;
    // As it is without any call, it needs none.
    if (algorithms != nvmf::AuthAlgorithms{} || filter != nvmf::DiscoveryFilter{}) {
        calls.push_back(config_call(algorithms, filter));
    }
    if (!context.target.is_balancing()) {
        calls.push_back({.method = "framework_set_scheduler", .params = {{"name", "static"}}});
    }
    if (const nvmf::TransportOptions* options = context.target.transport()) {
        calls.push_back(transport_call(*options));
    }
    for (const nvmf::SubsystemConfig* config : context.target.subsystems()) {
        add_subsystem(context.target, *config, calls);
    }
    // Last, so that no host finds a subsystem half made, or one that it uses missing, since they
    // share addresses.
    for (const nvmf::SubsystemConfig* config : context.target.subsystems()) {
        for (const nvmf::ListenerConfig& listener : config->listeners) {
            add_listener(*config, listener, calls);
        }
    }
    return calls;
}

}  // namespace basalt::control
