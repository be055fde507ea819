#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "bdev/core/io_request.h"
#include "bdev/leaf/memory_source.h"
#include "reactor/buffer_pool.h"

namespace basalt::bdev {

/// The bounded memory of a channel that has to copy: buffers for requests whose memory does not
/// suit direct I/O, and to read what is compared. Pages are backed when first used. Owner: a
/// channel.
class BounceMemory {
  public:
    /// Errors: kNoMemory.
    [[nodiscard]] static Result<std::unique_ptr<BounceMemory>> make();

    BounceMemory(const BounceMemory&) = delete;
    BounceMemory& operator=(const BounceMemory&) = delete;
    ~BounceMemory();

    [[nodiscard]] BufferPool& pool() { return *pool_; }

  private:
    explicit BounceMemory(std::span<std::byte> region);

    AnonymousMemory source_;
    std::span<std::byte> region_;
    std::optional<BufferPool> pool_;
};

/// Copies the request's memory, piece after piece, to `to`, which has room for all of it.
void gather(std::byte* to, const IoRequest& request);

/// The other way round.
void scatter(const IoRequest& request, const std::byte* from);

/// Whether the request's memory holds what is at `stored`.
[[nodiscard]] bool equals(const IoRequest& request, const std::byte* stored);

}  // namespace basalt::bdev
