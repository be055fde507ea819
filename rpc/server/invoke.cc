#include "rpc/server/invoke.h"

namespace basalt::rpc {

std::optional<RpcError> invoke(const MethodTable& table,
                               std::string_view name,
                               const Json& params,
                               CallSink& sink,
                               uint64_t tag) {
    const Method* method = table.find(name);
    if (method == nullptr) {
        return RpcError(RpcCode::kMethodNotFound,
                        "there is no method '" + std::string(name) + "'; see rpc_get_methods");
    }
    auto request = method->new_request();
    if (auto broken = decode_params(params, *request)) {
        return broken;
    }
    MethodTable::dispatch(*method, std::move(request), sink, tag);
    return std::nullopt;
}

}  // namespace basalt::rpc
