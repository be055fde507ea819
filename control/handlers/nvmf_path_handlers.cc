#include "control/handlers/nvmf_path_handlers.h"

#include <cerrno>
#include <utility>

#include "control/handlers/target_calls.h"
#include "control/handlers/transport_words.h"
#include "nvmf/wire/nqn.h"

namespace basalt::control {

using rpc::Reply;
using rpc::RpcError;

namespace {

/// The subsystem that a referral is about.
template <typename Request>
std::string referred_nqn(const Request& request) {
    return request.subnqn().empty() ? std::string(nvmf::kDiscoveryNqn) : request.subnqn();
}

/// Where it is; the port is what such subsystems usually have.
template <typename Request>
std::optional<SocketAddress> referred_address(const Request& request, Reply<v1::Done>& reply) {
    const bool is_discovery = referred_nqn(request) == nvmf::kDiscoveryNqn;
    return read_address(
        request.address(), is_discovery ? nvmf::kDiscoveryPort : nvmf::kIoPort, reply);
}

std::string referral_words(const std::string& nqn, const SocketAddress& address) {
    return "referral to '" + nqn + "' at " + address.to_string();
}

}  // namespace

v1::AnaState ana_word(nvmf::AnaState state) {
    switch (state) {
        case nvmf::AnaState::kOptimized: return v1::ANA_STATE_OPTIMIZED;
        case nvmf::AnaState::kNonOptimized: return v1::ANA_STATE_NON_OPTIMIZED;
        case nvmf::AnaState::kInaccessible: return v1::ANA_STATE_INACCESSIBLE;
        case nvmf::AnaState::kPersistentLoss: return v1::ANA_STATE_PERSISTENT_LOSS;
        case nvmf::AnaState::kChange: break;
    }
    return v1::ANA_STATE_CHANGE;
}

nvmf::AnaState ana_state(v1::AnaState word) {
    for (const nvmf::AnaState each : {nvmf::AnaState::kOptimized,
                                      nvmf::AnaState::kNonOptimized,
                                      nvmf::AnaState::kPersistentLoss,
                                      nvmf::AnaState::kChange}) {
        if (ana_word(each) == word) {
            return each;
        }
    }
    return nvmf::AnaState::kInaccessible;  // The codec lets no other number through.
}

bool refuse_without_ana(const Context& context, const std::string& nqn, Reply<v1::Done>& reply) {
    const nvmf::SubsystemConfig* config = context.target.find(nqn);
    if (config == nullptr || config->ana_reporting) {
        return false;  // One that isn't there is the target's to refuse.
    }
    reply.fail(RpcError(-EOPNOTSUPP, subsystem_words(nqn) + " was made without ana_reporting"));
    return true;
}

void NvmfPathHandlers::add_to(rpc::MethodTable& table) {
    using Self = NvmfPathHandlers;
    table.add("nvmf_subsystem_listener_set_ana_state", *this, &Self::set_ana_state);
    table.add("nvmf_subsystem_set_ns_ana_group", *this, &Self::set_ana_group);
    table.add("nvmf_ns_add_host", *this, &Self::ns_add_host);
    table.add("nvmf_ns_remove_host", *this, &Self::ns_remove_host);
    table.add("nvmf_discovery_add_referral", *this, &Self::add_referral);
    table.add("nvmf_discovery_remove_referral", *this, &Self::remove_referral);
    table.add("nvmf_discovery_get_referrals", *this, &Self::get_referrals);
}

// --- ANA -----------------------------------------------------------------------------------------

void NvmfPathHandlers::set_ana_state(const v1::NvmfSubsystemListenerSetAnaStateRequest& request,
                                     Reply<v1::Done> reply) {
    if (refuse_other_target(request, reply) || refuse_without_ana(context_, request.nqn(), reply)) {
        return;
    }
    const auto address = read_address(request.listen_address(), nvmf::kIoPort, reply);
    if (!address) {
        return;
    }
    // 0 is every group.
    auto setting = context_.target.set_ana_state(
        request.nqn(), *address, ana_state(request.ana_state()), request.anagrpid());
    answer_with(context_,
                std::move(setting),
                "ANA state of " + listener_words(request.nqn(), *address),
                std::move(reply))
        .detach();
}

void NvmfPathHandlers::set_ana_group(const v1::NvmfSubsystemSetNsAnaGroupRequest& request,
                                     Reply<v1::Done> reply) {
    if (refuse_other_target(request, reply) || refuse_without_ana(context_, request.nqn(), reply)) {
        return;
    }
    const nvmf::Nsid nsid(request.nsid());
    answer_with(context_,
                context_.target.set_ana_group(request.nqn(), nsid, request.anagrpid()),
                "ANA group of " + namespace_words(request.nqn(), nsid),
                std::move(reply))
        .detach();
}

// --- Who sees a namespace ------------------------------------------------------------------------

template <typename Request>
void NvmfPathHandlers::show_namespace(const Request& request,
                                      bool is_shown,
                                      Reply<v1::Done> reply) {
    if (refuse_other_target(request, reply)) {
        return;
    }
    const nvmf::Nsid nsid(request.nsid());
    std::string what = namespace_words(request.nqn(), nsid) + " for host '" + request.host() + "'";
    const nvmf::SubsystemConfig* config = context_.target.find(request.nqn());
    const nvmf::NamespaceConfig* space = config == nullptr ? nullptr : config->find_namespace(nsid);
    if (space != nullptr && space->is_auto_visible) {
        what += " (every host sees it: it was added without no_auto_visible)";
    }
    answer_with(context_,
                context_.target.show_namespace(request.nqn(), nsid, request.host(), is_shown),
                std::move(what),
                std::move(reply))
        .detach();
}

void NvmfPathHandlers::ns_add_host(const v1::NvmfNsAddHostRequest& request, Reply<v1::Done> reply) {
    show_namespace(request, true, std::move(reply));
}

void NvmfPathHandlers::ns_remove_host(const v1::NvmfNsRemoveHostRequest& request,
                                      Reply<v1::Done> reply) {
    show_namespace(request, false, std::move(reply));
}

// --- Referrals -----------------------------------------------------------------------------------

void NvmfPathHandlers::add_referral(const v1::NvmfDiscoveryAddReferralRequest& request,
                                    Reply<v1::Done> reply) {
    if (refuse_other_target(request, reply)) {
        return;
    }
    const auto address = referred_address(request, reply);
    if (!address) {
        return;
    }
    nvmf::Referral referral{referred_nqn(request), *address, request.secure_channel()};
    const std::string what = referral_words(referral.subsystem_nqn, *address);
    answer_with(context_, context_.target.add_referral(std::move(referral)), what, std::move(reply))
        .detach();
}

void NvmfPathHandlers::remove_referral(const v1::NvmfDiscoveryRemoveReferralRequest& request,
                                       Reply<v1::Done> reply) {
    if (refuse_other_target(request, reply)) {
        return;
    }
    const auto address = referred_address(request, reply);
    if (!address) {
        return;
    }
    const std::string nqn = referred_nqn(request);
    answer_with(context_,
                context_.target.remove_referral(nqn, *address),
                referral_words(nqn, *address),
                std::move(reply))
        .detach();
}

void NvmfPathHandlers::get_referrals(const v1::NvmfDiscoveryGetReferralsRequest& request,
                                     Reply<v1::NvmfDiscoveryGetReferralsResponse> reply) {
    if (refuse_other_target(request, reply)) {
        return;
    }
    if (const nvmf::SubsystemConfig* discovery = context_.target.find(nvmf::kDiscoveryNqn)) {
        for (const nvmf::Referral& referral : discovery->referrals) {
            auto& out = *reply.result().add_referrals();
            write_address(referral.address, *out.mutable_address());
            out.set_secure_channel(referral.secure_channel);
            out.set_subnqn(referral.subsystem_nqn);
        }
    }
    reply.send();
}

}  // namespace basalt::control
