#pragma once

#include "control/handlers/pool_calls.h"
#include "rpc/proto/bdev_store.pb.h"

namespace basalt::control {

/// Methods that send snapshots to files and pipes, and receive them. Owner: the daemon. Thread: the
/// control thread.
class BdevStoreTransferHandlers : private WaitingMethods {
  public:
    using WaitingMethods::WaitingMethods;

    void add_to(rpc::MethodTable& table);
};

}  // namespace basalt::control
