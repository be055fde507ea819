#pragma once

#include "control/handlers/pool_calls.h"
#include "rpc/proto/bdev_lvol.pb.h"

namespace basalt::control {

/// Methods for pools as a whole: made, opened, closed, checked, counted. Owner: the daemon. Thread:
/// the control thread.
class BdevStoreHandlers : private WaitingMethods {
  public:
    using WaitingMethods::WaitingMethods;

    void add_to(rpc::MethodTable& table);
};

}  // namespace basalt::control
