#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "reactor/base/result.h"

namespace basalt::bdev {

/// Where the malloc leaf gets its memory from. Control thread, except discard().
class MemorySource {
  public:
    virtual ~MemorySource() = default;

    /// `size_bytes` of zeroes, page aligned. Errors: kNoMemory.
    [[nodiscard]] virtual Result<std::span<std::byte>> allocate(uint64_t size_bytes) = 0;
    virtual void release(std::span<std::byte> memory) = 0;

    /// Gives the pages of `range` (page aligned, part of an allocation) back to the system; they
    /// read as zeroes afterwards. False if this memory can't: the caller zeroes it. Any core.
    [[nodiscard]] virtual bool discard(std::span<std::byte> range) = 0;
};

/// Anonymous pages, backed when first written. Stateless.
class AnonymousMemory final : public MemorySource {
  public:
    [[nodiscard]] Result<std::span<std::byte>> allocate(uint64_t size_bytes) override;
    void release(std::span<std::byte> memory) override;
    [[nodiscard]] bool discard(std::span<std::byte> range) override;
};

inline constexpr uint64_t kPageBytes = 4096;

}  // namespace basalt::bdev
