#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "bdev/core/bdev.h"
#include "bdev/store/pool/volume.h"

namespace basalt::bdev::store {

/// What a volume's device is to be like.
struct VolumeBdevOptions {
    std::string name;  ///< "POOL/VOLUME".
    Uuid uuid;
    uint32_t block_bytes = 4096;
    uint64_t size_blocks = 0;  ///< Of 4096 bytes.
    uint32_t node = 0;
    uint32_t note_owner = 0;  ///< 0: it takes no notes.
    uint32_t deal = 0;
    bool is_read_only = false;
};

/// A volume or snapshot of a pool as a block device. Every write is durable and atomic up to the
/// largest transfer, unless it crosses a boundary between chunks (atomic_boundary). What was never
/// written, or was unmapped, reads as zeroes.
///
/// Owner: BdevRegistry; the pool makes it and takes it away. Control thread.
class VolumeBdev final : public Bdev {
  public:
    static constexpr const char* kProductName = "Basalt volume";

    /// `pool` outlives the device.
    VolumeBdev(std::span<const PoolSeat> pool, const VolumeBdevOptions& options);

    [[nodiscard]] const BdevInfo& info() const override { return info_; }
    [[nodiscard]] BlockCount allocated_blocks() const override;
    /// Errors: kNoMemory.
    [[nodiscard]] Result<std::unique_ptr<BdevChannel>> open_channel(Reactor& here) override;

    [[nodiscard]] Volume& volume() { return volume_; }

    // What may change while it is used. The volume's seats are told before it becomes larger, and
    // after it became smaller or read-only here. Control thread.
    void set_name(std::string name) { info_.name = std::move(name); }
    void set_size(uint64_t size_blocks);  ///< Of 4096 bytes.
    void set_read_only() { info_.is_read_only = true; }

  private:
    BdevInfo info_;
    Volume volume_;
};

}  // namespace basalt::bdev::store
