#pragma once

#include "control/handlers/pool_calls.h"
#include "rpc/proto/bdev_lvol.pb.h"

namespace basalt::control {

/// Methods for the volumes of pools, their snapshots and clones: SPDK's bdev_lvol_*, and
/// bdev_store_* of our own. Owner: the daemon. Thread: the control thread.
class BdevLvolHandlers : private WaitingMethods {
  public:
    using WaitingMethods::WaitingMethods;

    void add_to(rpc::MethodTable& table);
};

}  // namespace basalt::control
