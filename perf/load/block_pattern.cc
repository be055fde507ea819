#include "perf/load/block_pattern.h"

#include <array>
#include <cstring>

#include "nvmf/wire/digest.h"
#include "reactor/base/assert.h"

namespace basalt::perf {

namespace {

constexpr uint64_t kMagic = 0x4b434f4c42545342;  // "BSTBLOCK", little-endian.

struct Header {
    uint64_t magic = 0;
    uint64_t lba = 0;
    uint64_t seed = 0;
    uint32_t generation = 0;
    uint32_t crc = 0;
};
static_assert(sizeof(Header) == 32);

/// The checksum of a block, its own field left out.
uint32_t checksum(std::span<const std::byte> block) {
    constexpr size_t kAt = offsetof(Header, crc);
    nvmf::Crc32c crc;
    crc.update(block.first(kAt));
    crc.update(block.subspan(kAt + sizeof(uint32_t)));
    return crc.value();
}

}  // namespace

std::string_view describe(BlockVerdict verdict) {
    switch (verdict) {
        case BlockVerdict::kRight: return "right";
        case BlockVerdict::kCorrupt: return "corrupt";
        case BlockVerdict::kMisplaced: return "belongs elsewhere";
        case BlockVerdict::kStale: return "stale: an acknowledged write is lost";
        case BlockVerdict::kTooNew: return "newer than any acknowledged write";
        case BlockVerdict::kForeign: return "not of this run: an acknowledged write is lost";
    }
    return "unknown";
}

void write_pattern(std::span<std::byte> block, const BlockStamp& stamp) {
    BASALT_ASSERT(block.size() >= 512);
    BASALT_ASSERT(block.size() % sizeof(uint64_t) == 0);
    // A Weyl sequence: neighbouring words, blocks and generations all differ.
    uint64_t word =
        stamp.seed ^ (stamp.lba.raw() * 0x9e3779b97f4a7c15U) ^ (uint64_t{stamp.generation} << 32U);
    for (size_t at = sizeof(Header); at < block.size(); at += sizeof(word)) {
        word += 0x9e3779b97f4a7c15U;
        std::memcpy(&block[at], &word, sizeof(word));
    }
    Header header{.magic = kMagic,
                  .lba = stamp.lba.raw(),
                  .seed = stamp.seed,
                  .generation = stamp.generation};
    std::memcpy(block.data(), &header, sizeof(header));
    header.crc = checksum(block);
    std::memcpy(block.data(), &header, sizeof(header));
}

BlockVerdict check_pattern(std::span<const std::byte> block,
                           const BlockStamp& expected,
                           BlockStamp& found) {
    Header header;
    std::memcpy(&header, block.data(), sizeof(header));
    found =
        BlockStamp{.lba = Lba(header.lba), .generation = header.generation, .seed = header.seed};
    if (header.magic != kMagic || header.crc != checksum(block)) {
        return BlockVerdict::kCorrupt;
    }
    if (found == expected) {
        return BlockVerdict::kRight;
    }
    if (found.seed != expected.seed) {
        return BlockVerdict::kForeign;
    }
    if (found.lba != expected.lba) {
        return BlockVerdict::kMisplaced;
    }
    return found.generation < expected.generation ? BlockVerdict::kStale : BlockVerdict::kTooNew;
}

void spoil_pattern(std::span<std::byte> block) {
    std::memset(block.data(), 0, sizeof(Header));
}

}  // namespace basalt::perf
