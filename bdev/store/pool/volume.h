#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "bdev/store/format.h"
#include "bdev/store/partition.h"
#include "bdev/store/pool/range_gate.h"
#include "reactor/base/assert.h"
#include "reactor/limits.h"
#include "reactor/reactor.h"

namespace basalt::bdev::store {

/// One partition of an open pool and the core that it lives on. Constant while volumes are used.
struct PoolSeat {
    CoreId core{0};
    Partition* partition = nullptr;  ///< Touched on `core` only.
};

/// A volume, or a snapshot, as its pool and its channels see it: which node it is in each partition
/// and which partition has which chunk.
///
/// Owner: the pool's device. Made and destroyed on the control thread. A seat belongs to the core
/// of its partition.
class Volume {
  public:
    /// What the core of one partition knows of the volume.
    struct alignas(kCacheLineBytes) Seat {
        uint32_t node = 0;        ///< That is read and written.
        uint32_t note_owner = 0;  ///< Whose its notes are; 0: it takes none.
        uint64_t end = 0;         ///< Blocks of the volume; nothing is read or written beyond.
        bool is_read_only = false;
        RangeGate gate;  ///< For changes, if sectors are smaller than blocks.
        /// Blocks that have something behind them. Written here, read anywhere.
        std::atomic<uint64_t> mapped_blocks{0};
    };

    /// `pool` outlives the volume.
    Volume(std::span<const PoolSeat> pool,
           uint32_t node,
           uint32_t note_owner,
           uint32_t deal,
           uint64_t size_blocks,
           bool is_read_only)
        : pool_(pool),
          deal_(deal),
          takes_notes_(note_owner != 0),
          seats_(std::make_unique<Seat[]>(pool.size())) {
        BASALT_ASSERT(!pool.empty());
        for (size_t i = 0; i < pool.size(); ++i) {
            seats_[i].node = node;
            seats_[i].note_owner = note_owner;
            seats_[i].end = size_blocks;
            seats_[i].is_read_only = is_read_only;
        }
    }

    /// Which partition has the volume's block.
    [[nodiscard]] uint32_t partition_of(uint64_t block) const {
        return partition_of(deal_, block, partition_count());
    }
    [[nodiscard]] static uint32_t partition_of(uint32_t deal, uint64_t block, uint32_t partitions) {
        return static_cast<uint32_t>((deal + block / kChunkBlocks) % partitions);
    }
    /// The first block after `block` that may belong to another one.
    [[nodiscard]] static uint64_t chunk_end(uint64_t block) {
        return (block / kChunkBlocks + 1) * kChunkBlocks;
    }

    [[nodiscard]] const PoolSeat& pool_seat(uint32_t partition) const { return pool_[partition]; }
    [[nodiscard]] Seat& seat(uint32_t partition) { return seats_[partition]; }
    [[nodiscard]] uint32_t partition_count() const { return static_cast<uint32_t>(pool_.size()); }

    [[nodiscard]] bool takes_notes() const { return takes_notes_; }

    /// Tells others what the partition counts. On the partition's core.
    void publish_usage(uint32_t partition) {
        Seat& here = seats_[partition];
        here.mapped_blocks.store(pool_[partition].partition->mapped_blocks(here.node),
                                 std::memory_order_relaxed);
    }

    /// Blocks of 4096 bytes that have something behind them. Any core.
    [[nodiscard]] uint64_t mapped_blocks() const {
        uint64_t sum = 0;
        for (size_t i = 0; i < pool_.size(); ++i) {
            sum += seats_[i].mapped_blocks.load(std::memory_order_relaxed);
        }
        return sum;
    }

  private:
    std::span<const PoolSeat> pool_;
    const uint32_t deal_;
    const bool takes_notes_;
    std::unique_ptr<Seat[]> seats_;
};

}  // namespace basalt::bdev::store
