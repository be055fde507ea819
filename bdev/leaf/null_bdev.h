#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <sys/uio.h>

#include "bdev/core/bdev.h"

namespace basalt::bdev {

struct NullOptions {
    std::string name;
    /// Nil: a random one. It keeps nothing by which a host could find it again.
    Uuid uuid;
    uint32_t block_size_bytes = 4096;
    uint32_t physical_block_size_bytes = 0;  ///< 0: the block size.
    BlockCount block_count;
};

/// A device without data, to measure everything else: writes vanish, reads are zeroes, and so
/// a compare is with zeroes. A reader
/// that asks for the device's memory gets one page of zeroes mapped again and again, which stays in
/// the cache. Owner: BdevRegistry.
class NullBdev final : public Bdev {
  public:
    /// Errors: kInvalidArgument (block sizes, no blocks), kNoMemory.
    [[nodiscard]] static Result<std::unique_ptr<NullBdev>> make(const NullOptions& options);

    NullBdev(const NullBdev&) = delete;
    NullBdev& operator=(const NullBdev&) = delete;
    ~NullBdev() override;

    [[nodiscard]] const BdevInfo& info() const override { return info_; }
    [[nodiscard]] BdevConfig describe() const override;
    /// Another size, while it is used too. Control thread.
    void resize(BlockCount block_count) { info_.block_count = block_count; }
    [[nodiscard]] Result<std::unique_ptr<BdevChannel>> open_channel(Reactor& here) override;

  private:
    NullBdev(const NullOptions& options, std::span<std::byte> zeroes);

    BdevInfo info_;
    std::span<std::byte> zeroes_;     // Read-only pages, all the kernel's one zero page.
    std::vector<iovec> zero_pieces_;  // [n] spans n blocks of zeroes_. Constant: all cores read it.
};

}  // namespace basalt::bdev
