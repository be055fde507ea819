#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

/// The structures of format.md, byte by byte. Plain data: they are copied to and from blocks of
/// 4096 bytes, and nothing in them is trusted before the codecs of this room have checked it.
namespace basalt::bdev::store {

static_assert(std::endian::native == std::endian::little, "structures are copied as they are");

inline constexpr uint32_t kFormatVersion = 1;
inline constexpr uint32_t kBlockBytes = 4096;
/// Pointers in a page, and so blocks of data under a leaf page: 1 MiB.
inline constexpr uint32_t kPagePointersLog2 = 8;
inline constexpr uint32_t kPagePointers = 1U << kPagePointersLog2;
/// Levels of pages of the highest tree: all block numbers that there are.
inline constexpr uint32_t kTreeHeightMax = 6;
/// Blocks of a volume that one partition keeps together: a tree of height 2, 256 MiB.
inline constexpr uint32_t kChunkBlocks = kPagePointers * kPagePointers;
inline constexpr uint32_t kPartitionsMax = 64;
inline constexpr uint32_t kSlabBlocksMin = 256;
/// A bitmap is one block: 32768 bits.
inline constexpr uint32_t kSlabBlocksMax = kBlockBytes * 8;
inline constexpr uint32_t kPoolNameBytesMax = 64;
inline constexpr uint64_t kBlockNumberMax = (uint64_t{1} << 48U) - 1;

inline constexpr uint64_t kSuperblockMagic = 0x5453544C41534142;  // "BASALTST"
inline constexpr uint32_t kCatalogueMagic = 0x54414342;           // "BCAT"
inline constexpr uint32_t kLogMagic = 0x474F4C42;                 // "BLOG"
inline constexpr uint32_t kCheckpointMagic = 0x504B4342;          // "BCKP"

enum class PoolState : uint32_t { kFormatting = 1, kInUse = 2 };

/// Which pool this is and where its parts are; blocks 0 and 1 of the device.
struct Superblock {
    uint64_t magic;
    uint32_t version;
    uint32_t features;
    std::array<uint8_t, 16> pool_uuid;
    std::array<uint8_t, 16> device_uuid;
    uint64_t sequence;
    uint64_t device_blocks;
    uint32_t state;
    uint32_t partition_count;
    uint32_t catalogue_blocks;
    uint32_t checkpoint_blocks;
    uint32_t log_blocks;
    uint32_t slab_blocks;
    uint32_t slab_count;
    uint32_t chunk_blocks;
    uint64_t slabs_first;
    uint64_t created_ns;
    std::array<char, kPoolNameBytesMax> name;
    std::array<uint8_t, 3916> reserved;
    uint32_t crc;
};
static_assert(sizeof(Superblock) == kBlockBytes);
static_assert(offsetof(Superblock, sequence) == 48);
static_assert(offsetof(Superblock, catalogue_blocks) == 72);
static_assert(offsetof(Superblock, slabs_first) == 96);
static_assert(offsetof(Superblock, name) == 112);
static_assert(offsetof(Superblock, crc) == 4092);

/// Leads to a block of data or to a page, and knows what must be there.
struct Pointer {
    uint64_t word;  ///< Bits 0-47: the block, 0 for none; 48-63: extra, by what it leads to.
    uint32_t birth;
    uint32_t crc;

    [[nodiscard]] uint64_t block() const { return word & kBlockNumberMax; }
    [[nodiscard]] uint16_t extra() const { return static_cast<uint16_t>(word >> 48U); }
    [[nodiscard]] bool is_hole() const { return block() == 0; }
    bool operator==(const Pointer&) const = default;
};
static_assert(sizeof(Pointer) == 16);

/// A page: nothing but pointers.
using Page = std::array<Pointer, kPagePointers>;
static_assert(sizeof(Page) == kBlockBytes);

/// Bits of CatalogueBlock::flags.
inline constexpr uint32_t kCatalogueImage = 1U << 0U;      ///< Part of the image of everything.
inline constexpr uint32_t kCatalogueImageEnd = 1U << 1U;   ///< The last part.
inline constexpr uint32_t kCatalogueContinues = 1U << 2U;  ///< The transaction goes on.
inline constexpr uint32_t kCatalogueBegins = 1U << 3U;     ///< The transaction begins.

/// A block of one of the halves of the catalogue.
struct CatalogueBlock {
    uint32_t magic;
    uint32_t crc;
    uint64_t generation;
    uint32_t index;
    uint32_t flags;
    uint32_t used_bytes;
    uint32_t previous;
    std::array<std::byte, kBlockBytes - 32> records;
};
static_assert(sizeof(CatalogueBlock) == kBlockBytes);
static_assert(offsetof(CatalogueBlock, generation) == 8);
static_assert(offsetof(CatalogueBlock, records) == 32);

/// A block of a partition's log.
struct LogBlock {
    uint32_t magic;
    uint32_t crc;
    uint64_t sequence;
    uint64_t durable;
    uint32_t incarnation;
    uint32_t used_bytes;
    std::array<std::byte, kBlockBytes - 32> records;
};
static_assert(sizeof(LogBlock) == kBlockBytes);
static_assert(offsetof(LogBlock, durable) == 16);
static_assert(offsetof(LogBlock, records) == 32);

/// Records of the log begin and end at multiples of this.
inline constexpr uint32_t kRecordAlignment = 8;

enum class LogRecordType : uint8_t {
    kWrite = 1,
    kUnmap = 2,
    kSlabTaken = 3,
    kHollow = 4,
    kAdopt = 5,
    kDrop = 6,
    kNote = 7,
};

/// Begins every record of the log; kDrop is nothing more.
struct LogRecordHead {
    uint8_t type;
    uint8_t flags;
    uint16_t length;  ///< Of the whole record with its padding.
    uint32_t node;
};
static_assert(sizeof(LogRecordHead) == 8);

/// Bits of LogRecordHead::flags. kWrite: the second of two pages has a floor of its own, which
/// follows the CRCs. kHollow: the child has the same page, so it stays. kWrite, kUnmap, kNote: a
/// LogNote ends the record.
inline constexpr uint8_t kRecordSecondFloor = 1U << 0U;
inline constexpr uint8_t kRecordShared = 1U << 0U;
inline constexpr uint8_t kRecordNote = 1U << 1U;

/// Of the user's, in one note: an entry of a replica's window, and what goes with it.
inline constexpr uint32_t kNoteBytesMax = 64;
/// Notes that one partition keeps, and how many a block of its log stands for: a pool whose log is
/// small keeps few.
inline constexpr uint32_t kNotesMax = 16384;
inline constexpr uint32_t kNotesMaxOfSmall = 1024;
inline constexpr uint32_t kNotesALogBlock = 4;

/// What a note is, in a record; its bytes follow, padded.
struct LogNote {
    uint32_t owner;
    uint16_t byte_count;
    uint16_t reserved;
    uint64_t key;
    uint64_t forget_first;
    uint64_t forget_last;  ///< Lower than forget_first: nothing is forgotten.
};
static_assert(sizeof(LogNote) == 32);

/// Followed by extent_count words (bits 0-47 the block, 48-63 the count) and block_count CRCs.
struct LogWrite {
    LogRecordHead head;
    uint64_t first;
    uint16_t block_count;
    uint16_t extent_count;
    uint32_t floor;
};
static_assert(sizeof(LogWrite) == 24);

/// kUnmap: blocks of a volume that hold nothing any more.
struct LogUnmap {
    LogRecordHead head;
    uint64_t first;
    uint32_t block_count;
    uint32_t floor;
};
static_assert(sizeof(LogUnmap) == 24);

/// kSlabTaken.
struct LogSlab {
    LogRecordHead head;
    uint32_t slab;
    uint32_t kind;  ///< 1 data, 2 pages.
};
static_assert(sizeof(LogSlab) == 16);

/// kHollow: what one pointer of the map led to, which the node no longer has.
struct LogHollow {
    LogRecordHead head;
    uint64_t first;
    uint32_t level;
    uint32_t floor;
    std::array<uint8_t, kPagePointers / 8> blocks;
};
static_assert(sizeof(LogHollow) == 56);

/// kAdopt: the node's map begins as the source's; 0: empty.
struct LogAdopt {
    LogRecordHead head;
    uint32_t source;
    uint32_t reserved;
};
static_assert(sizeof(LogAdopt) == 16);

/// kNote: no data with it, or none that was there: `block_count` blocks were unmapped that held
/// nothing. A LogNote follows.
struct LogNoteAlone {
    LogRecordHead head;
    uint64_t first;
    uint32_t block_count;
    uint32_t reserved;
};
static_assert(sizeof(LogNoteAlone) == 24);

/// The largest write, and the most pieces of the device that it may be put into.
inline constexpr uint32_t kWriteBlocksMax = 256;
inline constexpr uint32_t kWriteExtentsMax = 256;
static_assert(sizeof(LogWrite) + size_t{kWriteExtentsMax} * 8 + size_t{kWriteBlocksMax} * 4 +
                  sizeof(LogNote) + kNoteBytesMax <=
              sizeof(LogBlock::records));

/// Begins a checkpoint; the list of MetaSlab follows, then that of CheckpointNote.
struct CheckpointHead {
    uint32_t magic;
    uint32_t crc;
    uint64_t sequence;
    uint64_t log_start;
    uint32_t incarnation;
    uint32_t bytes;
    Pointer nodes;
    Pointer slabs;
    uint32_t meta_slab_count;
    uint32_t note_count;
    uint32_t note_bytes;  ///< Of all of them.
    std::array<uint8_t, 20> reserved;
};
static_assert(sizeof(CheckpointHead) == 96);
static_assert(offsetof(CheckpointHead, nodes) == 32);
static_assert(offsetof(CheckpointHead, meta_slab_count) == 64);
static_assert(offsetof(CheckpointHead, note_count) == 68);

/// Of MetaSlab::slab_and_place: the bitmap is in block B of the slab, else in A.
inline constexpr uint32_t kMetaSlabPlaceB = 1U << 31U;

/// Where the bitmap of a slab of pages is.
struct MetaSlab {
    uint32_t slab_and_place;  ///< kMetaSlabPlaceB or not, and the slab.
    uint32_t crc;
};
static_assert(sizeof(MetaSlab) == 8);

/// A note that a checkpoint carries along; its bytes follow, padded.
struct CheckpointNote {
    uint32_t owner;
    uint8_t kind;
    uint8_t byte_count;
    uint16_t reserved;
    uint64_t key;
    uint64_t first;
    uint32_t block_count;
    uint32_t reserved2;
};
static_assert(sizeof(CheckpointNote) == 32);
inline constexpr uint32_t kCheckpointNoteBytesMax = sizeof(CheckpointNote) + kNoteBytesMax;

}  // namespace basalt::bdev::store
