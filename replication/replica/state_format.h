#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bdev/core/uuid.h"
#include "reactor/base/result.h"
#include "replication/core/replica_state.h"

namespace basalt::replication {

/// How a replica's state lies in its metadata volume, and in the notes of its data volume. The page
/// is format.md. Pure functions, any core; decoding takes any bytes.

inline constexpr uint32_t kStateVersion = 1;
inline constexpr std::array<char, 8> kStateMagic{'B', 'S', 'L', 'T', 'R', 'P', 'L', 'A'};
inline constexpr uint8_t kNoteVersion = 1;

/// Begins a place for the state; `window_count` entries follow. Little-endian.
struct StateHead {
    std::array<char, 8> magic;
    uint32_t version;
    uint32_t crc;  ///< CRC32C of head and entries, itself taken as 0.
    std::array<uint8_t, 16> drive;
    uint64_t volume;
    uint64_t sequence;
    uint64_t covers;
    uint64_t blocks;
    uint32_t window_ops;
    uint32_t reads;
    uint64_t fence;
    uint64_t agreed;
    uint64_t joining;
    uint64_t watermark_epoch;
    uint64_t watermark_count;
    uint64_t generation_epoch;
    uint64_t generation_count;
    uint64_t history_after_epoch;
    uint64_t history_after_count;
    uint8_t is_blank;
    uint8_t dirty_area;
    uint16_t reserved1;
    uint32_t window_count;
    std::array<uint8_t, 40> reserved2;
};
static_assert(sizeof(StateHead) == 192);
static_assert(offsetof(StateHead, drive) == 16);
static_assert(offsetof(StateHead, blocks) == 56);
static_assert(offsetof(StateHead, fence) == 72);
static_assert(offsetof(StateHead, is_blank) == 144);
static_assert(offsetof(StateHead, window_count) == 148);

/// An entry of the window, after the head.
struct StateEntry {
    uint64_t epoch;
    uint64_t count;
    uint64_t first;
    uint32_t blocks;
    uint32_t reserved;
};
static_assert(sizeof(StateEntry) == 32);

/// A write's, in its note.
struct NoteBody {
    uint64_t sequence;
    uint64_t epoch;
    uint64_t count;
    uint64_t watermark_epoch;
    uint64_t watermark_count;
    uint64_t first;
    uint32_t blocks;
    uint8_t version;
    uint8_t kind;   ///< kNoteWrite, kNoteExactCopy.
    uint8_t write;  ///< WriteKind; of a copy 0.
    uint8_t flags;  ///< kNoteAway.
    uint64_t reserved;
};
static_assert(sizeof(NoteBody) == 64);
inline constexpr uint8_t kNoteWrite = 1;
inline constexpr uint8_t kNoteExactCopy = 2;
inline constexpr uint8_t kNoteAway = 1U << 0U;

/// Where what is in the metadata volume, in blocks of 4096 bytes.
inline constexpr uint64_t kPlaceBlocks = 256;  ///< A store changes no more at once.
inline constexpr uint32_t kStateBlocksMax = static_cast<uint32_t>(
    (sizeof(StateHead) + size_t{kWindowOpsMax} * kWindowEntriesPerOp * sizeof(StateEntry) +
     kBlockBytes - 1) /
    kBlockBytes);
static_assert(kStateBlocksMax <= kPlaceBlocks);

/// Bits of a page of the dirty bitmap: one block.
inline constexpr uint64_t kBitsAPage = uint64_t{kBlockBytes} * 8;

[[nodiscard]] constexpr uint64_t bitmap_pages(uint64_t blocks) {
    return (blocks + kBitsAPage - 1) / kBitsAPage;
}
[[nodiscard]] constexpr uint64_t area_blocks(uint64_t blocks) {
    return (bitmap_pages(blocks) + kPlaceBlocks - 1) / kPlaceBlocks * kPlaceBlocks;
}
[[nodiscard]] constexpr uint64_t place_first(uint64_t sequence) {
    return sequence % 2 == 1 ? 0 : kPlaceBlocks;
}
[[nodiscard]] constexpr uint64_t area_first(uint32_t area, uint64_t blocks) {
    return 2 * kPlaceBlocks + area * area_blocks(blocks);
}
/// Of the metadata volume of a replica of `blocks`.
[[nodiscard]] constexpr uint64_t metadata_blocks(uint64_t blocks) {
    return 2 * kPlaceBlocks + 2 * area_blocks(blocks);
}

/// What a place says, but for the window. A value.
struct StateRecord {
    bdev::Uuid drive;
    uint64_t volume = 0;
    uint64_t sequence = 0;  ///< Of states, from 1 on; odd ones are in place A.
    uint64_t covers = 0;    ///< Notes up to this sequence of theirs are void.
    uint64_t blocks = 0;
    uint32_t window_ops = 0;
    uint32_t reads = 0;
    ReplicaMarks marks;
    uint32_t dirty_area = 0;  ///< 0 or 1: where the bitmap is.
};

/// Writes a place's bytes to `out`, of kStateBlocksMax blocks, and returns how many blocks count.
/// `more`: one entry after those of `window`, if it has a number.
[[nodiscard]] uint32_t encode_state(const StateRecord& record,
                                    std::span<const WindowEntry> window,
                                    const WindowEntry& more,
                                    std::span<std::byte> out);

/// Reads one. Errors: kNotFound: there was never one; kNotSupported: of a newer version;
/// kDataCorrupt: anything else that is not a whole state of `volume` on `drive`.
[[nodiscard]] Result<StateRecord> decode_state(std::span<const std::byte> place,
                                               const bdev::Uuid& drive,
                                               uint64_t volume);
/// The window of a place that decode_state() took.
[[nodiscard]] Window decode_state_window(std::span<const std::byte> place,
                                         const StateRecord& record);

/// What a note says. A value.
struct ReplicaNote {
    uint64_t sequence = 0;
    OpNumber watermark;  ///< Of the replica, when the write was begun.
    Message message;     ///< What commit_write() looks at.
};

[[nodiscard]] std::array<std::byte, sizeof(NoteBody)> encode_note(const ReplicaNote& note);
/// Errors: kDataCorrupt, kNotSupported: it is no note of a replica of `blocks`.
[[nodiscard]] Result<ReplicaNote> decode_note(std::span<const std::byte> bytes, uint64_t blocks);

/// Does again to `state`, whose notes up to `covers` are in it, what `notes` say, in any order.
/// Returns the highest sequence of all. Errors: kDataCorrupt: they can't be the notes of that
/// state.
[[nodiscard]] Result<uint64_t> replay_notes(ReplicaState& state,
                                            uint64_t covers,
                                            std::span<ReplicaNote> notes);

}  // namespace basalt::replication
