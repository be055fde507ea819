#pragma once

#include "control/handlers/pool_calls.h"
#include "rpc/proto/replication.pb.h"

namespace basalt::control {

/// Methods for replicated volumes: their devices and heads. Owner: the daemon. Thread: the control
/// thread.
class BdevReplicatedHandlers : private WaitingMethods {
  public:
    using WaitingMethods::WaitingMethods;

    void add_to(rpc::MethodTable& table);
};

}  // namespace basalt::control
