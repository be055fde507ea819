#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "reactor/fair_lines.h"

namespace basalt {

/// Sizes of buffers in a pool.
inline constexpr size_t kBufferClasses = 3;

/// A piece of pooled memory, page aligned. A value; the holder gives it back to the pool once.
struct Buffer {
    std::byte* data = nullptr;
    uint32_t size_bytes = 0;  ///< Of its class; at least what was asked for.
    uint8_t size_class = 0;

    [[nodiscard]] bool is_valid() const { return data != nullptr; }
};

/// Waits in line for a buffer. Embedded in the request that needs it.
class BufferWaiter : public FairWaiter {
  public:
    /// Called from release(), on the pool's core, with the buffer that the waiter asked for.
    using Granted = void (*)(void* context, Buffer buffer);

    /// `context` outlives the waiting.
    BufferWaiter(Granted granted, void* context) : granted_(granted), context_(context) {}

  private:
    friend class BufferPool;

    Granted granted_;
    void* context_;
};

/// What one user of a pool holds of each class, and the lines in which its requests wait: see
/// FairLine.
///
/// Owner: the user. Core: the pool's. It is used with one pool; nothing is held when it ends.
class BufferAccount {
  public:
    [[nodiscard]] uint32_t used_count(size_t size_class) const {
        return lines_[size_class].used_count();
    }

  private:
    friend class BufferPool;

    std::array<FairLine, kBufferClasses> lines_;
};

/// The I/O buffers of one reactor, in three size classes cut from one region. Last in, first out,
/// so that hot memory stays in the cache and untouched memory stays unbacked. When a class is empty
/// the request waits in line (backpressure): never an error, never malloc. Users that share a pool
/// have an account each; for one without, the pool has an account without a bound.
///
/// Owner and core: the reactor's front door (nvmf::PollGroup). The region outlives the pool.
class BufferPool {
  public:
    static constexpr size_t kClasses = kBufferClasses;
    static constexpr std::array<uint32_t, kClasses> kClassBytes{4096, 32768, 131072};
    /// The largest buffer, and so the largest transfer of one request.
    static constexpr uint32_t kBufferBytesMax = kClassBytes[kClasses - 1];

    using Counts = std::array<uint32_t, kClasses>;

    /// Bytes of region that `counts` buffers of each class need.
    [[nodiscard]] static size_t region_bytes(const Counts& counts);

    /// `region` is page aligned and at least region_bytes(counts) long.
    BufferPool(std::span<std::byte> region, const Counts& counts);
    BufferPool(const BufferPool&) = delete;
    BufferPool& operator=(const BufferPool&) = delete;
    ~BufferPool();  ///< All buffers are back and nobody waits.

    /// The account of those who have none of their own.
    [[nodiscard]] BufferAccount& common_account() { return common_; }

    /// A buffer of at least `size_bytes` (at most kBufferBytesMax), of the smallest class that
    /// fits; invalid when that class is empty, the account may have no more, or others of the same
    /// account wait already.
    [[nodiscard]] Buffer try_acquire(uint32_t size_bytes, BufferAccount& account);
    [[nodiscard]] Buffer try_acquire(uint32_t size_bytes) {
        return try_acquire(size_bytes, common_);
    }

    /// Puts `waiter` in line for such a buffer, after try_acquire() gave none.
    void wait(BufferWaiter& waiter, uint32_t size_bytes, BufferAccount& account);
    void wait(BufferWaiter& waiter, uint32_t size_bytes) { wait(waiter, size_bytes, common_); }

    /// Takes `waiter` out of the line if it is in one.
    static void cancel(BufferWaiter& waiter) { FairLines::cancel(waiter); }

    /// Gives a buffer back to where it was acquired from; those who wait and may have it get it.
    void release(Buffer buffer, BufferAccount& account);
    void release(Buffer buffer) { release(buffer, common_); }

    /// Free buffers of a class now, for metrics and tests.
    [[nodiscard]] uint32_t free_count(size_t size_class) const {
        return classes_[size_class].free_count + classes_[size_class].fresh_count;
    }
    [[nodiscard]] uint32_t total_count(size_t size_class) const {
        return classes_[size_class].total_count;
    }

    /// The smallest class that fits `size_bytes`, 1 to kBufferBytesMax.
    [[nodiscard]] static size_t class_for(uint32_t size_bytes);

  private:
    struct FreeBuffer {
        FreeBuffer* next;
    };
    struct SizeClass {
        FreeBuffer* free = nullptr;
        std::byte* fresh = nullptr;  // First buffer never handed out: its page is not touched yet.
        uint32_t fresh_count = 0;
        uint32_t free_count = 0;
        uint32_t total_count = 0;
        FairLines lines;  // Of those who wait.
    };

    [[nodiscard]] Buffer take(size_t size_class);
    /// Hands what is free to those who wait and may have it.
    void serve(size_t size_class);

    std::array<SizeClass, kClasses> classes_;
    BufferAccount common_;  // Without a bound.
};

}  // namespace basalt
