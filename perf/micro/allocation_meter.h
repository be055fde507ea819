#pragma once

#include <cstdint>

#include <benchmark/benchmark.h>

namespace basalt::perf {

/// Counts what the measured thread takes from the heap while a benchmark's loop runs, and reports
/// it per operation. One allocation on a path that must have none makes the program fail. Owner:
/// the benchmark's function; made right before its loop.
class AllocationMeter {
  public:
    explicit AllocationMeter(benchmark::State& state);
    AllocationMeter(const AllocationMeter&) = delete;
    AllocationMeter& operator=(const AllocationMeter&) = delete;

    /// After the loop, each turn of which did `operations`.
    void finish(int64_t operations = 1);

    /// Whether any benchmark has allocated.
    [[nodiscard]] static bool has_found_any();

  private:
    benchmark::State& state_;
    const uint64_t before_;
};

}  // namespace basalt::perf
