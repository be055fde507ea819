// Messages between reactors: DPDK's rings as RingMailbox uses them.
#include <array>
#include <atomic>
#include <thread>

#include "perf/micro/bench_memory.h"
#include "perf/micro/path_meter.h"
#include "reactor/msg/ring_mailbox.h"

namespace basalt::perf {
namespace {

constexpr std::array<int32_t, 2> kNodes{kAnyNumaNode, kAnyNumaNode};
constexpr CoreId kHere{0};
constexpr CoreId kThere{1};

// HugeMemory never takes anything back, so all benchmarks share one mesh.
RingMesh& mesh() {
    static const std::unique_ptr<RingMesh> shared =
        std::move(RingMesh::create(bench_memory(), kNodes)).value();
    return *shared;
}

/// One message into a ring and out again, on one thread.
void BM_MessageRingSameThread(benchmark::State& state) {
    RingMesh& rings = mesh();
    Event event([](Event&, Reactor&) {});
    std::array<Event*, 1> received{};
    PathMeter meter(state);
    for ([[maybe_unused]] auto turn : state) {
        benchmark::DoNotOptimize(rings.mailbox(kHere).send(kThere, event));
        benchmark::DoNotOptimize(rings.mailbox(kThere).receive(received));
    }
    meter.finish();
}
BENCHMARK(BM_MessageRingSameThread);

/// A batch of 32 in and out, as a busy pair of reactors has them.
void BM_MessageRingBatchOf32(benchmark::State& state) {
    RingMesh& rings = mesh();
    std::array<Event, 32> events;
    std::array<Event*, 32> received{};
    PathMeter meter(state);
    for ([[maybe_unused]] auto turn : state) {
        for (Event& event : events) {
            benchmark::DoNotOptimize(rings.mailbox(kHere).send(kThere, event));
        }
        benchmark::DoNotOptimize(rings.mailbox(kThere).receive(received));
    }
    meter.finish(32);
}
BENCHMARK(BM_MessageRingBatchOf32);

/// To another thread and back, both polling. Needs two free processors to mean anything.
void BM_MessageRingRoundTrip(benchmark::State& state) {
    RingMesh& rings = mesh();
    std::atomic<bool> is_over{false};
    std::thread echo([&] {
        std::array<Event*, 1> received{};
        while (!is_over.load(std::memory_order_relaxed)) {
            if (rings.mailbox(kThere).receive(received) == 1) {
                benchmark::DoNotOptimize(rings.mailbox(kThere).send(kHere, *received[0]));
            }
        }
    });
    Event event([](Event&, Reactor&) {});
    std::array<Event*, 1> received{};
    PathMeter meter(state);
    for ([[maybe_unused]] auto turn : state) {
        benchmark::DoNotOptimize(rings.mailbox(kHere).send(kThere, event));
        while (rings.mailbox(kHere).receive(received) == 0) {
        }
    }
    meter.finish();
    is_over.store(true);
    echo.join();
}
BENCHMARK(BM_MessageRingRoundTrip)->UseRealTime();

}  // namespace
}  // namespace basalt::perf
