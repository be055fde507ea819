#include "nvmf/host_bdev/fence_time.h"

#include <gtest/gtest.h>

namespace basalt::nvmf {
namespace {

constexpr SilentAssociation kLost{.keep_alive_ms = 10'000,
                                  .granularity_ms = 100,
                                  .last_answer_ns = 100 * kNsPerSecond,
                                  .dropped_ns = 112 * kNsPerSecond};

TEST(FenceTime, AllowsForAKeepAliveWhoseAnswerIsLost) {
    // Answered at 100 s, sent again at 105 s, and heard a moment before the controller would have
    // given up at 110 s: then it gives up at 120 s.
    EXPECT_EQ(silent_at_ns(kLost), 120 * kNsPerSecond);
}

TEST(FenceTime, BeginsWithTheLastCommandWhereAllCommandsCount) {
    SilentAssociation lost = kLost;
    lost.counts_all_commands = true;
    EXPECT_EQ(silent_at_ns(lost), 132 * kNsPerSecond);
    // It was asked for some time whether it has shut down.
    lost.last_property_ns = 117 * kNsPerSecond;
    EXPECT_EQ(silent_at_ns(lost), 137 * kNsPerSecond);
    lost.counts_all_commands = false;
    EXPECT_EQ(silent_at_ns(lost), 120 * kNsPerSecond);
}

TEST(FenceTime, RoundsUpAsTheControllerDoes) {
    SilentAssociation lost = kLost;
    lost.keep_alive_ms = 10'001;
    EXPECT_EQ(silent_at_ns(lost), 100 * kNsPerSecond + 2 * 10'100 * kNsPerMs);
    lost.granularity_ms = 60'000;
    EXPECT_EQ(silent_at_ns(lost), 220 * kNsPerSecond);
    lost.granularity_ms = 0;
    EXPECT_EQ(silent_at_ns(lost), 100 * kNsPerSecond + 2 * 10'001 * kNsPerMs);
}

TEST(EndedAssociations, AreOverInTheirOrderAndOnce) {
    EndedAssociations ended;
    EXPECT_TRUE(ended.is_empty());
    EXPECT_EQ(ended.take_over(UINT64_MAX), 0U);
    ended.add(3, 100);
    ended.add(4, 50);  // Confirmed at once, but its predecessor is not over.
    ended.add(7, 200);
    EXPECT_EQ(ended.next_ns(), 100U);
    EXPECT_EQ(ended.take_over(99), 0U);
    EXPECT_EQ(ended.take_over(100), 4U);
    EXPECT_EQ(ended.take_over(100), 0U);
    EXPECT_EQ(ended.next_ns(), 200U);
    EXPECT_FALSE(ended.is_empty());
    EXPECT_EQ(ended.take_over(201), 7U);
    EXPECT_TRUE(ended.is_empty());
}

}  // namespace
}  // namespace basalt::nvmf
