#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "bdev/core/bdev.h"
#include "bdev/store/format.h"
#include "reactor/base/result.h"
#include "reactor/task.h"

namespace basalt::bdev::store {

/// Memory for whole blocks, zeroed, placed as direct I/O wants it. Owner: whoever made it; lives
/// until the I/O that uses it is over.
class BlockMemory {
  public:
    explicit BlockMemory(uint32_t blocks);

    [[nodiscard]] std::span<std::byte> all() { return {bytes_.get(), size_bytes_}; }
    [[nodiscard]] std::span<std::byte> block(uint32_t index) {
        return all().subspan(size_t{index} * kBlockBytes, kBlockBytes);
    }

  private:
    struct Free {
        void operator()(std::byte* bytes) const;
    };

    size_t size_bytes_;
    std::unique_ptr<std::byte, Free> bytes_;
};

/// Blocks of 4096 bytes of a device, for the rare sequences of this room: formatting, opening, the
/// catalogue. Those run on `home`, usually the control thread, where not every device can be
/// opened; the I/O is done on the core that has the channel. Owner: the pool. Core: home.
class BlockIo {
  public:
    /// `channel` was opened on `core`, of a device that `info` describes and is_suitable(); they
    /// outlive this.
    BlockIo(Reactor& home, CoreId core, BdevChannel& channel, const BdevInfo& info);
    BlockIo(const BlockIo&) = delete;
    BlockIo& operator=(const BlockIo&) = delete;

    /// Whether a device has blocks that ours can be made of, and can read, write and flush.
    [[nodiscard]] static bool is_suitable(const BdevInfo& info);

    /// Blocks of 4096 bytes that the device has.
    [[nodiscard]] static uint64_t count(const BdevInfo& info);

    /// Reads blocks from `first` on into `out`, whole blocks of BlockMemory that live until this is
    /// over. Errors: those of the device; what was read before is there.
    [[nodiscard]] Task<Status> read(uint64_t first, std::span<std::byte> out);

    /// Writes `data`, as above, durably: it survives a loss of power when this is over. Errors:
    /// those of the device; an unknown part is written.
    [[nodiscard]] Task<Status> write(uint64_t first, std::span<std::byte> data);

  private:
    struct Transfer;

    [[nodiscard]] Task<Status> run(IoOp op, uint64_t first, std::span<std::byte> memory);
    static Task<void> run_there(Reactor& there, Transfer& transfer);

    Reactor& home_;
    const CoreId core_;
    BdevChannel& channel_;
    const uint32_t sectors_a_block_;  // Of the device.
    const size_t transfer_bytes_max_;
};

}  // namespace basalt::bdev::store
