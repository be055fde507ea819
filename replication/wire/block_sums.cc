#include "replication/wire/block_sums.h"

#include <cstring>

#include "bdev/store/checksum.h"
#include "reactor/base/assert.h"
#include "replication/limits.h"

namespace basalt::replication::wire {

void put_block_sums(std::span<const std::byte> data, std::span<std::byte> out) {
    const size_t blocks = data.size() / kBlockBytes;
    BASALT_ASSERT(data.size() % kBlockBytes == 0);
    BASALT_ASSERT(out.size() == blocks * sizeof(uint32_t));
    for (size_t i = 0; i < blocks; ++i) {
        const uint32_t sum = bdev::store::crc32c(data.subspan(i * kBlockBytes, kBlockBytes));
        std::memcpy(out.data() + i * sizeof(sum), &sum, sizeof(sum));
    }
}

Result<DataPayload> check_data(std::span<const std::byte> payload,
                               uint32_t blocks,
                               uint32_t table_crc) {
    const size_t sums_bytes = size_t{blocks} * sizeof(uint32_t);
    if (payload.size() != sums_bytes + size_t{blocks} * kBlockBytes) {
        return Errc::kProtocol;
    }
    const DataPayload out{payload.first(sums_bytes), payload.subspan(sums_bytes)};
    if (bdev::store::crc32c(out.sums) != table_crc) {
        return Errc::kDataCorrupt;
    }
    for (size_t i = 0; i < blocks; ++i) {
        uint32_t sum = 0;
        std::memcpy(&sum, out.sums.data() + i * sizeof(sum), sizeof(sum));
        if (bdev::store::crc32c(out.data.subspan(i * kBlockBytes, kBlockBytes)) != sum) {
            return Errc::kDataCorrupt;
        }
    }
    return out;
}

}  // namespace basalt::replication::wire
