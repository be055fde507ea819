#pragma once

#include <cstdint>

#include <benchmark/benchmark.h>

namespace basalt::perf {

/// Counts what the measured thread takes from the heap while a benchmark's loop runs, and the locks
/// that it takes, and reports both per operation. One of either on a path that must have none makes
/// the program fail. Owner: the benchmark's function; made right before its loop.
class PathMeter {
  public:
    explicit PathMeter(benchmark::State& state);
    PathMeter(const PathMeter&) = delete;
    PathMeter& operator=(const PathMeter&) = delete;

    /// After the loop, each turn of which did `operations`.
    void finish(int64_t operations = 1);

    /// Whether any benchmark has allocated or locked.
    [[nodiscard]] static bool has_found_any();

  private:
    benchmark::State& state_;
    const uint64_t allocations_before_;
    const uint64_t locks_before_;
};

}  // namespace basalt::perf
