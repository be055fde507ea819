#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "bdev/core/bdev.h"
#include "bdev/leaf/memory_source.h"

namespace basalt::bdev {

struct MallocOptions {
    std::string name;
    /// Nil: a random one. Made anew, the device has lost its data, and must not look the same.
    Uuid uuid;
    uint32_t block_size_bytes = 4096;
    uint32_t physical_block_size_bytes = 0;  ///< 0: the block size.
    BlockCount block_count;
    BlockCount optimal_io_boundary{0};
};

/// A device in memory, lost when it is removed. All cores share the memory; requests for the same
/// blocks at the same time mix byte by byte, as on any drive without atomic writes. Owner:
/// BdevRegistry.
class MallocBdev final : public Bdev {
  public:
    /// `source` outlives the device. Errors: kInvalidArgument (block sizes, no blocks, too many),
    /// kNoMemory.
    [[nodiscard]] static Result<std::unique_ptr<MallocBdev>> make(const MallocOptions& options,
                                                                  MemorySource& source);

    MallocBdev(const MallocBdev&) = delete;
    MallocBdev& operator=(const MallocBdev&) = delete;
    ~MallocBdev() override { source_.release(memory_); }

    [[nodiscard]] const BdevInfo& info() const override { return info_; }
    [[nodiscard]] BdevConfig describe() const override;
    [[nodiscard]] Result<std::unique_ptr<BdevChannel>> open_channel(Reactor& here) override;

  private:
    MallocBdev(const MallocOptions& options, MemorySource& source, std::span<std::byte> memory);

    BdevInfo info_;
    MemorySource& source_;
    std::span<std::byte> memory_;
};

}  // namespace basalt::bdev
