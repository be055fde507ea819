#include "nvmf/target/balance_policy.h"

#include <array>
#include <vector>

#include <gtest/gtest.h>

#include "reactor/io/random.h"

namespace basalt::nvmf {
namespace {

using Loads = std::vector<ReactorLoad>;

/// What comes of the same loads for some periods.
std::vector<std::optional<BalanceMove>> observe(BalancePolicy& policy,
                                                const Loads& loads,
                                                uint32_t periods) {
    std::vector<std::optional<BalanceMove>> all;
    for (uint32_t i = 0; i < periods; ++i) {
        all.push_back(policy.observe(loads));
    }
    return all;
}

TEST(BalancePolicy, MovesHalfOfTheDifferenceWhenItHasLasted) {
    BalancePolicy policy;
    const auto moves = observe(policy, {{800, 4, 1000}, {400, 2, 500}}, 2);
    EXPECT_FALSE(moves[0].has_value());
    ASSERT_TRUE(moves[1].has_value());
    EXPECT_EQ(moves[1]->from, 0U);
    EXPECT_EQ(moves[1]->to, 1U);
    EXPECT_EQ(moves[1]->work, 250U);
    EXPECT_EQ(moves[1]->work_max, 450U);
}

TEST(BalancePolicy, LeavesABalancedTargetAlone) {
    BalancePolicy policy;
    for (const Loads& loads : {Loads{{500, 4, 1000}, {350, 9, 700}},
                               Loads{{1000, 4, 1000}, {1000, 3, 900}},
                               Loads{{0, 100, 0}, {0, 0, 0}},
                               Loads{{900, 1, 1000}, {0, 0, 0}},
                               Loads{{900, 5, 1000}}}) {
        for (const auto& move : observe(policy, loads, 100)) {
            EXPECT_FALSE(move.has_value());
        }
    }
}

TEST(BalancePolicy, EvensTheNumberOfQueuesWhereAllAreBusy) {
    BalancePolicy policy;
    const auto moves = observe(policy, {{1000, 2, 1000}, {980, 6, 1200}, {1000, 3, 900}}, 2);
    ASSERT_TRUE(moves[1].has_value());
    EXPECT_EQ(moves[1]->from, 1U);
    EXPECT_EQ(moves[1]->to, 0U);
    EXPECT_EQ(moves[1]->work, 200U);
}

TEST(BalancePolicy, ALoadThatSwingsMovesNothing) {
    BalancePolicy policy;
    for (uint32_t i = 0; i < 100; ++i) {
        const Loads loads = i % 2 == 0 ? Loads{{800, 4, 1000}, {100, 2, 100}}
                                       : Loads{{100, 2, 100}, {800, 4, 1000}};
        EXPECT_FALSE(policy.observe(loads).has_value());
    }
}

TEST(BalancePolicy, WhatHasGoneDoesNotComeBackSoon) {
    BalancePolicy policy;
    ASSERT_TRUE(observe(policy, {{900, 2, 1000}, {100, 2, 100}}, 2)[1].has_value());
    // It was heavier than it looked.
    const Loads reversed{{100, 1, 100}, {900, 3, 1000}};
    const auto moves = observe(policy, reversed, 2 * BalancePolicy::kReturnPeriods);
    for (uint32_t i = 0; i < BalancePolicy::kReturnPeriods - 1; ++i) {
        EXPECT_FALSE(moves[i].has_value()) << i;
    }
    EXPECT_TRUE(moves[BalancePolicy::kReturnPeriods - 1].has_value());
}

/// Queues of some weight on some reactors, moved as the policy says.
struct Model {
    struct Queue {
        uint32_t reactor;
        uint32_t permille;
    };

    [[nodiscard]] Loads loads() const {
        Loads all(reactors);
        for (const Queue& queue : queues) {
            all[queue.reactor].busy_permille += queue.permille;
            all[queue.reactor].active_queues += 1;
            all[queue.reactor].work += queue.permille * 1000;
        }
        for (ReactorLoad& load : all) {
            load.busy_permille = std::min(load.busy_permille, 1000U);
        }
        return all;
    }
    void apply(const BalanceMove& move) {
        Queue* best = nullptr;
        uint64_t best_distance = UINT64_MAX;
        for (Queue& queue : queues) {
            const uint64_t work = uint64_t{queue.permille} * 1000;
            const uint64_t distance = work < move.work ? move.work - work : work - move.work;
            if (queue.reactor == move.from && work < move.work_max && distance < best_distance) {
                best = &queue;
                best_distance = distance;
            }
        }
        if (best != nullptr) {
            best->reactor = move.to;
            ++moves;
        }
    }

    uint32_t reactors = 0;
    std::vector<Queue> queues;
    uint32_t moves = 0;
};

TEST(BalancePolicy, ComesToRestWithWhateverItIsGiven) {
    for (uint64_t seed = 0; seed < 200; ++seed) {
        Random random(seed);
        Model model;
        model.reactors = static_cast<uint32_t>(2 + random.below(5));
        const uint64_t count = 1 + random.below(20);
        for (uint64_t i = 0; i < count; ++i) {
            model.queues.push_back({static_cast<uint32_t>(random.below(model.reactors)),
                                    static_cast<uint32_t>(1 + random.below(200))});
        }
        BalancePolicy policy;
        uint32_t last_move = 0;
        for (uint32_t period = 0; period < 1000; ++period) {
            if (const auto move = policy.observe(model.loads())) {
                const uint32_t before = model.moves;
                model.apply(*move);
                last_move = model.moves != before ? period : last_move;
            }
        }
        EXPECT_LE(model.moves, 2 * count) << "seed " << seed;
        EXPECT_LT(last_move, 500U) << "seed " << seed;
    }
}

}  // namespace
}  // namespace basalt::nvmf
