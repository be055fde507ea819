#include "bdev/store/pool/volume_bdev.h"

#include <algorithm>

#include "bdev/limits.h"
#include "bdev/store/pool/volume_channel.h"

namespace basalt::bdev::store {

VolumeBdev::VolumeBdev(std::span<const PoolSeat> pool, const VolumeBdevOptions& options)
    : volume_(pool,
              options.node,
              options.note_owner,
              options.deal,
              options.size_blocks,
              options.is_read_only) {
    const uint64_t sectors_a_block = kBlockBytes / options.block_bytes;
    info_.name = options.name;
    info_.product_name = kProductName;
    info_.uuid = options.uuid;
    info_.block_size_bytes = options.block_bytes;
    info_.physical_block_size_bytes = kBlockBytes;
    set_size(options.size_blocks);
    // Sectors that begin in the middle of a block take one block more than they fill.
    const uint64_t transfer_bytes =
        kCopiedTransferBytesMax - (sectors_a_block > 1 ? kBlockBytes : 0);
    info_.transfer_max = BlockCount(transfer_bytes / options.block_bytes);
    info_.atomic_write_max = info_.transfer_max;
    info_.atomic_boundary = BlockCount(uint64_t{kChunkBlocks} * sectors_a_block);
    info_.hints.write_granularity = BlockCount(sectors_a_block);
    info_.hints.write_alignment = BlockCount(sectors_a_block);
    info_.hints.unmap_granularity = BlockCount(sectors_a_block);
    info_.hints.unmap_alignment = BlockCount(sectors_a_block);
    info_.reads_zeroes_after_unmap = true;
    info_.zeroes_may_deallocate = true;
    info_.is_thin = true;
    info_.is_read_only = options.is_read_only;
    const auto set = [this](IoOp op, bool can) { info_.supports[static_cast<uint32_t>(op)] = can; };
    set(IoOp::kRead, true);
    set(IoOp::kCompare, true);
    set(IoOp::kFlush, true);
    set(IoOp::kWrite, !options.is_read_only);
    set(IoOp::kWriteZeroes, !options.is_read_only);
    set(IoOp::kUnmap, !options.is_read_only);
}

void VolumeBdev::set_size(uint64_t size_blocks) {
    info_.block_count = BlockCount(size_blocks * (kBlockBytes / info_.block_size_bytes));
}

BlockCount VolumeBdev::allocated_blocks() const {
    const uint64_t blocks = volume_.mapped_blocks() * (kBlockBytes / info_.block_size_bytes);
    return std::min(BlockCount(blocks), info_.block_count.get());
}

Result<std::unique_ptr<BdevChannel>> VolumeBdev::open_channel(Reactor& here) {
    BASALT_TRY(std::unique_ptr<BounceMemory> bounce, BounceMemory::make());
    return std::unique_ptr<BdevChannel>(
        std::make_unique<VolumeChannel>(here, volume_, info_.block_size_bytes, std::move(bounce)));
}

}  // namespace basalt::bdev::store
