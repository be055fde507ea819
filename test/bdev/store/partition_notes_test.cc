#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "bdev/store/checksum.h"
#include "test/bdev/store/partition_node.h"
#include "test/reactor/may_leak.h"

/// Notes of a partition at their bounds: when there is no room for more, and what a checkpoint says
/// of them. partition_crash_test.cc has them in random work.
namespace basalt::bdev::store {
namespace {

using basalt::test::MayLeak;
using test::PartitionNode;
using test::TestPartitionIo;

sim::FaultOptions jittery() {
    sim::FaultOptions options = sim::calm();
    options.storage_jitter_ns = 300'000;
    return options;
}

/// A partition with one node, 1, whose notes are of owner 1, on a small drive.
class NotesNode {
  public:
    explicit NotesNode(uint64_t seed = 1, const sim::FaultOptions& faults = sim::calm())
        : node(seed, uint64_t{20} << 20U, faults) {
        node.options.cache_pages = 512;
        node.format();
        node.partition->set_node({.id = 1});
        EXPECT_EQ(node.open(), Errc::kOk);
        max = node.partition->stats().notes_max;
    }

    void begin(PartitionOp op, uint64_t first, uint64_t count, uint64_t key, NoteRange forget) {
        ios.push_back(std::make_unique<TestPartitionIo>(op, 1, first, count));
        TestPartitionIo& io = *ios.back();
        for (uint64_t i = 0; op == PartitionOp::kWrite && i < count; ++i) {
            io.fill(i, key + i);
        }
        io.add_note(1, key, forget);
        io.submit(*node.partition);
    }
    void end() {
        const auto is_done = [](const auto& io) { return io->is_done; };
        EXPECT_TRUE(node.world.run_until([&] { return std::ranges::all_of(ios, is_done); },
                                         PartitionNode::kWaitNs));
        for (const auto& io : ios) {
            EXPECT_EQ(io->code, Errc::kOk);
        }
        ios.clear();
    }
    /// Notes with the keys 1 to `max` of this partition.
    void fill() {
        for (uint64_t key = 1; key <= max; ++key) {
            begin(PartitionOp::kNote, 0, 0, key, {});
        }
        end();
    }
    /// Until the drive was changed `changes` times more, or all has ended.
    void work(uint64_t changes) {
        const uint64_t limit = node.channel->changes + changes;
        while (node.channel->changes < limit && node.world.step()) {
        }
    }
    [[nodiscard]] Errc reopen() {
        node.crash();
        node.partition->set_node({.id = 1});
        return node.open();
    }
    [[nodiscard]] std::vector<uint64_t> keys() const {
        std::vector<uint64_t> keys;
        for (const StoredNote& note : node.partition->notes(1)) {
            EXPECT_TRUE(std::ranges::equal(note.bytes(), TestPartitionIo::bytes_of_note(note.key)));
            keys.push_back(note.key);
        }
        return keys;
    }

    MayLeak leak;
    PartitionNode node;
    std::vector<std::unique_ptr<TestPartitionIo>> ios;
    uint64_t max = 0;
};

TEST(PartitionNotes, WithoutRoomANoteIsRefusedAndNothingElse) {
    NotesNode notes;
    PartitionNode& node = notes.node;
    notes.fill();
    EXPECT_EQ(node.note(1, 1, 5000), Errc::kNoMemory);
    EXPECT_EQ(node.note(1, 2, 5000), Errc::kNoMemory) << "others' too";
    TestPartitionIo write(PartitionOp::kWrite, 1, 0, 1);
    write.fill(0, 7);
    write.add_note(1, 5000);
    EXPECT_EQ(node.run(write), Errc::kNoMemory);
    EXPECT_EQ(node.read(1, 0), 0U);
    EXPECT_EQ(node.write(1, 0, 1, 8), Errc::kOk);
    EXPECT_EQ(node.unmap(1, 0, 1), Errc::kOk);
    EXPECT_EQ(notes.keys().size(), notes.max);
    // What it brings room for itself is taken at once, without a checkpoint.
    const uint64_t checkpoints = node.partition->stats().checkpoints;
    EXPECT_EQ(node.note(1, 1, 5000, {1, 1}), Errc::kOk);
    EXPECT_EQ(node.note(1, 1, 5001), Errc::kNoMemory);
    EXPECT_EQ(node.partition->stats().checkpoints, checkpoints);
    // Room of what is forgotten otherwise comes with a checkpoint, which is waited for.
    node.partition->forget_notes(1, {2, 2});
    EXPECT_EQ(node.note(1, 1, 5001), Errc::kOk);
    EXPECT_EQ(node.partition->stats().checkpoints, checkpoints + 1);
    EXPECT_EQ(node.note(1, 1, 5002), Errc::kNoMemory);
    // A checkpoint has room for all of them.
    EXPECT_EQ(node.code(node.partition->checkpoint()), Errc::kOk);
    const std::vector<uint64_t> before = notes.keys();
    EXPECT_EQ(before.size(), notes.max);
    EXPECT_EQ(notes.reopen(), Errc::kOk);
    EXPECT_EQ(notes.keys(), before);
    node.check();
}

TEST(PartitionNotes, WhatIsRefusedLeavesNoNote) {
    NotesNode notes;
    PartitionNode& node = notes.node;
    node.snapshot(1, 0, 2);
    EXPECT_EQ(node.note(1, 1, 5), Errc::kReadOnly);
    EXPECT_EQ(node.note(3, 1, 6), Errc::kNotFound);
    TestPartitionIo write(PartitionOp::kWrite, 2, 0, 1);
    const Pointer elsewhere{.word = 5, .birth = 1, .crc = 0};
    write.io.expected = &elsewhere;
    write.add_note(1, 7);
    EXPECT_EQ(node.run(write), Errc::kTryAgain);
    EXPECT_EQ(node.note(2, 1, 8), Errc::kOk);
    EXPECT_EQ(notes.keys(), (std::vector<uint64_t>{8}));
}

/// The log may bring back what was forgotten without a record: there must be room for it, whenever
/// the power fails.
TEST(PartitionNotes, ReplayNeverFindsMoreThanThereIsRoomFor) {
    for (uint64_t at = 1; at <= 60; ++at) {
        SCOPED_TRACE("write " + std::to_string(at));
        NotesNode notes(at, jittery());
        notes.fill();
        notes.node.partition->forget_notes(1, {1, 700});
        for (uint64_t key = 5000; key < 5000 + 500; ++key) {
            notes.begin(PartitionOp::kNote, 0, 0, key, {});
        }
        notes.work(at);
        ASSERT_EQ(notes.reopen(), Errc::kOk);
        const std::vector<uint64_t> keys = notes.keys();
        for (uint64_t key = 701; key <= notes.max; ++key) {
            ASSERT_NE(std::ranges::find(keys, key), keys.end()) << key;
        }
    }
}

/// A write whose data is not believed made room for the next one all the same.
TEST(PartitionNotes, ATornWriteForgetsWhatItWasToForget) {
    uint32_t torn = 0;
    for (uint64_t at = 1; at <= 60; ++at) {
        SCOPED_TRACE("moment " + std::to_string(at));
        NotesNode notes(at, jittery());
        notes.fill();
        constexpr uint64_t kWrites = 48;
        for (uint64_t i = 0; i < kWrites; ++i) {
            // One makes room for two, so that the next needs what this one forgets.
            const NoteRange two{i + 1, i + 2};
            notes.begin(
                PartitionOp::kWrite, i * 4, 1, 5000 + i * 4, i % 2 == 0 ? two : NoteRange{});
        }
        notes.node.world.run_for(at * 8 * kNsPerUs);
        std::vector<bool> is_acknowledged;
        for (const auto& io : notes.ios) {
            is_acknowledged.push_back(io->is_done);
        }
        ASSERT_EQ(notes.reopen(), Errc::kOk);
        const std::vector<uint64_t> keys = notes.keys();
        uint64_t last_there = 0;
        for (uint64_t i = 0; i < kWrites; ++i) {
            const bool is_there = std::ranges::find(keys, 5000 + i * 4) != keys.end();
            ASSERT_EQ(is_there, notes.node.read(1, i * 4) != 0) << i;
            ASSERT_TRUE(is_there || !is_acknowledged[i]) << i;
            last_there = is_there ? i : last_there;
        }
        for (uint64_t i = 0; i < last_there; ++i) {
            torn += std::ranges::find(keys, 5000 + i * 4) == keys.end() ? 1U : 0U;
        }
    }
    EXPECT_GT(torn, 10U) << "none was torn";
}

/// The newer checkpoint of a drive, as bytes.
struct Image {
    explicit Image(NotesNode& notes) : drive(notes.node.drive) {
        for (const Place place : {Place::kA, Place::kB}) {
            const uint64_t at = notes.node.layout.checkpoint(0, place) * kBlockBytes;
            test::Block block{};
            move(at, block, true);
            if (test::integer_at<uint64_t>(block, 8) >= test::integer_at<uint64_t>(bytes, 8)) {
                bytes = block;
                offset = at;
            }
        }
    }
    void put() {
        const BlockSeal seal(test::uuid_of(7).bytes, 0);
        seal.put(bytes, offsetof(CheckpointHead, crc));
        move(offset, bytes, false);
    }
    void move(uint64_t at, test::Block& block, bool is_read) {
        const iovec piece{block.data(), block.size()};
        const Status moved = is_read
                                 ? drive.read(at, &piece, block.size())
                                 : drive.write(at, &piece, block.size(), sim::Drive::Durable::kYes);
        EXPECT_TRUE(moved);
    }

    sim::Drive& drive;
    test::Block bytes{};  // One block holds all of the tests'.
    uint64_t offset = 0;
};

TEST(PartitionNotes, ACheckpointListsThemAsTheFormatSays) {
    NotesNode notes;
    EXPECT_EQ(notes.node.note(1, 1, 3), Errc::kOk);
    notes.begin(PartitionOp::kWrite, 300, 2, 40, {});
    notes.end();
    EXPECT_EQ(notes.node.code(notes.node.partition->checkpoint()), Errc::kOk);
    const Image image(notes);
    const auto slabs = test::integer_at<uint32_t>(image.bytes, 64);
    EXPECT_EQ(test::integer_at<uint32_t>(image.bytes, 68), 2U);
    EXPECT_EQ(test::integer_at<uint32_t>(image.bytes, 72), (32U + 8) + (32 + 40));
    EXPECT_EQ(test::integer_at<uint32_t>(image.bytes, 28), 96 + slabs * 8 + 112);
    const size_t first = 96 + size_t{slabs} * 8;
    EXPECT_EQ(test::integer_at<uint32_t>(image.bytes, first), 1U);
    EXPECT_EQ(test::integer_at<uint8_t>(image.bytes, first + 4), 3U);
    EXPECT_EQ(test::integer_at<uint8_t>(image.bytes, first + 5), 3U);
    EXPECT_EQ(test::integer_at<uint64_t>(image.bytes, first + 8), 3U);
    const size_t second = first + 40;
    EXPECT_EQ(test::integer_at<uint8_t>(image.bytes, second + 4), 1U);
    EXPECT_EQ(test::integer_at<uint64_t>(image.bytes, second + 8), 40U);
    EXPECT_EQ(test::integer_at<uint64_t>(image.bytes, second + 16), 300U);
    EXPECT_EQ(test::integer_at<uint32_t>(image.bytes, second + 24), 2U);
}

TEST(PartitionNotes, ACheckpointWithImpossibleNotesIsRefused) {
    NotesNode notes;
    EXPECT_EQ(notes.node.note(1, 1, 3), Errc::kOk);
    EXPECT_EQ(notes.node.code(notes.node.partition->checkpoint()), Errc::kOk);
    Image image(notes);
    const test::Block sound = image.bytes;
    const size_t first = 96 + size_t{test::integer_at<uint32_t>(sound, 64)} * 8;
    const auto opens_with = [&](size_t offset, uint32_t value) {
        image.bytes = sound;
        std::memcpy(image.bytes.data() + offset, &value, sizeof(value));
        image.put();
        notes.node.crash();
        return notes.node.code(notes.node.partition->load());
    };
    EXPECT_EQ(opens_with(first, 5), Errc::kOk) << "another owner is nothing bad";
    EXPECT_EQ(opens_with(first, 0), Errc::kDataCorrupt) << "no owner";
    EXPECT_EQ(opens_with(68, 0), Errc::kDataCorrupt) << "fewer than there are";
    EXPECT_EQ(opens_with(68, 2), Errc::kDataCorrupt) << "more";
    EXPECT_EQ(opens_with(68, UINT32_MAX), Errc::kDataCorrupt) << "many more";
    EXPECT_EQ(opens_with(first + 4, 0x4003), Errc::kDataCorrupt) << "longer than the list";
    EXPECT_EQ(opens_with(first + 28, 1), Errc::kDataCorrupt) << "reserved";
    // A length that disagrees with the checkpoint's own is no checkpoint: the older one counts.
    EXPECT_EQ(opens_with(72, 48), Errc::kOk);
    EXPECT_EQ(opens_with(72, UINT32_MAX), Errc::kOk);
}

}  // namespace
}  // namespace basalt::bdev::store
