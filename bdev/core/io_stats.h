#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "bdev/core/io_request.h"

namespace basalt::bdev {

/// What happened to the requests of one operation. Latencies in nanoseconds, of successes only: an
/// error that is answered at once would make the device look fast.
struct OpStats {
    uint64_t count = 0;   ///< Completed with success.
    uint64_t blocks = 0;  ///< Of those.
    uint64_t errors = 0;  ///< Completed without.
    uint64_t latency_ns = 0;
    uint64_t latency_max_ns = 0;
    uint64_t latency_min_ns = UINT64_MAX;  ///< UINT64_MAX while count is 0.

    void record_success(BlockCount done, uint64_t elapsed_ns) {
        ++count;
        blocks += done.raw();
        latency_ns += elapsed_ns;
        latency_max_ns = std::max(latency_max_ns, elapsed_ns);
        latency_min_ns = std::min(latency_min_ns, elapsed_ns);
    }

    void add(const OpStats& other) {
        count += other.count;
        blocks += other.blocks;
        errors += other.errors;
        latency_ns += other.latency_ns;
        latency_max_ns = std::max(latency_max_ns, other.latency_max_ns);
        latency_min_ns = std::min(latency_min_ns, other.latency_min_ns);
    }
};

/// The statistics of a device, on one core or summed over all.
struct IoStats {
    std::array<OpStats, kIoOpCount> ops{};
    uint64_t in_flight = 0;  ///< Requests submitted and not completed, now.

    [[nodiscard]] OpStats& of(IoOp op) { return ops[static_cast<uint32_t>(op)]; }
    [[nodiscard]] const OpStats& of(IoOp op) const { return ops[static_cast<uint32_t>(op)]; }

    void add(const IoStats& other) {
        for (uint32_t i = 0; i < kIoOpCount; ++i) {
            ops[i].add(other.ops[i]);
        }
        in_flight += other.in_flight;
    }
};

}  // namespace basalt::bdev
