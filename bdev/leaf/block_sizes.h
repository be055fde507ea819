#pragma once

#include <bit>
#include <cstdint>

#include "bdev/limits.h"

namespace basalt::bdev {

/// Whether a device may have these blocks. The physical size is 0 (the same) or a multiple.
[[nodiscard]] constexpr bool are_block_sizes(uint32_t block_bytes, uint32_t physical_bytes) {
    return std::has_single_bit(block_bytes) && block_bytes >= kBlockBytesMin &&
           block_bytes <= kBlockBytesMax &&
           (physical_bytes == 0 ||
            (std::has_single_bit(physical_bytes) && physical_bytes >= block_bytes));
}

}  // namespace basalt::bdev
