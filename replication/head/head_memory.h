#pragma once

#include <memory>
#include <span>

#include "bdev/leaf/memory_source.h"
#include "replication/link/block_buffer.h"

namespace basalt::replication {

/// How much data of one head may be under way, by size: up to 4 blocks, and up to 64.
struct HeadMemoryOptions {
    /// Writes that are not at all replicas yet. When a replica stands still they fill up, and hosts
    /// wait until it is dropped (Settings::slow_us).
    BlockBuffers::Counts writes{.small = 1024, .large = 128};
    /// What was read and the host does not have yet, and what is being received.
    BlockBuffers::Counts reads{.small = 320, .large = 96};
};

/// The memory of one head: 77 MiB by default, backed when first used. Writes and reads have buffers
/// of their own, since a read's answer may stand in a connection before the answers that writes
/// wait for. Owner: whoever wires the head; outlives it and its links. Core: the head's.
class HeadMemory {
  public:
    /// Errors: kNoMemory.
    [[nodiscard]] static Result<std::unique_ptr<HeadMemory>> make(const HeadMemoryOptions& options);
    HeadMemory(const HeadMemory&) = delete;
    HeadMemory& operator=(const HeadMemory&) = delete;
    ~HeadMemory();

    [[nodiscard]] const HeadMemoryOptions& options() const { return options_; }
    [[nodiscard]] BlockBuffers& writes() { return *writes_; }
    /// For links: what replicas send comes in here. It never runs out for long.
    [[nodiscard]] BlockBuffers& reads() { return *reads_; }

  private:
    HeadMemory(const HeadMemoryOptions& options, std::span<std::byte> region);

    const HeadMemoryOptions options_;
    bdev::AnonymousMemory source_;
    std::span<std::byte> region_;
    std::unique_ptr<BlockBuffers> writes_;
    std::unique_ptr<BlockBuffers> reads_;
};

}  // namespace basalt::replication
