#include "nvmf/host_bdev/reconnect_policy.h"

#include <vector>

#include <gtest/gtest.h>

namespace basalt::nvmf {
namespace {

using Event = ReconnectPolicy::Event;
using State = ReconnectPolicy::State;
constexpr uint64_t kStartNs = 1000 * kNsPerSecond;

/// Plays a controller that never comes back, whose attempts fail at once. Notes what is decided.
struct Playing {
    explicit Playing(const ReconnectOptions& options) : policy(options) {
        EXPECT_EQ(policy.apply(Event::kConnected, kStartNs).timer_ns, UINT64_MAX);
        take(policy.apply(Event::kLost, kStartNs), kStartNs);
    }
    void take(ReconnectPolicy::Actions actions, uint64_t now_ns) {
        next_ns = actions.timer_ns;
        if (actions.fail_commands) {
            failed_at.push_back(now_ns - kStartNs);
        }
        if (actions.give_up) {
            given_up_at.push_back(now_ns - kStartNs);
        }
        if (actions.connect) {
            attempts.push_back(now_ns - kStartNs);
            take(policy.apply(Event::kAttemptFailed, now_ns), now_ns);
        }
    }
    void run_until(uint64_t end_ns) {
        while (next_ns <= kStartNs + end_ns) {
            const uint64_t now_ns = next_ns;
            take(policy.apply(Event::kTimer, now_ns), now_ns);
        }
    }

    ReconnectPolicy policy;
    uint64_t next_ns = UINT64_MAX;
    std::vector<uint64_t> attempts{};
    std::vector<uint64_t> failed_at{};
    std::vector<uint64_t> given_up_at{};
};

TEST(ReconnectPolicy, AttemptsComeAtOnceAndThenWithLongerPauses) {
    Playing playing({.ctrlr_loss_timeout_sec = -1, .reconnect_delay_sec = 1});
    playing.run_until(4 * kNsPerSecond);
    const std::vector<uint64_t> first(playing.attempts.begin(), playing.attempts.begin() + 7);
    constexpr uint64_t kMs = kNsPerMs;
    EXPECT_EQ(first,
              (std::vector<uint64_t>{
                  0, 100 * kMs, 300 * kMs, 700 * kMs, 1500 * kMs, 2500 * kMs, 3500 * kMs}));
    EXPECT_TRUE(playing.given_up_at.empty());
    EXPECT_TRUE(playing.failed_at.empty());
}

TEST(ReconnectPolicy, APathIsGivenUpAfterItsTimeAndNotBefore) {
    Playing playing({.ctrlr_loss_timeout_sec = 10, .reconnect_delay_sec = 3});
    playing.run_until(100 * kNsPerSecond);
    EXPECT_EQ(playing.given_up_at, std::vector<uint64_t>{10 * kNsPerSecond});
    EXPECT_EQ(playing.failed_at, std::vector<uint64_t>{10 * kNsPerSecond});
    EXPECT_LT(playing.attempts.back(), 10 * kNsPerSecond);
    EXPECT_EQ(playing.policy.state(), State::kGone);
    EXPECT_EQ(playing.next_ns, UINT64_MAX);
}

TEST(ReconnectPolicy, CommandsFailEarlierThanThePathIsGivenUp) {
    Playing playing(
        {.ctrlr_loss_timeout_sec = 10, .reconnect_delay_sec = 2, .fast_io_fail_timeout_sec = 4});
    playing.run_until(100 * kNsPerSecond);
    EXPECT_EQ(playing.failed_at, (std::vector<uint64_t>{4 * kNsPerSecond, 10 * kNsPerSecond}));
    EXPECT_EQ(playing.given_up_at, std::vector<uint64_t>{10 * kNsPerSecond});
}

TEST(ReconnectPolicy, NothingIsTriedWhereNobodyWantsIt) {
    Playing playing({.ctrlr_loss_timeout_sec = 0, .reconnect_delay_sec = 0});
    EXPECT_EQ(playing.given_up_at, std::vector<uint64_t>{0});
    EXPECT_TRUE(playing.attempts.empty());
    // Until somebody does; and then once.
    playing.take(playing.policy.apply(Event::kRetryNow, kStartNs + 5), kStartNs + 5);
    EXPECT_EQ(playing.attempts, std::vector<uint64_t>{5});
    EXPECT_EQ(playing.policy.state(), State::kGone);
}

TEST(ReconnectPolicy, ASuccessForgetsAllDeadlinesAndPauses) {
    ReconnectPolicy policy(
        {.ctrlr_loss_timeout_sec = 10, .reconnect_delay_sec = 2, .fast_io_fail_timeout_sec = 4});
    static_cast<void>(policy.apply(Event::kConnected, kStartNs));
    EXPECT_TRUE(policy.apply(Event::kLost, kStartNs).connect);
    EXPECT_FALSE(policy.apply(Event::kAttemptFailed, kStartNs).connect);
    EXPECT_TRUE(policy.apply(Event::kTimer, kStartNs + kNsPerSecond).connect);
    const auto connected = policy.apply(Event::kConnected, kStartNs + 2 * kNsPerSecond);
    EXPECT_EQ(connected.timer_ns, UINT64_MAX);
    const auto later = policy.apply(Event::kTimer, kStartNs + 60 * kNsPerSecond);
    EXPECT_FALSE(later.fail_commands || later.give_up || later.connect);
    EXPECT_TRUE(policy.apply(Event::kLost, kStartNs + 60 * kNsPerSecond).connect);
}

TEST(ReconnectPolicy, OptionsThatContradictEachOtherAreRefused) {
    const auto is_valid = [](int32_t loss, uint32_t delay, uint32_t fast) {
        return validate({.ctrlr_loss_timeout_sec = loss,
                         .reconnect_delay_sec = delay,
                         .fast_io_fail_timeout_sec = fast})
            .has_value();
    };
    EXPECT_TRUE(is_valid(0, 0, 0));
    EXPECT_TRUE(is_valid(-1, 1, 0));
    EXPECT_TRUE(is_valid(-1, 2, 2));
    EXPECT_TRUE(is_valid(10, 2, 4));
    EXPECT_FALSE(is_valid(-2, 1, 0));
    EXPECT_FALSE(is_valid(-1, 0, 0));
    EXPECT_FALSE(is_valid(-1, 3, 2));
    EXPECT_FALSE(is_valid(10, 0, 0));
    EXPECT_FALSE(is_valid(10, 11, 0));
    EXPECT_FALSE(is_valid(10, 5, 4));
    EXPECT_FALSE(is_valid(10, 2, 11));
    EXPECT_FALSE(is_valid(0, 1, 0));
    EXPECT_FALSE(is_valid(0, 0, 1));
}

}  // namespace
}  // namespace basalt::nvmf
