#include "perf/micro/path_meter.h"

#include <algorithm>

#include "reactor/base/allocation_counter.h"
#include "reactor/base/lock_counter.h"

namespace basalt::perf {

namespace {

bool found_any = false;  // One thread runs the benchmarks.

// What Google Benchmark itself takes, at the beginning and the end of the loop.
constexpr uint64_t kLoopLocks = 2;

}  // namespace

PathMeter::PathMeter(benchmark::State& state)
    : state_(state), allocations_before_(thread_allocations()), locks_before_(thread_locks()) {}

void PathMeter::finish(int64_t operations) {
    const uint64_t allocations = thread_allocations() - allocations_before_;
    const uint64_t all_locks = thread_locks() - locks_before_;
    const uint64_t locks = all_locks - std::min(all_locks, kLoopLocks);
    const int64_t total = state_.iterations() * operations;
    state_.SetItemsProcessed(total);
    state_.counters["allocs/op"] = static_cast<double>(allocations) / static_cast<double>(total);
    state_.counters["locks/op"] = static_cast<double>(locks) / static_cast<double>(total);
    found_any = found_any || allocations > 0 || locks > 0;
}

bool PathMeter::has_found_any() {
    return found_any;
}

}  // namespace basalt::perf
