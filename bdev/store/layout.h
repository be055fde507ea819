#pragma once

#include <algorithm>
#include <cstdint>

#include "bdev/store/format.h"
#include "reactor/base/result.h"

namespace basalt::bdev::store {

/// Which of the two places of something that is written in turn.
enum class Place : uint8_t { kA, kB };

/// Where everything of a pool lies on its device: what the superblock says, and the block numbers
/// that follow from it. A value; format.md has the picture.
struct PoolLayout {
    uint64_t device_blocks = 0;
    uint32_t partition_count = 0;
    uint32_t catalogue_blocks = 0;
    uint32_t checkpoint_blocks = 0;
    uint32_t log_blocks = 0;
    uint32_t slab_blocks = 0;
    uint32_t slab_count = 0;

    /// A layout for a new pool. The log is 1/64 of the device, 1 to 256 MiB a partition: it bounds
    /// how long opening takes. Slabs are 1/64 of a partition's share, 1 to 128 MiB. Errors:
    /// kInvalidArgument: partition_count is not 1 to kPartitionsMax; kNoSpace: the device is too
    /// small for that many partitions.
    [[nodiscard]] static Result<PoolLayout> plan(uint64_t device_blocks, uint32_t partition_count);

    /// The same on a device that has grown: more slabs. Never fewer.
    [[nodiscard]] PoolLayout grown(uint64_t new_device_blocks) const;

    /// Whether the numbers fit each other and the device, as for any superblock that plan() and
    /// grown() made.
    [[nodiscard]] bool is_sound() const;

    [[nodiscard]] static uint64_t superblock(Place place) { return place == Place::kA ? 0 : 1; }
    [[nodiscard]] uint64_t catalogue(Place half) const {
        return kCatalogueFirst + (half == Place::kA ? 0 : catalogue_blocks);
    }
    [[nodiscard]] uint64_t checkpoint(uint32_t partition, Place place) const {
        return partition_first(partition) + (place == Place::kA ? 0 : checkpoint_blocks);
    }
    [[nodiscard]] uint64_t log(uint32_t partition) const {
        return partition_first(partition) + 2 * uint64_t{checkpoint_blocks};
    }
    [[nodiscard]] uint64_t log_block(uint32_t partition, uint64_t sequence) const {
        return log(partition) + sequence % log_blocks;
    }
    [[nodiscard]] uint64_t slabs_first() const { return partition_first(partition_count); }
    [[nodiscard]] uint64_t slab(uint32_t index) const {
        return slabs_first() + uint64_t{index} * slab_blocks;
    }
    /// The slab that holds `block`, which is in one.
    [[nodiscard]] uint32_t slab_of(uint64_t block) const {
        return static_cast<uint32_t>((block - slabs_first()) / slab_blocks);
    }
    [[nodiscard]] bool is_in_slab(uint64_t block) const {
        return block >= slabs_first() && block < slab(slab_count);
    }

    /// That one partition keeps: room for them is in each of its checkpoints.
    [[nodiscard]] uint32_t notes_max() const {
        return std::clamp(log_blocks * kNotesALogBlock, kNotesMaxOfSmall, kNotesMax);
    }

    bool operator==(const PoolLayout&) const = default;

  private:
    static constexpr uint64_t kCatalogueFirst = 2;

    [[nodiscard]] uint64_t partition_blocks() const {
        return 2 * uint64_t{checkpoint_blocks} + log_blocks;
    }
    [[nodiscard]] uint64_t partition_first(uint32_t partition) const {
        return kCatalogueFirst + 2 * uint64_t{catalogue_blocks} + partition * partition_blocks();
    }
    [[nodiscard]] uint64_t slabs_that_fit(uint64_t blocks) const;
    /// Bytes of a checkpoint, at most, besides the list of slabs.
    [[nodiscard]] uint64_t unlisted_bytes() const {
        return sizeof(CheckpointHead) + uint64_t{notes_max()} * kCheckpointNoteBytesMax;
    }
};

}  // namespace basalt::bdev::store
