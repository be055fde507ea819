#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "bdev/store/format.h"

/// The blocks of a snapshot's stream, byte by byte, as README.md describes them. Plain data: they
/// are copied to and from blocks of 4096 bytes, and nothing in them is trusted before StreamReader
/// has checked it.
namespace basalt::bdev::store {

inline constexpr uint32_t kStreamMagic = 0x5453'4E53;  // "SNST"
inline constexpr uint32_t kStreamVersion = 1;

/// Of one record: as much data as the largest write, and ranges for it even if it is scattered.
inline constexpr uint32_t kStreamBlocksMax = 256;
inline constexpr uint32_t kStreamRangesMax = 128;
inline constexpr uint32_t kStreamNameBytes = 256;
/// A record with its head, in blocks.
inline constexpr uint32_t kStreamRecordBlocksMax = 1 + kStreamBlocksMax;

enum class StreamKind : uint32_t { kBegin = 1, kChanges = 2, kEnd = 3 };

/// Begins every record.
struct StreamHead {
    uint32_t magic;
    uint32_t crc;
    uint64_t sequence;
    uint32_t kind;
    uint32_t previous;
    uint64_t next;
};
static_assert(sizeof(StreamHead) == 32);

/// kBegin: which snapshot this makes, and out of what.
struct StreamBeginBlock {
    StreamHead head;
    uint32_t version;
    uint32_t features;
    std::array<uint8_t, 16> pool_uuid;
    std::array<uint8_t, 16> volume_uuid;
    std::array<uint8_t, 16> snapshot_uuid;
    std::array<uint8_t, 16> base_uuid;
    uint64_t size_blocks;
    uint64_t created_ns;
    uint32_t block_bytes;
    uint16_t volume_name_bytes;
    uint16_t snapshot_name_bytes;
    std::array<char, kStreamNameBytes> volume_name;
    std::array<char, kStreamNameBytes> snapshot_name;
    std::array<uint8_t, 3456> reserved;
};
static_assert(sizeof(StreamBeginBlock) == kBlockBytes);
static_assert(offsetof(StreamBeginBlock, pool_uuid) == 40);
static_assert(offsetof(StreamBeginBlock, size_blocks) == 104);
static_assert(offsetof(StreamBeginBlock, volume_name) == 128);

/// Of StreamRange::count_and_hole: the blocks hold nothing.
inline constexpr uint64_t kStreamHole = uint64_t{1} << 63U;

/// Blocks of the volume that are different.
struct StreamRange {
    uint64_t first;
    uint64_t count_and_hole;
};
static_assert(sizeof(StreamRange) == 16);

/// kChanges: the data of its ranges follows.
struct StreamChangesBlock {
    StreamHead head;
    uint32_t range_count;
    uint32_t block_count;
    std::array<StreamRange, kStreamRangesMax> ranges;
    std::array<uint32_t, kStreamBlocksMax> crcs;
    std::array<uint8_t, 984> reserved;
};
static_assert(sizeof(StreamChangesBlock) == kBlockBytes);
static_assert(offsetof(StreamChangesBlock, ranges) == 40);
static_assert(offsetof(StreamChangesBlock, crcs) == 2088);

/// kEnd: what the whole stream came to.
struct StreamEndBlock {
    StreamHead head;
    uint64_t data_blocks;
    uint64_t hole_blocks;
    std::array<uint8_t, 4048> reserved;
};
static_assert(sizeof(StreamEndBlock) == kBlockBytes);

}  // namespace basalt::bdev::store
