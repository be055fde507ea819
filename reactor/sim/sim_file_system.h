#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "reactor/io/storage.h"
#include "reactor/sim/drive.h"
#include "reactor/sim/nvme_device.h"

namespace basalt::sim {

/// The files, drives and NVMe devices of one node, by path. They outlive crashes of the node; what
/// is open does not. Owner: World.
class SimFileSystem final : public FileSystem {
  public:
    explicit SimFileSystem(Timeline& timeline) : timeline_(timeline) {}

    Drive& add_drive(const std::string& path, const DriveOptions& options);
    NvmeDevice& add_nvme(const std::string& path, const NvmeOptions& options);

    [[nodiscard]] Result<FileInfo> open(const std::string& path,
                                        const OpenOptions& options) override;
    [[nodiscard]] Result<uint64_t> size_bytes(FileHandle handle) override;
    [[nodiscard]] Result<uint64_t> allocated_bytes(FileHandle handle) override;
    void close(FileHandle handle) override;

    /// One of the two is set.
    struct Medium {
        std::string path;
        std::unique_ptr<Drive> drive;
        std::unique_ptr<NvmeDevice> nvme;
        int64_t open_id = -1;
        bool is_read_only = false;
        uint32_t in_flight = 0;   // Requests, of all cores.
        uint32_t registered = 0;  // In cores' tables.
    };

    /// The medium that is open as `handle`, or null. For SimStorage.
    [[nodiscard]] Medium* find(FileHandle handle);

    /// Closes everything; with `lose_power` the media lose what was not durable.
    void crash(bool lose_power);

  private:
    Timeline& timeline_;
    std::vector<std::unique_ptr<Medium>> media_;
    int64_t next_id_ = 0;
};

}  // namespace basalt::sim
