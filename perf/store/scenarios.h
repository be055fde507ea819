#pragma once

#include <cstdint>
#include <string>

#include "perf/store/lab.h"

namespace basalt::perf {

/// What can be measured; perf/README.md has what came of it. Each prints a table and ends.
struct ScenarioOptions {
    uint32_t rounds = 5;  ///< Of what is compared, in turns; medians are printed.
    double seconds = 1;   ///< Of each load.
    std::string folder = "/var/tmp";
    uint64_t pool_bytes = uint64_t{1} << 40U;  ///< kScale: of the pool.
    uint32_t mapped_percent = 10;              ///< kScale: of it that is written.
    uint32_t cache_pages = 16384;              ///< Of 4 KiB, for the mapping.
    bool is_untouched = false;  ///< Stalls: of memory that was never used, which faults.
};

/// Writes (each durable) and reads of 4 KiB on a file: through the store, and by a bare io_uring
/// loop.
[[nodiscard]] Task<void> compare_with_plain(Lab& lab, ScenarioOptions options);

/// On memory: reads below 0, 64 and 1000 snapshots; what a snapshot takes, for volumes of 1 GiB
/// and 1 TiB; the first write after one.
[[nodiscard]] Task<void> measure_snapshots(Lab& lab, ScenarioOptions options);

/// On memory: the slowest writes, without anything else, under snapshots, under checkpoints.
[[nodiscard]] Task<void> measure_stalls(Lab& lab, ScenarioOptions options);

/// On a sparse file: what a large pool takes of memory and to open, and reads of what is cold.
[[nodiscard]] Task<void> measure_scale(Lab& lab, ScenarioOptions options);

}  // namespace basalt::perf
