#pragma once

#include "reactor/memory.h"

namespace basalt::perf {

/// The memory of the benchmarks, with ordinary pages; ready before the first one runs.
[[nodiscard]] HugeMemory& bench_memory();

}  // namespace basalt::perf
