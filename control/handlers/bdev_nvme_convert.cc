#include "control/handlers/bdev_nvme_convert.h"

#include <algorithm>
#include <cstring>

#include "bdev/core/uuid.h"
#include "control/handlers/host_tls.h"
#include "control/handlers/nvmf_auth_handlers.h"
#include "nvmf/wire/nqn.h"

namespace basalt::control {

namespace {

using Json = nlohmann::json;

const char* policy_word(nvmf::MultipathPolicy policy) {
    return policy == nvmf::MultipathPolicy::kActiveActive ? "active_active" : "active_passive";
}

const char* selector_word(nvmf::MultipathSelector selector) {
    return selector == nvmf::MultipathSelector::kQueueDepth ? "queue_depth" : "round_robin";
}

const char* access_word(nvmf::PathAccess access) {
    switch (access) {
        case nvmf::PathAccess::kOptimized: return "optimized";
        case nvmf::PathAccess::kNonOptimized: return "non_optimized";
        case nvmf::PathAccess::kInaccessible: return "inaccessible";
        case nvmf::PathAccess::kPersistentLoss: return "persistent_loss";
        case nvmf::PathAccess::kChange: return "change";
        case nvmf::PathAccess::kNone: break;
    }
    return "none";
}

// "0x1b36".
std::string vendor_word(uint16_t vendor) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string word = "0x";
    for (uint32_t shift = 16; shift > 0; shift -= 4) {
        word += kDigits[(uint32_t{vendor} >> (shift - 4)) & 15U];
    }
    return word;
}

// A field of Identify, which is padded with blanks. What is not ASCII is left out.
template <size_t N>
std::string text_of(const char (&field)[N]) {
    std::string text(field, strnlen(field, N));
    std::erase_if(text, [](char c) { return c < ' ' || c > '~'; });
    const size_t end = text.find_last_not_of(' ');
    text.resize(end == std::string::npos ? 0 : end + 1);
    return text;
}

Json multipath_json(const nvmf::PathRules& rules) {
    return {{"policy", policy_word(rules.policy)},
            {"selector", selector_word(rules.selector)},
            {"min_io", rules.rr_min_io}};
}

void add_reconnect(const nvmf::ReconnectOptions& options, Json& params) {
    params["ctrlr_loss_timeout_sec"] = options.ctrlr_loss_timeout_sec;
    params["reconnect_delay_sec"] = options.reconnect_delay_sec;
    params["fast_io_fail_timeout_sec"] = options.fast_io_fail_timeout_sec;
}

Json transport_json(const nvmf::HostOptions& host) {
    return {{"trtype", "TCP"},
            {"adrfam", host.address.is_ipv6() ? "IPv6" : "IPv4"},
            {"traddr", host.address.host()},
            {"trsvcid", std::to_string(host.address.port())},
            {"hostnqn", host.host_nqn}};
}

SavedCall options_call(const nvmf::RemoteDefaults& defaults) {
    Json params{{"action_on_timeout", defaults.command_timeout_ns == 0 ? "none" : "reset"},
                {"timeout_us", defaults.command_timeout_ns / kNsPerUs},
                {"keep_alive_timeout_ms", defaults.keep_alive_ms},
                {"bdev_retry_count", defaults.retries_max},
                {"disable_auto_failback", defaults.rules.no_failback},
                {"multipath_opts", multipath_json(defaults.rules)}};
    add_reconnect(defaults.reconnect, params);
    if (defaults.algorithms != nvmf::AuthAlgorithms{}) {
        params["dhchap_digests"] = digest_names(defaults.algorithms);
        params["dhchap_dhgroups"] = group_names(defaults.algorithms);
    }
    return {.method = "bdev_nvme_set_options", .params = std::move(params)};
}

void add_keys(const nvmf::ControllerSession& session, Json& params) {
    if (!session.options().psk_name.empty()) {
        params["psk"] = session.options().psk_name;
    }
    if (!session.keys().host_name().empty()) {
        params["dhchap_key"] = session.keys().host_name();
    }
    if (!session.keys().controller_name().empty()) {
        params["dhchap_ctrlr_key"] = session.keys().controller_name();
    }
    if (session.options().host.concatenates) {
        params["concat"] = true;
    }
}

// True if a device that the service has found is in use: calls that come after need it.
bool is_needed(const nvmf::RemoteDevices& devices, const std::string& service) {
    return std::any_of(
        devices.subsystems().begin(), devices.subsystems().end(), [&](const auto& subsystem) {
            return subsystem->settings().discovered_by == service &&
                   !subsystem->user_of_devices().empty();
        });
}

void add_subsystem(const nvmf::RemoteSubsystem& subsystem, std::vector<SavedCall>& calls) {
    for (const auto& session : subsystem.sessions()) {
        if (session == nullptr) {
            continue;
        }
        const nvmf::HostOptions& host = session->options().host;
        Json params = transport_json(host);
        params["name"] = subsystem.name();
        params["subnqn"] = host.subsystem_nqn;
        params["hdgst"] = host.header_digest;
        params["ddgst"] = host.data_digest;
        params["multipath"] = "multipath";
        add_keys(*session, params);
        params["multipath_opts"] = multipath_json(subsystem.settings().rules);
        add_reconnect(session->options().reconnect, params);
        calls.push_back({.method = "bdev_nvme_attach_controller", .params = std::move(params)});
    }
    const nvmf::PathRules& first = subsystem.settings().rules;
    for (const auto& [nsid, space] : subsystem.namespaces()) {
        const nvmf::PathRules& rules = space.rules;
        if (rules.policy != first.policy || rules.selector != first.selector ||
            rules.rr_min_io != first.rr_min_io) {
            calls.push_back({.method = "bdev_nvme_set_multipath_policy",
                             .params = {{"name", space.device},
                                        {"policy", policy_word(rules.policy)},
                                        {"selector", selector_word(rules.selector)},
                                        {"rr_min_io", rules.rr_min_io}}});
        }
    }
}

}  // namespace

void set_host_name(const Context& context,
                   const std::optional<std::string>& hostnqn,
                   nvmf::HostOptions& options) {
    const bdev::Uuid node = bdev::Uuid::from_name("nvme-host", context.node);
    options.host_nqn = hostnqn ? *hostnqn : std::string(nvmf::kUuidNqnPrefix) + node.to_string();
    // A host is known by both, and targets want them to go together.
    const Result<bdev::Uuid> own =
        options.host_nqn.starts_with(nvmf::kUuidNqnPrefix)
            ? bdev::Uuid::parse(options.host_nqn.substr(nvmf::kUuidNqnPrefix.size()))
            : Result<bdev::Uuid>(Errc::kNotFound);
    options.host_id = own ? own->bytes : bdev::Uuid::from_name("nvme-host", options.host_nqn).bytes;
}

std::optional<nvmf::SessionKeys> find_session_keys(
    Keyring& keyring,
    const v1::BdevNvmeAttachControllerRequest& request,
    nvmf::AttachOptions& options,
    std::string& problem) {
    if (!request.psk().empty()) {
        const Result<nvmf::ConfiguredPsk> psk = read_psk(keyring, request.psk(), problem);
        if (!psk) {
            return std::nullopt;
        }
        // The identity that SPDK's targets know; long names have the other one alone.
        const nvmf::TlsPair pair{options.host.host_nqn, options.host.subsystem_nqn};
        Result<nvmf::TlsCredential> made =
            nvmf::derive_credential(*psk, pair, nvmf::IdentityVersion::kPlain);
        if (!made) {
            made = nvmf::derive_credential(*psk, pair, nvmf::IdentityVersion::kWithDigest);
        }
        if (!made) {
            problem = "psk: " + std::string(describe(made.error().code));
            return std::nullopt;
        }
        options.host.tls = std::move(*made);
        options.psk_name = request.psk();
    }
    std::optional<nvmf::HostKeys> keys =
        find_host_keys(keyring, request.dhchap_key(), request.dhchap_ctrlr_key(), problem);
    if (!keys) {
        return std::nullopt;
    }
    if (request.concat() && (!keys->dhchap || !request.psk().empty())) {
        problem =
            "concat: makes a TLS key of dhchap_key's authentication, so that one is needed, and no "
            "psk";
        return std::nullopt;
    }
    options.host.concatenates = request.concat();
    return nvmf::SessionKeys(std::move(keys->dhchap), std::move(keys->dhchap_controller));
}

void read_multipath(const v1::NvmeMultipathOptions& from, nvmf::PathRules& rules) {
    if (from.has_policy()) {
        rules.policy = from.policy() == v1::NVME_MULTIPATH_POLICY_ACTIVE_ACTIVE
                           ? nvmf::MultipathPolicy::kActiveActive
                           : nvmf::MultipathPolicy::kActivePassive;
    }
    if (from.has_selector()) {
        rules.selector = from.selector() == v1::NVME_MULTIPATH_SELECTOR_QUEUE_DEPTH
                             ? nvmf::MultipathSelector::kQueueDepth
                             : nvmf::MultipathSelector::kRoundRobin;
    }
    if (from.has_min_io()) {
        rules.rr_min_io = from.min_io();
    }
}

void fill(const nvmf::HostOptions& host, v1::NvmeTransportId& out) {
    out.set_trtype("TCP");
    out.set_adrfam(host.address.is_ipv6() ? "IPv6" : "IPv4");
    out.set_traddr(host.address.host());
    out.set_trsvcid(std::to_string(host.address.port()));
    out.set_subnqn(host.subsystem_nqn);
}

Json describe_remote(const nvmf::RemoteSubsystem& subsystem,
                     const nvmf::RemoteSubsystem::Namespace& space) {
    Json paths = Json::array();
    for (const auto& session : subsystem.sessions()) {
        if (session == nullptr || space.access[session->index()] == nvmf::PathAccess::kNone) {
            continue;
        }
        const nvme_id_ctrl& id = session->identity();
        Json trid = transport_json(session->options().host);
        trid.erase("hostnqn");
        trid["subnqn"] = session->options().host.subsystem_nqn;
        Json ns_data{{"id", space.identity.nsid}, {"can_share", id.cmic != 0}};
        if (session->has_ana()) {
            ns_data["ana_state"] = access_word(space.access[session->index()]);
        }
        Json controller{{"cntlid", session->cntlid().raw()},
                        {"vendor_id", vendor_word(id.vid)},
                        {"model_number", text_of(id.mn)},
                        {"serial_number", text_of(id.sn)},
                        {"firmware_revision", text_of(id.fr)},
                        {"subnqn", session->options().host.subsystem_nqn},
                        {"multi_ctrlr", (id.cmic & 2U) != 0},
                        {"ana_reporting", session->has_ana()}};
        paths.push_back({{"trid", std::move(trid)},
                         {"ctrlr_data", std::move(controller)},
                         {"ns_data", std::move(ns_data)}});
    }
    return {{"nvme", std::move(paths)}, {"mp_policy", policy_word(space.rules.policy)}};
}

std::vector<SavedCall> remote_calls(const nvmf::RemoteDevices& devices) {
    std::vector<SavedCall> calls;
    if (devices.defaults() != nvmf::RemoteDefaults{}) {
        calls.push_back(options_call(devices.defaults()));
    }
    for (const auto& subsystem : devices.subsystems()) {
        if (!devices.is_discovered(*subsystem)) {
            add_subsystem(*subsystem, calls);
        }
    }
    for (const auto& service : devices.discoveries()) {
        Json params = transport_json(service->options().host);
        params["name"] = service->name();
        params["wait_for_attach"] =
            service->waits_for_attach() || is_needed(devices, service->name());
        add_reconnect(service->options().reconnect, params);
        calls.push_back({.method = "bdev_nvme_start_discovery", .params = std::move(params)});
    }
    return calls;
}

}  // namespace basalt::control
