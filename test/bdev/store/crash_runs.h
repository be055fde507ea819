#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

namespace basalt::bdev::store::test {

/// Calls run(seed), which says how many crashes there were, for `usual` seeds, or until one fails.
/// BASALT_SOAK_SECONDS goes on for that long instead, and BASALT_SOAK_SEED begins elsewhere.
template <typename Run>
void for_crash_runs(uint64_t usual, Run run) {
    const char* seconds = std::getenv("BASALT_SOAK_SECONDS");
    const char* first = std::getenv("BASALT_SOAK_SEED");
    const auto end = std::chrono::steady_clock::now() +
                     std::chrono::seconds(seconds == nullptr ? 0 : std::atol(seconds));
    uint64_t seed = first == nullptr ? 100 : std::strtoull(first, nullptr, 10);
    unsigned long long seeds = 0;
    unsigned long long crashes = 0;
    while (!testing::Test::HasFailure() &&
           (seconds == nullptr ? seeds < usual : std::chrono::steady_clock::now() < end)) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        crashes += run(seed);
        ++seeds;
        ++seed;
    }
    std::printf("%llu seeds, %llu crashes\n", seeds, crashes);
}

}  // namespace basalt::bdev::store::test
