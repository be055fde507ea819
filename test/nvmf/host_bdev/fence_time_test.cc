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

}  // namespace
}  // namespace basalt::nvmf
