#include "bdev/store/stream/stream_reader.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "bdev/limits.h"
#include "bdev/store/checksum.h"
#include "reactor/base/assert.h"

namespace basalt::bdev::store {

namespace {

template <typename Raw>
Raw raw_of(std::span<const std::byte> bytes) {
    static_assert(sizeof(Raw) == kBlockBytes);
    Raw raw{};
    std::memcpy(&raw, bytes.data(), sizeof(raw));
    return raw;
}

template <typename Values>
bool is_zero(const Values& values) {
    const auto bytes = std::as_bytes(std::span(values));
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

/// False: not one that a writer writes.
bool take_name(const std::array<char, kStreamNameBytes>& raw, uint16_t bytes, std::string& name) {
    if (bytes > kNameBytesMax || !is_zero(std::span(raw).subspan(bytes))) {
        return false;
    }
    name.assign(raw.data(), bytes);
    return true;
}

}  // namespace

bool StreamReader::refuse(const char* why) {
    problem_ = fmt::format("record {}: {}", sequence_, why);
    return false;
}

bool StreamReader::take_head(std::span<const std::byte> block) {
    BASALT_ASSERT(block.size() == kBlockBytes);
    if (!problem_.empty()) {
        return false;
    }
    StreamHead head{};
    std::memcpy(&head, block.data(), sizeof(head));
    if (head.magic != kStreamMagic) {
        return refuse(sequence_ == 0 ? "not a stream of a snapshot" : "not a record of a stream");
    }
    if (head.crc != stream_crc(block)) {
        return refuse("its checksum is wrong");
    }
    if (head.sequence != sequence_ || head.previous != previous_) {
        return refuse("it does not follow the one before");
    }
    ranges_.clear();
    crcs_.clear();
    const bool is_first = sequence_ == 0;
    const bool is_over = !is_first && kind_ == StreamKind::kEnd;
    const auto kind = static_cast<StreamKind>(head.kind);
    if (is_over || (kind == StreamKind::kBegin) != is_first) {
        return refuse("a kind that is out of place");
    }
    bool is_taken = false;
    switch (kind) {
        case StreamKind::kBegin: is_taken = take_begin(block); break;
        case StreamKind::kChanges: is_taken = take_changes(block); break;
        case StreamKind::kEnd: is_taken = take_end(block); break;
        default: return refuse("a kind that this program does not know");
    }
    if (!is_taken) {
        return false;
    }
    kind_ = kind;
    ++sequence_;
    previous_ = head.crc;
    next_ = head.next;
    return true;
}

bool StreamReader::take_begin(std::span<const std::byte> bytes) {
    const auto raw = raw_of<StreamBeginBlock>(bytes);
    if (raw.version != kStreamVersion || raw.features != 0) {
        return refuse("made by a newer version");
    }
    begin_.pool_uuid.bytes = raw.pool_uuid;
    begin_.volume_uuid.bytes = raw.volume_uuid;
    begin_.snapshot_uuid.bytes = raw.snapshot_uuid;
    begin_.base_uuid.bytes = raw.base_uuid;
    begin_.size_blocks = raw.size_blocks;
    begin_.created_ns = raw.created_ns;
    begin_.block_bytes = raw.block_bytes;
    begin_.first = raw.head.next;
    const bool has_block_size =
        raw.block_bytes == kBlockBytesMin || raw.block_bytes == kBlockBytesMax;
    if (!has_block_size || raw.size_blocks == 0 || raw.size_blocks > kBlockNumberMax ||
        raw.head.next > raw.size_blocks) {
        return refuse("a size that no volume has");
    }
    if (begin_.volume_uuid.is_nil() || begin_.snapshot_uuid.is_nil() ||
        begin_.base_uuid == begin_.snapshot_uuid) {
        return refuse("UUIDs that no snapshot has");
    }
    if (!take_name(raw.volume_name, raw.volume_name_bytes, begin_.volume_name) ||
        !take_name(raw.snapshot_name, raw.snapshot_name_bytes, begin_.snapshot_name) ||
        begin_.snapshot_name.empty() || !is_zero(raw.reserved)) {
        return refuse("something that this program does not write");
    }
    return true;
}

bool StreamReader::take_changes(std::span<const std::byte> bytes) {
    const auto raw = raw_of<StreamChangesBlock>(bytes);
    if (raw.range_count == 0 || raw.range_count > kStreamRangesMax ||
        raw.block_count > kStreamBlocksMax) {
        return refuse("more than a record holds, or nothing");
    }
    uint64_t from = next_;
    uint64_t data_blocks = 0;
    for (uint32_t i = 0; i < raw.range_count; ++i) {
        if (!take_range(raw.ranges[i], from)) {
            return refuse("a range out of order, or out of the volume");
        }
        (ranges_.back().is_hole ? hole_blocks_ : data_blocks) += ranges_.back().count;
    }
    if (data_blocks != raw.block_count) {
        return refuse("other blocks than its ranges have");
    }
    if (raw.head.next < from || raw.head.next > begin_.size_blocks) {
        return refuse("it goes on out of order, or out of the volume");
    }
    if (!is_zero(std::span(raw.ranges).subspan(raw.range_count)) ||
        !is_zero(std::span(raw.crcs).subspan(raw.block_count)) || !is_zero(raw.reserved)) {
        return refuse("something that this program does not write");
    }
    data_blocks_ += data_blocks;
    crcs_.assign(raw.crcs.begin(), raw.crcs.begin() + raw.block_count);
    return true;
}

bool StreamReader::take_range(const StreamRange& raw, uint64_t& from) {
    const bool is_hole = (raw.count_and_hole & kStreamHole) != 0;
    const uint64_t count = raw.count_and_hole & ~kStreamHole;
    const uint64_t end = begin_.size_blocks;
    const bool is_possible = !is_hole || !begin_.base_uuid.is_nil();
    if (!is_possible || count == 0 || raw.first < from || raw.first >= end ||
        count > end - raw.first) {
        return false;
    }
    from = raw.first + count;
    ranges_.push_back({raw.first, count, is_hole});
    return true;
}

bool StreamReader::take_end(std::span<const std::byte> bytes) {
    const auto raw = raw_of<StreamEndBlock>(bytes);
    if (raw.data_blocks != data_blocks_ || raw.hole_blocks != hole_blocks_ ||
        raw.head.next != begin_.size_blocks) {
        return refuse("an end of another stream");
    }
    return is_zero(raw.reserved) || refuse("something that this program does not write");
}

bool StreamReader::take_data(std::span<const std::byte> blocks) {
    BASALT_ASSERT(blocks.size() == crcs_.size() * kBlockBytes);
    if (!problem_.empty()) {
        return false;
    }
    for (size_t i = 0; i < crcs_.size(); ++i) {
        if (crc32c(blocks.subspan(i * kBlockBytes, kBlockBytes)) != crcs_[i]) {
            --sequence_;  // It is the record's whose head was taken.
            return refuse("a block of data is not what was sent");
        }
    }
    return true;
}

}  // namespace basalt::bdev::store
