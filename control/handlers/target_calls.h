#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "control/handlers/context.h"
#include "reactor/task.h"
#include "rpc/proto/nvmf.pb.h"
#include "rpc/server/call.h"

// What the methods about the NVMe/TCP target have in common. Thread: the control thread.

namespace basalt::control {

/// The answer to a request whose tgt_name names another target than ours; true if it does.
template <typename Request, typename Response>
[[nodiscard]] bool refuse_other_target(const Request& request, rpc::Reply<Response>& reply) {
    if (!request.has_tgt_name() || request.tgt_name().empty() || request.tgt_name() == "nvmf_tgt") {
        return false;
    }
    reply.fail(rpc::RpcError(
        rpc::RpcCode::kInvalidParams,
        "tgt_name: there is one target, nvmf_tgt, and no '" + request.tgt_name() + "'"));
    return true;
}

/// "subsystem 'nqn…'", for messages.
[[nodiscard]] std::string subsystem_words(std::string_view nqn);

/// "namespace 1 of subsystem 'nqn…'".
[[nodiscard]] std::string namespace_words(std::string_view nqn, nvmf::Nsid nsid);

/// "listener 192.0.2.1:4420 of subsystem 'nqn…'".
[[nodiscard]] std::string listener_words(std::string_view nqn, const SocketAddress& address);

/// The RpcError for a failed operation on a part of the target. As with SPDK, a subsystem or part
/// of one that does not exist is a wrong parameter.
[[nodiscard]] rpc::RpcError target_error(Error error, const std::string& what);

/// Reads an address, whose port may be left out; nothing if it is wrong: then the call has been
/// answered with the reason.
[[nodiscard]] std::optional<SocketAddress> read_address(const v1::ListenAddress& address,
                                                        uint16_t default_port,
                                                        rpc::Reply<v1::Done>& reply);

/// Waits for a change that has begun and answers with its outcome; `what` is what it is about.
template <typename Value>
Task<void> answer_with(Context& context,
                       Task<Result<Value>> change,
                       std::string what,
                       rpc::Reply<v1::Done> reply) {
    const RunningCall running(context);
    const Result<Value> outcome = co_await change;
    if (!outcome) {
        reply.fail(target_error(outcome.error(), what));
        co_return;
    }
    reply.send();
}

}  // namespace basalt::control
