#include "control/placement/topology.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "control/placement/limits.h"
#include "test/control/placement/clusters.h"

namespace basalt::placement {
namespace {

TEST(TopologyTest, SumsWeightsUpTheTree) {
    const Topology tree = topology_of(even_cluster(3, 2, 4));
    EXPECT_EQ(tree.drive_count(), 24U);
    EXPECT_EQ(tree.weight(), 24'000U);
    ASSERT_EQ(tree.domains(Level::kRack).size(), 3U);
    EXPECT_EQ(tree.domain(Level::kRack, 1).weight, 8000U);
    ASSERT_EQ(tree.domains(Level::kHost).size(), 6U);
    EXPECT_EQ(tree.domain(Level::kHost, 5).path, "dc/rack2/host1");
    EXPECT_EQ(tree.domain(Level::kHost, 5).child_count, 4U);
}

TEST(TopologyTest, KnowsTheDomainsOfADrive) {
    const Topology tree = topology_of(even_cluster(3, 2, 4));
    for (uint32_t drive = 0; drive < tree.drive_count(); ++drive) {
        const uint32_t host = tree.domain_of(drive, Level::kHost);
        const Domain& home = tree.domain(Level::kHost, host);
        EXPECT_GE(drive, home.first_child);
        EXPECT_LT(drive, home.first_child + home.child_count);
        EXPECT_EQ(home.parent, tree.domain_of(drive, Level::kRack));
        EXPECT_EQ(tree.find(tree.drive(drive)).value(), drive);
    }
    EXPECT_EQ(tree.find(drive_uuid(999)).error().code, Errc::kNotFound);
}

TEST(TopologyTest, IsTheSameForDrivesInAnyOrder) {
    std::vector<DriveDescription> drives = random_cluster(1);
    const Topology first = topology_of(drives);
    std::ranges::reverse(drives);
    const Topology second = topology_of(drives);
    ASSERT_EQ(first.drive_count(), second.drive_count());
    for (uint32_t i = 0; i < first.drive_count(); ++i) {
        EXPECT_EQ(first.drive(i), second.drive(i));
        EXPECT_EQ(first.domain(Level::kDrive, i).hash, second.domain(Level::kDrive, i).hash);
    }
}

TEST(TopologyTest, TellsRacksOfTheSameNameInTwoDatacentersApart) {
    std::vector<DriveDescription> drives = even_cluster(1, 1, 2);
    drives[1].datacenter = "other";
    const Topology tree = topology_of(drives);
    ASSERT_EQ(tree.domains(Level::kRack).size(), 2U);
    EXPECT_NE(tree.domain(Level::kRack, 0).hash, tree.domain(Level::kRack, 1).hash);
}

TEST(TopologyTest, RefusesWhatMakesNoTree) {
    const auto error = [](auto change) {
        std::vector<DriveDescription> drives = even_cluster(2, 1, 2);
        change(drives);
        return Topology::make(drives).error().code;
    };
    using Drives = std::vector<DriveDescription>;
    EXPECT_EQ(error([](Drives& d) { d[1].drive = d[3].drive; }), Errc::kExists);
    EXPECT_EQ(error([](Drives& d) { d[0].host.clear(); }), Errc::kInvalidArgument);
    EXPECT_EQ(error([](Drives& d) { d[0].rack = "a/b"; }), Errc::kInvalidArgument);
    EXPECT_EQ(error([](Drives& d) { d[0].datacenter = "a\nb"; }), Errc::kInvalidArgument);
    EXPECT_EQ(error([](Drives& d) { d[0].rack.assign(kNameBytesMax + 1, 'x'); }),
              Errc::kInvalidArgument);
    EXPECT_EQ(error([](Drives& d) { d[0].weight = kWeightSumMax - 1; }), Errc::kOutOfRange);
    EXPECT_EQ(error([](Drives& d) { d.resize(kDrivesMax + 1, d[0]); }), Errc::kOutOfRange);
}

TEST(TopologyTest, ASubsetHasItsOwnWeights) {
    const Topology tree = topology_of(even_cluster(3, 2, 4));
    const std::vector<uint32_t> drives{1, 9, 10};
    const Topology part = tree.subset(drives, std::vector<uint64_t>{5, 6, 7});
    EXPECT_EQ(part.weight(), 18U);
    ASSERT_EQ(part.domains(Level::kRack).size(), 2U);
    EXPECT_EQ(part.domain(Level::kRack, 1).weight, 13U);
    EXPECT_EQ(part.drive(2), tree.drive(10));
    EXPECT_EQ(part.domain(Level::kDrive, 2).hash, tree.domain(Level::kDrive, 10).hash);
}

TEST(TopologyTest, MayBeEmpty) {
    const Topology tree = topology_of({});
    EXPECT_EQ(tree.drive_count(), 0U);
    EXPECT_EQ(tree.weight(), 0U);
}

}  // namespace
}  // namespace basalt::placement
