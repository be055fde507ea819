#include "control/placement/plan.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "test/control/placement/clusters.h"

namespace basalt::placement {
namespace {

void carry_out(std::vector<DriveSet>& sets, const Plan& plan) {
    for (const Move& move : plan.moves) {
        ASSERT_EQ(sets[move.chunk][move.slot], move.from);
        sets[move.chunk][move.slot] = move.to;
    }
}

/// A cluster, and chunks where its rule puts them.
struct Cluster {
    explicit Cluster(std::vector<DriveDescription> made)
        : drives(std::move(made)), tree(topology_of(drives)), selector(tree, rule, 3) {}

    [[nodiscard]] Placed placed() const { return {keys, sets}; }

    /// Slots of each drive.
    [[nodiscard]] std::vector<double> counts() const {
        std::vector<double> found(tree.drive_count(), 0.0);
        for (const DriveSet& set : sets) {
            for (const uint32_t drive : set) {
                found[drive] += 1;
            }
        }
        return found;
    }

    std::vector<DriveDescription> drives;
    PlacementRule rule = rule_of("rack:3");
    Topology tree;
    Selector selector;
    std::vector<uint64_t> keys = keys_of(1, 5000);
    std::vector<DriveSet> sets = sets_of(selector, keys);
};

TEST(PlanTest, AnEvacuationMovesWhatIsOnTheDriveAndNothingElse) {
    for (uint64_t seed = 0; seed < 10; ++seed) {
        Cluster cluster(random_cluster(seed));
        cluster.drives[3].weight = 0;
        const Topology after = topology_of(cluster.drives);
        const uint32_t gone = after.find(cluster.drives[3].drive).value();
        size_t there = 0;
        for (const DriveSet& set : cluster.sets) {
            there += static_cast<size_t>(std::ranges::count(set, gone));
        }
        const Selector selector(after, cluster.rule, 3);
        const Plan plan = plan_evacuation(selector, cluster.placed());
        EXPECT_EQ(plan.moves.size(), there);
        EXPECT_TRUE(plan.stuck.empty());
        carry_out(cluster.sets, plan);
        for (const DriveSet& set : cluster.sets) {
            EXPECT_TRUE(selector.is_spread(set));
            EXPECT_EQ(std::ranges::count(set, gone), 0);
        }
        EXPECT_TRUE(plan_evacuation(selector, cluster.placed()).moves.empty());
    }
}

TEST(PlanTest, WhatHasNowhereToGoIsStuck) {
    std::vector<DriveDescription> drives = even_cluster(3, 1, 1);
    Cluster cluster(drives);
    drives[0].weight = 0;
    const Topology after = topology_of(drives);
    const Plan plan = plan_evacuation(Selector(after, cluster.rule, 3), cluster.placed());
    EXPECT_TRUE(plan.moves.empty());
    EXPECT_EQ(plan.stuck.size(), cluster.keys.size());
}

TEST(PlanTest, ARebalanceBringsAllDrivesWithinTheTolerance) {
    for (uint64_t seed = 0; seed < 10; ++seed) {
        Cluster cluster(random_cluster(seed));
        const Plan plan = plan_rebalance(cluster.selector, cluster.placed(), 0.05);
        carry_out(cluster.sets, plan);
        const std::vector<double> counts = cluster.counts();
        const std::vector<double> shares = cluster.selector.shares_of_drives();
        for (uint32_t i = 0; i < counts.size(); ++i) {
            const double fair = shares[i] * static_cast<double>(cluster.keys.size());
            EXPECT_LE(std::abs(counts[i] - fair), std::max(1.0, 0.051 * fair)) << seed << " " << i;
        }
        for (const DriveSet& set : cluster.sets) {
            EXPECT_TRUE(cluster.selector.is_spread(set));
        }
        EXPECT_LT(plan.moves.size(), cluster.keys.size() * 3 / 20);
        EXPECT_TRUE(plan_rebalance(cluster.selector, cluster.placed(), 0.05).moves.empty());
    }
}

TEST(PlanTest, ADriveThatComesTakesItsShareAndNothingElseMoves) {
    for (uint64_t seed = 0; seed < 10; ++seed) {
        std::vector<DriveDescription> drives = random_cluster(seed);
        drives[7].weight = 0;
        Cluster cluster(drives);
        carry_out(cluster.sets, plan_rebalance(cluster.selector, cluster.placed(), 0.01));
        drives[7].weight = 1200;
        const Topology after = topology_of(drives);
        const uint32_t index = after.find(drives[7].drive).value();
        const Selector selector(after, cluster.rule, 3);
        const Plan plan = plan_rebalance(selector, cluster.placed(), 0.05);
        carry_out(cluster.sets, plan);
        const double fair =
            selector.shares_of_drives()[index] * static_cast<double>(cluster.keys.size());
        EXPECT_GE(cluster.counts()[index], 0.95 * fair - 1) << seed;
        EXPECT_LE(static_cast<double>(plan.moves.size()), 1.1 * fair) << seed;
    }
}

TEST(PlanTest, ADriveThatGoesLeavesTheOthersEvenWithFewMovesMore) {
    for (uint64_t seed = 0; seed < 10; ++seed) {
        std::vector<DriveDescription> drives = random_cluster(seed);
        Cluster cluster(drives);
        carry_out(cluster.sets, plan_rebalance(cluster.selector, cluster.placed(), 0.01));
        drives[7].weight = 0;
        const Topology after = topology_of(drives);
        const Selector selector(after, cluster.rule, 3);
        const Plan first = plan_evacuation(selector, cluster.placed());
        carry_out(cluster.sets, first);
        const Plan then = plan_rebalance(selector, cluster.placed(), 0.05);
        EXPECT_LT(then.moves.size(), first.moves.size()) << seed;
    }
}

TEST(PlanTest, WhatLeavesGoesToTheNearest) {
    // Two replicas of three are kept in their racks, so the third stays in its own.
    Cluster cluster(even_cluster(3, 2, 3));
    cluster.drives[0].weight = 0;
    const Topology after = topology_of(cluster.drives);
    const Plan plan = plan_evacuation(Selector(after, cluster.rule, 3), cluster.placed());
    EXPECT_FALSE(plan.moves.empty());
    for (const Move& move : plan.moves) {
        EXPECT_EQ(after.domain_of(move.from, Level::kRack), after.domain_of(move.to, Level::kRack));
    }
}

}  // namespace
}  // namespace basalt::placement
