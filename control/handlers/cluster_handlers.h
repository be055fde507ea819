#pragma once

#include "control/handlers/cluster_methods.h"

namespace basalt::control {

/// Methods for the cluster as a whole: status, settings, placement. Owner: the daemon. Thread: the
/// control thread.
class ClusterHandlers : private ClusterMethods {
  public:
    using ClusterMethods::ClusterMethods;

    void add_to(rpc::MethodTable& table);

  private:
    void get_status(const v1::ClusterGetStatusRequest& request,
                    rpc::Reply<v1::ClusterStatus> reply);
};

/// Methods for nodes and drives of the cluster. Owner: the daemon. Thread: the control thread.
class ClusterNodeHandlers : private ClusterMethods {
  public:
    using ClusterMethods::ClusterMethods;

    void add_to(rpc::MethodTable& table);
};

/// Methods for volumes of the cluster. Owner: the daemon. Thread: the control thread.
class ClusterVolumeHandlers : private ClusterMethods {
  public:
    using ClusterMethods::ClusterMethods;

    void add_to(rpc::MethodTable& table);
};

}  // namespace basalt::control
