#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <google/protobuf/message.h>

#include "reactor/task.h"
#include "rpc/error.h"

namespace basalt::cluster {

/// The API of other daemons, as a control process calls it. Core: the control thread's.
class NodeApi {
  public:
    virtual ~NodeApi() = default;

    /// Calls `method` ("bdev_replicated_create") of the daemon whose gRPC is at `address`; what it
    /// answers is in `response`. `request` and `response` live until then. Errors: the daemon's, in
    /// its words; -EHOSTUNREACH: nobody answers, and nothing was done; -ETIMEDOUT: no answer in
    /// time, and the outcome is not known; -ECANCELED: this process is about to end.
    [[nodiscard]] virtual Task<std::optional<rpc::RpcError>> call(
        std::string address,
        std::string method,
        const google::protobuf::Message& request,
        google::protobuf::Message& response,
        uint64_t timeout_ns) = 0;
};

/// Whether it is HOST:PORT, of a name or a numeric address ("[::1]:9101").
[[nodiscard]] bool is_node_address(const std::string& text);

}  // namespace basalt::cluster
