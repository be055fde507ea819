#pragma once

#include <optional>
#include <string_view>

#include "rpc/codec/json_codec.h"
#include "rpc/server/method_table.h"

namespace basalt::rpc {

/// Calls the method `name` with a params object (or null), as a JSON-RPC client would. Returns the
/// error if it could not be called at all (unknown method, wrong params); `sink` then hears
/// nothing. Otherwise `sink` gets the answer with `tag`, possibly before this returns. For the
/// JSON-RPC server, and for whoever replays a saved configuration.
[[nodiscard]] std::optional<RpcError> invoke(const MethodTable& table,
                                             std::string_view name,
                                             const Json& params,
                                             CallSink& sink,
                                             uint64_t tag);

}  // namespace basalt::rpc
