#include "reactor/io/random.h"

#include <array>

#include <gtest/gtest.h>

namespace basalt {
namespace {

TEST(Random, FollowsTheReferenceImplementation) {
    // xoshiro256** from SplitMix64(0): the first word's state is SplitMix64's first output,
    // 0xE220A8397B1DCDAF, as printed with the generator by its authors.
    Random random(0);
    const uint64_t first = random.next();
    Random same(0);
    EXPECT_EQ(same.next(), first);
    // rotl(s1 * 5, 7) * 9 with s1 = SplitMix64's second output from seed 0, 0x6E789E6AA1B965F4.
    const uint64_t s1 = 0x6E789E6AA1B965F4U;
    const uint64_t product = s1 * 5;
    EXPECT_EQ(first, ((product << 7U) | (product >> 57U)) * 9);
}

TEST(Random, DifferentSeedsGiveDifferentStreams) {
    Random a(1);
    Random b(2);
    int equal = 0;
    for (int i = 0; i < 1000; ++i) {
        equal += a.next() == b.next() ? 1 : 0;
    }
    EXPECT_EQ(equal, 0);
}

TEST(Random, BelowStaysBelowAndReachesEveryValue) {
    Random random(3);
    std::array<int, 10> counts{};
    for (int i = 0; i < 100'000; ++i) {
        const uint64_t value = random.below(10);
        ASSERT_LT(value, 10U);
        ++counts[value];
    }
    for (const int count : counts) {
        EXPECT_NEAR(count, 10'000, 500);
    }
    EXPECT_EQ(random.below(1), 0U);
}

TEST(Random, LargeBoundsAreNotBiased) {
    // Without rejection, two thirds of all values would fall into the lower half.
    const uint64_t bound = (uint64_t{3} << 62U);
    Random random(4);
    int low = 0;
    for (int i = 0; i < 10'000; ++i) {
        low += random.below(bound) < bound / 2 ? 1 : 0;
    }
    EXPECT_NEAR(low, 5000, 250);
}

TEST(Random, ChanceIsAsLikelyAsItSays) {
    Random random(5);
    int hits = 0;
    for (int i = 0; i < 100'000; ++i) {
        hits += random.chance(1, 4) ? 1 : 0;
        ASSERT_FALSE(random.chance(0, 4));
        ASSERT_TRUE(random.chance(4, 4));
    }
    EXPECT_NEAR(hits, 25'000, 700);
}

TEST(RandomDeathTest, BelowZeroIsCaught) {
    Random random(6);
    EXPECT_DEATH(static_cast<void>(random.below(0)), "bound > 0");
}

}  // namespace
}  // namespace basalt
