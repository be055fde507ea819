#include "control/placement/rendezvous.h"

#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

namespace basalt::placement {
namespace {

/// How often each of the candidates is among the lowest of `keys` draws.
std::vector<double> drawn(const std::vector<double>& rates, uint32_t wanted, uint32_t keys) {
    std::vector<double> counts(rates.size(), 0.0);
    for (uint64_t key = 0; key < keys; ++key) {
        std::vector<double> scores;
        for (uint64_t i = 0; i < rates.size(); ++i) {
            scores.push_back(score(key, i + 1000, rates[i]));
        }
        for (const uint32_t winner : lowest(scores, wanted)) {
            counts[winner] += 1.0 / keys;
        }
    }
    return counts;
}

TEST(SharesTest, FollowWeightsUpToTheCaps) {
    const std::vector<double> weights{1, 2, 3, 4};
    EXPECT_EQ(shares(weights, 1), (std::vector<double>{0.1, 0.2, 0.3, 0.4}));
    // 4 of 10 would be 1.2 of 3: it gets 1, and the others share 2 by 1, 2, 3, so the next one too.
    EXPECT_EQ(shares(weights, 3), (std::vector<double>{1.0 / 3, 2.0 / 3, 1, 1}));
    EXPECT_EQ(shares(weights, 4), (std::vector<double>{1, 1, 1, 1}));
    EXPECT_EQ(shares(weights, 9), (std::vector<double>{1, 1, 1, 1}));
    EXPECT_EQ(shares(std::vector<double>{0, 5}, 1), (std::vector<double>{0, 1}));
    EXPECT_EQ(shares(std::vector<double>{}, 3), std::vector<double>());
    EXPECT_EQ(shares(weights, 6, std::vector<double>{2, 2, 2, 2}),
              (std::vector<double>{2.0 / 3, 4.0 / 3, 2, 2}));
}

TEST(CalibrateTest, GivesEachItsShare) {
    const std::vector<std::vector<double>> all{{1, 2, 3, 4},
                                               {1, 1, 1, 2},
                                               {1, 2, 4, 8, 8, 8},
                                               {3, 4, 5, 6, 7, 8, 9, 10},
                                               {1, 100, 1, 100, 50}};
    for (const std::vector<double>& weights : all) {
        for (uint32_t wanted = 1; wanted <= 4; ++wanted) {
            const std::vector<double> wish = shares(weights, wanted);
            const std::vector<double> got = drawn(calibrate(wish, wanted), wanted, 40'000);
            for (size_t i = 0; i < weights.size(); ++i) {
                // Four standard deviations of what is drawn, and what calibration leaves.
                const double noise = 4 * std::sqrt(wish[i] * (1 - wish[i]) / 40'000);
                EXPECT_NEAR(got[i], wish[i], noise + 0.002 * wish[i])
                    << wanted << " of " << weights.size() << ", number " << i;
            }
        }
    }
}

TEST(CalibrateTest, WeightsAloneWouldBeWrong) {
    const std::vector<double> weights{3, 4, 5, 6, 7, 8, 9, 10};
    const std::vector<double> got = drawn(weights, 3, 40'000);
    EXPECT_GT(got[0] / shares(weights, 3)[0], 1.08);
    EXPECT_LT(got[7] / shares(weights, 3)[7], 0.95);
}

TEST(CalibrateTest, TakesThousandsOfCandidates) {
    std::vector<double> weights(2000);
    std::iota(weights.begin(), weights.end(), 100.0);
    const std::vector<double> wish = shares(weights, 3);
    const std::vector<double> got = chances_of(calibrate(wish, 3), 3);
    for (size_t i = 0; i < wish.size(); ++i) {
        EXPECT_NEAR(got[i] / wish[i], 1, 0.002);
    }
}

TEST(ScoreTest, WhoAlwaysWinsComesFirstAndWhoNeverDoesNotAtAll) {
    const std::vector<double> rates =
        calibrate(shares(std::vector<double>{0, 1, 1000, 1, 1000}, 3), 3);
    for (uint64_t key = 0; key < 1000; ++key) {
        std::vector<double> scores;
        for (uint64_t i = 0; i < rates.size(); ++i) {
            scores.push_back(score(key, i, rates[i]));
        }
        const std::vector<uint32_t> winners = lowest(scores, 5);
        ASSERT_EQ(winners.size(), 4U);
        EXPECT_EQ(winners[0] + winners[1], 6U);  // 2 and 4, in some order.
    }
}

TEST(ScoreTest, OneThatGoesTakesNothingFromTheOthers) {
    for (uint64_t key = 0; key < 1000; ++key) {
        std::vector<double> scores;
        for (uint64_t i = 0; i < 10; ++i) {
            scores.push_back(score(key, i, static_cast<double>(i + 1)));
        }
        const std::vector<uint32_t> before = lowest(scores, 10);
        scores[9] = score(key, 9, 0);
        std::vector<uint32_t> after = lowest(scores, 10);
        std::vector<uint32_t> expected = before;
        std::erase(expected, 9U);
        EXPECT_EQ(after, expected);
    }
}

}  // namespace
}  // namespace basalt::placement
