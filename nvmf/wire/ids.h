#pragma once

#include <cstdint>

#include "reactor/base/strong_int.h"

namespace basalt::nvmf {

/// A namespace's number in its subsystem; 0 is none, FFFFFFFFh all (NVMe Base Specification).
using Nsid = StrongInt<struct NsidTag, uint32_t>;
inline constexpr Nsid kNsidAll{0xffffffff};

/// The host's name for a command outstanding on one queue.
using CommandId = StrongInt<struct CommandIdTag, uint16_t>;

/// The controller's name for one R2T; H2CData PDUs carry it back.
using TransferTag = StrongInt<struct TransferTagTag, uint16_t>;

/// A queue pair's number in its controller; 0 is the admin queue.
using QueueId = StrongInt<struct QueueIdTag, uint16_t>;
inline constexpr QueueId kAdminQueueId{0};

/// A controller's number in its subsystem.
using ControllerId = StrongInt<struct ControllerIdTag, uint16_t>;
/// In Connect on the admin queue: the host asks for any controller (dynamic controller model).
inline constexpr ControllerId kControllerIdAny{0xffff};

}  // namespace basalt::nvmf
