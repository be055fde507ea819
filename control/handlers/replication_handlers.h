#pragma once

#include "control/handlers/pool_calls.h"
#include "rpc/proto/replication.pb.h"

namespace basalt::control {

/// Methods for the store role: the server that heads connect to, drives of replicas, replicas.
/// Owner: the daemon. Thread: the control thread.
class ReplicationHandlers : private WaitingMethods {
  public:
    using WaitingMethods::WaitingMethods;

    void add_to(rpc::MethodTable& table);
};

}  // namespace basalt::control
