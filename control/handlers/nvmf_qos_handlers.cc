#include "control/handlers/nvmf_qos_handlers.h"

#include <utility>

#include "control/handlers/qos_convert.h"
#include "control/handlers/target_calls.h"
#include "nvmf/wire/nqn.h"

namespace basalt::control {

namespace {

using rpc::Reply;
using rpc::RpcCode;
using rpc::RpcError;

void answer(Status outcome, const std::string& what, Reply<v1::Done>& reply) {
    if (outcome) {
        reply.send();
        return;
    }
    const Errc code = outcome.error().code;
    if (code == Errc::kInvalidArgument || code == Errc::kNoSpace) {
        reply.fail(
            RpcError(RpcCode::kInvalidParams, what + ": " + policy_problem(outcome.error())));
    } else {
        reply.fail(target_error(outcome.error(), what));
    }
}

}  // namespace

void NvmfQosHandlers::add_to(rpc::MethodTable& table) {
    table.add("nvmf_subsystem_set_qos_limit", *this, &NvmfQosHandlers::set_limit);
    table.add("nvmf_subsystem_set_host_qos_limit", *this, &NvmfQosHandlers::set_host_limit);
}

void NvmfQosHandlers::set_host_limit(const v1::NvmfSubsystemSetHostQosLimitRequest& request,
                                     Reply<v1::Done> reply) {
    if (refuse_other_target(request, reply)) {
        return;
    }
    if (!nvmf::is_valid_nqn(request.host())) {
        reply.fail(RpcError(RpcCode::kInvalidParams, "host: '" + request.host() + "' is no NQN"));
        return;
    }
    change_host(request, std::move(reply)).detach();
}

Task<void> NvmfQosHandlers::change_host(const v1::NvmfSubsystemSetHostQosLimitRequest& request,
                                        Reply<v1::Done> reply) {
    const RunningCall running(context_);
    // What is not given stays: nobody else changes it meanwhile.
    co_await context_.device_sequences.acquire();
    const AsyncMutex::Turn turn(context_.device_sequences);
    qos::Policy policy;
    const nvmf::SubsystemConfig* config = context_.target.find(request.nqn());
    if (const auto* rate = config != nullptr ? config->find_rate(request.host()) : nullptr) {
        policy = rate->policy;
    }
    merge_policy(request, policy);
    auto setting = context_.target.set_host_rate(request.nqn(), request.host(), policy);
    const Status outcome = co_await setting;
    answer(outcome, "host '" + request.host() + "' of " + subsystem_words(request.nqn()), reply);
}

void NvmfQosHandlers::set_limit(const v1::NvmfSubsystemSetQosLimitRequest& request,
                                Reply<v1::Done> reply) {
    if (!refuse_other_target(request, reply)) {
        change_capacity(request, std::move(reply)).detach();
    }
}

Task<void> NvmfQosHandlers::change_capacity(const v1::NvmfSubsystemSetQosLimitRequest& request,
                                            Reply<v1::Done> reply) {
    const RunningCall running(context_);
    co_await context_.device_sequences.acquire();
    const AsyncMutex::Turn turn(context_.device_sequences);
    qos::Policy capacity;
    if (const nvmf::SubsystemConfig* config = context_.target.find(request.nqn())) {
        capacity = config->capacity;
    }
    merge_capacity(request, capacity);
    auto setting = context_.target.set_capacity(request.nqn(), capacity);
    const Status outcome = co_await setting;
    answer(outcome, subsystem_words(request.nqn()), reply);
}

}  // namespace basalt::control
