// Our pool of buffers against DPDK's, which has a cache for each core in front of a ring or stack
// that all cores share.
#include <array>

#include <rte_mempool.h>

#include "perf/micro/bench_memory.h"
#include "perf/micro/path_meter.h"
#include "reactor/base/assert.h"
#include "reactor/buffer_pool.h"

namespace basalt::perf {
namespace {

constexpr uint32_t kBufferBytes = 4096;
constexpr uint32_t kBuffers = 1024;
constexpr uint32_t kCached = 256;
constexpr size_t kDepthMax = 128;

/// `depth` buffers taken one by one and given back one by one: what a queue of that depth does. The
/// first bytes are touched, as a device or the network would.
void BM_BufferPool(benchmark::State& state) {
    constexpr BufferPool::Counts kCounts{kBuffers, 1, 1};
    static const std::span<std::byte> region =
        bench_memory().allocate(BufferPool::region_bytes(kCounts), 4096, kAnyNumaNode).value();
    BufferPool pool(region, kCounts);
    std::array<Buffer, kDepthMax> held;
    const auto depth = static_cast<size_t>(state.range(0));
    PathMeter meter(state);
    for ([[maybe_unused]] auto turn : state) {
        for (size_t i = 0; i < depth; ++i) {
            held[i] = pool.try_acquire(kBufferBytes);
            held[i].data[64] = std::byte{1};
        }
        for (size_t i = 0; i < depth; ++i) {
            pool.release(held[i]);
        }
    }
    meter.finish(state.range(0));
}
BENCHMARK(BM_BufferPool)->ArgName("depth")->Arg(1)->Arg(32)->Arg(128);

void BM_DpdkPool(benchmark::State& state) {
    static_cast<void>(bench_memory());  // Starts DPDK.
    static rte_mempool* const pool =
        rte_mempool_create("bench",
                           kBuffers,
                           kBufferBytes,
                           kCached,
                           0,
                           nullptr,
                           nullptr,
                           nullptr,
                           nullptr,
                           SOCKET_ID_ANY,
                           RTE_MEMPOOL_F_SP_PUT | RTE_MEMPOOL_F_SC_GET);
    BASALT_ASSERT(pool != nullptr);
    static rte_mempool_cache* const cache = rte_mempool_cache_create(kCached, SOCKET_ID_ANY);
    BASALT_ASSERT(cache != nullptr);
    std::array<void*, kDepthMax> held{};
    const auto depth = static_cast<size_t>(state.range(0));
    PathMeter meter(state);
    for ([[maybe_unused]] auto turn : state) {
        for (size_t i = 0; i < depth; ++i) {
            const int error = rte_mempool_generic_get(pool, &held[i], 1, cache);
            BASALT_ASSERT(error == 0);
            static_cast<std::byte*>(held[i])[64] = std::byte{1};
        }
        for (size_t i = 0; i < depth; ++i) {
            rte_mempool_generic_put(pool, &held[i], 1, cache);
        }
    }
    meter.finish(state.range(0));
}
BENCHMARK(BM_DpdkPool)->ArgName("depth")->Arg(1)->Arg(32)->Arg(128);

}  // namespace
}  // namespace basalt::perf
