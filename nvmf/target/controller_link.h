#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "nvmf/target/namespace_access.h"
#include "nvmf/target/options.h"
#include "nvmf/target/queue_settings.h"
#include "nvmf/wire/ids.h"
#include "reactor/base/strong_int.h"

namespace basalt::nvmf {

class Controller;
class Subsystem;
struct HostShare;

/// What a connected queue knows of its controller. The controller lives on the core of its admin
/// queue; an I/O queue on another core names it by core and id, never by pointer.
struct ControllerLink {
    Subsystem* subsystem = nullptr;    ///< As this queue's core sees it; null before Connect.
    SubsystemId subsystem_id;          ///< The subsystem's, on every core.
    Controller* controller = nullptr;  ///< Admin queue only: it owns the controller.
    HostShare* host = nullptr;  ///< What the host's queues hold on this core; with subsystem.
    CoreId home;                ///< The controller's core.
    ControllerId cntlid;
    QueueId qid;
    std::string host_nqn;
    std::array<uint8_t, 16> host_id{};
    NamespaceAccess access;  ///< What of the subsystem it may use.
    QueueSettings settings;
    qos::Lane* lane = nullptr;  ///< I/O queue of a host with limits: where it gets its tokens.
    bool is_attached = false;  ///< I/O queue: the controller counts it and must be told of its end.
    bool is_disconnected = false;  ///< I/O queue: the host has ended it; nothing more is executed.
};

}  // namespace basalt::nvmf
