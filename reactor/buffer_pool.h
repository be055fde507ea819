#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "reactor/base/intrusive_list.h"

namespace basalt {

/// A piece of pooled memory, page aligned. A value; the holder gives it back to the pool once.
struct Buffer {
    std::byte* data = nullptr;
    uint32_t size_bytes = 0;  ///< Of its class; at least what was asked for.
    uint8_t size_class = 0;

    [[nodiscard]] bool is_valid() const { return data != nullptr; }
};

/// Waits in line for a buffer. Embedded in the request that needs it.
class BufferWaiter {
  public:
    /// Called from release(), on the pool's core, with the buffer that the waiter asked for.
    using Granted = void (*)(void* context, Buffer buffer);

    /// `context` outlives the waiting.
    BufferWaiter(Granted granted, void* context) : granted_(granted), context_(context) {}

    [[nodiscard]] bool is_waiting() const { return link_.is_linked(); }

  private:
    friend class BufferPool;

    ListLink link_;
    Granted granted_;
    void* context_;
};

/// The I/O buffers of one reactor, in three size classes cut from one region. Last in, first out,
/// so that hot memory stays in the cache and untouched memory stays unbacked. When a class is empty
/// the request waits in line (backpressure): never an error, never malloc.
///
/// Owner and core: the reactor's front door (nvmf::PollGroup). The region outlives the pool.
class BufferPool {
  public:
    static constexpr std::array<uint32_t, 3> kClassBytes{4096, 32768, 131072};
    static constexpr size_t kClasses = kClassBytes.size();
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

    /// A buffer of at least `size_bytes` (at most kBufferBytesMax), of the smallest class that
    /// fits; invalid when that class is empty or others wait for it already.
    [[nodiscard]] Buffer try_acquire(uint32_t size_bytes);

    /// Puts `waiter` in line for such a buffer.
    void wait(BufferWaiter& waiter, uint32_t size_bytes);

    /// Takes `waiter` out of the line if it is in one.
    static void cancel(BufferWaiter& waiter);

    /// Gives a buffer back; hands it to the first in line, if any.
    void release(Buffer buffer);

    /// Free buffers of a class now, for metrics and tests.
    [[nodiscard]] uint32_t free_count(size_t size_class) const;
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
        IntrusiveList<BufferWaiter, &BufferWaiter::link_> waiters;
    };

    std::array<SizeClass, kClasses> classes_;
};

}  // namespace basalt
