#pragma once

#include <algorithm>
#include <cstdint>

#include "nvmf/target/request.h"
#include "nvmf/wire/status.h"
#include "reactor/base/result.h"

namespace basalt::nvmf {

class Namespace;

/// What a namespace has done for its hosts on one core, or a sum of that. On its core it is a few
/// plain increments an I/O; whoever wants to know sums it up by message. What counts as what: NVM
/// Command Set Specification, "SMART Data Units Read Command", "SMART Host Read Command" and "User
/// Data Out Command". All of it is of commands that were completed with success.
struct HealthCounters {
    uint64_t read_commands = 0;   ///< Read, Compare and Copy.
    uint64_t write_commands = 0;  ///< Write and Copy.
    uint64_t bytes_read = 0;      ///< Of Read, Compare and Verify.
    uint64_t bytes_written = 0;   ///< Of Write and Copy.
    uint64_t media_errors = 0;    ///< Commands that a medium failed.
    /// With at least one command under way. Of a sum it is the longest of its parts: cores and
    /// namespaces are busy at the same time, so the truth is no less.
    uint64_t busy_ns = 0;

    // Why hosts are warned that the subsystem is less reliable than it should be; or'd.
    static constexpr uint8_t kDeviceGone = 1;   ///< And it has not answered since.
    static constexpr uint8_t kMediaFailed = 2;  ///< Once is enough, until the namespace leaves.
    /// By a device that says of itself that it takes writes; until one succeeds.
    static constexpr uint8_t kWritesRefused = 4;
    uint8_t troubles = 0;

    void add(const HealthCounters& other) {
        read_commands += other.read_commands;
        write_commands += other.write_commands;
        bytes_read += other.bytes_read;
        bytes_written += other.bytes_written;
        media_errors += other.media_errors;
        busy_ns = std::max(busy_ns, other.busy_ns);
        troubles |= other.troubles;
    }
};

/// Counts an I/O command that the device of `space` has completed with `outcome`, which its host
/// hears as `status`. Warns all hosts of the subsystem if that makes it less reliable.
void count_outcome(const Request& request, Namespace& space, Status outcome, NvmeStatus status);

}  // namespace basalt::nvmf
