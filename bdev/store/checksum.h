#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bdev/store/format.h"

namespace basalt::bdev::store {

/// The CRC32C (RFC 3720, appendix B.4) of `bytes`, going on from `before`, the CRC of what precedes
/// them (0: nothing does).
[[nodiscard]] uint32_t crc32c(std::span<const std::byte> bytes, uint32_t before = 0);

/// What the CRC of every block of a pool with one begins with, so that the remains of another pool
/// are not taken for ours.
class BlockSeal {
  public:
    /// `partition` is 0 for blocks outside of partitions.
    BlockSeal(const std::array<uint8_t, 16>& pool_uuid, uint32_t partition);

    /// The CRC of `block`, its own field, 4 bytes at `crc_offset`, taken as 0.
    [[nodiscard]] uint32_t of(std::span<const std::byte> block, size_t crc_offset) const;

    /// Puts the CRC where it belongs.
    void put(std::span<std::byte> block, size_t crc_offset) const;
    [[nodiscard]] bool holds(std::span<const std::byte> block, size_t crc_offset) const;

  private:
    uint32_t start_;
};

}  // namespace basalt::bdev::store
