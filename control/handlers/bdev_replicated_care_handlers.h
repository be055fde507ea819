#pragma once

#include "control/handlers/pool_calls.h"
#include "rpc/proto/replication.pb.h"

namespace basalt::control {

/// Methods for what is compared and mended at the replicas of a volume. Owner: the daemon. Thread:
/// the control thread.
class BdevReplicatedCareHandlers : private WaitingMethods {
  public:
    using WaitingMethods::WaitingMethods;

    void add_to(rpc::MethodTable& table);
};

}  // namespace basalt::control
