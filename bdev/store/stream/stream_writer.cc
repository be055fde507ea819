#include "bdev/store/stream/stream_writer.h"

#include <algorithm>
#include <cstring>

#include "bdev/store/checksum.h"
#include "reactor/base/assert.h"

namespace basalt::bdev::store {

namespace {

template <typename Raw>
void put(const Raw& raw, std::span<std::byte> out) {
    static_assert(sizeof(Raw) == kBlockBytes);
    BASALT_ASSERT(out.size() == kBlockBytes);
    std::memcpy(out.data(), &raw, sizeof(raw));
}

uint16_t put_name(const std::string& name, std::array<char, kStreamNameBytes>& out) {
    BASALT_ASSERT(name.size() < out.size());
    std::copy(name.begin(), name.end(), out.begin());
    return static_cast<uint16_t>(name.size());
}

}  // namespace

uint32_t stream_crc(std::span<const std::byte> block) {
    BASALT_ASSERT(block.size() == kBlockBytes);
    constexpr size_t kCrcAt = offsetof(StreamHead, crc);
    constexpr std::array<std::byte, sizeof(uint32_t)> kZero{};
    const uint32_t before = crc32c(kZero, crc32c(block.first(kCrcAt)));
    return crc32c(block.subspan(kCrcAt + kZero.size()), before);
}

void StreamWriter::put_begin(const StreamBegin& begin, std::span<std::byte> out) {
    BASALT_ASSERT(sequence_ == 0);
    StreamBeginBlock block{};
    block.version = kStreamVersion;
    block.pool_uuid = begin.pool_uuid.bytes;
    block.volume_uuid = begin.volume_uuid.bytes;
    block.snapshot_uuid = begin.snapshot_uuid.bytes;
    block.base_uuid = begin.base_uuid.bytes;
    block.size_blocks = begin.size_blocks;
    block.created_ns = begin.created_ns;
    block.block_bytes = begin.block_bytes;
    block.volume_name_bytes = put_name(begin.volume_name, block.volume_name);
    block.snapshot_name_bytes = put_name(begin.snapshot_name, block.snapshot_name);
    put(block, out);
    size_blocks_ = begin.size_blocks;
    seal(StreamKind::kBegin, begin.first, out);
}

void StreamWriter::put_changes(std::span<const ChangedRange> ranges,
                               std::span<const uint32_t> crcs,
                               uint64_t next,
                               std::span<std::byte> out) {
    BASALT_ASSERT(!ranges.empty() && ranges.size() <= kStreamRangesMax);
    BASALT_ASSERT(crcs.size() <= kStreamBlocksMax);
    StreamChangesBlock block{};
    block.range_count = static_cast<uint32_t>(ranges.size());
    block.block_count = static_cast<uint32_t>(crcs.size());
    uint64_t blocks = 0;
    for (size_t i = 0; i < ranges.size(); ++i) {
        const ChangedRange& range = ranges[i];
        block.ranges[i] = {range.first, range.count | (range.is_hole ? kStreamHole : 0)};
        (range.is_hole ? hole_blocks_ : blocks) += range.count;
    }
    BASALT_ASSERT(blocks == crcs.size());
    data_blocks_ += blocks;
    std::copy(crcs.begin(), crcs.end(), block.crcs.begin());
    put(block, out);
    seal(StreamKind::kChanges, next, out);
}

void StreamWriter::put_end(std::span<std::byte> out) {
    StreamEndBlock block{};
    block.data_blocks = data_blocks_;
    block.hole_blocks = hole_blocks_;
    put(block, out);
    seal(StreamKind::kEnd, size_blocks_, out);
}

void StreamWriter::seal(StreamKind kind, uint64_t next, std::span<std::byte> out) {
    StreamHead head{.magic = kStreamMagic,
                    .crc = 0,
                    .sequence = sequence_++,
                    .kind = static_cast<uint32_t>(kind),
                    .previous = previous_,
                    .next = next};
    std::memcpy(out.data(), &head, sizeof(head));
    head.crc = stream_crc(out);
    std::memcpy(out.data(), &head, sizeof(head));
    previous_ = head.crc;
}

}  // namespace basalt::bdev::store
