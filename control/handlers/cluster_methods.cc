#include "control/handlers/cluster_methods.h"

#include <cerrno>

namespace basalt::control {

std::optional<rpc::RpcError> check_plane(const ClusterContext& context) {
    if (context.plane == nullptr) {
        return rpc::RpcError(-EOPNOTSUPP,
                             "this daemon has no control role: ask one that has, or add "
                             "[control_plane] to its configuration");
    }
    if (!context.plane->is_ready()) {
        return rpc::RpcError(-EHOSTUNREACH,
                             "the store of the cluster's metadata is not reachable: " +
                                 (context.plane->problem().empty() ? "it is being opened again"
                                                                   : context.plane->problem()));
    }
    return std::nullopt;
}

}  // namespace basalt::control
