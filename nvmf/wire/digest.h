#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace basalt::nvmf {

/// The CRC32C of a stream of bytes given piece by piece: NVMe/TCP's header and data digest. A
/// value; the pieces may be cut anywhere. ISA-L does the work.
class Crc32c {
  public:
    void update(std::span<const std::byte> bytes);

    /// The digest of all bytes given so far. As it goes on the wire: little-endian.
    [[nodiscard]] uint32_t value() const { return ~state_; }

  private:
    uint32_t state_ = 0xffffffff;
};

/// The digest of one contiguous piece.
[[nodiscard]] uint32_t crc32c(std::span<const std::byte> bytes);

}  // namespace basalt::nvmf
