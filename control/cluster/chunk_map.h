#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "control/cluster/cluster.pb.h"
#include "control/cluster/limits.h"
#include "reactor/base/result.h"

namespace basalt::cluster {

/// Where the chunks of a volume are: numbers of drives, `replicas` for each chunk, with a version
/// for each group of kGroupChunks. 4 bytes a copy. A value.
class ChunkMap {
  public:
    /// A map without drives.
    ChunkMap(uint64_t chunks, uint32_t replicas);

    [[nodiscard]] uint64_t chunks() const { return drives_.size() / replicas_; }
    [[nodiscard]] uint32_t replicas() const { return replicas_; }
    [[nodiscard]] uint32_t groups() const { return static_cast<uint32_t>(versions_.size()); }
    [[nodiscard]] uint64_t version(uint32_t group) const { return versions_[group]; }
    /// All groups are there.
    [[nodiscard]] bool is_complete() const;

    /// One for each replica; 0: none.
    [[nodiscard]] std::span<const uint32_t> drives(uint64_t chunk) const;
    [[nodiscard]] std::span<uint32_t> drives(uint64_t chunk);

    /// A map of so many chunks with the groups of this one that are the same there.
    [[nodiscard]] ChunkMap resized(uint64_t chunks) const;

    /// A group as a record, of that version.
    [[nodiscard]] ChunkGroup to_record(uint32_t group, uint64_t version) const;
    /// Errors: kDataCorrupt: it is not a group of this map.
    [[nodiscard]] Status take(uint32_t group, const ChunkGroup& record);

  private:
    [[nodiscard]] std::span<const uint32_t> slots(uint32_t group) const;

    uint32_t replicas_;
    std::vector<uint32_t> drives_;
    std::vector<uint64_t> versions_;  // Of groups; 0: not there.
};

/// Chunks of a volume of that size.
[[nodiscard]] inline uint64_t chunk_count(uint64_t size_bytes, uint64_t chunk_bytes) {
    return size_bytes / chunk_bytes + (size_bytes % chunk_bytes != 0 ? 1 : 0);
}

}  // namespace basalt::cluster
