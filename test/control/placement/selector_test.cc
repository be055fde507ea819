#include "control/placement/selector.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "control/placement/limits.h"
#include "control/placement/rendezvous.h"
#include "test/control/placement/clusters.h"

namespace basalt::placement {
namespace {

std::set<uint32_t> domains_of(const Topology& tree, const DriveSet& set, Level level) {
    std::set<uint32_t> found;
    for (const uint32_t drive : set) {
        found.insert(tree.domain_of(drive, level));
    }
    return found;
}

TEST(SelectorTest, SpreadsOverDistinctRacks) {
    const Topology tree = topology_of(random_cluster(3));
    const Selector selector(tree, rule_of("rack:3"), 3);
    for (const DriveSet& set : sets_of(selector, keys_of(1, 2000))) {
        ASSERT_EQ(set.size(), 3U);
        EXPECT_EQ(domains_of(tree, set, Level::kRack).size(), 3U);
        EXPECT_TRUE(selector.is_spread(set));
    }
}

TEST(SelectorTest, FallsBackToTheBestSpreadThatThereIs) {
    // Four racks of two drives, and six are wanted: the case of TopoHash's own example.
    const Topology tree = topology_of(even_cluster(4, 2, 1));
    const Selector selector(tree, rule_of("rack:6"), 6);
    for (const DriveSet& set : sets_of(selector, keys_of(1, 500))) {
        ASSERT_EQ(set.size(), 6U);
        EXPECT_EQ(domains_of(tree, set, Level::kDrive).size(), 6U);
        EXPECT_EQ(domains_of(tree, DriveSet(set.begin(), set.begin() + 4), Level::kRack).size(),
                  4U);
        EXPECT_FALSE(selector.is_spread(set));
    }
}

TEST(SelectorTest, PrefersAnotherHostToAnotherDriveOfOneHost) {
    const Topology tree = topology_of(even_cluster(1, 3, 4));
    const Selector selector(tree, rule_of("rack:3"), 3);
    for (const DriveSet& set : sets_of(selector, keys_of(1, 500))) {
        ASSERT_EQ(set.size(), 3U);
        EXPECT_EQ(domains_of(tree, set, Level::kHost).size(), 3U);
    }
}

TEST(SelectorTest, AStrictRuleHasNoWayOut) {
    const Topology tree = topology_of(even_cluster(2, 3, 4));
    const Selector selector(tree, rule_of("strict, rack:3"), 3);
    EXPECT_EQ(selector.select(7).size(), 2U);
}

TEST(SelectorTest, StaysWithinADomain) {
    const Topology tree = topology_of(random_cluster(4));
    const Selector selector(tree, rule_of("within datacenter:1, rack:2, host:1"), 3);
    std::set<uint32_t> chosen;
    for (const DriveSet& set : sets_of(selector, keys_of(1, 500))) {
        ASSERT_EQ(set.size(), 3U);
        EXPECT_EQ(domains_of(tree, set, Level::kDatacenter).size(), 1U);
        EXPECT_GE(domains_of(tree, set, Level::kRack).size(), 2U);
        EXPECT_EQ(domains_of(tree, set, Level::kHost).size(), 3U);
        EXPECT_TRUE(selector.is_spread(set));
        chosen.merge(domains_of(tree, set, Level::kDatacenter));
    }
    EXPECT_EQ(chosen.size(), 2U);
}

TEST(SelectorTest, NeverTakesADriveTwiceOrOneWithoutWeight) {
    for (uint64_t seed = 0; seed < 50; ++seed) {
        std::vector<DriveDescription> drives = random_cluster(seed);
        Random random(seed);
        for (DriveDescription& one : drives) {
            one.weight = random.below(4) == 0 ? 0 : one.weight;
        }
        const Topology tree = topology_of(drives);
        const Selector selector(tree, rule_of("datacenter:1, rack:2, host:2"), 8);
        for (const DriveSet& set : sets_of(selector, keys_of(seed, 100))) {
            EXPECT_EQ(domains_of(tree, set, Level::kDrive).size(), set.size());
            for (const uint32_t drive : set) {
                EXPECT_GT(tree.domain(Level::kDrive, drive).weight, 0U);
            }
        }
    }
}

TEST(SelectorTest, TakesFewerWhereThereAreTooFew) {
    const Topology tree = topology_of(even_cluster(1, 1, 2));
    EXPECT_EQ(Selector(tree, rule_of("rack:3"), 3).select(1).size(), 2U);
    EXPECT_TRUE(Selector(topology_of({}), rule_of("rack:3"), 3).select(1).empty());
}

TEST(SelectorTest, KeepsWhatIsKept) {
    const Topology tree = topology_of(even_cluster(5, 2, 2));
    const Selector selector(tree, rule_of("rack:3"), 3);
    for (const uint64_t key : keys_of(1, 200)) {
        DriveSet kept = selector.select(key);
        kept.erase(kept.begin());
        const DriveSet completed = selector.complete(key, kept);
        ASSERT_EQ(completed.size(), 3U);
        EXPECT_TRUE(std::ranges::equal(kept, std::span(completed).first(2)));
        EXPECT_TRUE(selector.is_spread(completed));
    }
}

/// What a rule lets each rack have of `wanted` slots, by weight, and each drive of its rack's.
std::vector<double> fair_shares(const Topology& tree, uint32_t wanted) {
    std::vector<double> racks;
    for (const Domain& one : tree.domains(Level::kRack)) {
        racks.push_back(static_cast<double>(one.weight));
    }
    racks = shares(racks, wanted);
    std::vector<double> drives;
    for (uint32_t i = 0; i < tree.drive_count(); ++i) {
        const uint32_t rack = tree.domain_of(i, Level::kRack);
        drives.push_back(racks[rack] * static_cast<double>(tree.domain(Level::kDrive, i).weight) /
                         static_cast<double>(tree.domain(Level::kRack, rack).weight));
    }
    return drives;
}

TEST(SelectorTest, GivesEachDriveItsWeightsShare) {
    constexpr uint32_t kKeys = 60'000;
    for (uint64_t seed = 0; seed < 6; ++seed) {
        const Topology tree = topology_of(random_cluster(seed));
        const Selector selector(tree, rule_of("rack:3"), 3);
        std::vector<double> counts(tree.drive_count(), 0.0);
        for (const uint64_t key : keys_of(seed, kKeys)) {
            for (const uint32_t drive : selector.select(key)) {
                counts[drive] += 1;
            }
        }
        const std::vector<double> fair = fair_shares(tree, 3);
        for (uint32_t i = 0; i < tree.drive_count(); ++i) {
            // The chance itself is within a fifth of a percent; what is drawn has noise.
            const double noise = 4 * std::sqrt(fair[i] * (1 - fair[i]) / kKeys);
            EXPECT_NEAR(counts[i] / kKeys, fair[i], noise + 0.01 * fair[i]) << seed << " " << i;
        }
    }
}

TEST(SelectorTest, TheOrderOfSlotsIsFairToo) {
    const Topology tree = topology_of(even_cluster(5, 2, 2));
    const Selector selector(tree, rule_of("rack:3"), 3);
    std::vector<double> first(tree.drive_count(), 0.0);
    constexpr uint32_t kKeys = 20'000;
    for (const uint64_t key : keys_of(1, kKeys)) {
        first[selector.select(key).front()] += 1;
    }
    for (const double count : first) {
        EXPECT_NEAR(count / kKeys * tree.drive_count(), 1, 0.15);
    }
}

TEST(SelectorTest, ExplainsWhatItDoes) {
    std::vector<DriveDescription> drives = even_cluster(4, 2, 1);
    drives[0].weight = drives[1].weight = 0;  // All of rack0.
    const Topology tree = topology_of(drives);
    const Selector selector(tree, rule_of("rack:4"), 4);
    const std::vector<StepReport> report = selector.explain(11);
    ASSERT_EQ(report.size(), 3U);  // The rule's step, then racks (none is left), then hosts.
    EXPECT_FALSE(report[0].is_fallback);
    EXPECT_EQ(report[0].candidates[0].outcome, Candidate::Outcome::kUnusable);
    DriveSet taken;
    std::vector<Candidate> winners = report[0].candidates;
    std::erase_if(winners, [](const Candidate& one) { return !one.drive.has_value(); });
    std::ranges::sort(winners, {}, &Candidate::score);
    for (const Candidate& one : winners) {
        taken.push_back(*one.drive);
    }
    EXPECT_EQ(taken.size(), 3U);
    for (const Candidate& one : report[1].candidates) {
        EXPECT_NE(one.outcome, Candidate::Outcome::kTaken);
    }
    EXPECT_TRUE(report[2].is_fallback);
    EXPECT_EQ(report[2].step.level, Level::kHost);
    for (const Candidate& one : report[2].candidates) {
        if (one.drive.has_value()) {
            taken.push_back(*one.drive);
        }
    }
    EXPECT_EQ(taken, selector.select(11));
}

TEST(SelectorTest, KeysOfVolumesAndChunksDiffer) {
    std::set<uint64_t> keys;
    for (uint64_t volume = 0; volume < 10; ++volume) {
        for (const uint64_t key : keys_of(volume, 100)) {
            keys.insert(key);
        }
    }
    EXPECT_EQ(keys.size(), 1000U);
}

/// The result is stored, but what is shown beside it should not change from release to release.
TEST(SelectorTest, ChoosesWhatItAlwaysChose) {
    const Topology tree = topology_of(random_cluster(1));
    const Selector selector(tree, rule_of("rack:3"), 3);
    uint64_t sum = 0;
    for (const DriveSet& set : sets_of(selector, keys_of(1, 1000))) {
        for (const uint32_t drive : set) {
            sum = sum * 31 + drive;
        }
    }
    EXPECT_EQ(sum, 7464117967869829715U);
}

}  // namespace
}  // namespace basalt::placement
