#include "control/placement/copyset.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "test/control/placement/clusters.h"

namespace basalt::placement {
namespace {

size_t racks_of(const Topology& tree, const DriveSet& set) {
    std::set<uint32_t> racks;
    for (const uint32_t drive : set) {
        racks.insert(tree.domain_of(drive, Level::kRack));
    }
    return racks.size();
}

TEST(CopysetTest, IsAllDrivesWithoutAStride) {
    std::vector<DriveDescription> drives = even_cluster(3, 2, 2);
    drives[4].weight = 0;
    const Topology tree = topology_of(drives);
    const Copyset set = choose_copyset(tree, rule_of("rack:3"), 3, 0, volume_uuid(1));
    EXPECT_EQ(set.drives.size(), 11U);
    EXPECT_EQ(set.weights, std::vector<uint64_t>(11, 1000));
    EXPECT_EQ(choose_copyset(tree, rule_of("rack:3"), 3, 11, volume_uuid(1)).drives, set.drives);
}

TEST(CopysetTest, HasAsManyDrivesAsTheStrideAndRoomForTheRule) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
        const Topology tree = topology_of(random_cluster(seed));
        for (const uint32_t stride : {3U, 4U, 5U, 7U, 10U}) {
            for (uint64_t volume = 0; volume < 20; ++volume) {
                const Copyset set =
                    choose_copyset(tree, rule_of("rack:3"), 3, stride, volume_uuid(volume));
                ASSERT_EQ(set.drives.size(), stride) << seed;
                EXPECT_TRUE(std::ranges::is_sorted(set.drives));
                EXPECT_GE(racks_of(tree, set.drives), 3U) << seed << " stride " << stride;
                const Topology part = tree.subset(set.drives, set.weights);
                const Selector selector(part, rule_of("rack:3"), 3);
                EXPECT_TRUE(selector.is_spread(selector.select(volume)));
            }
        }
    }
}

TEST(CopysetTest, IsTheSameForTheSameVolumeAndAnotherForAnother) {
    const Topology tree = topology_of(even_cluster(6, 4, 4));
    const auto drives = [&](uint64_t volume) {
        return choose_copyset(tree, rule_of("rack:3"), 3, 9, volume_uuid(volume)).drives;
    };
    EXPECT_EQ(drives(1), drives(1));
    EXPECT_NE(drives(1), drives(2));
}

TEST(CopysetTest, OfAllVolumesTogetherEachDriveGetsItsWeightsShare) {
    // Weights from 500 to 2000, racks of 2 to 14 drives.
    const Topology tree = topology_of(random_cluster(2));
    constexpr uint32_t kVolumes = 3000;
    constexpr uint32_t kChunks = 4;
    std::vector<double> counts(tree.drive_count(), 0.0);
    for (uint64_t volume = 0; volume < kVolumes; ++volume) {
        const Copyset set = choose_copyset(tree, rule_of("host:2"), 2, 8, volume_uuid(volume));
        const Topology part = tree.subset(set.drives, set.weights);
        const Selector selector(part, rule_of("host:2"), 2);
        for (const uint64_t key : keys_of(volume, kChunks)) {
            for (const uint32_t drive : selector.select(key)) {
                counts[set.drives[drive]] += 1;
            }
        }
    }
    const double sum = 2.0 * kVolumes * kChunks;
    for (uint32_t i = 0; i < tree.drive_count(); ++i) {
        const double fair = static_cast<double>(tree.domain(Level::kDrive, i).weight) /
                            static_cast<double>(tree.weight());
        // A drive is in the sets of 8 * fair of all volumes, on the average; four deviations.
        const double noise = 4 * std::sqrt((1 - 8 * fair) / (8 * fair * kVolumes));
        EXPECT_NEAR(counts[i] / sum / fair, 1, noise + 0.03) << i;
    }
}

TEST(CopysetTest, FewStridesChangeWhenADriveGoes) {
    std::vector<DriveDescription> drives = even_cluster(6, 4, 4);
    const Topology before = topology_of(drives);
    drives[17].weight = 0;
    const Topology after = topology_of(drives);
    uint32_t changed = 0;
    uint32_t had = 0;
    for (uint64_t volume = 0; volume < 500; ++volume) {
        const auto set = [&](const Topology& tree) {
            return choose_copyset(tree, rule_of("rack:3"), 3, 9, volume_uuid(volume)).drives;
        };
        const DriveSet old_set = set(before);
        DriveSet new_set = set(after);
        DriveSet gone;
        std::ranges::set_difference(old_set, new_set, std::back_inserter(gone));
        changed += static_cast<uint32_t>(gone.size());
        had += std::ranges::find(old_set, before.find(drive_uuid(17)).value()) != old_set.end();
    }
    EXPECT_GT(had, 20U);
    EXPECT_LT(changed, 3 * had);
}

}  // namespace
}  // namespace basalt::placement
