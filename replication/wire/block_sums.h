#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "reactor/base/result.h"

namespace basalt::replication::wire {

/// A CRC32C for each block of 4 KiB. It is computed once, where the data comes in, travels and is
/// stored with it, and is compared wherever the data is read. Pure functions, any core.

/// The sums of `data`, which is whole blocks, as they lie before it in a payload: 4 bytes each, to
/// `out`, which is as long as that.
void put_block_sums(std::span<const std::byte> data, std::span<std::byte> out);

/// Data and its sums in a payload that carries `blocks` blocks. Views into `payload`.
struct DataPayload {
    std::span<const std::byte> sums{};
    std::span<const std::byte> data{};
};

/// Errors: kProtocol: the payload has another size; kDataCorrupt: the sums are not those that the
/// header's `table_crc` is of, or a block is not what its sum says.
[[nodiscard]] Result<DataPayload> check_data(std::span<const std::byte> payload,
                                             uint32_t blocks,
                                             uint32_t table_crc);

}  // namespace basalt::replication::wire
