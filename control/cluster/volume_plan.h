#pragma once

#include <cstdint>
#include <string>

#include "control/cluster/chunk_map.h"
#include "control/cluster/cluster.pb.h"
#include "control/cluster/cluster_view.h"
#include "control/cluster/keys.h"

namespace basalt::cluster {

/// A volume that somebody wants. A value.
struct VolumeWish {
    std::string name;
    std::string request_id{};  ///< Names the request, where it may be made twice; empty: none.
    uint64_t size_bytes = 0;
    uint32_t block_bytes = 4096;
    uint64_t chunk_bytes = kChunkBytesDefault;
    uint32_t replicas = 3;
    uint32_t write_quorum = 0;  ///< 0: the majority.
    uint32_t read_quorum = 1;
    std::string placement_rule{};  ///< Empty: hosts that are distinct.
    uint32_t stride = 0;           ///< 0: all drives.
};

/// A volume, and where its chunks go. A value.
struct VolumePlan {
    Volume volume;  ///< Without a number.
    ChunkMap chunks;
};

/// The record of what is wanted, with all that was left open.
/// Errors: kInvalidArgument: it makes no sense; kOutOfRange: it is too large.
[[nodiscard]] Result<Volume> to_volume(const VolumeWish& wish, const Uuid& uuid);

/// Decides where the chunks of `volume` go, evenly. The same view and volume give the same result.
/// Errors: kInvalidArgument: its rule makes no sense; kNoSpace: there are not enough drives.
[[nodiscard]] Result<VolumePlan> plan_volume(const ClusterView& view, const Volume& volume);

}  // namespace basalt::cluster
