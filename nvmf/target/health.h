#pragma once

#include <algorithm>
#include <cstdint>

#include "nvmf/target/request.h"
#include "nvmf/wire/status.h"
#include "reactor/base/result.h"

namespace basalt::nvmf {

/// What a namespace has done for its hosts on one core, or a sum of that. On its core it is a few
/// plain increments an I/O; whoever wants to know sums it up by message.
struct HealthCounters {
    uint64_t read_commands = 0;   ///< Read, Compare and Verify, completed with success.
    uint64_t write_commands = 0;  ///< Write, completed with success.
    uint64_t bytes_read = 0;
    uint64_t bytes_written = 0;
    uint64_t media_errors = 0;  ///< Commands that a medium failed.
    /// With at least one command under way. Of a sum it is the longest of its parts: cores and
    /// namespaces are busy at the same time, so the truth is no less.
    uint64_t busy_ns = 0;
    bool is_degraded = false;  ///< A device has gone, and has not answered since.

    void add(const HealthCounters& other) {
        read_commands += other.read_commands;
        write_commands += other.write_commands;
        bytes_read += other.bytes_read;
        bytes_written += other.bytes_written;
        media_errors += other.media_errors;
        busy_ns = std::max(busy_ns, other.busy_ns);
        is_degraded = is_degraded || other.is_degraded;
    }

    /// Counts an I/O command that its device has completed; `block_bytes` is the namespace's.
    void count(const Request& request, Status outcome, NvmeStatus status, uint32_t block_bytes);
};

}  // namespace basalt::nvmf
