#pragma once

#include <cstdint>
#include <string>

#include "bdev/core/registry.h"
#include "bdev/core/uuid.h"
#include "bdev/store/partition.h"
#include "reactor/reactor.h"

namespace basalt::bdev::store {

/// Where pools live: the control thread's reactor, and the devices that they stand on and add to.
/// Outlives them.
struct PoolHome {
    Reactor& control;
    BdevRegistry& registry;
};

/// A new pool. Whoever makes one chooses UUID and time, so that a simulation can.
struct PoolOptions {
    std::string name;  ///< 1 to kPoolNameBytesMax characters without '/'.
    Uuid uuid;
    uint64_t created_ns = 0;  ///< Wall clock, since 1970.
    /// 0: one for each core. For the life of the pool; more than cores share them, fewer leave some
    /// idle.
    uint32_t partition_count = 0;
    PartitionOptions partition;
};

struct VolumeOptions {
    std::string name;  ///< Unique in the pool, among snapshots too; without '/'.
    Uuid uuid;
    uint64_t size_blocks = 0;  ///< Of 4096 bytes.
    uint32_t block_bytes = 4096;
};

struct SnapshotOptions {
    std::string volume;  ///< Of which it is taken.
    std::string name;
    Uuid uuid;
    uint64_t created_ns = 0;
};

/// Whether a snapshot is deleted that others have grown out of. Their data lives on.
enum class WithClones : bool { kRefuse, kDelete };

/// How full a pool is, in blocks of 4096 bytes.
struct PoolUsage {
    uint64_t total = 0;  ///< Of the slabs, for data and mapping.
    uint64_t free = 0;   ///< What volumes can still take.
};

/// Of what a pool has, free: below that it is low on space, unless it is told another number.
inline constexpr uint32_t kLowSpacePercentDefault = 10;

}  // namespace basalt::bdev::store
