#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "bdev/qos/domain.h"
#include "nvmf/wire/sqe.h"

namespace basalt::nvmf {

/// What a host may do with a subsystem in a second. Part of a SubsystemConfig.
struct HostRate {
    std::string host_nqn;
    qos::Policy policy;
    qos::Flow* flow = nullptr;  ///< Of the subsystem's domain; outlives the configuration.
};

/// What a command costs its host before it takes memory: reads, compares and verifies the bytes
/// that they read, writes those that they write; others that reach a device one I/O. Nothing: it
/// is free, as flushes are and what concerns reservations. `data_bytes` is what comes or goes,
/// `block_bytes` the namespace's, for a command that moves what no host sees.
[[nodiscard]] std::optional<qos::IoCost> host_cost(const Sqe& command,
                                                   uint32_t data_bytes,
                                                   uint32_t block_bytes);

}  // namespace basalt::nvmf
