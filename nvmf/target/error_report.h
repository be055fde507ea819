#pragma once

#include "nvmf/target/error_log.h"
#include "nvmf/target/options.h"
#include "reactor/base/log_throttle.h"
#include "reactor/msg/event.h"

namespace basalt::nvmf {

class Connection;
class PollGroup;

/// The message by which an I/O queue tells its controller's core of failures. A part of the
/// connection, which is held while it is under way; one at a time.
struct ErrorReport : Event {
    Connection* connection = nullptr;
    PollGroup* origin = nullptr;
    PollGroup* receiver = nullptr;
    SubsystemId subsystem;
    ControllerId cntlid;
    ErrorBatch batch;
    bool is_under_way = false;
};

/// What one queue has to tell of its failures: to its controller's log page, and to ours.
struct QueueErrors {
    ErrorBatch waiting;  ///< To be sent when `report` is home again.
    ErrorReport report;
    LogThrottle lines{kFailureLogNs};
};

}  // namespace basalt::nvmf
