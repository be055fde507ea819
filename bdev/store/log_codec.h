#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>

#include "bdev/store/checksum.h"
#include "bdev/store/format.h"
#include "bdev/store/note.h"

namespace basalt::bdev::store {

/// A run of blocks of the device.
struct Extent {
    uint64_t block = 0;
    uint32_t count = 0;

    bool operator==(const Extent&) const = default;
};

/// The mapping of a volume's blocks [first, first + crcs.size()) changes to `extents`, in order.
/// Views of the caller's or the log block's memory. What is replaced and was born after the floor
/// is free; the second floor is that of the second page of the map, if there are two.
struct WriteRecord {
    uint32_t node = 0;
    uint32_t floor = 0;
    uint32_t second_floor = 0;
    uint64_t first = 0;
    std::span<const std::byte> extents;  ///< Words as in the format; see extent().
    std::span<const std::byte> crcs;     ///< 4 bytes each.
    Note note;                           ///< Then all is in one page of the map.

    [[nodiscard]] uint32_t block_count() const { return static_cast<uint32_t>(crcs.size() / 4); }
    [[nodiscard]] uint32_t extent_count() const {
        return static_cast<uint32_t>(extents.size() / 8);
    }
    [[nodiscard]] Extent extent(uint32_t index) const;
    [[nodiscard]] uint32_t crc(uint32_t index) const;
};

/// Blocks of a volume hold nothing any more; inside of one page of its map.
struct UnmapRecord {
    uint32_t node = 0;
    uint32_t floor = 0;
    uint64_t first = 0;
    uint32_t block_count = 0;
    Note note{};
};

/// A note without data (no blocks), or with an unmap of what held nothing, inside of one page.
struct NoteRecord {
    uint32_t node = 0;
    uint64_t first = 0;
    uint32_t block_count = 0;
    Note note;
};

enum class SlabKind : uint32_t { kNone = 0, kData = 1, kPages = 2 };

/// A slab is taken.
struct SlabRecord {
    uint32_t slab = 0;
    SlabKind kind = SlabKind::kNone;
};

/// A node no longer has the page at `level` of its map that leads to `first`, nor what is below.
/// At level 1, bit i says that block first + i is free. At others, and where the node's child has
/// the same page (is_shared), nothing is.
struct HollowRecord {
    uint32_t node = 0;
    uint32_t floor = 0;
    uint64_t first = 0;
    uint32_t level = 1;
    bool is_shared = false;
    std::array<uint8_t, kPagePointers / 8> blocks{};
};

/// A node that has no map of its own gets one that begins as the source's (0: empty).
struct AdoptRecord {
    uint32_t node = 0;
    uint32_t source = 0;
};

/// A node has no map of its own any more: it is empty, or another node has adopted it.
struct DropRecord {
    uint32_t node = 0;
};

/// Which blocks a write changes, and what is free then; as in WriteRecord.
struct WriteTarget {
    uint32_t node = 0;
    uint32_t floor = 0;
    uint32_t second_floor = 0;
    uint64_t first = 0;
};

using LogRecord = std::variant<WriteRecord,
                               UnmapRecord,
                               SlabRecord,
                               HollowRecord,
                               AdoptRecord,
                               DropRecord,
                               NoteRecord>;

/// Fills one block of the log. Records are whole or not there: append() says whether it fitted.
/// Owner: the partition's log. A value of 4 KiB; reused for one block after the other.
class alignas(kBlockBytes) LogBlockWriter {
  public:
    /// Begins an empty block.
    void begin();

    /// False if the block has no room for it any more. `extents` together have as many blocks as
    /// there are `crcs`; at most kWriteExtentsMax and kWriteBlocksMax. A note is copied; with one
    /// the write has one floor.
    [[nodiscard]] bool append_write(const WriteTarget& target,
                                    std::span<const Extent> extents,
                                    std::span<const uint32_t> crcs,
                                    const Note& note = {});
    /// The bytes that append_write() takes, without those of a note.
    [[nodiscard]] static size_t write_bytes(const WriteTarget& target,
                                            uint32_t extents,
                                            uint32_t blocks);
    /// The bytes that a note adds to its record; 0 if there is none.
    [[nodiscard]] static size_t note_bytes(const Note& note);
    [[nodiscard]] bool append(const UnmapRecord& record);
    [[nodiscard]] bool append(const SlabRecord& record);
    [[nodiscard]] bool append(const HollowRecord& record);
    [[nodiscard]] bool append(const AdoptRecord& record);
    [[nodiscard]] bool append(const DropRecord& record);
    [[nodiscard]] bool append(const NoteRecord& record);

    [[nodiscard]] bool is_empty() const { return block_.used_bytes == 0; }

    /// The block as it goes to the device.
    [[nodiscard]] const LogBlock& finish(const BlockSeal& seal,
                                         uint64_t sequence,
                                         uint64_t durable,
                                         uint32_t incarnation);

  private:
    [[nodiscard]] std::byte* take(size_t bytes);
    template <typename Raw>
    [[nodiscard]] bool put(const Raw& raw, const Note& note = {});

    LogBlock block_{};
};

/// What a place of the log holds.
enum class LogFinding : uint8_t {
    kValid,
    kOther,    ///< Not the block asked for: empty, older, of another incarnation or pool, or torn.
    kUnknown,  ///< Ours and whole, but with a record that this program does not know or believe.
};

/// Reads one block of the log. Trusts nothing: every length, count and number is checked against
/// the block and the format, so that a hostile image leads to kUnknown and no further.
class LogBlockReader {
  public:
    /// `block` is 4096 bytes and outlives the reader and the records.
    LogBlockReader(std::span<const std::byte> block, const BlockSeal& seal);

    /// Judges the block as the one with `sequence` of `incarnation`.
    [[nodiscard]] LogFinding judge(uint64_t sequence, uint32_t incarnation) const;

    /// The header's fields, sound if the seal holds.
    [[nodiscard]] bool is_sealed() const { return is_sealed_; }
    [[nodiscard]] uint64_t sequence() const { return head_.sequence; }
    [[nodiscard]] uint64_t durable() const { return head_.durable; }
    [[nodiscard]] uint32_t incarnation() const { return head_.incarnation; }

    /// The record at `at`, which is 0 at first and goes on to the next; false at the end. The block
    /// was judged kValid.
    [[nodiscard]] bool next(size_t& at, LogRecord& record) const {
        if (at >= head_.used_bytes) {
            return false;
        }
        at += decode(records().subspan(at), record);
        return true;
    }

    /// Calls visit(const LogRecord&) for each record, in order. The block was judged kValid.
    template <typename Visit>
    void for_each(Visit visit) const {
        LogRecord record;
        for (size_t at = 0; next(at, record);) {
            visit(record);
        }
    }

  private:
    struct Head {
        uint32_t magic;
        uint32_t crc;
        uint64_t sequence;
        uint64_t durable;
        uint32_t incarnation;
        uint32_t used_bytes;
    };

    [[nodiscard]] std::span<const std::byte> records() const {
        return block_.subspan(sizeof(Head), head_.used_bytes);
    }
    /// The record's length, or 0 if there is none that can be believed.
    [[nodiscard]] static size_t decode(std::span<const std::byte> bytes, LogRecord& record);

    std::span<const std::byte> block_;
    Head head_{};
    bool is_sealed_ = false;
};

}  // namespace basalt::bdev::store
