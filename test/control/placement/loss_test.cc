#include "control/placement/loss.h"

#include <gtest/gtest.h>

#include "control/placement/copyset.h"
#include "test/control/placement/clusters.h"

namespace basalt::placement {
namespace {

TEST(LossTest, OneSetOfThreeIsOneOfAllTriples) {
    const Topology tree = topology_of(even_cluster(1, 1, 10));
    const std::vector<DriveSet> sets{{0, 4, 7}, {7, 0, 4}};  // The same twice.
    const LossEstimate loss = estimate_loss(tree, sets, 2, Level::kDrive, 3);
    EXPECT_TRUE(loss.is_exact);
    EXPECT_EQ(loss.cases, 120U);
    EXPECT_DOUBLE_EQ(loss.probability, 1.0 / 120);
    // Of four failures any other drive may be the fourth.
    EXPECT_DOUBLE_EQ(estimate_loss(tree, sets, 2, Level::kDrive, 4).probability, 7.0 / 210);
    EXPECT_DOUBLE_EQ(estimate_loss(tree, sets, 2, Level::kDrive, 2).probability, 0);
    EXPECT_DOUBLE_EQ(estimate_loss(tree, sets, 2, Level::kDrive, 99).probability, 1);
    EXPECT_DOUBLE_EQ(estimate_loss(tree, sets, 2, Level::kDrive, 0).probability, 0);
    EXPECT_DOUBLE_EQ(estimate_loss(tree, {}, 2, Level::kDrive, 3).probability, 0);
}

TEST(LossTest, AHostThatHoldsTwoReplicasCountsTwice) {
    const Topology tree = topology_of(even_cluster(1, 4, 2));
    const std::vector<DriveSet> sets{{0, 1, 2}};  // Two on the first host, one on the second.
    EXPECT_DOUBLE_EQ(estimate_loss(tree, sets, 2, Level::kHost, 1).probability, 0);
    EXPECT_DOUBLE_EQ(estimate_loss(tree, sets, 2, Level::kHost, 2).probability, 1.0 / 6);
    EXPECT_DOUBLE_EQ(estimate_loss(tree, sets, 1, Level::kHost, 1).probability, 0.25);
}

TEST(LossTest, WhatIsDrawnAgreesWithWhatIsCounted) {
    const Topology tree = topology_of(even_cluster(5, 4, 3));
    const Selector selector(tree, rule_of("rack:3"), 3);
    const std::vector<DriveSet> sets = sets_of(selector, keys_of(1, 3000));
    // 34,220 triples are counted, 487,635 fours are drawn.
    const LossEstimate counted = estimate_loss(tree, sets, 2, Level::kDrive, 3);
    EXPECT_TRUE(counted.is_exact);
    const LossEstimate drawn = estimate_loss(tree, sets, 2, Level::kDrive, 4);
    EXPECT_FALSE(drawn.is_exact);
    EXPECT_GT(drawn.error, 0);
    // Four failures have four triples, which are nearly independent.
    EXPECT_NEAR(drawn.probability, 4 * counted.probability, counted.probability);
}

TEST(LossTest, SmallerCopysetsLoseLessOften) {
    const Topology tree = topology_of(even_cluster(6, 4, 4));
    const auto loss = [&](uint32_t stride) {
        const Copyset set = choose_copyset(tree, rule_of("rack:3"), 3, stride, volume_uuid(1));
        const Topology part = tree.subset(set.drives, set.weights);
        std::vector<DriveSet> sets =
            sets_of(Selector(part, rule_of("rack:3"), 3), keys_of(1, 5000));
        for (DriveSet& one : sets) {
            for (uint32_t& drive : one) {
                drive = set.drives[drive];
            }
        }
        return estimate_loss(tree, sets, 2, Level::kDrive, 3).probability;
    };
    EXPECT_LT(loss(6) * 5, loss(24));
    EXPECT_LT(loss(24) * 2, loss(0));
}

}  // namespace
}  // namespace basalt::placement
