#include "replication/head/replica_bdev.h"

#include "replication/head/replica_channel.h"

namespace basalt::replication {

ReplicaBdev::ReplicaBdev(const ReplicaBdevOptions& options, Head& head) : head_(head) {
    info_.name = options.name;
    info_.product_name = "Replicated volume";
    info_.uuid = options.uuid;
    info_.block_size_bytes = kBlockBytes;
    info_.physical_block_size_bytes = kBlockBytes;
    info_.block_count = BlockCount(head.settings().blocks);
    info_.transfer_max = BlockCount(kRangeBlocksMax);
    info_.atomic_write_max = BlockCount(1);
    info_.hints.io_boundary = BlockCount(kRangeBoundaryBlocks);
    info_.reads_zeroes_after_unmap = true;
    info_.is_thin = true;
    for (const bdev::IoOp op : {bdev::IoOp::kRead,
                                bdev::IoOp::kWrite,
                                bdev::IoOp::kWriteZeroes,
                                bdev::IoOp::kUnmap,
                                bdev::IoOp::kFlush,
                                bdev::IoOp::kCompare}) {
        info_.supports[static_cast<uint32_t>(op)] = true;
    }
}

Result<std::unique_ptr<bdev::BdevChannel>> ReplicaBdev::open_channel(Reactor& here) {
    return std::unique_ptr<bdev::BdevChannel>(std::make_unique<ReplicaChannel>(here, head_));
}

}  // namespace basalt::replication
