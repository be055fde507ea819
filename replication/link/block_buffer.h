#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "reactor/base/result.h"
#include "replication/limits.h"

namespace basalt::replication {

class BlockBuffers;

/// Memory for some blocks of data and their CRC32C (RFC 3720, appendix B.4), in use by one or more
/// holders at once: a write's data by each replica's link and the head, a read's by whoever tells
/// it to the host. Part of a BlockBuffers; used through BlockRef.
struct BlockBuffer {
    BlockBuffers* pool = nullptr;
    BlockBuffer* next = nullptr;  ///< Free ones.
    std::byte* bytes = nullptr;   ///< Page aligned.
    uint32_t holders = 0;
    uint32_t blocks = 0;  ///< That were asked for.
    uint8_t size_class = 0;
    std::array<uint32_t, kRangeBlocksMax> sums{};
};

/// A holder of a BlockBuffer, or of none. When the last one ends the memory is free again. Core:
/// that of the pool, for all copies.
class BlockRef {
  public:
    BlockRef() = default;
    explicit BlockRef(BlockBuffer& buffer) : buffer_(&buffer) { ++buffer_->holders; }
    BlockRef(const BlockRef& other) : buffer_(other.buffer_) {
        if (buffer_ != nullptr) {
            ++buffer_->holders;
        }
    }
    BlockRef(BlockRef&& other) noexcept : buffer_(std::exchange(other.buffer_, nullptr)) {}
    BlockRef& operator=(BlockRef other) noexcept {
        std::swap(buffer_, other.buffer_);
        return *this;
    }
    ~BlockRef() { reset(); }

    void reset();
    [[nodiscard]] bool is_valid() const { return buffer_ != nullptr; }

    // Of a valid one:
    [[nodiscard]] uint32_t blocks() const { return buffer_->blocks; }
    /// `blocks()` x 4096 bytes.
    [[nodiscard]] std::span<std::byte> bytes() const {
        return {buffer_->bytes, size_t{buffer_->blocks} * kBlockBytes};
    }
    /// The CRC32C of each block, which whoever fills the bytes fills too.
    [[nodiscard]] std::span<uint32_t> sums() const {
        return std::span<uint32_t>(buffer_->sums).first(buffer_->blocks);
    }

  private:
    BlockBuffer* buffer_ = nullptr;
};

/// What Reply::digest is of data with these sums: everywhere the same, so that a head can compare
/// what replicas on different machines have.
[[nodiscard]] uint64_t digest_of(std::span<const uint32_t> sums);

/// Waits in line for a buffer. Embedded in what needs one.
class BlockWaiter {
  public:
    /// Called when a buffer is there, from the release of another one, on the pool's core.
    using Granted = void (*)(void* context, BlockRef buffer);

    /// `context` outlives the waiting.
    BlockWaiter(Granted granted, void* context) : granted_(granted), context_(context) {}
    BlockWaiter(const BlockWaiter&) = delete;
    BlockWaiter& operator=(const BlockWaiter&) = delete;
    ~BlockWaiter();  ///< Not in line.

  private:
    friend class BlockBuffers;

    Granted granted_;
    void* context_;
    BlockWaiter* next_ = nullptr;
    uint32_t blocks_ = 0;
    bool is_waiting_ = false;
};

/// The block buffers of one core, of two sizes: of kSmallBlocks and of kRangeBlocksMax blocks. Last
/// in, first out; memory that was never used is not touched. Who finds none waits in line, by size,
/// first come, first served: backpressure, never an error.
///
/// Owner and core: the shell of a head, or of the replicas of a core. Allocates when it is made.
/// Outlives all its references.
class BlockBuffers {
  public:
    static constexpr uint32_t kSmallBlocks = 4;

    struct Counts {
        uint32_t small = 0;
        uint32_t large = 0;
    };

    [[nodiscard]] static size_t region_bytes(Counts counts);

    /// `region` is page aligned, of region_bytes(counts) at least, and outlives the pool.
    BlockBuffers(std::span<std::byte> region, Counts counts);
    BlockBuffers(const BlockBuffers&) = delete;
    BlockBuffers& operator=(const BlockBuffers&) = delete;
    ~BlockBuffers();  ///< All buffers are back and nobody waits.

    /// Room for `blocks` blocks, 1 to kRangeBlocksMax; no valid one if there is none, or others
    /// wait for that size.
    [[nodiscard]] BlockRef try_take(uint32_t blocks);
    /// Puts `waiter` in line for such a buffer, after try_take() gave none.
    void wait(BlockWaiter& waiter, uint32_t blocks);
    /// Takes `waiter` out of the line if it is in one.
    void cancel(BlockWaiter& waiter);

    [[nodiscard]] uint32_t free_count(uint32_t blocks) const {
        return classes_[class_of(blocks)].free_count;
    }

  private:
    friend class BlockRef;

    static constexpr std::array<uint32_t, 2> kClassBlocks{kSmallBlocks, kRangeBlocksMax};

    struct SizeClass {
        BlockBuffer* free = nullptr;
        uint32_t free_count = 0;
        BlockWaiter* first = nullptr;
        BlockWaiter** last = &first;
    };

    [[nodiscard]] static size_t class_of(uint32_t blocks) { return blocks <= kSmallBlocks ? 0 : 1; }
    [[nodiscard]] BlockRef take(SizeClass& from, uint32_t blocks);
    void release(BlockBuffer& buffer);

    std::unique_ptr<BlockBuffer[]> buffers_;
    uint32_t count_ = 0;
    std::array<SizeClass, 2> classes_{};
};

}  // namespace basalt::replication
