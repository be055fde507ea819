#include "replication/replica/state_format.h"

#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "bdev/store/checksum.h"

namespace basalt::replication {
namespace {

bdev::Uuid drive() {
    bdev::Uuid uuid;
    uuid.bytes.fill(0xab);
    return uuid;
}

StateRecord record() {
    StateRecord out;
    out.drive = drive();
    out.volume = 7;
    out.sequence = 5;
    out.covers = 99;
    out.blocks = 1000;
    out.window_ops = 4;
    out.reads = 8;
    out.marks.fence = Epoch(11);
    out.marks.agreed = Epoch(10);
    out.marks.joining = Epoch(9);
    out.marks.watermark = {Epoch(3), 4};
    out.marks.generation = {Epoch(5), 6};
    out.marks.history_after = {Epoch(1), 2};
    out.marks.is_blank = true;
    out.dirty_area = 1;
    return out;
}

const std::vector<WindowEntry> kWindow{{{Epoch(10), 5}, {100, 64}}, {{Epoch(10), 6}, {0, 0}}};

std::vector<std::byte> encoded() {
    std::vector<std::byte> out(size_t{kStateBlocksMax} * kBlockBytes, std::byte{0xee});
    const uint32_t blocks = encode_state(record(), kWindow, {{Epoch(10), 7}, {999, 1}}, out);
    EXPECT_EQ(blocks, 1U);
    out.resize(size_t{blocks} * kBlockBytes);
    return out;
}

Errc code_of(const std::vector<std::byte>& place) {
    const Result<StateRecord> found = decode_state(place, drive(), 7);
    return found ? Errc::kOk : found.error().code;
}

TEST(StateFormat, ComesBackAsItWas) {
    const std::vector<std::byte> place = encoded();
    const Result<StateRecord> found = decode_state(place, drive(), 7);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->sequence, 5U);
    EXPECT_EQ(found->covers, 99U);
    EXPECT_EQ(found->blocks, 1000U);
    EXPECT_EQ(found->window_ops, 4U);
    EXPECT_EQ(found->reads, 8U);
    EXPECT_EQ(found->dirty_area, 1U);
    EXPECT_EQ(found->marks, record().marks);
    const Window window = decode_state_window(place, *found);
    ASSERT_EQ(window.entries().size(), 3U);
    EXPECT_EQ(window.entries()[0], kWindow[0]);
    EXPECT_EQ(window.entries()[1], kWindow[1]);
    EXPECT_EQ(window.entries()[2].range, (BlockRange{999, 1}));
}

TEST(StateFormat, LiesOnTheDriveAsThePageSays) {
    const std::vector<std::byte> place = encoded();
    const auto byte_at = [&place](size_t at) { return std::to_integer<unsigned>(place[at]); };
    EXPECT_EQ(std::memcmp(place.data(), "BSLTRPLA", 8), 0);
    EXPECT_EQ(byte_at(8), 1U);
    EXPECT_EQ(byte_at(16), 0xabU);
    EXPECT_EQ(byte_at(32), 7U);
    EXPECT_EQ(byte_at(40), 5U);
    EXPECT_EQ(byte_at(48), 99U);
    EXPECT_EQ(byte_at(56) | byte_at(57) << 8U, 1000U);
    EXPECT_EQ(byte_at(64), 4U);
    EXPECT_EQ(byte_at(68), 8U);
    EXPECT_EQ(byte_at(72), 11U);
    EXPECT_EQ(byte_at(144), 1U);
    EXPECT_EQ(byte_at(145), 1U);
    EXPECT_EQ(byte_at(148), 3U);
    EXPECT_EQ(byte_at(192), 10U);
    EXPECT_EQ(byte_at(192 + 16), 100U);
    EXPECT_EQ(byte_at(192 + 24), 64U);
    EXPECT_EQ(byte_at(192 + 96), 0U);
    uint32_t crc = 0;
    std::memcpy(&crc, place.data() + 12, sizeof(crc));
    EXPECT_EQ(crc, 0x6194a31eU);
}

TEST(StateFormat, RefusesEachFlippedBitAndWhatIsCutOff) {
    const std::vector<std::byte> place = encoded();
    const size_t end = sizeof(StateHead) + 3 * sizeof(StateEntry);
    for (size_t bit = 0; bit < end * 8; ++bit) {
        std::vector<std::byte> bad = place;
        bad[bit / 8] ^= std::byte{1} << (bit % 8);
        ASSERT_NE(code_of(bad), Errc::kOk) << bit;
    }
    for (size_t size = 0; size < end; ++size) {
        const std::vector<std::byte> bad(place.begin(),
                                         place.begin() + static_cast<ptrdiff_t>(size));
        ASSERT_NE(code_of(bad), Errc::kOk) << size;
    }
}

TEST(StateFormat, TellsNothingNewerAndForeignApart) {
    EXPECT_EQ(code_of(std::vector<std::byte>(kBlockBytes)), Errc::kNotFound);
    std::vector<std::byte> newer = encoded();
    newer[8] = std::byte{2};
    EXPECT_EQ(code_of(newer), Errc::kNotSupported);
    const std::vector<std::byte> place = encoded();
    EXPECT_EQ(decode_state(place, drive(), 8).error().code, Errc::kDataCorrupt);
    EXPECT_EQ(decode_state(place, bdev::Uuid{}, 7).error().code, Errc::kDataCorrupt);
}

ReplicaNote note(uint64_t sequence, uint64_t count, BlockRange range) {
    ReplicaNote out;
    out.sequence = sequence;
    out.message.number = {Epoch(1), count};
    out.message.range = range;
    return out;
}

TEST(NoteFormat, ComesBackAsItWas) {
    ReplicaNote one = note(12, 34, {500, 64});
    one.watermark = {Epoch(2), 3};
    one.message.write = WriteKind::kUnmap;
    one.message.is_replica_away = true;
    const Result<ReplicaNote> found = decode_note(encode_note(one), 1000);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->sequence, 12U);
    EXPECT_EQ(found->watermark, one.watermark);
    EXPECT_EQ(found->message.number, one.message.number);
    EXPECT_EQ(found->message.range, one.message.range);
    EXPECT_EQ(found->message.write, WriteKind::kUnmap);
    EXPECT_TRUE(found->message.is_replica_away);
    EXPECT_FALSE(found->message.is_exact);
}

TEST(NoteFormat, RefusesWhatIsNoNoteOfTheReplica) {
    const auto good = encode_note(note(12, 34, {500, 64}));
    EXPECT_TRUE(decode_note(good, 564));
    EXPECT_FALSE(decode_note(good, 563));
    EXPECT_FALSE(decode_note(std::span(good).first(63), 1000));
    const auto with = [&good](size_t at, uint8_t value) {
        auto bad = good;
        bad[at] = std::byte{value};
        const Result<ReplicaNote> found = decode_note(bad, 1000);
        return found ? Errc::kOk : found.error().code;
    };
    EXPECT_EQ(with(0, 0), Errc::kDataCorrupt);
    EXPECT_EQ(with(48, 65), Errc::kDataCorrupt);
    EXPECT_EQ(with(52, 2), Errc::kNotSupported);
    EXPECT_EQ(with(52, 0), Errc::kDataCorrupt);
    EXPECT_EQ(with(53, 3), Errc::kDataCorrupt);
    EXPECT_EQ(with(54, 3), Errc::kDataCorrupt);
    EXPECT_EQ(with(55, 2), Errc::kDataCorrupt);
}

TEST(Replay, DoesAgainWhatTheStateDoesNotCover) {
    const Settings settings{.blocks = 1000, .window_ops = 4, .reads = 4};
    ReplicaState state(settings);
    state.window.add({{Epoch(1), 2}, {20, 2}});
    std::vector<ReplicaNote> notes{
        note(5, 5, {50, 5}), note(3, 2, {20, 2}), note(2, 1, {10, 1}), note(4, 3, {30, 3})};
    notes[0].watermark = {Epoch(1), 2};
    notes[3].message.is_replica_away = true;
    const Result<uint64_t> last = replay_notes(state, 2, notes);
    ASSERT_TRUE(last);
    EXPECT_EQ(*last, 5U);
    ASSERT_EQ(state.window.entries().size(), 2U);
    EXPECT_EQ(state.window.entries()[0].number.count, 3U);
    EXPECT_EQ(state.window.entries()[1].number.count, 5U);
    EXPECT_EQ(state.dirty.count(), 3U);
    EXPECT_EQ(state.watermark.count, 2U);
}

TEST(Replay, MarksWhatIsBelowTheWatermarkToo) {
    const Settings settings{.blocks = 1000, .window_ops = 4, .reads = 4};
    ReplicaState state(settings);
    state.watermark = {Epoch(1), 9};
    std::vector<ReplicaNote> notes{note(5, 5, {50, 5})};
    notes[0].message.is_replica_away = true;
    ASSERT_TRUE(replay_notes(state, 0, notes));
    EXPECT_TRUE(state.window.entries().empty());
    EXPECT_EQ(state.dirty.count(), 5U);
}

TEST(Replay, RefusesMoreThanAWindowHolds) {
    const Settings settings{.blocks = 1000, .window_ops = 1, .reads = 4};
    ReplicaState state(settings);
    std::vector<ReplicaNote> notes;
    for (uint64_t i = 1; i <= kWindowEntriesPerOp + 1; ++i) {
        notes.push_back(note(i, i, {i, 1}));
    }
    EXPECT_EQ(replay_notes(state, 0, notes).error().code, Errc::kDataCorrupt);
}

TEST(BlockBitmap, ComesBackFromItsBytes) {
    BlockBitmap bitmap(100);
    bitmap.set({60, 10});
    bitmap.set(99);
    std::vector<std::byte> bytes(4096);
    bitmap.save(0, bytes);
    BlockBitmap other(100);
    other.set(5);
    ASSERT_TRUE(other.load(0, bytes));
    EXPECT_EQ(other.count(), 11U);
    EXPECT_TRUE(other.has(69));
    EXPECT_FALSE(other.has(5));
    bytes[12] |= std::byte{0x10};  // Block 100.
    EXPECT_FALSE(other.load(0, bytes));
}

}  // namespace
}  // namespace basalt::replication
