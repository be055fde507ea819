#include "replication/replica/state_format.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "bdev/store/checksum.h"

namespace basalt::replication {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

namespace {

constexpr size_t kCrcOffset = offsetof(StateHead, crc);

/// The CRC of `bytes`, the field for it taken as 0.
uint32_t crc_of(std::span<const std::byte> bytes) {
    constexpr std::array<std::byte, sizeof(uint32_t)> kNothing{};
    uint32_t crc = bdev::store::crc32c(bytes.first(kCrcOffset));
    crc = bdev::store::crc32c(kNothing, crc);
    return bdev::store::crc32c(bytes.subspan(kCrcOffset + kNothing.size()), crc);
}

size_t size_of(uint32_t entries) {
    return sizeof(StateHead) + size_t{entries} * sizeof(StateEntry);
}

StateHead head_of(std::span<const std::byte> place) {
    StateHead head{};
    std::memcpy(&head, place.data(), sizeof(head));
    return head;
}

StateEntry entry_of(std::span<const std::byte> place, uint32_t index) {
    StateEntry entry{};
    std::memcpy(&entry, place.data() + size_of(index), sizeof(entry));
    return entry;
}

void put_entry(std::span<std::byte> out, uint32_t index, const WindowEntry& entry) {
    const StateEntry raw{.epoch = entry.number.epoch.raw(),
                         .count = entry.number.count,
                         .first = entry.range.first,
                         .blocks = entry.range.count,
                         .reserved = 0};
    std::memcpy(out.data() + size_of(index), &raw, sizeof(raw));
}

bool is_range(uint64_t first, uint32_t count, uint64_t blocks) {
    return count <= kRangeBlocksMax && first <= blocks && count <= blocks - first;
}

bool is_sound(const StateHead& head) {
    return head.sequence > 0 && head.blocks >= 1 && head.blocks <= kVolumeBlocksMax &&
           head.window_ops >= 1 && head.window_ops <= kWindowOpsMax && head.reads >= 1 &&
           head.reads <= kReadsMax && head.is_blank <= 1 && head.dirty_area <= 1 &&
           head.window_count <= head.window_ops * kWindowEntriesPerOp;
}

}  // namespace

uint32_t encode_state(const StateRecord& record,
                      std::span<const WindowEntry> window,
                      const WindowEntry& more,
                      std::span<std::byte> out) {
    const auto count = static_cast<uint32_t>(window.size() + size_t{!more.number.is_none()});
    BASALT_ASSERT(count <= record.window_ops * kWindowEntriesPerOp);
    BASALT_ASSERT(out.size() >= size_of(count));
    const ReplicaMarks& marks = record.marks;
    StateHead head{};
    head.magic = kStateMagic;
    head.version = kStateVersion;
    head.drive = record.drive.bytes;
    head.volume = record.volume;
    head.sequence = record.sequence;
    head.covers = record.covers;
    head.blocks = record.blocks;
    head.window_ops = record.window_ops;
    head.reads = record.reads;
    head.fence = marks.fence.raw();
    head.agreed = marks.agreed.raw();
    head.joining = marks.joining.raw();
    head.watermark_epoch = marks.watermark.epoch.raw();
    head.watermark_count = marks.watermark.count;
    head.generation_epoch = marks.generation.epoch.raw();
    head.generation_count = marks.generation.count;
    head.history_after_epoch = marks.history_after.epoch.raw();
    head.history_after_count = marks.history_after.count;
    head.is_blank = uint8_t{marks.is_blank};
    head.dirty_area = static_cast<uint8_t>(record.dirty_area);
    head.window_count = count;
    std::memcpy(out.data(), &head, sizeof(head));
    for (uint32_t i = 0; i < window.size(); ++i) {
        put_entry(out, i, window[i]);
    }
    if (!more.number.is_none()) {
        put_entry(out, count - 1, more);
    }
    const size_t end = size_of(count);
    const auto blocks = static_cast<uint32_t>((end + kBlockBytes - 1) / kBlockBytes);
    std::memset(out.data() + end, 0, size_t{blocks} * kBlockBytes - end);
    const uint32_t crc = crc_of(out.first(end));
    std::memcpy(out.data() + kCrcOffset, &crc, sizeof(crc));
    return blocks;
}

Result<StateRecord> decode_state(std::span<const std::byte> place,
                                 const bdev::Uuid& drive,
                                 uint64_t volume) {
    if (std::all_of(place.begin(), place.end(), [](std::byte b) { return b == std::byte{0}; })) {
        return Errc::kNotFound;
    }
    if (place.size() < sizeof(StateHead)) {
        return Errc::kDataCorrupt;
    }
    const StateHead head = head_of(place);
    if (head.magic != kStateMagic) {
        return Errc::kDataCorrupt;
    }
    if (head.version > kStateVersion) {
        return Errc::kNotSupported;
    }
    if (head.version == 0 || !is_sound(head) || place.size() < size_of(head.window_count) ||
        crc_of(place.first(size_of(head.window_count))) != head.crc) {
        return Errc::kDataCorrupt;
    }
    if (head.drive != drive.bytes || head.volume != volume) {
        return Errc::kDataCorrupt;
    }
    for (uint32_t i = 0; i < head.window_count; ++i) {
        const StateEntry entry = entry_of(place, i);
        if ((entry.epoch == 0 && entry.count == 0) ||
            !is_range(entry.first, entry.blocks, head.blocks)) {
            return Errc::kDataCorrupt;
        }
    }
    StateRecord record;
    record.drive = drive;
    record.volume = volume;
    record.sequence = head.sequence;
    record.covers = head.covers;
    record.blocks = head.blocks;
    record.window_ops = head.window_ops;
    record.reads = head.reads;
    record.marks.fence = Epoch(head.fence);
    record.marks.agreed = Epoch(head.agreed);
    record.marks.joining = Epoch(head.joining);
    record.marks.watermark = {Epoch(head.watermark_epoch), head.watermark_count};
    record.marks.generation = {Epoch(head.generation_epoch), head.generation_count};
    record.marks.history_after = {Epoch(head.history_after_epoch), head.history_after_count};
    record.marks.is_blank = head.is_blank != 0;
    record.dirty_area = head.dirty_area;
    return record;
}

Window decode_state_window(std::span<const std::byte> place, const StateRecord& record) {
    Window window(record.window_ops * kWindowEntriesPerOp);
    const uint32_t count = head_of(place).window_count;
    for (uint32_t i = 0; i < count; ++i) {
        const StateEntry entry = entry_of(place, i);
        window.add({{Epoch(entry.epoch), entry.count}, {entry.first, entry.blocks}});
    }
    return window;
}

std::array<std::byte, sizeof(NoteBody)> encode_note(const ReplicaNote& note) {
    const Message& message = note.message;
    NoteBody body{};
    body.sequence = note.sequence;
    body.epoch = message.number.epoch.raw();
    body.count = message.number.count;
    body.watermark_epoch = note.watermark.epoch.raw();
    body.watermark_count = note.watermark.count;
    body.first = message.range.first;
    body.blocks = message.range.count;
    body.version = kNoteVersion;
    body.kind = message.kind == MessageKind::kCopy ? kNoteExactCopy : kNoteWrite;
    body.write = message.kind == MessageKind::kCopy ? 0 : static_cast<uint8_t>(message.write);
    body.flags = message.is_replica_away ? kNoteAway : 0;
    return std::bit_cast<std::array<std::byte, sizeof(NoteBody)>>(body);
}

Result<ReplicaNote> decode_note(std::span<const std::byte> bytes, uint64_t blocks) {
    if (bytes.size() != sizeof(NoteBody)) {
        return Errc::kDataCorrupt;
    }
    NoteBody body{};
    std::memcpy(&body, bytes.data(), sizeof(body));
    if (body.version > kNoteVersion) {
        return Errc::kNotSupported;
    }
    const bool is_write = body.kind == kNoteWrite &&
                          body.write <= static_cast<uint8_t>(WriteKind::kUnmap) &&
                          (body.epoch != 0 || body.count != 0);
    const bool is_copy = body.kind == kNoteExactCopy && body.write == 0;
    if (body.version == 0 || body.sequence == 0 || (!is_write && !is_copy) ||
        body.flags > kNoteAway || body.blocks == 0 || !is_range(body.first, body.blocks, blocks)) {
        return Errc::kDataCorrupt;
    }
    ReplicaNote note;
    note.sequence = body.sequence;
    note.watermark = {Epoch(body.watermark_epoch), body.watermark_count};
    note.message.kind = is_copy ? MessageKind::kCopy : MessageKind::kWrite;
    note.message.write = static_cast<WriteKind>(body.write);
    note.message.number = {Epoch(body.epoch), body.count};
    note.message.range = {body.first, body.blocks};
    note.message.is_exact = is_copy;
    note.message.is_replica_away = (body.flags & kNoteAway) != 0;
    return note;
}

Result<uint64_t> replay_notes(ReplicaState& state, uint64_t covers, std::span<ReplicaNote> notes) {
    // What depends on each other was stored one after the other, so this is an order in which it
    // may have been done.
    std::sort(notes.begin(), notes.end(), [](const ReplicaNote& a, const ReplicaNote& b) {
        return a.sequence < b.sequence;
    });
    uint64_t highest = covers;
    for (const ReplicaNote& note : notes) {
        if (note.sequence <= covers) {
            continue;
        }
        highest = note.sequence;
        advance(state, note.watermark);
        const Message& message = note.message;
        const WindowEntry entry{message.number, message.range};
        if (message.kind == MessageKind::kWrite &&
            (message.number <= state.watermark || state.window.has(entry))) {
            // It is older than the state, or in it already; its marks may not be.
            if (message.is_replica_away) {
                state.dirty.set(message.range);
            }
            continue;
        }
        const size_t pieces = message.is_exact ? state.window.pieces(message.range) : 0;
        if (state.window.entries().size() + pieces >= state.window.entries_max()) {
            return Errc::kDataCorrupt;
        }
        commit_write(state, message);
    }
    return highest;
}

}  // namespace basalt::replication
