#include "perf/micro/allocation_meter.h"

#include "reactor/base/allocation_counter.h"

namespace basalt::perf {

namespace {

bool found_any = false;  // One thread runs the benchmarks.

}  // namespace

AllocationMeter::AllocationMeter(benchmark::State& state)
    : state_(state), before_(thread_allocations()) {}

void AllocationMeter::finish(int64_t operations) {
    const uint64_t count = thread_allocations() - before_;
    const int64_t total = state_.iterations() * operations;
    state_.SetItemsProcessed(total);
    state_.counters["allocs/op"] = static_cast<double>(count) / static_cast<double>(total);
    found_any = found_any || count > 0;
}

bool AllocationMeter::has_found_any() {
    return found_any;
}

}  // namespace basalt::perf
