#pragma once

#include "control/handlers/context.h"
#include "rpc/proto/nvmf_paths.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::control {

/// Methods about the paths to the target's namespaces: ANA, visibility, referrals. Owner: the
/// daemon. Thread: the control thread; the target puts changes that overlap in order.
class NvmfPathHandlers {
  public:
    explicit NvmfPathHandlers(Context& context) : context_(context) {}
    NvmfPathHandlers(const NvmfPathHandlers&) = delete;
    NvmfPathHandlers& operator=(const NvmfPathHandlers&) = delete;

    void add_to(rpc::MethodTable& table);

  private:
    void set_ana_state(const v1::NvmfSubsystemListenerSetAnaStateRequest& request,
                       rpc::Reply<v1::Done> reply);
    void set_ana_group(const v1::NvmfSubsystemSetNsAnaGroupRequest& request,
                       rpc::Reply<v1::Done> reply);
    void ns_add_host(const v1::NvmfNsAddHostRequest& request, rpc::Reply<v1::Done> reply);
    void ns_remove_host(const v1::NvmfNsRemoveHostRequest& request, rpc::Reply<v1::Done> reply);
    void add_referral(const v1::NvmfDiscoveryAddReferralRequest& request,
                      rpc::Reply<v1::Done> reply);
    void remove_referral(const v1::NvmfDiscoveryRemoveReferralRequest& request,
                         rpc::Reply<v1::Done> reply);
    void get_referrals(const v1::NvmfDiscoveryGetReferralsRequest& request,
                       rpc::Reply<v1::NvmfDiscoveryGetReferralsResponse> reply);

    template <typename Request>
    void show_namespace(const Request& request, bool is_shown, rpc::Reply<v1::Done> reply);

    Context& context_;
};

/// An ANA state as the API calls it, and back.
[[nodiscard]] v1::AnaState ana_word(nvmf::AnaState state);
[[nodiscard]] nvmf::AnaState ana_state(v1::AnaState word);

/// True, and the call is answered, if it is about a subsystem that doesn't report ANA.
[[nodiscard]] bool refuse_without_ana(const Context& context,
                                      const std::string& nqn,
                                      rpc::Reply<v1::Done>& reply);

}  // namespace basalt::control
