#include "bdev/store/log_codec.h"

#include <cstring>

#include "reactor/base/assert.h"

namespace basalt::bdev::store {

namespace {

constexpr uint64_t kExtentCountShift = 48;
/// A floor of 4 bytes, padded.
constexpr size_t kSecondFloorBytes = kRecordAlignment;

constexpr size_t padded(size_t bytes) {
    return (bytes + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment;
}

LogRecordHead head_of(LogRecordType type, size_t length, uint32_t node, uint8_t flags = 0) {
    return {.type = static_cast<uint8_t>(type),
            .flags = flags,
            .length = static_cast<uint16_t>(length),
            .node = node};
}

uint8_t flags_of(const Note& note) {
    return note.is_there() ? kRecordNote : uint8_t{0};
}

template <typename Raw>
bool read(std::span<const std::byte> bytes, Raw& raw) {
    if (bytes.size() < sizeof(Raw)) {
        return false;
    }
    std::memcpy(&raw, bytes.data(), sizeof(Raw));
    return true;
}

/// Whether [first, first + count) lies inside of what one page of a map covers.
bool is_in_one_page(uint64_t first, uint64_t count) {
    return count >= 1 && count <= kPagePointers && first <= kBlockNumberMax &&
           first / kPagePointers == (first + count - 1) / kPagePointers;
}

void encode_note(std::byte* at, const Note& note) {
    const LogNote raw{.owner = note.owner,
                      .byte_count = static_cast<uint16_t>(note.bytes.size()),
                      .reserved = 0,
                      .key = note.key,
                      .forget_first = note.forget.first,
                      .forget_last = note.forget.last};
    std::memcpy(at, &raw, sizeof(raw));
    if (!note.bytes.empty()) {
        std::memcpy(at + sizeof(raw), note.bytes.data(), note.bytes.size());
    }
}

/// `bytes` are the rest of a record: the note and nothing more, or, without the flag, nothing.
bool decode_note(std::span<const std::byte> bytes, uint8_t flags, Note& note) {
    if ((flags & kRecordNote) == 0) {
        return bytes.empty();
    }
    LogNote raw{};
    if (!read(bytes, raw) || raw.owner == 0 || raw.byte_count > kNoteBytesMax ||
        raw.reserved != 0 || bytes.size() != sizeof(raw) + padded(raw.byte_count)) {
        return false;
    }
    note = {.owner = raw.owner,
            .key = raw.key,
            .forget = {raw.forget_first, raw.forget_last},
            .bytes = bytes.subspan(sizeof(raw), raw.byte_count)};
    return true;
}

bool decode_write(std::span<const std::byte> bytes, WriteRecord& record) {
    LogWrite raw{};
    if (!read(bytes, raw) || raw.block_count == 0 || raw.block_count > kWriteBlocksMax ||
        raw.extent_count == 0 || raw.extent_count > kWriteExtentsMax ||
        raw.first > kBlockNumberMax - raw.block_count) {
        return false;
    }
    const size_t extent_bytes = size_t{raw.extent_count} * 8;
    const size_t crc_bytes = size_t{raw.block_count} * 4;
    const size_t body_bytes = padded(sizeof(raw) + extent_bytes + crc_bytes);
    const bool has_second = raw.head.flags == kRecordSecondFloor;
    const bool has_note = raw.head.flags == kRecordNote;
    const size_t rest = body_bytes + (has_second ? kSecondFloorBytes : 0);
    if (bytes.size() < rest || !decode_note(bytes.subspan(rest), raw.head.flags, record.note) ||
        (raw.head.flags != 0 && !has_second && !has_note) ||
        (has_note && !is_in_one_page(raw.first, raw.block_count))) {
        return false;
    }
    record.node = raw.head.node;
    record.floor = raw.floor;
    record.second_floor = raw.floor;
    if (has_second) {
        std::memcpy(&record.second_floor, bytes.data() + body_bytes, sizeof(uint32_t));
    }
    record.first = raw.first;
    record.extents = bytes.subspan(sizeof(raw), extent_bytes);
    record.crcs = bytes.subspan(sizeof(raw) + extent_bytes, crc_bytes);
    uint64_t blocks = 0;
    for (uint32_t i = 0; i < record.extent_count(); ++i) {
        const Extent extent = record.extent(i);
        if (extent.count == 0 || extent.block == 0) {
            return false;
        }
        blocks += extent.count;
    }
    return blocks == raw.block_count;
}

bool decode_unmap(std::span<const std::byte> bytes, UnmapRecord& record) {
    LogUnmap raw{};
    if (!read(bytes, raw) || (raw.head.flags & ~kRecordNote) != 0 ||
        !is_in_one_page(raw.first, raw.block_count)) {
        return false;
    }
    record = {raw.head.node, raw.floor, raw.first, raw.block_count};
    return decode_note(bytes.subspan(sizeof(raw)), raw.head.flags, record.note);
}

bool decode_note_alone(std::span<const std::byte> bytes, NoteRecord& record) {
    LogNoteAlone raw{};
    if (!read(bytes, raw) || raw.head.flags != kRecordNote || raw.reserved != 0 ||
        raw.first > kBlockNumberMax ||
        (raw.block_count != 0 && !is_in_one_page(raw.first, raw.block_count))) {
        return false;
    }
    record = {raw.head.node, raw.first, raw.block_count, {}};
    return decode_note(bytes.subspan(sizeof(raw)), raw.head.flags, record.note);
}

bool decode_slab(std::span<const std::byte> bytes, SlabRecord& record) {
    LogSlab raw{};
    if (bytes.size() != sizeof(raw) || !read(bytes, raw)) {
        return false;
    }
    const auto kind = static_cast<SlabKind>(raw.kind);
    record = {raw.slab, kind};
    return raw.head.flags == 0 && (kind == SlabKind::kData || kind == SlabKind::kPages);
}

bool decode_hollow(std::span<const std::byte> bytes, HollowRecord& record) {
    LogHollow raw{};
    if (bytes.size() != sizeof(raw) || !read(bytes, raw) || raw.level == 0 ||
        raw.level > kTreeHeightMax || (raw.head.flags & ~kRecordShared) != 0 ||
        raw.first % (uint64_t{1} << kPagePointersLog2 * raw.level) != 0 ||
        raw.first > kBlockNumberMax) {
        return false;
    }
    const bool is_shared = (raw.head.flags & kRecordShared) != 0;
    record = {raw.head.node, raw.floor, raw.first, raw.level, is_shared, raw.blocks};
    if (raw.level > 1 && !is_shared) {
        return false;
    }
    return true;
}

bool decode_adopt(std::span<const std::byte> bytes, AdoptRecord& record) {
    LogAdopt raw{};
    if (bytes.size() != sizeof(raw) || !read(bytes, raw) || raw.head.flags != 0) {
        return false;
    }
    record = {raw.head.node, raw.source};
    return true;
}

}  // namespace

Extent WriteRecord::extent(uint32_t index) const {
    uint64_t word = 0;
    std::memcpy(&word, extents.data() + size_t{index} * 8, sizeof(word));
    return {word & kBlockNumberMax, static_cast<uint32_t>(word >> kExtentCountShift)};
}

uint32_t WriteRecord::crc(uint32_t index) const {
    uint32_t crc = 0;
    std::memcpy(&crc, crcs.data() + size_t{index} * 4, sizeof(crc));
    return crc;
}

// --- Writing -------------------------------------------------------------------------------------

void LogBlockWriter::begin() {
    block_ = {};
}

std::byte* LogBlockWriter::take(size_t bytes) {
    if (bytes > block_.records.size() - block_.used_bytes) {
        return nullptr;
    }
    std::byte* at = block_.records.data() + block_.used_bytes;
    block_.used_bytes += static_cast<uint32_t>(bytes);
    return at;
}

template <typename Raw>
bool LogBlockWriter::put(const Raw& raw, const Note& note) {
    static_assert(sizeof(Raw) % kRecordAlignment == 0);
    std::byte* at = take(sizeof(Raw) + note_bytes(note));
    if (at == nullptr) {
        return false;
    }
    std::memcpy(at, &raw, sizeof(Raw));
    if (note.is_there()) {
        encode_note(at + sizeof(Raw), note);
    }
    return true;
}

size_t LogBlockWriter::note_bytes(const Note& note) {
    BASALT_ASSERT(note.bytes.size() <= kNoteBytesMax);
    return note.is_there() ? sizeof(LogNote) + padded(note.bytes.size()) : 0;
}

size_t LogBlockWriter::write_bytes(const WriteTarget& target, uint32_t extents, uint32_t blocks) {
    const size_t body_bytes = padded(sizeof(LogWrite) + size_t{extents} * 8 + size_t{blocks} * 4);
    return body_bytes + (target.second_floor != target.floor ? kSecondFloorBytes : 0);
}

bool LogBlockWriter::append_write(const WriteTarget& target,
                                  std::span<const Extent> extents,
                                  std::span<const uint32_t> crcs,
                                  const Note& note) {
    BASALT_ASSERT(!extents.empty() && extents.size() <= kWriteExtentsMax);
    BASALT_ASSERT(!crcs.empty() && crcs.size() <= kWriteBlocksMax);
    const bool has_second = target.second_floor != target.floor;
    BASALT_ASSERT(!note.is_there() || is_in_one_page(target.first, crcs.size()));
    BASALT_ASSERT(!note.is_there() || !has_second);
    const size_t body_bytes = padded(sizeof(LogWrite) + extents.size() * 8 + crcs.size_bytes());
    const size_t bytes = body_bytes + (has_second ? kSecondFloorBytes : 0) + note_bytes(note);
    std::byte* at = take(bytes);
    if (at == nullptr) {
        return false;
    }
    if (has_second) {
        std::memcpy(at + body_bytes, &target.second_floor, sizeof(target.second_floor));
    }
    if (note.is_there()) {
        encode_note(at + body_bytes, note);
    }
    const uint8_t flags = has_second ? kRecordSecondFloor : flags_of(note);
    const LogWrite raw{.head = head_of(LogRecordType::kWrite, bytes, target.node, flags),
                       .first = target.first,
                       .block_count = static_cast<uint16_t>(crcs.size()),
                       .extent_count = static_cast<uint16_t>(extents.size()),
                       .floor = target.floor};
    std::memcpy(at, &raw, sizeof(raw));
    at += sizeof(raw);
    [[maybe_unused]] size_t blocks = 0;
    for (const Extent& extent : extents) {
        const uint64_t word = extent.block | uint64_t{extent.count} << kExtentCountShift;
        std::memcpy(at, &word, sizeof(word));
        at += sizeof(word);
        blocks += extent.count;
    }
    BASALT_ASSERT(blocks == crcs.size());
    std::memcpy(at, crcs.data(), crcs.size_bytes());
    return true;
}

bool LogBlockWriter::append(const UnmapRecord& record) {
    BASALT_ASSERT(is_in_one_page(record.first, record.block_count));
    const size_t bytes = sizeof(LogUnmap) + note_bytes(record.note);
    const uint8_t flags = flags_of(record.note);
    return put(LogUnmap{.head = head_of(LogRecordType::kUnmap, bytes, record.node, flags),
                        .first = record.first,
                        .block_count = record.block_count,
                        .floor = record.floor},
               record.note);
}

bool LogBlockWriter::append(const NoteRecord& record) {
    BASALT_ASSERT(record.note.is_there());
    BASALT_ASSERT(record.block_count == 0 || is_in_one_page(record.first, record.block_count));
    const size_t bytes = sizeof(LogNoteAlone) + note_bytes(record.note);
    return put(LogNoteAlone{.head = head_of(LogRecordType::kNote, bytes, record.node, kRecordNote),
                            .first = record.first,
                            .block_count = record.block_count,
                            .reserved = 0},
               record.note);
}

bool LogBlockWriter::append(const SlabRecord& record) {
    BASALT_ASSERT(record.kind != SlabKind::kNone);
    return put(LogSlab{.head = head_of(LogRecordType::kSlabTaken, sizeof(LogSlab), 0),
                       .slab = record.slab,
                       .kind = static_cast<uint32_t>(record.kind)});
}

bool LogBlockWriter::append(const HollowRecord& record) {
    BASALT_ASSERT(record.level == 1 || record.is_shared);
    const uint8_t flags = record.is_shared ? kRecordShared : uint8_t{0};
    const LogRecordHead head =
        head_of(LogRecordType::kHollow, sizeof(LogHollow), record.node, flags);
    return put(LogHollow{.head = head,
                         .first = record.first,
                         .level = record.level,
                         .floor = record.floor,
                         .blocks = record.blocks});
}

bool LogBlockWriter::append(const AdoptRecord& record) {
    return put(LogAdopt{.head = head_of(LogRecordType::kAdopt, sizeof(LogAdopt), record.node),
                        .source = record.source,
                        .reserved = 0});
}

bool LogBlockWriter::append(const DropRecord& record) {
    return put(head_of(LogRecordType::kDrop, sizeof(LogRecordHead), record.node));
}

const LogBlock& LogBlockWriter::finish(const BlockSeal& seal,
                                       uint64_t sequence,
                                       uint64_t durable,
                                       uint32_t incarnation) {
    block_.magic = kLogMagic;
    block_.sequence = sequence;
    block_.durable = durable;
    block_.incarnation = incarnation;
    seal.put(std::as_writable_bytes(std::span(&block_, 1)), offsetof(LogBlock, crc));
    return block_;
}

// --- Reading -------------------------------------------------------------------------------------

LogBlockReader::LogBlockReader(std::span<const std::byte> block, const BlockSeal& seal)
    : block_(block) {
    static_assert(sizeof(Head) == offsetof(LogBlock, records));
    BASALT_ASSERT(block.size() == kBlockBytes);
    std::memcpy(&head_, block.data(), sizeof(head_));
    is_sealed_ = head_.magic == kLogMagic && seal.holds(block, offsetof(LogBlock, crc));
}

LogFinding LogBlockReader::judge(uint64_t sequence, uint32_t incarnation) const {
    if (!is_sealed_ || head_.sequence != sequence || head_.incarnation != incarnation) {
        return LogFinding::kOther;
    }
    if (head_.used_bytes > sizeof(LogBlock::records) || head_.durable >= head_.sequence) {
        return LogFinding::kUnknown;
    }
    for (size_t at = 0; at < head_.used_bytes;) {
        LogRecord record;
        const size_t bytes = decode(records().subspan(at), record);
        if (bytes == 0) {
            return LogFinding::kUnknown;
        }
        at += bytes;
    }
    return LogFinding::kValid;
}

size_t LogBlockReader::decode(std::span<const std::byte> bytes, LogRecord& record) {
    LogRecordHead head{};
    if (!read(bytes, head) || head.length < sizeof(head) || head.length > bytes.size() ||
        head.length % kRecordAlignment != 0) {
        return 0;
    }
    const auto raw = bytes.first(head.length);
    bool is_sound = false;
    switch (static_cast<LogRecordType>(head.type)) {
        case LogRecordType::kWrite:
            is_sound = decode_write(raw, record.emplace<WriteRecord>());
            break;
        case LogRecordType::kUnmap:
            is_sound = decode_unmap(raw, record.emplace<UnmapRecord>());
            break;
        case LogRecordType::kSlabTaken:
            is_sound = decode_slab(raw, record.emplace<SlabRecord>());
            break;
        case LogRecordType::kHollow:
            is_sound = decode_hollow(raw, record.emplace<HollowRecord>());
            break;
        case LogRecordType::kAdopt:
            is_sound = decode_adopt(raw, record.emplace<AdoptRecord>());
            break;
        case LogRecordType::kDrop:
            is_sound = head.length == sizeof(head) && head.flags == 0;
            record.emplace<DropRecord>().node = head.node;
            break;
        case LogRecordType::kNote:
            is_sound = decode_note_alone(raw, record.emplace<NoteRecord>());
            break;
    }
    return is_sound ? head.length : 0;
}

}  // namespace basalt::bdev::store
