#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rpc/codec/json_codec.h"
#include "rpc/server/method_table.h"

namespace basalt::rpc {

class JsonConnection;

/// One JSON value of a client and the answer to it: a request, or a batch of them (JSON-RPC 2.0
/// sections 4 to 6).
///
/// The calls of a batch start in order and run at the same time. Owner: the connection, which it
/// tells when all calls are answered, and which destroys it then. Thread: the control thread.
class JsonExchange final : public CallSink {
  public:
    explicit JsonExchange(JsonConnection& connection) : connection_(connection) {}

    /// Starts the calls. May destroy this object.
    void start(const MethodTable& table, const Json& value);

    void call_done(const Call& call, const RpcError* error) override;

  private:
    void start_request(const MethodTable& table, const Json& request);
    void answer(const Json& id, const std::string& member, const std::string& value);
    /// Answers and logs that `subject` ("bdev_malloc_delete", "a batch") is refused.
    void refuse(const Json& id, std::string_view subject, const RpcError& error);
    void release();

    JsonConnection& connection_;
    bool is_batch_ = false;
    size_t pending_ = 0;     // Calls in progress, and start() itself.
    std::vector<Json> ids_;  // By tag; discarded for a notification.
    std::string text_;
};

/// The text of a JSON-RPC error response; `id` is null where the request's is unknown.
[[nodiscard]] std::string error_response(const Json& id, const RpcError& error);

}  // namespace basalt::rpc
