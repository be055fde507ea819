// What every I/O uses of the reactor: timers and buffers.
#include <memory>
#include <vector>

#include "perf/micro/bench_memory.h"
#include "perf/micro/path_meter.h"
#include "reactor/buffer_pool.h"
#include "reactor/io/random.h"
#include "reactor/timer_queue.h"

namespace basalt::perf {
namespace {

/// Starts and stops one timer among `others` that run: what a command's time-out would cost.
void BM_TimerStartStop(benchmark::State& state) {
    TimerQueue queue;
    Random random(1);
    const auto count = static_cast<size_t>(state.range(0));
    std::vector<std::unique_ptr<Timer>> others;
    for (size_t i = 0; i < count; ++i) {
        others.push_back(std::make_unique<Timer>());
        others.back()->set([](Timer&, void*) {}, nullptr);
        queue.start(*others.back(), 1'000'000 + random.below(1'000'000));
    }
    Timer timer;
    timer.set([](Timer&, void*) {}, nullptr);
    PathMeter meter(state);
    for ([[maybe_unused]] auto turn : state) {
        queue.start(timer, 1'000'000 + random.below(1'000'000));
        queue.stop(timer);
    }
    meter.finish();
    queue.clear();
}
BENCHMARK(BM_TimerStartStop)->ArgName("others")->Arg(0)->Arg(100)->Arg(10000);

/// Time goes on, and each timer starts anew when it expires.
void BM_TimerExpire(benchmark::State& state) {
    TimerQueue queue;
    Random random(1);
    uint64_t now_ns = 0;
    struct Context {
        TimerQueue& queue;
        Random& random;
        uint64_t& now_ns;
    } context{queue, random, now_ns};
    std::vector<std::unique_ptr<Timer>> timers;
    for (int64_t i = 0; i < state.range(0); ++i) {
        timers.push_back(std::make_unique<Timer>());
        timers.back()->set(
            [](Timer& timer, void* at) {
                auto& c = *static_cast<Context*>(at);
                c.queue.start(timer, c.now_ns + 1 + c.random.below(1000));
            },
            &context);
        queue.start(*timers.back(), 1 + random.below(1000));
    }
    uint64_t expired = 0;
    PathMeter meter(state);
    for ([[maybe_unused]] auto turn : state) {
        now_ns = queue.next_deadline_ns();
        expired += queue.expire(now_ns, 1);
    }
    meter.finish();
    benchmark::DoNotOptimize(expired);
    queue.clear();
}
BENCHMARK(BM_TimerExpire)->ArgName("timers")->Arg(100)->Arg(10000);

void BM_BufferPoolAcquireRelease(benchmark::State& state) {
    constexpr BufferPool::Counts kCounts{64, 8, 8};
    static const std::span<std::byte> region =
        bench_memory().allocate(BufferPool::region_bytes(kCounts), 4096, kAnyNumaNode).value();
    BufferPool pool(region, kCounts);
    const auto bytes = static_cast<uint32_t>(state.range(0));
    PathMeter meter(state);
    for ([[maybe_unused]] auto turn : state) {
        const Buffer buffer = pool.try_acquire(bytes);
        benchmark::DoNotOptimize(buffer.data);
        pool.release(buffer);
    }
    meter.finish();
}
BENCHMARK(BM_BufferPoolAcquireRelease)->ArgName("bytes")->Arg(4096)->Arg(131072);

}  // namespace
}  // namespace basalt::perf
