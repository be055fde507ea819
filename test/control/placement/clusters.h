#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "control/placement/selector.h"
#include "control/placement/topology.h"
#include "reactor/io/random.h"

namespace basalt::placement {

/// A drive's UUID by number.
inline bdev::Uuid drive_uuid(uint64_t number) {
    return bdev::Uuid::from_name("drive", std::to_string(number));
}

/// `racks` racks in one datacenter, each with `hosts` hosts of `drives` drives of weight 1000.
inline std::vector<DriveDescription> even_cluster(uint32_t racks, uint32_t hosts, uint32_t drives) {
    std::vector<DriveDescription> made;
    for (uint32_t rack = 0; rack < racks; ++rack) {
        for (uint32_t host = 0; host < hosts; ++host) {
            for (uint32_t drive = 0; drive < drives; ++drive) {
                made.push_back({.drive = drive_uuid(made.size()),
                                .datacenter = "dc",
                                .rack = "rack" + std::to_string(rack),
                                .host = "host" + std::to_string(host),
                                .weight = 1000});
            }
        }
    }
    return made;
}

/// A tree whose racks, hosts and drives differ in number and weight, by seed; two datacenters.
inline std::vector<DriveDescription> random_cluster(uint64_t seed) {
    Random random(seed);
    std::vector<DriveDescription> made;
    const uint64_t racks = 4 + random.below(5);
    for (uint64_t rack = 0; rack < racks; ++rack) {
        const uint64_t hosts = 2 + random.below(4);
        for (uint64_t host = 0; host < hosts; ++host) {
            const uint64_t drives = 1 + random.below(4);
            for (uint64_t drive = 0; drive < drives; ++drive) {
                made.push_back({.drive = drive_uuid(made.size()),
                                .datacenter = rack % 2 == 0 ? "north" : "south",
                                .rack = "rack" + std::to_string(rack),
                                .host = "host" + std::to_string(host),
                                .weight = 500 + random.below(1500)});
            }
        }
    }
    return made;
}

inline Topology topology_of(const std::vector<DriveDescription>& drives) {
    return Topology::make(drives).value();
}

inline PlacementRule rule_of(std::string_view text) {
    return PlacementRule::parse(text).value();
}

inline bdev::Uuid volume_uuid(uint64_t number) {
    return bdev::Uuid::from_name("volume", std::to_string(number));
}

/// Keys of a volume's chunks.
inline std::vector<uint64_t> keys_of(uint64_t volume, uint32_t count) {
    std::vector<uint64_t> keys;
    for (uint32_t i = 0; i < count; ++i) {
        keys.push_back(placement_key(volume_uuid(volume), i));
    }
    return keys;
}

inline std::vector<DriveSet> sets_of(const Selector& selector, std::span<const uint64_t> keys) {
    std::vector<DriveSet> sets;
    for (const uint64_t key : keys) {
        sets.push_back(selector.select(key));
    }
    return sets;
}

}  // namespace basalt::placement
