#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "control/handlers/context.h"
#include "nvmf/target/target.h"
#include "rpc/proto/nvmf.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::control {

/// Methods about DH-HMAC-CHAP. Owner: the daemon. Thread: the control thread.
class NvmfAuthHandlers {
  public:
    explicit NvmfAuthHandlers(Context& context) : context_(context) {}
    NvmfAuthHandlers(const NvmfAuthHandlers&) = delete;
    NvmfAuthHandlers& operator=(const NvmfAuthHandlers&) = delete;

    void add_to(rpc::MethodTable& table);

  private:
    void set_keys(const v1::NvmfSubsystemSetKeysRequest& request, rpc::Reply<v1::Done> reply);
    void set_config(const v1::NvmfSetConfigRequest& request, rpc::Reply<v1::Done> reply);

    Context& context_;
};

/// The keys that a host is to have, by their names in the keyring; "" is none. Nothing if there is
/// no such key, or one for the controller alone: then `problem` says so in words for people.
[[nodiscard]] std::optional<nvmf::HostKeys> find_host_keys(Keyring& keyring,
                                                           const std::string& dhchap_key,
                                                           const std::string& dhchap_ctrlr_key,
                                                           std::string& problem);

/// The algorithms that a request names, over what `algorithms` says. False: it names one that there
/// is not; then `problem` says so.
template <typename Request>
[[nodiscard]] bool read_algorithms(const Request& request,
                                   nvmf::AuthAlgorithms& algorithms,
                                   std::string& problem) {
    algorithms.hashes = request.dhchap_digests_size() > 0 ? 0 : algorithms.hashes;
    for (const std::string& name : request.dhchap_digests()) {
        const auto hash = nvmf::hash_named(name);
        if (!hash) {
            problem = "dhchap_digests: there are sha256, sha384 and sha512, and no '" + name + "'";
            return false;
        }
        algorithms.hashes |= nvmf::AuthAlgorithms::bit(*hash);
    }
    algorithms.groups = request.dhchap_dhgroups_size() > 0 ? 0 : algorithms.groups;
    for (const std::string& name : request.dhchap_dhgroups()) {
        const auto group = nvmf::group_named(name);
        if (!group) {
            problem =
                "dhchap_dhgroups: there are null, ffdhe2048, ffdhe3072, ffdhe4096, ffdhe6144 and "
                "ffdhe8192, and no '" +
                name + "'";
            return false;
        }
        algorithms.groups |= nvmf::AuthAlgorithms::bit(*group);
    }
    return true;
}

/// The names of algorithms, the strongest first, as parameters of a saved call.
[[nodiscard]] nlohmann::json digest_names(nvmf::AuthAlgorithms algorithms);
[[nodiscard]] nlohmann::json group_names(nvmf::AuthAlgorithms algorithms);

}  // namespace basalt::control
