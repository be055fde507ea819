#include "reactor/io/tsc_clock.h"

#include <fstream>
#include <string>

#include <time.h>

#include "reactor/base/assert.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

namespace basalt {

namespace {

constexpr uint64_t kCalibrationNs = 10 * kNsPerMs;
constexpr uint32_t kFractionBits = 32;

uint64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * kNsPerSecond + static_cast<uint64_t>(now.tv_nsec);
}

#if defined(__x86_64__)

uint64_t ticks() {
    return __rdtsc();
}

/// Runs at one speed in all power states (CPUID leaf 80000007h, EDX bit 8: Invariant TSC), and the
/// kernel still offers it as a clock, which it stops doing when the cores disagree.
bool has_usable_counter() {
    constexpr uint32_t kInvariantTsc = 1U << 8;
    uint32_t a = 0;
    uint32_t b = 0;
    uint32_t c = 0;
    uint32_t d = 0;
    if (__get_cpuid(0x80000007, &a, &b, &c, &d) == 0 || (d & kInvariantTsc) == 0) {
        return false;
    }
    std::ifstream sources("/sys/devices/system/clocksource/clocksource0/available_clocksource");
    std::string name;
    while (sources >> name) {
        if (name == "tsc") {
            return true;
        }
    }
    return false;
}

#else

uint64_t ticks() {
    return 0;
}

bool has_usable_counter() {
    return false;
}

#endif

/// Both clocks at one instant.
struct Instant {
    uint64_t ns = 0;
    uint64_t ticks = 0;
};

/// The tightest of a few tries: an interrupt between the two looks would be an error for ever.
Instant read_both() {
    Instant best;
    uint64_t best_width = UINT64_MAX;
    for (int i = 0; i < 16; ++i) {
        const uint64_t before = ticks();
        const uint64_t ns = monotonic_ns();
        const uint64_t after = ticks();
        if (after - before < best_width) {
            best_width = after - before;
            best = {.ns = ns, .ticks = before + (after - before) / 2};
        }
    }
    return best;
}

}  // namespace

TscClock::TscClock() {
    if (!has_usable_counter()) {
        return;
    }
    const Instant start = read_both();
    while (monotonic_ns() - start.ns < kCalibrationNs) {
    }
    const Instant end = read_both();
    BASALT_ASSERT(end.ticks > start.ticks);
    base_ns_ = end.ns;
    base_ticks_ = end.ticks;
    multiplier_ = ((end.ns - start.ns) << kFractionBits) / (end.ticks - start.ticks);
}

uint64_t TscClock::now_ns() {
    if (multiplier_ == 0) {
        return monotonic_ns();
    }
#if defined(__x86_64__)
    // 64 by 64 bits to 128: no overflow in the machine's life time. A counter of another core may
    // be a few ticks behind base_ticks_ right after construction.
    const uint64_t now_ticks = ticks();
    const uint64_t elapsed = now_ticks > base_ticks_ ? now_ticks - base_ticks_ : 0;
    __extension__ using Wide = unsigned __int128;
    return base_ns_ +
           static_cast<uint64_t>((static_cast<Wide>(elapsed) * multiplier_) >> kFractionBits);
#else
    return monotonic_ns();
#endif
}

}  // namespace basalt
