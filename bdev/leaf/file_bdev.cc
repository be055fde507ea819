#include "bdev/leaf/file_bdev.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "bdev/leaf/block_sizes.h"
#include "bdev/limits.h"

namespace basalt::bdev {

namespace {

// What the file has to be like. Errors: kInvalidArgument.
Status check_file(const FileInfo& file, uint32_t block_bytes) {
    const bool fits = file.size_bytes > 0 && file.size_bytes % block_bytes == 0 &&
                      block_bytes % file.alignment_bytes == 0;
    return fits ? kOk : Status(Errc::kInvalidArgument);
}

Uuid uuid_of(const FileOptions& options) {
    if (!options.uuid.is_nil()) {
        return options.uuid;
    }
    std::error_code error;
    const std::filesystem::path absolute = std::filesystem::absolute(options.path, error);
    // Fails where there is no working directory, which is where nothing relative can be opened.
    return Uuid::from_name(options.node,
                           error ? options.path : absolute.lexically_normal().native());
}

}  // namespace

Result<std::unique_ptr<FileBdev>> FileBdev::open(const FileOptions& options,
                                                 FileSystem& file_system) {
    if (!are_block_sizes(options.block_size_bytes, 0)) {
        return Errc::kInvalidArgument;
    }
    OpenOptions how{.read_only = options.read_only,
                    .direct = true,
                    .create_size_bytes = options.create_size_bytes};
    BASALT_TRY(FileInfo file, file_system.open(options.path, how));
    if (file.alignment_bytes > options.block_size_bytes) {
        file_system.close(file.handle);
        how.direct = false;
        BASALT_TRY(file, file_system.open(options.path, how));
    }
    const Status status = check_file(file, options.block_size_bytes);
    if (!status) {
        file_system.close(file.handle);
        return status.error();
    }
    return std::unique_ptr<FileBdev>(new FileBdev(options, file_system, file));
}

FileBdev::FileBdev(const FileOptions& options, FileSystem& file_system, const FileInfo& file)
    : file_system_(file_system), path_(options.path), method_(options.method) {
    info_.name = options.name;
    info_.product_name = "File disk";
    info_.uuid = uuid_of(options);
    info_.block_size_bytes = options.block_size_bytes;
    info_.physical_block_size_bytes = std::max(options.block_size_bytes, file.alignment_bytes);
    info_.block_count = BlockCount(file.size_bytes / options.block_size_bytes);
    info_.transfer_max = BlockCount(kCopiedTransferBytesMax / options.block_size_bytes);
    info_.has_volatile_cache = true;
    info_.hints.write_granularity =
        BlockCount(info_.physical_block_size_bytes / options.block_size_bytes);
    info_.hints.write_alignment = info_.hints.write_granularity;
    info_.hints.unmap_granularity =
        BlockCount(std::max<uint64_t>(file.allocation_bytes / options.block_size_bytes, 1));
    info_.hints.unmap_alignment = info_.hints.unmap_granularity;
    info_.reads_zeroes_after_unmap = file.can_punch;
    info_.zeroes_may_deallocate = file.can_punch;
    info_.is_read_only = options.read_only;
    info_.is_thin = file.can_punch && !file.is_block_device;
    const auto set = [this](IoOp op, bool can) { info_.supports[static_cast<uint32_t>(op)] = can; };
    set(IoOp::kRead, true);
    set(IoOp::kCompare, true);
    set(IoOp::kFlush, true);
    set(IoOp::kWrite, !options.read_only);
    set(IoOp::kWriteZeroes, !options.read_only);
    set(IoOp::kUnmap, !options.read_only && file.can_punch);

    shared_.handle = file.handle;
    shared_.block_bytes = options.block_size_bytes;
    shared_.alignment_bytes = file.alignment_bytes;
    shared_.can_punch = file.can_punch;
    shared_.has_lost_writes = &has_lost_writes_;
}

BlockCount FileBdev::allocated_blocks() const {
    const Result<uint64_t> bytes = file_system_.allocated_bytes(shared_.handle);
    if (!info_.is_thin || !bytes) {
        return info_.block_count;
    }
    // A file system's own notes about the file count too; rounding up makes no block look unused.
    const uint64_t blocks = (*bytes + info_.block_size_bytes - 1) / info_.block_size_bytes;
    return std::min(BlockCount(blocks), info_.block_count.get());
}

Status FileBdev::rescan() {
    BASALT_TRY(const uint64_t bytes, file_system_.size_bytes(shared_.handle));
    const BlockCount blocks(bytes / info_.block_size_bytes);
    if (blocks < info_.block_count.get()) {
        return Errc::kNotSupported;
    }
    info_.block_count = blocks;
    return kOk;
}

BdevConfig FileBdev::describe() const {
    BdevConfig config{method_,
                      {{"name", info_.name},
                       {"filename", path_},
                       {"block_size", uint64_t{info_.block_size_bytes}},
                       {"uuid", info_.uuid.to_string()}}};
    if (info_.is_read_only) {
        config.parameters.push_back({"readonly", true});
    }
    return config;
}

Result<std::unique_ptr<BdevChannel>> FileBdev::open_channel(Reactor& here) {
    BASALT_TRY(std::unique_ptr<BounceMemory> bounce, BounceMemory::make());
    return std::unique_ptr<BdevChannel>(
        std::make_unique<FileChannel>(here, shared_, std::move(bounce)));
}

}  // namespace basalt::bdev
