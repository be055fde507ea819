#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bdev/store/format.h"

namespace basalt::bdev::store {

/// Keys of notes, both ends included. Empty if `last` is less than `first`.
struct NoteRange {
    uint64_t first = 1;
    uint64_t last = 0;

    [[nodiscard]] bool is_empty() const { return last < first; }
    [[nodiscard]] bool has(uint64_t key) const { return first <= key && key <= last; }
    bool operator==(const NoteRange&) const = default;
};

/// What a change carries to be as durable as it is. A view.
struct Note {
    uint32_t owner = 0;  ///< Of the volume (VolumeEntry::note_owner); 0: there is no note.
    uint64_t key = 0;    ///< The user's: by this it is forgotten. Need not be unique.
    NoteRange forget;    ///< Earlier notes of the owner that are not needed any more.
    std::span<const std::byte> bytes;  ///< At most kNoteBytesMax; the store does not look.

    [[nodiscard]] bool is_there() const { return owner != 0; }
};

/// What a note came with.
enum class NoteKind : uint8_t {
    kWrite = 1,
    kUnmap = 2,
    kAlone = 3,  ///< No data.
};

/// A note that a partition keeps. A value.
struct StoredNote {
    uint32_t owner = 0;
    NoteKind kind = NoteKind::kAlone;
    uint8_t byte_count = 0;
    uint64_t key = 0;
    uint64_t first = 0;  ///< Of the volume's blocks of 4096 bytes.
    uint32_t count = 0;  ///< kAlone: 0.
    uint32_t partition = 0;
    std::array<std::byte, kNoteBytesMax> data{};

    [[nodiscard]] std::span<const std::byte> bytes() const {
        return std::span(data).first(byte_count);
    }
};

}  // namespace basalt::bdev::store
