#pragma once

#include "control/handlers/pool_calls.h"
#include "rpc/proto/bdev_store.pb.h"

namespace basalt::control {

/// Methods for what pools do in the background or in small steps: scrub, comparison, inflation.
/// Owner: the daemon. Thread: the control thread.
class BdevStoreCareHandlers : private WaitingMethods {
  public:
    using WaitingMethods::WaitingMethods;

    void add_to(rpc::MethodTable& table);
};

}  // namespace basalt::control
