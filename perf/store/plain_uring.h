#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reactor/base/result.h"

namespace basalt::perf {

struct PlainUringOptions {
    std::string path;
    bool writes = false;  ///< Each durable, RWF_DSYNC.
    uint32_t queue_depth = 1;
    uint64_t bytes = 0;  ///< Of the file, from the beginning.
    uint64_t run_ns = 0;
    uint64_t seed = 1;
};

/// What a run of it gave.
struct PlainUringResult {
    double seconds = 0;
    std::vector<uint32_t> latencies_ns;  ///< Sorted.
};

/// What the store is compared with: random I/O of 4 KiB on a file by the barest loop that io_uring
/// allows, O_DIRECT, on the calling thread. Errors: kIo, with errno.
[[nodiscard]] Result<PlainUringResult> run_plain_uring(const PlainUringOptions& options);

}  // namespace basalt::perf
