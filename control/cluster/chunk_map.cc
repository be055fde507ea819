#include "control/cluster/chunk_map.h"

#include <algorithm>

#include "reactor/base/assert.h"

namespace basalt::cluster {

ChunkMap::ChunkMap(uint64_t chunks, uint32_t replicas)
    : replicas_(replicas),
      drives_(chunks * replicas),
      versions_((chunks + kGroupChunks - 1) / kGroupChunks) {
    BASALT_ASSERT(replicas > 0);
}

bool ChunkMap::is_complete() const {
    return std::ranges::find(versions_, 0U) == versions_.end();
}

std::span<const uint32_t> ChunkMap::drives(uint64_t chunk) const {
    return std::span(drives_).subspan(chunk * replicas_, replicas_);
}

std::span<uint32_t> ChunkMap::drives(uint64_t chunk) {
    return std::span(drives_).subspan(chunk * replicas_, replicas_);
}

std::span<const uint32_t> ChunkMap::slots(uint32_t group) const {
    const size_t first = size_t{group} * kGroupChunks * replicas_;
    const size_t count = std::min<size_t>(size_t{kGroupChunks} * replicas_, drives_.size() - first);
    return std::span(drives_).subspan(first, count);
}

ChunkMap ChunkMap::resized(uint64_t chunks) const {
    ChunkMap map(chunks, replicas_);
    for (uint32_t group = 0; group < std::min(groups(), map.groups()); ++group) {
        if (versions_[group] != 0 && slots(group).size() == map.slots(group).size()) {
            const Status taken = map.take(group, to_record(group, versions_[group]));
            BASALT_ASSERT(taken.has_value());
        }
    }
    return map;
}

ChunkGroup ChunkMap::to_record(uint32_t group, uint64_t version) const {
    ChunkGroup record;
    record.set_version(version);
    record.set_replicas(replicas_);
    const std::span<const uint32_t> all = slots(group);
    record.mutable_drives()->Add(all.begin(), all.end());
    return record;
}

Status ChunkMap::take(uint32_t group, const ChunkGroup& record) {
    if (group >= groups() || record.version() == 0 || record.replicas() != replicas_ ||
        static_cast<size_t>(record.drives_size()) != slots(group).size()) {
        return Errc::kDataCorrupt;
    }
    std::ranges::copy(record.drives(),
                      drives_.begin() + static_cast<ptrdiff_t>(group) * kGroupChunks * replicas_);
    versions_[group] = record.version();
    return kOk;
}

}  // namespace basalt::cluster
