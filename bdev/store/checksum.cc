#include "bdev/store/checksum.h"

#include <cstring>

#include <isa-l/crc.h>

#include "reactor/base/assert.h"

namespace basalt::bdev::store {

namespace {

constexpr std::array<std::byte, 4> kNoCrc{};

}  // namespace

uint32_t crc32c(std::span<const std::byte> bytes, uint32_t before) {
    // ISA-L only reads; its parameter lacks the const. It neither inverts what goes in nor what
    // comes out.
    auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
    return ~crc32_iscsi(data, static_cast<int>(bytes.size()), ~before);
}

BlockSeal::BlockSeal(const std::array<uint8_t, 16>& pool_uuid, uint32_t partition)
    : start_(crc32c(std::as_bytes(std::span(&partition, 1)),
                    crc32c(std::as_bytes(std::span(pool_uuid))))) {}

uint32_t BlockSeal::of(std::span<const std::byte> block, size_t crc_offset) const {
    BASALT_ASSERT(crc_offset + kNoCrc.size() <= block.size());
    const uint32_t before = crc32c(block.first(crc_offset), start_);
    return crc32c(block.subspan(crc_offset + kNoCrc.size()), crc32c(kNoCrc, before));
}

void BlockSeal::put(std::span<std::byte> block, size_t crc_offset) const {
    const uint32_t crc = of(block, crc_offset);
    std::memcpy(block.data() + crc_offset, &crc, sizeof(crc));
}

bool BlockSeal::holds(std::span<const std::byte> block, size_t crc_offset) const {
    uint32_t stored = 0;
    std::memcpy(&stored, block.data() + crc_offset, sizeof(stored));
    return stored == of(block, crc_offset);
}

}  // namespace basalt::bdev::store
