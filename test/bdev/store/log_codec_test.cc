#include "bdev/store/log_codec.h"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "reactor/io/random.h"
#include "test/bdev/store/store_testing.h"

namespace basalt::bdev::store {
namespace {

using test::Block;
using test::integer_at;
using test::to_block;

const BlockSeal kSeal(test::uuid_of(1).bytes, 3);
constexpr uint64_t kSequence = 1000;
constexpr uint64_t kDurable = 990;
constexpr uint32_t kIncarnation = 5;

Block finish(LogBlockWriter& writer) {
    return to_block(writer.finish(kSeal, kSequence, kDurable, kIncarnation));
}

LogFinding judge(const Block& block) {
    return LogBlockReader(block, kSeal).judge(kSequence, kIncarnation);
}

std::vector<LogRecord> records_of(const Block& block) {
    const LogBlockReader reader(block, kSeal);
    EXPECT_EQ(reader.judge(kSequence, kIncarnation), LogFinding::kValid);
    std::vector<LogRecord> records;
    reader.for_each([&](const LogRecord& record) { records.push_back(record); });
    return records;
}

/// A block with the bytes of one record as they are, right in all else.
Block forged(std::span<const std::byte> record, uint32_t used_bytes) {
    LogBlock raw{};
    raw.magic = kLogMagic;
    raw.sequence = kSequence;
    raw.durable = kDurable;
    raw.incarnation = kIncarnation;
    raw.used_bytes = used_bytes;
    std::copy(record.begin(), record.end(), raw.records.begin());
    kSeal.put(std::as_writable_bytes(std::span(&raw, 1)), offsetof(LogBlock, crc));
    return to_block(raw);
}

template <typename Raw>
Block forged(const Raw& raw) {
    return forged(std::as_bytes(std::span(&raw, 1)), sizeof(raw));
}

TEST(LogCodec, EveryRecordComesBackAsItWasWritten) {
    LogBlockWriter writer;
    writer.begin();
    const std::array<Extent, 2> extents{Extent{5000, 1}, Extent{7000, 2}};
    const std::array<uint32_t, 3> crcs{11, 22, 33};
    ASSERT_TRUE(writer.append_write({42, 41, 41, 100}, extents, crcs));
    ASSERT_TRUE(writer.append_write({42, 41, 40, 255}, extents, crcs));
    ASSERT_TRUE(writer.append(UnmapRecord{43, 7, 512, 256}));
    ASSERT_TRUE(writer.append(SlabRecord{9, SlabKind::kPages}));
    ASSERT_TRUE(writer.append(HollowRecord{44, 3, 65536, 2, true, {}}));
    HollowRecord hollow{44, 3, 1024, 1, false, {}};
    hollow.blocks[31] = 0x80;
    ASSERT_TRUE(writer.append(hollow));
    ASSERT_TRUE(writer.append(AdoptRecord{45, 44}));
    ASSERT_TRUE(writer.append(DropRecord{46}));

    const Block block = finish(writer);
    const auto records = records_of(block);
    ASSERT_EQ(records.size(), 8U);
    const auto& write = std::get<WriteRecord>(records[0]);
    EXPECT_EQ(write.node, 42U);
    EXPECT_EQ(write.floor, 41U);
    EXPECT_EQ(write.second_floor, 41U);
    EXPECT_EQ(write.first, 100U);
    ASSERT_EQ(write.extent_count(), 2U);
    EXPECT_EQ(write.extent(0), extents[0]);
    EXPECT_EQ(write.extent(1), extents[1]);
    ASSERT_EQ(write.block_count(), 3U);
    EXPECT_EQ(write.crc(2), 33U);
    EXPECT_EQ(std::get<WriteRecord>(records[1]).floor, 41U);
    EXPECT_EQ(std::get<WriteRecord>(records[1]).second_floor, 40U);
    EXPECT_EQ(std::get<WriteRecord>(records[1]).crc(2), 33U);
    EXPECT_EQ(std::get<UnmapRecord>(records[2]).block_count, 256U);
    EXPECT_EQ(std::get<UnmapRecord>(records[2]).floor, 7U);
    EXPECT_EQ(std::get<SlabRecord>(records[3]).kind, SlabKind::kPages);
    EXPECT_EQ(std::get<HollowRecord>(records[4]).level, 2U);
    EXPECT_TRUE(std::get<HollowRecord>(records[4]).is_shared);
    EXPECT_EQ(std::get<HollowRecord>(records[5]).floor, 3U);
    EXPECT_EQ(std::get<HollowRecord>(records[5]).blocks, hollow.blocks);
    EXPECT_EQ(std::get<AdoptRecord>(records[6]).source, 44U);
    EXPECT_EQ(std::get<DropRecord>(records[7]).node, 46U);
}

TEST(LogCodec, LiesOnTheDeviceAsTheFormatSays) {
    LogBlockWriter writer;
    writer.begin();
    const std::array<Extent, 1> extents{Extent{0x0000123456789ABC, 2}};
    const std::array<uint32_t, 2> crcs{0xAABBCCDD, 0x11223344};
    ASSERT_TRUE(writer.append_write({0x01020304, 5, 5, 0x1122334455}, extents, crcs));
    const Block block = finish(writer);
    EXPECT_EQ(std::memcmp(block.data(), "BLOG", 4), 0);
    EXPECT_EQ(integer_at<uint64_t>(block, 8), kSequence);
    EXPECT_EQ(integer_at<uint64_t>(block, 16), kDurable);
    EXPECT_EQ(integer_at<uint32_t>(block, 24), kIncarnation);
    EXPECT_EQ(integer_at<uint32_t>(block, 28), 40U);
    EXPECT_EQ(integer_at<uint8_t>(block, 32), 1U);
    EXPECT_EQ(integer_at<uint16_t>(block, 34), 40U);
    EXPECT_EQ(integer_at<uint32_t>(block, 36), 0x01020304U);
    EXPECT_EQ(integer_at<uint64_t>(block, 40), 0x1122334455U);
    EXPECT_EQ(integer_at<uint16_t>(block, 48), 2U);
    EXPECT_EQ(integer_at<uint16_t>(block, 50), 1U);
    EXPECT_EQ(integer_at<uint32_t>(block, 52), 5U);
    EXPECT_EQ(integer_at<uint64_t>(block, 56), 0x0002123456789ABCU);
    EXPECT_EQ(integer_at<uint32_t>(block, 64), 0xAABBCCDDU);
    EXPECT_EQ(integer_at<uint32_t>(block, 68), 0x11223344U);
}

std::vector<std::byte> some_bytes(size_t count) {
    std::vector<std::byte> bytes(count);
    for (size_t i = 0; i < count; ++i) {
        bytes[i] = static_cast<std::byte>(i + 1);
    }
    return bytes;
}

void expect_note(const Note& note, uint64_t key, std::span<const std::byte> bytes) {
    EXPECT_EQ(note.owner, 77U);
    EXPECT_EQ(note.key, key);
    EXPECT_EQ(note.forget, (NoteRange{3, 4}));
    EXPECT_TRUE(std::ranges::equal(note.bytes, bytes));
}

TEST(LogCodec, NotesComeBackWithTheirRecords) {
    const std::array<Extent, 1> extents{Extent{5000, 3}};
    const std::array<uint32_t, 3> crcs{11, 22, 33};
    for (size_t length = 0; length <= kNoteBytesMax; ++length) {
        const auto bytes = some_bytes(length);
        const auto note = [&](uint64_t key) { return Note{77, key, {3, 4}, bytes}; };
        LogBlockWriter writer;
        writer.begin();
        ASSERT_TRUE(writer.append_write({42, 41, 41, 100}, extents, crcs, note(1)));
        ASSERT_TRUE(writer.append(UnmapRecord{43, 7, 512, 256, note(2)}));
        ASSERT_TRUE(writer.append(NoteRecord{44, 700, 0, note(3)}));
        ASSERT_TRUE(writer.append(NoteRecord{45, 800, 5, note(4)}));
        ASSERT_TRUE(writer.append(UnmapRecord{46, 7, 512, 1}));
        const Block block = finish(writer);
        const auto records = records_of(block);
        ASSERT_EQ(records.size(), 5U);
        const auto& write = std::get<WriteRecord>(records[0]);
        EXPECT_EQ(write.crc(2), 33U);
        EXPECT_EQ(write.second_floor, 41U);
        expect_note(write.note, 1, bytes);
        EXPECT_EQ(std::get<UnmapRecord>(records[1]).floor, 7U);
        expect_note(std::get<UnmapRecord>(records[1]).note, 2, bytes);
        EXPECT_EQ(std::get<NoteRecord>(records[2]).first, 700U);
        EXPECT_EQ(std::get<NoteRecord>(records[2]).block_count, 0U);
        expect_note(std::get<NoteRecord>(records[2]).note, 3, bytes);
        EXPECT_EQ(std::get<NoteRecord>(records[3]).block_count, 5U);
        expect_note(std::get<NoteRecord>(records[3]).note, 4, bytes);
        EXPECT_FALSE(std::get<UnmapRecord>(records[4]).note.is_there());
    }
}

TEST(LogCodec, ANoteLiesOnTheDeviceAsTheFormatSays) {
    LogBlockWriter writer;
    writer.begin();
    const auto bytes = some_bytes(5);
    const Note note{0x01020304, 0x1122334455667788, {9, 10}, bytes};
    const std::array<Extent, 1> extents{Extent{77, 1}};
    const std::array<uint32_t, 1> crcs{5};
    ASSERT_TRUE(writer.append_write({1, 0, 0, 2}, extents, crcs, note));
    ASSERT_TRUE(writer.append(NoteRecord{6, 0x0000AABBCCDD, 3, note}));
    const Block block = finish(writer);
    EXPECT_EQ(integer_at<uint32_t>(block, 28), 80U + 64U);
    // The write: 24, the extent 8, the CRC 4, padded; then its note.
    EXPECT_EQ(integer_at<uint8_t>(block, 32), 1U);
    EXPECT_EQ(integer_at<uint8_t>(block, 33), 2U);
    EXPECT_EQ(integer_at<uint16_t>(block, 34), 80U);
    EXPECT_EQ(integer_at<uint32_t>(block, 72), 0x01020304U);
    EXPECT_EQ(integer_at<uint16_t>(block, 76), 5U);
    EXPECT_EQ(integer_at<uint16_t>(block, 78), 0U);
    EXPECT_EQ(integer_at<uint64_t>(block, 80), 0x1122334455667788U);
    EXPECT_EQ(integer_at<uint64_t>(block, 88), 9U);
    EXPECT_EQ(integer_at<uint64_t>(block, 96), 10U);
    EXPECT_EQ(integer_at<uint64_t>(block, 104), 0x0504030201U);
    // The note alone.
    EXPECT_EQ(integer_at<uint8_t>(block, 112), 7U);
    EXPECT_EQ(integer_at<uint8_t>(block, 113), 2U);
    EXPECT_EQ(integer_at<uint16_t>(block, 114), 64U);
    EXPECT_EQ(integer_at<uint32_t>(block, 116), 6U);
    EXPECT_EQ(integer_at<uint64_t>(block, 120), 0xAABBCCDDU);
    EXPECT_EQ(integer_at<uint32_t>(block, 128), 3U);
    EXPECT_EQ(integer_at<uint32_t>(block, 132), 0U);
    EXPECT_EQ(integer_at<uint32_t>(block, 136), 0x01020304U);
}

TEST(LogCodec, TheLargestWriteFitsABlockWithTheLargestNote) {
    LogBlockWriter writer;
    writer.begin();
    const std::vector<Extent> extents(kWriteExtentsMax, Extent{1, 1});
    const std::vector<uint32_t> crcs(kWriteBlocksMax, 7);
    const auto bytes = some_bytes(kNoteBytesMax);
    ASSERT_TRUE(writer.append_write({1, 0, 0, 256}, extents, crcs, {1, 2, {}, bytes}));
    EXPECT_EQ(records_of(finish(writer)).size(), 1U);
}

TEST(LogCodec, AHostileNoteIsUnknown) {
    struct Raw {
        LogNoteAlone alone;
        LogNote note;
        std::array<std::byte, 8> bytes;
    };
    const LogRecordHead head{.type = 7, .flags = 2, .length = sizeof(Raw), .node = 1};
    const Raw sound{.alone = {.head = head, .first = 250, .block_count = 6, .reserved = 0},
                    .note = {.owner = 1,
                             .byte_count = 3,
                             .reserved = 0,
                             .key = 0,
                             .forget_first = 0,
                             .forget_last = 0},
                    .bytes = {}};
    ASSERT_EQ(judge(forged(sound)), LogFinding::kValid);
    const auto expect_unknown = [&](auto change, const char* what) {
        Raw bad = sound;
        change(bad);
        EXPECT_EQ(judge(forged(bad)), LogFinding::kUnknown) << what;
    };
    expect_unknown([](Raw& raw) { raw.note.owner = 0; }, "nobody's");
    expect_unknown([](Raw& raw) { raw.note.byte_count = 0; }, "shorter than its record");
    expect_unknown([](Raw& raw) { raw.note.byte_count = 9; }, "longer than its record");
    expect_unknown([](Raw& raw) { raw.note.byte_count = 65; }, "longer than any");
    expect_unknown([](Raw& raw) { raw.note.byte_count = UINT16_MAX; }, "much longer");
    expect_unknown([](Raw& raw) { raw.note.reserved = 1; }, "reserved");
    expect_unknown([](Raw& raw) { raw.alone.reserved = 1; }, "reserved");
    expect_unknown([](Raw& raw) { raw.alone.block_count = 7; }, "beyond its page");
    expect_unknown([](Raw& raw) { raw.alone.block_count = UINT32_MAX; }, "far beyond");
    expect_unknown([](Raw& raw) { raw.alone.first = uint64_t{1} << 48U; }, "no such block");
    expect_unknown([](Raw& raw) { raw.alone.head.flags = 0; }, "no note");
    expect_unknown([](Raw& raw) { raw.alone.head.flags = 3; }, "a flag more");
    expect_unknown([](Raw& raw) { raw.alone.head.length = sizeof(Raw) - 8; }, "cut off");
    Raw none = sound;
    none.alone.first = 255;
    none.alone.block_count = 0;
    EXPECT_EQ(judge(forged(none)), LogFinding::kValid);
    none.note.byte_count = 8;
    EXPECT_EQ(judge(forged(none)), LogFinding::kValid);
}

TEST(LogCodec, AWriteWithANoteThatCrossesAPageIsUnknown) {
    struct Raw {
        LogWrite write;
        uint64_t extent;
        std::array<uint32_t, 2> crcs;
        LogNote note;
    };
    const LogRecordHead head{.type = 1, .flags = 2, .length = sizeof(Raw), .node = 1};
    Raw raw{.write = {.head = head, .first = 254, .block_count = 2, .extent_count = 1, .floor = 0},
            .extent = uint64_t{2} << 48U | 77,
            .crcs = {1, 2},
            .note = {.owner = 1,
                     .byte_count = 0,
                     .reserved = 0,
                     .key = 0,
                     .forget_first = 0,
                     .forget_last = 0}};
    EXPECT_EQ(judge(forged(raw)), LogFinding::kValid);
    raw.write.first = 255;
    EXPECT_EQ(judge(forged(raw)), LogFinding::kUnknown);
    raw.write.first = 254;
    raw.write.head.flags = 3;
    EXPECT_EQ(judge(forged(raw)), LogFinding::kUnknown);
}

/// Whatever lies in a block whose CRC is right, it is judged without reading beyond it, and records
/// that are believed keep to the bounds.
TEST(LogCodec, MutatedRecordsAreRefusedOrKeepToTheBounds) {
    const std::array<Extent, 2> extents{Extent{5000, 1}, Extent{7000, 2}};
    const std::array<uint32_t, 3> crcs{11, 22, 33};
    const auto bytes = some_bytes(40);
    const Note note{77, 1, {3, 4}, bytes};
    LogBlockWriter writer;
    writer.begin();
    ASSERT_TRUE(writer.append_write({42, 41, 41, 100}, extents, crcs, note));
    ASSERT_TRUE(writer.append_write({42, 41, 40, 255}, extents, crcs));
    ASSERT_TRUE(writer.append(UnmapRecord{43, 7, 512, 256, note}));
    ASSERT_TRUE(writer.append(NoteRecord{44, 700, 3, note}));
    const Block sound = finish(writer);
    const auto used = integer_at<uint32_t>(sound, 28);
    Random random(1);
    uint32_t believed = 0;
    for (uint32_t round = 0; round < 40'000; ++round) {
        std::vector<std::byte> records(sound.begin() + 32, sound.begin() + 32 + used);
        for (uint64_t i = 0; i <= random.below(3); ++i) {
            records[random.below(records.size())] = static_cast<std::byte>(random.below(256));
        }
        const Block block = forged(records, used);
        if (judge(block) != LogFinding::kValid) {
            continue;
        }
        ++believed;
        for (const LogRecord& record : records_of(block)) {
            const auto check = [](const Note& one) { ASSERT_LE(one.bytes.size(), kNoteBytesMax); };
            if (const auto* write = std::get_if<WriteRecord>(&record)) {
                ASSERT_LE(write->block_count(), kWriteBlocksMax);
                check(write->note);
            } else if (const auto* unmap = std::get_if<UnmapRecord>(&record)) {
                ASSERT_LE(unmap->block_count, kPagePointers);
                check(unmap->note);
            } else if (const auto* alone = std::get_if<NoteRecord>(&record)) {
                ASSERT_LE(alone->block_count, kPagePointers);
                check(alone->note);
            }
        }
    }
    EXPECT_GT(believed, 1000U);
}

TEST(LogCodec, TheLargestWriteFitsABlockAndNoOtherBesideIt) {
    LogBlockWriter writer;
    writer.begin();
    std::vector<Extent> extents(kWriteExtentsMax, Extent{1, 1});
    std::vector<uint32_t> crcs(kWriteBlocksMax, 7);
    ASSERT_TRUE(writer.append_write({1, 0, 2, 0}, extents, crcs));
    EXPECT_FALSE(writer.append_write({1, 0, 0, 256}, extents, crcs));
    EXPECT_EQ(records_of(finish(writer)).size(), 1U);
}

TEST(LogCodec, ARecordThatDoesNotFitLeavesTheBlockAsItWas) {
    LogBlockWriter writer;
    writer.begin();
    EXPECT_TRUE(writer.is_empty());
    size_t count = 0;
    while (writer.append(UnmapRecord{1, 0, 0, 1})) {
        ++count;
    }
    EXPECT_EQ(count, std::tuple_size_v<decltype(LogBlock::records)> / sizeof(LogUnmap));
    ASSERT_TRUE(writer.append(DropRecord{2}));
    EXPECT_EQ(records_of(finish(writer)).size(), count + 1);
}

TEST(LogCodec, AnyFlippedBitIsFound) {
    LogBlockWriter writer;
    writer.begin();
    ASSERT_TRUE(writer.append(UnmapRecord{43, 0, 512, 256}));
    const Block block = finish(writer);
    for (size_t bit = 0; bit < block.size() * 8; ++bit) {
        Block flipped = block;
        test::flip_bit(flipped, bit);
        ASSERT_EQ(judge(flipped), LogFinding::kOther) << "bit " << bit;
    }
}

TEST(LogCodec, BlocksOfOtherTimesPlacesAndPoolsAreNotTaken) {
    LogBlockWriter writer;
    writer.begin();
    const Block block = finish(writer);
    const LogBlockReader reader(block, kSeal);
    EXPECT_EQ(reader.judge(kSequence, kIncarnation), LogFinding::kValid);
    EXPECT_EQ(reader.judge(kSequence + 1, kIncarnation), LogFinding::kOther);
    EXPECT_EQ(reader.judge(kSequence, kIncarnation + 1), LogFinding::kOther);
    const BlockSeal other_partition(test::uuid_of(1).bytes, 4);
    EXPECT_FALSE(LogBlockReader(block, other_partition).is_sealed());
    const BlockSeal other_pool(test::uuid_of(2).bytes, 3);
    EXPECT_FALSE(LogBlockReader(block, other_pool).is_sealed());
    EXPECT_FALSE(LogBlockReader(Block{}, kSeal).is_sealed());
}

TEST(LogCodec, AHostileBlockWithTheRightCrcIsUnknown) {
    const LogRecordHead drop{.type = 6, .flags = 0, .length = 8, .node = 1};
    ASSERT_EQ(judge(forged(drop)), LogFinding::kValid);
    for (const LogRecordHead& bad : {LogRecordHead{0, 0, 8, 1},
                                     LogRecordHead{7, 0, 8, 1},
                                     LogRecordHead{6, 1, 8, 1},
                                     LogRecordHead{6, 0, 0, 1},
                                     LogRecordHead{6, 0, 4, 1},
                                     LogRecordHead{6, 0, 9, 1},
                                     LogRecordHead{6, 0, 16, 1},
                                     LogRecordHead{6, 0, 65528, 1},
                                     LogRecordHead{2, 0, 8, 1}}) {
        EXPECT_EQ(judge(forged(bad)), LogFinding::kUnknown) << int{bad.type} << " " << bad.length;
    }
    EXPECT_EQ(judge(forged(std::as_bytes(std::span(&drop, 1)), 5000)), LogFinding::kUnknown);
    EXPECT_EQ(judge(forged(std::as_bytes(std::span(&drop, 1)), 4)), LogFinding::kUnknown);
}

TEST(LogCodec, AHostileWriteIsUnknown) {
    struct Raw {
        LogWrite write;
        uint64_t extent;
        std::array<uint32_t, 2> crcs;
    };
    const Raw sound{.write = {.head = {.type = 1, .flags = 0, .length = sizeof(Raw), .node = 1},
                              .first = 10,
                              .block_count = 2,
                              .extent_count = 1,
                              .floor = 0},
                    .extent = uint64_t{2} << 48U | 77,
                    .crcs = {1, 2}};
    ASSERT_EQ(judge(forged(sound)), LogFinding::kValid);
    Raw bad = sound;
    bad.write.block_count = 0;
    EXPECT_EQ(judge(forged(bad)), LogFinding::kUnknown);
    bad = sound;
    bad.write.head.flags = kRecordSecondFloor;
    EXPECT_EQ(judge(forged(bad)), LogFinding::kUnknown) << "the floor is not there";
    bad = sound;
    bad.write.head.flags = 2;
    EXPECT_EQ(judge(forged(bad)), LogFinding::kUnknown);
    bad = sound;
    bad.write.block_count = 257;
    EXPECT_EQ(judge(forged(bad)), LogFinding::kUnknown);
    bad = sound;
    bad.write.extent_count = 0;
    EXPECT_EQ(judge(forged(bad)), LogFinding::kUnknown);
    bad = sound;
    bad.write.extent_count = 2;
    EXPECT_EQ(judge(forged(bad)), LogFinding::kUnknown);
    bad = sound;
    bad.write.first = kBlockNumberMax;
    EXPECT_EQ(judge(forged(bad)), LogFinding::kUnknown);
    bad = sound;
    bad.extent = uint64_t{3} << 48U | 77;
    EXPECT_EQ(judge(forged(bad)), LogFinding::kUnknown);
    bad = sound;
    bad.extent = uint64_t{2} << 48U;
    EXPECT_EQ(judge(forged(bad)), LogFinding::kUnknown);
}

TEST(LogCodec, ARecordThatReachesBeyondItsPageIsUnknown) {
    LogUnmap raw{.head = {.type = 2, .flags = 0, .length = sizeof(LogUnmap), .node = 1},
                 .first = 250,
                 .block_count = 6,
                 .floor = 0};
    EXPECT_EQ(judge(forged(raw)), LogFinding::kValid);
    raw.block_count = 7;
    EXPECT_EQ(judge(forged(raw)), LogFinding::kUnknown);
    raw.block_count = 0;
    EXPECT_EQ(judge(forged(raw)), LogFinding::kUnknown);
    raw.block_count = UINT32_MAX;
    EXPECT_EQ(judge(forged(raw)), LogFinding::kUnknown);
    LogHollow hollow{.head = {.type = 4, .flags = 0, .length = sizeof(LogHollow), .node = 1},
                     .first = 256,
                     .level = 1,
                     .floor = 0,
                     .blocks = {}};
    EXPECT_EQ(judge(forged(hollow)), LogFinding::kValid);
    hollow.first = 255;
    EXPECT_EQ(judge(forged(hollow)), LogFinding::kUnknown);
    hollow.first = 65536;
    hollow.level = 2;
    EXPECT_EQ(judge(forged(hollow)), LogFinding::kUnknown) << "nobody says what is free below";
    hollow.head.flags = kRecordShared;
    EXPECT_EQ(judge(forged(hollow)), LogFinding::kValid);
    hollow.level = 3;
    EXPECT_EQ(judge(forged(hollow)), LogFinding::kUnknown);
    hollow.level = 0;
    EXPECT_EQ(judge(forged(hollow)), LogFinding::kUnknown);
}

}  // namespace
}  // namespace basalt::bdev::store
