#include "nvmf/host_bdev/remote_bdev.h"

#include <algorithm>

#include "bdev/limits.h"
#include "nvmf/host_bdev/remote_channel.h"

namespace basalt::nvmf {

using bdev::IoOp;

Result<std::unique_ptr<RemoteBdev>> RemoteBdev::make(
    const std::string& name,
    const bdev::Uuid& uuid,
    const bdev::NvmeIdentity& identity,
    bdev::PerCore<std::unique_ptr<CorePaths>>& paths) {
    if ((identity.block_bytes != bdev::kBlockBytesMin &&
         identity.block_bytes != bdev::kBlockBytesMax) ||
        identity.metadata_bytes != 0 || identity.block_count == 0) {
        return Errc::kNotSupported;
    }
    std::unique_ptr<RemoteBdev> made(new RemoteBdev);
    bdev::BdevInfo& info = made->info_;
    info.name = name;
    info.product_name = "NVMe disk";
    info.uuid = uuid;
    info.block_size_bytes = identity.block_bytes;
    info.physical_block_size_bytes = identity.block_bytes;
    info.block_count = BlockCount(identity.block_count);
    // A longer write goes in steps.
    const uint64_t step_blocks = identity.transfer_bytes_max / identity.block_bytes;
    info.atomic_write_max =
        BlockCount(step_blocks == 0 ? identity.atomic_blocks
                                    : std::min<uint64_t>(identity.atomic_blocks, step_blocks));
    info.atomic_boundary = BlockCount(identity.atomic_boundary);
    info.hints = {.write_granularity = BlockCount(identity.write_granularity),
                  .write_alignment = BlockCount(identity.write_alignment),
                  .unmap_granularity = BlockCount(identity.unmap_granularity),
                  .unmap_alignment = BlockCount(identity.unmap_alignment),
                  .optimal_write = BlockCount(identity.optimal_write),
                  .io_boundary = BlockCount(identity.optimal_io_boundary)};
    info.zeroes_may_deallocate = identity.zeroes_may_deallocate;
    info.has_volatile_cache = identity.has_volatile_cache;
    info.is_read_only = identity.is_read_only;
    // Not thin, even if it is: how much of it is allocated changes, and is not told here.
    const auto set = [&](IoOp op, bool can) { info.supports[static_cast<uint32_t>(op)] = can; };
    const bool is_writable = !identity.is_read_only;
    set(IoOp::kRead, true);
    set(IoOp::kFlush, true);
    set(IoOp::kCompare, identity.can_compare);
    set(IoOp::kWrite, is_writable);
    set(IoOp::kUnmap, is_writable && identity.can_deallocate);
    set(IoOp::kWriteZeroes, is_writable && identity.can_write_zeroes);

    RemoteShared& shared = made->shared_;
    shared.nsid = Nsid(identity.nsid);
    shared.block_bytes = identity.block_bytes;
    shared.has_volatile_cache = identity.has_volatile_cache;
    shared.zeroes_may_deallocate = identity.zeroes_may_deallocate;
    shared.paths = &paths;
    return made;
}

Result<std::unique_ptr<bdev::BdevChannel>> RemoteBdev::open_channel(Reactor& here) {
    return std::unique_ptr<bdev::BdevChannel>(
        std::make_unique<RemoteChannel>(*shared_.paths->on(here), shared_));
}

}  // namespace basalt::nvmf
