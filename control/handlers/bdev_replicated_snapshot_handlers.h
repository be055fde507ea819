#pragma once

#include "control/handlers/pool_calls.h"
#include "rpc/proto/replication.pb.h"

namespace basalt::control {

/// Methods for the snapshots of replicated volumes. Owner: the daemon. Thread: the control thread.
class BdevReplicatedSnapshotHandlers : private WaitingMethods {
  public:
    using WaitingMethods::WaitingMethods;

    void add_to(rpc::MethodTable& table);
};

}  // namespace basalt::control
