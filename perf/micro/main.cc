// The microbenchmarks. Exits with 1 if any measured path has allocated or taken a lock.
#include <cstdio>
#include <string>

#include <benchmark/benchmark.h>

#include "perf/micro/bench_memory.h"
#include "perf/micro/path_meter.h"
#include "reactor/base/allocation_counter.h"
#include "reactor/base/log.h"

namespace basalt::perf {

namespace {

HugeMemory* shared_memory = nullptr;  // Set once by main(); DPDK starts once a process.

}  // namespace

HugeMemory& bench_memory() {
    return *shared_memory;
}

int run(int argc, char** argv) {
    Log::set_level(LogLevel::kWarn);
    std::string problem;
    const MemoryOptions options{.hugepages = 0, .ordinary_bytes = uint64_t{256} << 20U};
    const Result<HugeMemory*> memory = HugeMemory::init(options, problem);
    if (!memory) {
        std::fprintf(stderr, "basalt-micro: %s\n", problem.c_str());
        return 1;
    }
    shared_memory = *memory;
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
        return 2;
    }
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    if (!is_counting_allocations()) {
        std::fprintf(stderr, "basalt-micro: nothing is counted in sanitizer builds\n");
    }
    if (PathMeter::has_found_any()) {
        std::fprintf(
            stderr,
            "basalt-micro: a measured path has allocated or locked: see allocs/op, locks/op\n");
        return 1;
    }
    return 0;
}

}  // namespace basalt::perf

int main(int argc, char** argv) {
    return basalt::perf::run(argc, argv);
}
