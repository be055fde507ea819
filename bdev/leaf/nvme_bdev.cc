#include "bdev/leaf/nvme_bdev.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "bdev/leaf/block_sizes.h"
#include "bdev/leaf/nvme_channel.h"
#include "bdev/limits.h"

namespace basalt::bdev {

namespace {

constexpr uint32_t kMemoryAlignmentBytes = 4;  // PRP entries are dword aligned.

Uuid uuid_of(const NvmeOptions& options, const NvmeIdentity& identity) {
    Uuid uuid = options.uuid;
    if (uuid.is_nil()) {
        uuid.bytes = identity.uuid;
    }
    if (uuid.is_nil()) {
        uuid.bytes = identity.nguid;
    }
    if (uuid.is_nil()) {
        std::copy(identity.eui64.begin(), identity.eui64.end(), uuid.bytes.begin() + 8);
    }
    return uuid;
}

}  // namespace

Result<std::unique_ptr<NvmeBdev>> NvmeBdev::open(const NvmeOptions& options,
                                                 NvmeFinder& finder,
                                                 FileSystem& file_system) {
    BASALT_TRY(const NvmeIdentity identity, find_nvme(finder, options.id));
    if (!are_block_sizes(identity.block_bytes, 0) || identity.metadata_bytes != 0 ||
        identity.block_count == 0) {
        return Errc::kNotSupported;
    }
    const OpenOptions how{.read_only = identity.is_read_only};
    BASALT_TRY(const FileInfo file, file_system.open(identity.path, how));
    return std::unique_ptr<NvmeBdev>(new NvmeBdev(options, identity, file_system, file.handle));
}

NvmeBdev::NvmeBdev(const NvmeOptions& options,
                   const NvmeIdentity& identity,
                   FileSystem& file_system,
                   FileHandle device)
    : file_system_(file_system), id_(options.id), path_(identity.path) {
    const uint64_t transfer_bytes =
        identity.transfer_bytes_max == 0
            ? kCopiedTransferBytesMax
            : std::min<uint64_t>(identity.transfer_bytes_max, kCopiedTransferBytesMax);
    info_.name = options.name;
    info_.product_name = "NVMe disk";
    info_.uuid = uuid_of(options, identity);
    info_.block_size_bytes = identity.block_bytes;
    info_.physical_block_size_bytes = identity.block_bytes;
    info_.block_count = BlockCount(identity.block_count);
    info_.memory_alignment_bytes = kMemoryAlignmentBytes;
    info_.transfer_max = BlockCount(transfer_bytes / identity.block_bytes);
    info_.atomic_write_max = BlockCount(identity.atomic_blocks);
    info_.atomic_boundary = BlockCount(identity.atomic_boundary);
    info_.hints = {.write_granularity = BlockCount(identity.write_granularity),
                   .write_alignment = BlockCount(identity.write_alignment),
                   .unmap_granularity = BlockCount(identity.unmap_granularity),
                   .unmap_alignment = BlockCount(identity.unmap_alignment),
                   .optimal_write = BlockCount(identity.optimal_write),
                   .io_boundary = BlockCount(identity.optimal_io_boundary)};
    info_.zeroes_may_deallocate = identity.zeroes_may_deallocate;
    info_.has_volatile_cache = identity.has_volatile_cache;
    info_.is_read_only = identity.is_read_only;
    // Not thin, even if it is: how much of it is allocated changes, and is not told here.
    const auto set = [this](IoOp op, bool can) { info_.supports[static_cast<uint32_t>(op)] = can; };
    const bool is_writable = !identity.is_read_only;
    set(IoOp::kRead, true);
    set(IoOp::kFlush, true);
    set(IoOp::kCompare, identity.can_compare);
    set(IoOp::kWrite, is_writable);
    set(IoOp::kUnmap, is_writable && identity.can_deallocate);
    set(IoOp::kWriteZeroes, is_writable && identity.can_write_zeroes);

    shared_.device = device;
    shared_.nsid = identity.nsid;
    shared_.block_bytes = identity.block_bytes;
    // Before NVMe 2.0 a controller can't say how much it zeroes at once; Linux assumes MDTS too.
    shared_.zeroes_blocks_max =
        identity.transfer_bytes_max == 0
            ? kNvmeBlocksMax
            : std::clamp<uint64_t>(
                  identity.transfer_bytes_max / identity.block_bytes, 1, kNvmeBlocksMax);
    shared_.has_volatile_cache = identity.has_volatile_cache;
    shared_.zeroes_may_deallocate = identity.zeroes_may_deallocate;
    shared_.has_lost_writes = &has_lost_writes_;
}

BdevConfig NvmeBdev::describe() const {
    return {"bdev_nvme_attach_passthrough",
            {{"name", info_.name}, {"nguid", id_.to_string()}, {"uuid", info_.uuid.to_string()}}};
}

Result<std::unique_ptr<BdevChannel>> NvmeBdev::open_channel(Reactor& here) {
    return std::unique_ptr<BdevChannel>(std::make_unique<NvmeChannel>(here, shared_));
}

}  // namespace basalt::bdev
