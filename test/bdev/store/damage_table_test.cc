#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "test/bdev/store/partition_node.h"
#include "test/bdev/store/pool/pool_node.h"
#include "test/reactor/may_leak.h"

/// Each kind of damage to each structure of the format: it is never returned as data, and what
/// can not be made good is told, with its place.
namespace basalt::bdev::store {
namespace {

using basalt::test::MayLeak;
using test::integer_at;
using test::PartitionNode;
using test::PoolNode;
using test::TestPartitionIo;

enum class Kind : uint8_t { kFlippedBit, kMisdirected, kLost, kTorn };
enum class Outcome : uint8_t {
    kRight,       ///< All is there: there is a second copy, or the log has it.
    kMediaError,  ///< Reads of what it leads to fail, and only those; each is told.
    kRefused,     ///< It is not opened.
};

using Bytes = std::vector<std::byte>;

Bytes image_of(sim::Drive& drive, uint64_t bytes) {
    Bytes image(bytes);
    const iovec piece{image.data(), image.size()};
    EXPECT_TRUE(drive.read(0, &piece, image.size()).has_value());
    return image;
}

std::span<const std::byte> block_in(const Bytes& image, uint64_t block) {
    return std::span(image).subspan(block * kBlockBytes, kBlockBytes);
}

/// `before` is how the drive was earlier; `other` a block of the same kind as `block`.
void harm(sim::Drive& drive, const Bytes& before, Kind kind, uint64_t block, uint64_t other) {
    Bytes now(kBlockBytes);
    const iovec piece{now.data(), now.size()};
    ASSERT_TRUE(drive.read(block * kBlockBytes, &piece, now.size()).has_value());
    const Bytes right = now;
    const auto old = block_in(before, block);
    switch (kind) {
        case Kind::kFlippedBit: now[100] ^= std::byte{0x10}; break;
        case Kind::kMisdirected: {
            ASSERT_TRUE(drive.read(other * kBlockBytes, &piece, now.size()).has_value());
            break;
        }
        case Kind::kLost: std::ranges::copy(old, now.begin()); break;
        case Kind::kTorn: std::ranges::copy(old.first(64), now.begin()); break;
    }
    ASSERT_NE(now, right) << "this cell harms nothing";
    ASSERT_TRUE(drive.write(block * kBlockBytes, &piece, now.size(), sim::Drive::Durable::kYes));
}

// ---- A partition's

enum class Part : uint8_t { kCheckpoint, kLog, kNotes, kPage, kData };

struct Cell {
    Part part;
    Kind kind;
    Outcome outcome;
};

std::string name_of(Part part) {
    constexpr std::array kNames{"Checkpoint", "Log", "Notes", "Page", "Data"};
    return kNames.at(static_cast<size_t>(part));
}
std::string name_of(Kind kind) {
    constexpr std::array kNames{"FlippedBit", "Misdirected", "Lost", "Torn"};
    return kNames.at(static_cast<size_t>(kind));
}

/// Blocks 0 to 7 hold 200 to 207, made durable by a checkpoint; then a note and two writes in the
/// log, of which each block says that those before it were acknowledged.
class DamageTable : public testing::TestWithParam<Cell> {
  protected:
    static constexpr uint64_t kBytes = uint64_t{24} << 20U;
    static constexpr uint32_t kOwner = 1;
    static constexpr uint64_t kKey = 7;

    DamageTable() : node_(1, kBytes) {
        node_.format();
        node_.partition->set_node({.id = 1});
        EXPECT_EQ(node_.open(), Errc::kOk);
        EXPECT_EQ(node_.write(1, 0, 8, 100), Errc::kOk);
        EXPECT_EQ(node_.code(node_.partition->checkpoint()), Errc::kOk);
        before_ = image_of(node_.drive, kBytes);
        EXPECT_EQ(node_.write(1, 0, 8, 200), Errc::kOk);
        EXPECT_EQ(node_.code(node_.partition->checkpoint()), Errc::kOk);
        EXPECT_EQ(node_.note(1, kOwner, kKey), Errc::kOk);
        EXPECT_EQ(node_.write(1, 20, 2, 300), Errc::kOk);
        EXPECT_EQ(node_.write(1, 30, 2, 400), Errc::kOk);
        now_ = image_of(node_.drive, kBytes);
    }

    /// The block of the log that was written as the one before `last`, counted from the last one.
    [[nodiscard]] uint64_t log_block(uint64_t last) const {
        uint64_t newest = 0;
        for (uint64_t i = 0; i < node_.layout.log_blocks; ++i) {
            const auto block = block_in(now_, node_.layout.log(0) + i);
            newest = integer_at<uint32_t>(block, 0) == kLogMagic
                         ? std::max(newest, integer_at<uint64_t>(block, 8))
                         : newest;
        }
        return node_.layout.log_block(0, newest - last);
    }
    /// Where the block lies that begins with `word`, or has it at a multiple of 16.
    [[nodiscard]] uint64_t find_block(uint64_t word, bool is_pointer) const {
        for (uint64_t at = node_.layout.slabs_first(); at < kBytes / kBlockBytes; ++at) {
            const auto block = block_in(now_, at);
            for (size_t i = 0; i < (is_pointer ? kBlockBytes : 1U); i += sizeof(Pointer)) {
                if (integer_at<uint64_t>(block, i) == word) {
                    return at;
                }
            }
        }
        ADD_FAILURE() << "nothing begins with " << word;
        return 0;
    }
    [[nodiscard]] uint64_t newest_checkpoint(bool is_older) const {
        const uint64_t a = node_.layout.checkpoint(0, Place::kA);
        const uint64_t b = node_.layout.checkpoint(0, Place::kB);
        const bool a_is_newer =
            integer_at<uint64_t>(block_in(now_, a), 8) > integer_at<uint64_t>(block_in(now_, b), 8);
        return a_is_newer != is_older ? a : b;
    }

    void harm_part(Part part, Kind kind) {
        const uint64_t data = find_block(200, false);
        uint64_t block = data;
        uint64_t other = find_block(201, false);
        if (part == Part::kPage) {
            block = find_block(data, true);
            other = find_block(find_block(100, false), true);  // As it was before.
        } else if (part == Part::kCheckpoint) {
            block = newest_checkpoint(false);
            other = newest_checkpoint(true);
        } else if (part == Part::kLog || part == Part::kNotes) {
            block = log_block(part == Part::kLog ? 1 : 2);
            other = log_block(0);
        }
        harm(node_.drive, before_, kind, block, other);
        block_ = block;
    }
    Errc reopen() {
        node_.crash();
        node_.partition->set_node({.id = 1});
        const Errc code = node_.open();
        if (code == Errc::kOk) {
            node_.partition->keep_notes(std::array{kOwner});
        }
        return code;
    }
    /// How many of the blocks can't be read; none is anything but what was written.
    uint32_t count_damaged() {
        uint32_t damaged = 0;
        const auto look = [&](uint64_t block, uint64_t tag) {
            const uint64_t before = node_.partition->stats().damaged_blocks;
            TestPartitionIo io(PartitionOp::kRead, 1, block, 1);
            const Errc code = node_.run(io);
            if (code == Errc::kOk) {
                EXPECT_EQ(io.tag(0), tag) << "wrong data at block " << block;
                return;
            }
            EXPECT_EQ(code, Errc::kMediaError);
            const PartitionStats stats = node_.partition->stats();
            ASSERT_GT(stats.damaged_blocks, before) << "it is not told";
            const DamagedBlock& told =
                stats.damaged[(stats.damaged_blocks - 1) % PartitionStats::kDamagedKept];
            EXPECT_EQ(told.node, 1U);
            EXPECT_EQ(told.block, block);
            EXPECT_EQ(told.device_block, block_);
            ++damaged;
        };
        for (uint64_t i = 0; i < 8; ++i) {
            look(i, 200 + i);
        }
        for (uint64_t i = 0; i < 2; ++i) {
            look(20 + i, 300 + i);
            look(30 + i, 400 + i);
        }
        return damaged;
    }

    MayLeak leak_;
    PartitionNode node_;
    Bytes before_;
    Bytes now_;
    uint64_t block_ = 0;  ///< That was harmed.
};

TEST_P(DamageTable, IsFoundAndLocatedAndNeverData) {
    const Cell cell = GetParam();
    harm_part(cell.part, cell.kind);
    const Errc opened = reopen();
    if (cell.outcome == Outcome::kRefused) {
        EXPECT_EQ(opened, Errc::kDataCorrupt);
        return;
    }
    ASSERT_EQ(opened, Errc::kOk);
    const uint32_t damaged = count_damaged();
    const uint32_t leads_to = cell.part == Part::kPage ? 12 : 1;
    EXPECT_EQ(damaged, cell.outcome == Outcome::kRight ? 0U : leads_to);
    const std::vector<StoredNote> notes = node_.partition->notes(kOwner);
    ASSERT_EQ(notes.size(), 1U);
    EXPECT_EQ(notes[0].key, kKey);
}

constexpr std::array kCells{
    // The older checkpoint, and a log from there on, which nothing has overwritten yet.
    Cell{Part::kCheckpoint, Kind::kFlippedBit, Outcome::kRight},
    Cell{Part::kCheckpoint, Kind::kMisdirected, Outcome::kRight},
    Cell{Part::kCheckpoint, Kind::kLost, Outcome::kRight},
    Cell{Part::kCheckpoint, Kind::kTorn, Outcome::kRight},
    // Later blocks say that it was acknowledged.
    Cell{Part::kLog, Kind::kFlippedBit, Outcome::kRefused},
    Cell{Part::kLog, Kind::kMisdirected, Outcome::kRefused},
    Cell{Part::kLog, Kind::kLost, Outcome::kRefused},
    Cell{Part::kLog, Kind::kTorn, Outcome::kRefused},
    Cell{Part::kNotes, Kind::kFlippedBit, Outcome::kRefused},
    Cell{Part::kNotes, Kind::kMisdirected, Outcome::kRefused},
    Cell{Part::kNotes, Kind::kLost, Outcome::kRefused},
    Cell{Part::kNotes, Kind::kTorn, Outcome::kRefused},
    // Replay needs the page, for the writes in the log change it.
    Cell{Part::kPage, Kind::kFlippedBit, Outcome::kRefused},
    Cell{Part::kPage, Kind::kMisdirected, Outcome::kRefused},
    Cell{Part::kPage, Kind::kLost, Outcome::kRefused},
    Cell{Part::kPage, Kind::kTorn, Outcome::kRefused},
    Cell{Part::kData, Kind::kFlippedBit, Outcome::kMediaError},
    Cell{Part::kData, Kind::kMisdirected, Outcome::kMediaError},
    Cell{Part::kData, Kind::kLost, Outcome::kMediaError},
    Cell{Part::kData, Kind::kTorn, Outcome::kMediaError},
};

INSTANTIATE_TEST_SUITE_P(Partition,
                         DamageTable,
                         testing::ValuesIn(kCells),
                         [](const testing::TestParamInfo<Cell>& cell) {
                             return name_of(cell.param.part) + name_of(cell.param.kind);
                         });

// ---- A pool's

/// Which block of the drive, and what becomes of the pool.
struct PoolCell {
    const char* name;
    uint64_t block;
    Kind kind;
    Outcome outcome;
};

class PoolDamageTable : public testing::TestWithParam<PoolCell> {};

TEST_P(PoolDamageTable, IsMadeGoodOrRefused) {
    const PoolCell cell = GetParam();
    PoolNode node(1);
    ASSERT_TRUE(node.create());
    const Bytes before = image_of(node.drive, 64 * kBlockBytes);
    ASSERT_TRUE(node.add_volume("v", kChunkBlocks));
    ASSERT_EQ(node.fill("v", 0, 16, 0x11), Errc::kOk);
    ASSERT_TRUE(node.take_snapshot("v", "s"));
    ASSERT_TRUE(node.close());
    harm(node.drive, before, cell.kind, cell.block, 2);
    const Status opened = node.open();
    if (cell.outcome == Outcome::kRefused) {
        ASSERT_FALSE(opened);
        EXPECT_EQ(opened.error().code, Errc::kDataCorrupt);
        EXPECT_NE(node.problem, "");
        return;
    }
    ASSERT_TRUE(opened) << node.problem;
    EXPECT_NE(node.pool->device_of("s"), nullptr);
}

constexpr std::array kPoolCells{
    PoolCell{"SuperblockAFlippedBit", 0, Kind::kFlippedBit, Outcome::kRight},
    PoolCell{"SuperblockAMisdirected", 0, Kind::kMisdirected, Outcome::kRight},
    PoolCell{"SuperblockBFlippedBit", 1, Kind::kFlippedBit, Outcome::kRight},
    PoolCell{"SuperblockBMisdirected", 1, Kind::kMisdirected, Outcome::kRight},
    // Its first block is the image of everything, the next ones are transactions; the last one was
    // said to be there by nobody, and there are three.
    PoolCell{"CatalogueFlippedBit", 3, Kind::kFlippedBit, Outcome::kRefused},
    PoolCell{"CatalogueMisdirected", 3, Kind::kMisdirected, Outcome::kRefused},
    PoolCell{"CatalogueLost", 3, Kind::kLost, Outcome::kRefused},
    PoolCell{"CatalogueTorn", 3, Kind::kTorn, Outcome::kRefused},
};

INSTANTIATE_TEST_SUITE_P(Pool,
                         PoolDamageTable,
                         testing::ValuesIn(kPoolCells),
                         [](const testing::TestParamInfo<PoolCell>& cell) {
                             return std::string(cell.param.name);
                         });

}  // namespace
}  // namespace basalt::bdev::store
