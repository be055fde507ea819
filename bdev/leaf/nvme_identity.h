#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bdev/core/uuid.h"
#include "reactor/base/result.h"

struct nvme_id_ctrl;
struct nvme_id_ns;

namespace basalt::bdev {

/// What an operator calls an NVMe namespace by: its NGUID or UUID (16 bytes) or its EUI64 (8). A
/// value.
class NvmeId {
  public:
    /// 32 hexadecimal digits (NGUID or UUID) or 16 (EUI64); dashes, a leading "nguid.", "uuid." or
    /// "eui." and the case don't matter. Errors: kInvalidArgument (also for all zeroes, which says
    /// that a namespace has none).
    [[nodiscard]] static Result<NvmeId> parse(std::string_view text);

    [[nodiscard]] std::span<const uint8_t> bytes() const { return {bytes_.data(), size_}; }
    /// Lower case digits without dashes.
    [[nodiscard]] std::string to_string() const;

  private:
    std::array<uint8_t, 16> bytes_{};
    size_t size_ = 0;
};

/// What Identify says about a namespace, as far as the nvme leaf wants to know. NVM Express Base
/// Specification 2.0, section 5.17, and NVM Command Set Specification 1.0, section 4.1.5. A value.
struct NvmeIdentity {
    std::string path;  ///< Of the generic character device, "/dev/ng0n1".
    uint32_t nsid = 0;
    std::array<uint8_t, 16> nguid{};  ///< All zero: the namespace has none; likewise the others.
    std::array<uint8_t, 16> uuid{};
    std::array<uint8_t, 8> eui64{};

    uint64_t block_count = 0;
    uint32_t block_bytes = 0;
    uint32_t metadata_bytes = 0;       ///< Of each block.
    uint64_t transfer_bytes_max = 0;   ///< MDTS in bytes; 0: no limit.
    uint64_t atomic_blocks = 1;        ///< Written all or not at power loss (AWUPF, NAWUPF).
    uint64_t atomic_boundary = 0;      ///< Unless they cross a multiple of this; 0: none (NABSPF).
    uint32_t optimal_io_boundary = 0;  ///< NOIOB, in blocks.
    uint32_t write_granularity = 0;    ///< NPWG, in blocks; 0, here and below: it does not say.
    uint32_t write_alignment = 0;      ///< NPWA.
    uint32_t unmap_granularity = 0;    ///< NPDG.
    uint32_t unmap_alignment = 0;      ///< NPDA.
    uint32_t optimal_write = 0;        ///< NOWS.
    bool has_volatile_cache = false;   ///< VWC.
    bool can_compare = false;
    bool can_deallocate = false;
    bool can_write_zeroes = false;
    bool zeroes_may_deallocate = false;  ///< Write Zeroes knows DEAC.
    bool is_read_only = false;

    [[nodiscard]] bool has(const NvmeId& id) const;
};

/// Reads the fields above from the answers to Identify: controller (CNS 01h), namespace (00h), and
/// the list of namespace descriptors (03h; empty where the controller has none).
[[nodiscard]] NvmeIdentity parse_identify(const nvme_id_ctrl& controller,
                                          const nvme_id_ns& ns,
                                          std::span<const std::byte> descriptors);

/// The NVMe namespaces of the machine. Control thread; may block. Implementations: LinuxNvmeFinder,
/// and simulated drives in tests.
class NvmeFinder {
  public:
    virtual ~NvmeFinder() = default;

    /// The paths of all generic character devices, in order. Errors: kIo.
    [[nodiscard]] virtual Result<std::vector<std::string>> list() = 0;

    /// Asks the device itself. Errors: kNotFound, kPermissionDenied, kNotSupported (no NVM
    /// namespace), kIo.
    [[nodiscard]] virtual Result<NvmeIdentity> identify(const std::string& path) = 0;
};

/// The first namespace that has `id`. Those that don't answer are passed over. Errors: kNotFound;
/// kPermissionDenied if it was not found and some could not be asked; those of list().
[[nodiscard]] Result<NvmeIdentity> find_nvme(NvmeFinder& finder, const NvmeId& id);

}  // namespace basalt::bdev
