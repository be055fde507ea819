#include "control/handlers/nvmf_auth_handlers.h"

#include <utility>

#include "control/handlers/host_tls.h"
#include "control/handlers/target_calls.h"

namespace basalt::control {

using rpc::Reply;
using rpc::RpcCode;
using rpc::RpcError;

namespace {

// Finds one key; false if a name was given that the ring has not, or whose file holds no secret.
bool find_key(Keyring& keyring, const std::string& name, KeyReference& out, std::string& problem) {
    if (name.empty()) {
        return true;
    }
    Result<KeyReference> key = keyring.find(name);
    if (!key) {
        problem = "key '" + name + "' is not in the keyring; keyring_file_add_key puts it there";
        return false;
    }
    const Result<Secret> contents = key->read();
    if (!contents || !nvmf::DhchapSecret::parse(contents->text())) {
        problem = "key '" + name +
                  "' can't be read or is no DH-HMAC-CHAP secret (nvme gen-dhchap-key makes one)";
        return false;
    }
    out = std::move(*key);
    return true;
}

// Gives a host other keys, of both kinds or one.
Task<Status> replace_keys(Context& context,
                          std::string nqn,
                          std::string host,
                          std::optional<nvmf::HostKeys> keys,
                          std::optional<nvmf::HostTls> tls) {
    Status replaced;
    if (keys) {
        auto replacing = context.target.set_host_keys(nqn, host, std::move(*keys));
        replaced = co_await replacing;
    }
    if (replaced && tls) {
        auto replacing = context.target.set_host_tls(nqn, std::move(*tls));
        replaced = co_await replacing;
    }
    co_return replaced;
}

// Nothing, and `problem` says why, if a name is unknown.
std::optional<nvmf::DiscoveryFilter> read_filter(const v1::NvmfSetConfigRequest& request,
                                                 std::string& problem) {
    nvmf::DiscoveryFilter filter;
    for (const std::string& name : request.discovery_filters()) {
        if (name == "address") {
            filter.same_address = true;
        } else if (name == "svcid") {
            filter.same_port = true;
        } else if (name != "transport" && name != "match_any") {  // There is one transport.
            problem =
                "discovery_filters: there are match_any, transport, address and svcid, and "
                "no '" +
                name + "'";
            return std::nullopt;
        }
    }
    return filter;
}

}  // namespace

void NvmfAuthHandlers::add_to(rpc::MethodTable& table) {
    table.add("nvmf_set_config", *this, &NvmfAuthHandlers::set_config);
    table.add("nvmf_subsystem_set_keys", *this, &NvmfAuthHandlers::set_keys);
}

std::optional<nvmf::HostKeys> find_host_keys(Keyring& keyring,
                                             const std::string& dhchap_key,
                                             const std::string& dhchap_ctrlr_key,
                                             std::string& problem) {
    nvmf::HostKeys keys;
    if (!find_key(keyring, dhchap_key, keys.dhchap, problem) ||
        !find_key(keyring, dhchap_ctrlr_key, keys.dhchap_controller, problem)) {
        return std::nullopt;
    }
    if (keys.dhchap_controller && !keys.dhchap) {
        problem = "dhchap_ctrlr_key: needs dhchap_key, the host's";
        return std::nullopt;
    }
    return keys;
}

nlohmann::json digest_names(nvmf::AuthAlgorithms algorithms) {
    nlohmann::json names = nlohmann::json::array();
    for (const nvmf::AuthHash hash : nvmf::kAuthHashes) {
        if (algorithms.has(hash)) {
            names.push_back(nvmf::name_of(hash));
        }
    }
    return names;
}

nlohmann::json group_names(nvmf::AuthAlgorithms algorithms) {
    nlohmann::json names = nlohmann::json::array();
    for (const nvmf::DhGroup group : nvmf::kDhGroups) {
        if (algorithms.has(group)) {
            names.push_back(nvmf::name_of(group));
        }
    }
    return names;
}

void NvmfAuthHandlers::set_keys(const v1::NvmfSubsystemSetKeysRequest& request,
                                Reply<v1::Done> reply) {
    if (refuse_other_target(request, reply)) {
        return;
    }
    std::string problem;
    std::optional<nvmf::HostKeys> keys =
        find_host_keys(context_.keyring, request.dhchap_key(), request.dhchap_ctrlr_key(), problem);
    if (!keys) {
        reply.fail(RpcError(RpcCode::kInvalidParams, problem));
        return;
    }
    std::optional<nvmf::HostTls> tls;
    if (!request.psk().empty()) {
        const nvmf::TlsPair pair{request.host(), request.nqn()};
        Result<nvmf::HostTls> read = read_host_tls(context_.keyring, request.psk(), pair, problem);
        if (!read) {
            reply.fail(RpcError(RpcCode::kInvalidParams, problem));
            return;
        }
        tls = std::move(*read);
        if (!keys->dhchap) {
            keys.reset();  // Given alone.
        }
    }
    answer_with(
        context_,
        replace_keys(context_, request.nqn(), request.host(), std::move(keys), std::move(tls)),
        "host '" + request.host() + "' of " + subsystem_words(request.nqn()),
        std::move(reply))
        .detach();
}

void NvmfAuthHandlers::set_config(const v1::NvmfSetConfigRequest& request, Reply<v1::Done> reply) {
    nvmf::AuthAlgorithms algorithms;
    std::string problem;
    const bool are_known = read_algorithms(request, algorithms, problem);
    const auto filter = read_filter(request, problem);
    if (!are_known || !filter) {
        reply.fail(RpcError(RpcCode::kInvalidParams, problem));
        return;
    }
    context_.target.allow_auth_algorithms(algorithms);
    answer_with(context_,
                context_.target.set_discovery_filter(*filter),
                "discovery_filters",
                std::move(reply))
        .detach();
}

}  // namespace basalt::control
