#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "bdev/core/bdev.h"
#include "bdev/leaf/nvme_identity.h"
#include "reactor/io/storage.h"

namespace basalt::bdev {

struct NvmeOptions {
    std::string name;
    NvmeId id;  ///< Of the namespace.
    Uuid uuid;  ///< Nil: the namespace's UUID, else its NGUID, else its EUI64 as a UUID's end.
};

/// What the channels of one namespace share. Lives in the NvmeBdev.
struct NvmeShared {
    FileHandle device;
    uint32_t nsid = 0;
    uint32_t block_bytes = 0;
    uint64_t zeroes_blocks_max = 0;  ///< Of one Write Zeroes.
    bool has_volatile_cache = false;
    bool zeroes_may_deallocate = false;
    std::atomic<bool>* has_lost_writes = nullptr;
};

/// An NVMe namespace through its generic character device (io_uring passthrough), past the kernel's
/// block layer. Unmap is Deallocate, which is a hint to the device: what it reads afterwards is not
/// promised (reads_zeroes_after_unmap is false); write zeroes is what zeroes for certain.
///
/// A flush that failed is treated as the file leaf does: no promise of durability ever after.
///
/// Owner: BdevRegistry.
class NvmeBdev final : public Bdev {
  public:
    /// Finds the namespace and opens it. `file_system` outlives the device. Control thread. Errors:
    /// those of find_nvme and FileSystem::open; kNotSupported (block size, metadata).
    [[nodiscard]] static Result<std::unique_ptr<NvmeBdev>> open(const NvmeOptions& options,
                                                                NvmeFinder& finder,
                                                                FileSystem& file_system);

    NvmeBdev(const NvmeBdev&) = delete;
    NvmeBdev& operator=(const NvmeBdev&) = delete;
    ~NvmeBdev() override { file_system_.close(shared_.device); }

    [[nodiscard]] const BdevInfo& info() const override { return info_; }
    [[nodiscard]] BdevConfig describe() const override;
    [[nodiscard]] Result<std::unique_ptr<BdevChannel>> open_channel(Reactor& here) override;

    /// The device that it was found at, "/dev/ng0n1".
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    NvmeBdev(const NvmeOptions& options,
             const NvmeIdentity& identity,
             FileSystem& file_system,
             FileHandle device);

    FileSystem& file_system_;
    const NvmeId id_;
    const std::string path_;
    BdevInfo info_;
    NvmeShared shared_;
    std::atomic<bool> has_lost_writes_{false};  // As in FileBdev.
};

}  // namespace basalt::bdev
