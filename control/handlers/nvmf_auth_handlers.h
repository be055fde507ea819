#pragma once

#include <optional>
#include <string>

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

}  // namespace basalt::control
