#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "bdev/core/bdev.h"
#include "bdev/leaf/file_channel.h"
#include "reactor/io/storage.h"

namespace basalt::bdev {

struct FileOptions {
    std::string name;
    std::string path;
    /// Nil: Uuid::from_name() of `node` and the path, absolute and without "." and "..", so that a
    /// host finds its namespace again when the target has restarted. Symbolic links stay as they
    /// are: /dev/disk/by-id/... is a drive's lasting name, what it points to is not.
    Uuid uuid;
    std::string node;  ///< Tells this node from others, which have files of the same path.
    uint32_t block_size_bytes = 4096;
    bool read_only = false;
    uint64_t create_size_bytes = 0;  ///< Not 0: makes a missing file, sparse, of this size.
    std::string method = "bdev_uring_create";  ///< What describe() says: SPDK has two that fit.
};

/// A device in a file or on a block device, through the reactors' storage (io_uring, O_DIRECT).
///
/// Durability: a write with FUA is RWF_DSYNC, a flush is fdatasync; all else may be lost at power
/// loss until a flush (has_volatile_cache). When a flush or a durable write fails, nobody knows
/// what of the earlier writes is on the medium, and the kernel forgets the error once it has told
/// it: so from then on the device refuses every flush and every durable write with kIo until it is
/// made anew. Reads and plain writes go on.
///
/// Owner: BdevRegistry.
class FileBdev final : public Bdev {
  public:
    /// Opens the file. With blocks smaller than what direct I/O can address, it goes through the
    /// page cache, which merges the parts of a sector; doing that here would race between cores.
    /// `file_system` outlives the device. Control thread. Errors: those of FileSystem::open;
    /// kInvalidArgument (block size; a file that is empty, not a multiple of it, or has larger
    /// sectors).
    [[nodiscard]] static Result<std::unique_ptr<FileBdev>> open(const FileOptions& options,
                                                                FileSystem& file_system);

    FileBdev(const FileBdev&) = delete;
    FileBdev& operator=(const FileBdev&) = delete;
    ~FileBdev() override { file_system_.close(shared_.handle); }

    [[nodiscard]] const BdevInfo& info() const override { return info_; }
    /// By what the file system says; of a block device all.
    [[nodiscard]] BlockCount allocated_blocks() const override;
    [[nodiscard]] BdevConfig describe() const override;
    /// Takes the size that the file has now, while it is used too; what does not fill a block is
    /// left. Control thread. Errors: kIo; kNotSupported: it is smaller now, and I/O on its way
    /// would fail (the size stays).
    [[nodiscard]] Status rescan();
    [[nodiscard]] Result<std::unique_ptr<BdevChannel>> open_channel(Reactor& here) override;

  private:
    FileBdev(const FileOptions& options, FileSystem& file_system, const FileInfo& file);

    FileSystem& file_system_;
    const std::string path_;
    const std::string method_;
    BdevInfo info_;
    FileShared shared_;
    // Set once, by any core, never cleared. Relaxed: the failed request's own completion is what
    // its host orders by.
    std::atomic<bool> has_lost_writes_{false};
};

}  // namespace basalt::bdev
