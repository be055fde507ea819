#include "control/cluster/volume_plan.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "control/placement/copyset.h"
#include "control/placement/plan.h"
#include "control/placement/rule.h"
#include "control/placement/selector.h"

namespace basalt::cluster {
namespace {

// How far from its share a drive may be with a new volume.
constexpr double kTolerance = 0.05;

std::string rule_of(const VolumeWish& wish) {
    return wish.placement_rule.empty() ? "host:" + std::to_string(wish.replicas)
                                       : wish.placement_rule;
}

bool is_sensible(const VolumeWish& wish) {
    const bool has_sizes = wish.size_bytes > 0 && wish.size_bytes % wish.block_bytes == 0 &&
                           std::has_single_bit(wish.chunk_bytes) &&
                           wish.chunk_bytes >= kChunkBytesMin && wish.chunk_bytes <= kChunkBytesMax;
    const bool has_copies = wish.replicas >= 1 && wish.replicas <= kReplicasMax &&
                            wish.write_quorum <= wish.replicas && wish.read_quorum >= 1 &&
                            wish.read_quorum <= wish.replicas;
    const bool has_names =
        is_name(wish.name) && (wish.request_id.empty() || is_name(wish.request_id));
    const bool has_stride = wish.stride == 0 || wish.stride >= wish.replicas;
    return has_sizes && has_copies && has_names && has_stride &&
           placement::PlacementRule::parse(rule_of(wish)).has_value();
}

/// By index of the topology.
std::vector<uint32_t> numbers_of(const ClusterView& view, const placement::Topology& topology) {
    std::vector<uint32_t> numbers(topology.drive_count());
    for (uint32_t i = 0; i < topology.drive_count(); ++i) {
        numbers[i] = view.drives().at(topology.drive(i)).record.number();
    }
    return numbers;
}

}  // namespace

Result<Volume> to_volume(const VolumeWish& wish, const Uuid& uuid) {
    if ((wish.block_bytes != 512 && wish.block_bytes != 4096) || !is_sensible(wish)) {
        return Errc::kInvalidArgument;
    }
    if (chunk_count(wish.size_bytes, wish.chunk_bytes) > kVolumeChunksMax) {
        return Errc::kOutOfRange;
    }
    Volume volume;
    volume.set_uuid(to_field(uuid));
    volume.set_name(wish.name);
    volume.set_size_bytes(wish.size_bytes);
    volume.set_block_bytes(wish.block_bytes);
    volume.set_chunk_bytes(wish.chunk_bytes);
    volume.set_replicas(wish.replicas);
    volume.set_write_quorum(wish.write_quorum == 0 ? wish.replicas / 2 + 1 : wish.write_quorum);
    volume.set_read_quorum(wish.read_quorum);
    volume.set_placement_rule(rule_of(wish));
    volume.set_stride(wish.stride);
    volume.set_placement_version(1);
    volume.set_request_id(wish.request_id);
    return volume;
}

Result<VolumePlan> plan_volume(const ClusterView& view, const Volume& volume) {
    BASALT_TRY(const placement::PlacementRule rule,
               placement::PlacementRule::parse(volume.placement_rule()));
    BASALT_TRY(const placement::Topology topology, view.topology());
    if (topology.weight() == 0) {
        return Errc::kNoSpace;
    }
    const Uuid uuid = to_uuid(volume.uuid());
    const placement::Copyset copyset =
        placement::choose_copyset(topology, rule, volume.replicas(), volume.stride(), uuid);
    const placement::Topology subset = topology.subset(copyset.drives, copyset.weights);
    const placement::Selector selector(subset, rule, volume.replicas());
    const uint64_t count = chunk_count(volume.size_bytes(), volume.chunk_bytes());
    std::vector<uint64_t> keys(count);
    std::vector<placement::DriveSet> sets(count);
    for (uint64_t chunk = 0; chunk < count; ++chunk) {
        keys[chunk] = placement::placement_key(uuid, chunk);
        sets[chunk] = selector.select(keys[chunk]);
        if (sets[chunk].size() < volume.replicas()) {
            return Errc::kNoSpace;
        }
    }
    const placement::Plan plan =
        placement::plan_rebalance(selector, {.keys = keys, .sets = sets}, kTolerance);
    for (const placement::Move& one : plan.moves) {
        sets[one.chunk][one.slot] = one.to;
    }
    const std::vector<uint32_t> numbers = numbers_of(view, subset);
    VolumePlan result{.volume = volume, .chunks = ChunkMap(count, volume.replicas())};
    for (uint64_t chunk = 0; chunk < count; ++chunk) {
        std::ranges::transform(sets[chunk],
                               result.chunks.drives(chunk).begin(),
                               [&numbers](uint32_t drive) { return numbers[drive]; });
    }
    return result;
}

}  // namespace basalt::cluster
