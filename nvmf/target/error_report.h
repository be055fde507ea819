#pragma once

#include "nvmf/target/error_log.h"
#include "nvmf/target/options.h"
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

}  // namespace basalt::nvmf
