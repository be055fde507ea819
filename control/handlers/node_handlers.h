#pragma once

#include <string>
#include <vector>

#include "control/handlers/pool_calls.h"
#include "rpc/proto/cluster.pb.h"

namespace basalt::control {

/// What a control process asks a node. Owner: the daemon. Thread: the control thread.
class NodeHandlers {
  public:
    /// `uuid` of this node, empty if it has none; `nvmf_listen`: where it serves hosts.
    NodeHandlers(Context& context, std::string uuid, std::vector<SocketAddress> nvmf_listen)
        : context_(context), uuid_(std::move(uuid)), nvmf_listen_(std::move(nvmf_listen)) {}

    void add_to(rpc::MethodTable& table);

  private:
    void get_info(const v1::NodeGetInfoRequest& request, rpc::Reply<v1::NodeGetInfoResponse> reply);
    [[nodiscard]] Task<void> answer(rpc::Reply<v1::NodeGetInfoResponse> reply);

    Context& context_;
    const std::string uuid_;
    const std::vector<SocketAddress> nvmf_listen_;
};

}  // namespace basalt::control
