#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "reactor/io/storage.h"
#include "reactor/sim/drive.h"

namespace basalt::sim {

struct NvmeOptions {
    DriveOptions drive;
    uint32_t block_size_bytes = 4096;  ///< 512 or 4096.
    uint32_t nsid = 1;
    uint8_t transfer_max_log2 = 5;    ///< MDTS, in 4 KiB pages; 0: no limit.
    std::array<uint8_t, 16> nguid{};  ///< All zero: the device has none (as QEMU's).
    std::array<uint8_t, 8> eui64{};   ///< Likewise.
    std::array<uint8_t, 16> uuid{};   ///< Likewise.
    std::string serial_number = "SIM0001";
};

/// A simulated NVMe namespace as its character device shows it: executes passthrough commands on a
/// Drive. Knows Identify (CNS 00h, 01h, 02h, 03h), Get Features (06h), read, write, flush, write
/// zeroes, Dataset Management (deallocate) and compare; answers others with Invalid Command Opcode
/// or Invalid Field. Owner: SimFileSystem.
class NvmeDevice {
  public:
    NvmeDevice(Timeline& timeline, const NvmeOptions& options)
        : options_(options), drive_(timeline, options.drive) {}

    [[nodiscard]] Drive& drive() { return drive_; }
    [[nodiscard]] const NvmeOptions& options() const { return options_; }

    [[nodiscard]] static bool is_flush(const PassthroughRequest& request);

    /// Executes at this instant: sets status, nvme_status and result.
    void execute(PassthroughRequest& request);

    /// The power fails while `request` is on its way.
    void tear(const PassthroughRequest& request);

  private:
    struct Range {
        uint64_t offset_bytes;
        uint64_t length_bytes;
    };

    [[nodiscard]] uint16_t execute_admin(PassthroughRequest& request);
    [[nodiscard]] uint16_t execute_io(PassthroughRequest& request);
    [[nodiscard]] uint16_t identify(const PassthroughRequest& request);
    [[nodiscard]] uint16_t deallocate(const PassthroughRequest& request);
    [[nodiscard]] uint16_t compare(const PassthroughRequest& request, Range range);
    [[nodiscard]] bool range_of(const PassthroughRequest& request, Range& range) const;
    [[nodiscard]] uint64_t block_count() const {
        return options_.drive.size_bytes / options_.block_size_bytes;
    }
    void fill_controller(std::byte* page) const;
    void fill_namespace(std::byte* page) const;
    void fill_descriptors(std::byte* page) const;

    const NvmeOptions options_;
    Drive drive_;
};

}  // namespace basalt::sim
