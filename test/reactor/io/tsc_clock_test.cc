#include "reactor/io/tsc_clock.h"

#include <gtest/gtest.h>
#include <time.h>

namespace basalt {
namespace {

uint64_t kernel_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * kNsPerSecond + static_cast<uint64_t>(now.tv_nsec);
}

TEST(TscClock, RunsAsFastAsTheKernelsClock) {
    TscClock clock;
    const uint64_t kernel_start_ns = kernel_ns();
    const uint64_t start_ns = clock.now_ns();
    const timespec pause{.tv_sec = 0, .tv_nsec = 200'000'000};
    nanosleep(&pause, nullptr);
    const auto kernel_elapsed_ns = static_cast<double>(kernel_ns() - kernel_start_ns);
    const auto elapsed_ns = static_cast<double>(clock.now_ns() - start_ns);
    // Generous: somebody may preempt us between the two looks.
    EXPECT_NEAR(elapsed_ns / kernel_elapsed_ns, 1.0, 0.05);
}

TEST(TscClock, StartsWithTheKernelsTime) {
    TscClock clock;
    const uint64_t before_ns = kernel_ns();
    const uint64_t now_ns = clock.now_ns();
    const uint64_t after_ns = kernel_ns();
    EXPECT_GE(now_ns + kNsPerMs, before_ns);
    EXPECT_LE(now_ns, after_ns + kNsPerMs);
}

TEST(TscClock, NeverGoesBack) {
    TscClock clock;
    uint64_t last_ns = clock.now_ns();
    for (int i = 0; i < 1'000'000; ++i) {
        const uint64_t now_ns = clock.now_ns();
        ASSERT_GE(now_ns, last_ns);
        last_ns = now_ns;
    }
}

TEST(TscClock, CopiesAgree) {
    TscClock first;
    TscClock second = first;
    const uint64_t before_ns = first.now_ns();
    const uint64_t between_ns = second.now_ns();
    const uint64_t after_ns = first.now_ns();
    EXPECT_LE(before_ns, between_ns);
    EXPECT_LE(between_ns, after_ns);
}

}  // namespace
}  // namespace basalt
