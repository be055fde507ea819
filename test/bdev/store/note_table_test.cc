#include "bdev/store/note_table.h"

#include <algorithm>
#include <deque>
#include <vector>

#include <gtest/gtest.h>

#include "reactor/io/random.h"

namespace basalt::bdev::store {
namespace {

constexpr uint32_t kMax = 40;

/// A note of one byte: its key's lowest.
class TableTest : public testing::Test {
  protected:
    Note make(uint32_t owner, uint64_t key, NoteRange forget = {}) {
        byte_ = static_cast<std::byte>(key);
        return {.owner = owner, .key = key, .forget = forget, .bytes = {&byte_, 1}};
    }
    uint32_t add(uint32_t owner, uint64_t key, NoteRange forget = {}) {
        return table_.add(make(owner, key, forget), NoteKind::kWrite, key, 1);
    }
    void put(uint32_t owner, uint64_t key, NoteRange forget = {}) {
        table_.confirm(add(owner, key, forget));
    }
    std::vector<uint64_t> keys(uint32_t owner) {
        std::vector<uint64_t> keys;
        for (const StoredNote& note : table_.notes_of(owner)) {
            EXPECT_EQ(note.owner, owner);
            EXPECT_EQ(note.first, note.key);
            EXPECT_EQ(note.bytes().size(), 1U);
            EXPECT_EQ(note.data[0], static_cast<std::byte>(note.key));
            keys.push_back(note.key);
        }
        return keys;
    }
    /// As a checkpoint has it, in steps.
    std::vector<std::byte> image(uint32_t& count) {
        std::vector<std::byte> bytes(size_t{kMax} * kCheckpointNoteBytesMax);
        std::byte* at = bytes.data();
        count = 0;
        for (uint32_t index = table_.first(); index != NoteTable::kNone;) {
            count += table_.list(index, 3, at);
        }
        bytes.resize(static_cast<size_t>(at - bytes.data()));
        return bytes;
    }
    using Keys = std::vector<uint64_t>;

    NoteTable table_{kMax};
    std::byte byte_{};
};

TEST_F(TableTest, KeepsTheOrderInWhichTheyCame) {
    put(1, 5);
    put(2, 4);
    put(1, 3);
    put(1, 9);
    put(1, 3);
    EXPECT_EQ(keys(1), (Keys{5, 3, 9, 3}));
    EXPECT_EQ(keys(2), (Keys{4}));
    EXPECT_EQ(keys(3), (Keys{}));
}

TEST_F(TableTest, ARecordForgetsWhatIsThereButNotWhatIsUnderWay) {
    put(1, 5);
    const uint32_t pending = add(1, 6);
    put(1, 7);
    put(2, 6);
    put(1, 100);
    put(1, 8, {6, 7});
    EXPECT_EQ(keys(1), (Keys{5, 100, 8}));
    EXPECT_EQ(keys(2), (Keys{6}));
    table_.confirm(pending);
    EXPECT_EQ(keys(1), (Keys{5, 6, 100, 8}));
    put(1, 9, {100, UINT64_MAX});
    EXPECT_EQ(keys(1), (Keys{5, 6, 8, 9}));
    EXPECT_EQ(table_.forgotten(), 0U);
}

TEST_F(TableTest, WhatIsForgottenOtherwiseKeepsItsPlaceUntilACheckpointIsDurable) {
    for (uint64_t key = 1; key <= kMax; ++key) {
        ASSERT_TRUE(table_.has_room(make(1, key)));
        put(1, key);
    }
    EXPECT_FALSE(table_.has_room(make(1, 50)));
    EXPECT_TRUE(table_.has_room(make(1, 50, {40, 40}))) << "it makes room itself";
    EXPECT_FALSE(table_.has_room(make(1, 50, {41, 99})));
    table_.forget(1, {1, 10});
    EXPECT_EQ(keys(1).size(), kMax - 10);
    EXPECT_FALSE(table_.has_room(make(1, 50)));
    table_.begin_checkpoint();
    table_.forget(1, {1, 11});
    uint32_t count = 0;
    static_cast<void>(image(count));
    EXPECT_EQ(count, kMax - 11);
    EXPECT_FALSE(table_.has_room(make(1, 50)));
    EXPECT_EQ(table_.forgotten(), 11U);
    table_.end_checkpoint();
    EXPECT_TRUE(table_.has_room(make(1, 50)));
    EXPECT_EQ(table_.size(), kMax - 10) << "the last came too late for this checkpoint";
    EXPECT_EQ(table_.forgotten(), 1U);
}

TEST_F(TableTest, OwnersThatAreNotKeptAreForgotten) {
    for (const uint32_t owner : {3U, 1U, 2U}) {
        put(owner, 10 + owner);
    }
    const std::vector<uint32_t> kept{0, 2, 7};
    table_.keep_only(kept);
    EXPECT_EQ(keys(1), (Keys{}));
    EXPECT_EQ(keys(2), (Keys{12}));
    EXPECT_EQ(keys(3), (Keys{}));
}

TEST_F(TableTest, AnImageComesBackAsItWasAndNoOther) {
    for (uint64_t key = 1; key <= 10; ++key) {
        put(static_cast<uint32_t>(key % 3 + 1), 20 - key);
    }
    uint32_t count = 0;
    const auto bytes = image(count);
    NoteTable other(kMax);
    ASSERT_TRUE(other.load(bytes, count));
    for (const uint32_t owner : {1U, 2U, 3U}) {
        Keys loaded;
        for (const StoredNote& note : other.notes_of(owner)) {
            loaded.push_back(note.key);
        }
        EXPECT_EQ(loaded, keys(owner));
    }
    for (uint32_t wrong : {0U, count - 1, count + 1, UINT32_MAX}) {
        NoteTable none(kMax);
        EXPECT_FALSE(none.load(bytes, wrong)) << wrong;
    }
    NoteTable small(count - 1);
    EXPECT_FALSE(small.load(bytes, count));
    for (size_t cut = 1; cut < bytes.size(); cut += 4) {
        NoteTable none(kMax);
        EXPECT_FALSE(none.load(std::span(bytes).first(bytes.size() - cut), count)) << cut;
    }
}

TEST_F(TableTest, AnImageLiesOnTheDeviceAsTheFormatSays) {
    table_.confirm(table_.add(make(0x01020304, 0x1122334455667788), NoteKind::kUnmap, 0xAABB, 7));
    uint32_t count = 0;
    const auto bytes = image(count);
    ASSERT_EQ(count, 1U);
    ASSERT_EQ(bytes.size(), 40U);
    const std::array<uint8_t, 40> golden{0x04, 0x03, 0x02, 0x01, 2,    1,    0,    0,     //
                                         0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,  //
                                         0xBB, 0xAA, 0,    0,    0,    0,    0,    0,     //
                                         7,    0,    0,    0,    0,    0,    0,    0,     //
                                         0x88, 0,    0,    0,    0,    0,    0,    0};
    EXPECT_TRUE(std::ranges::equal(bytes, std::as_bytes(std::span(golden))));
}

TEST_F(TableTest, AnImageThatMakesNoSenseIsRefused) {
    put(1, 5);
    uint32_t count = 0;
    const auto sound = image(count);
    const auto refuses = [&](size_t offset, uint8_t value) {
        auto bytes = sound;
        bytes[offset] = static_cast<std::byte>(value);
        NoteTable table(kMax);
        return !table.load(bytes, 1);
    };
    EXPECT_TRUE(refuses(0, 0)) << "nobody's";
    EXPECT_TRUE(refuses(4, 0)) << "no kind";
    EXPECT_TRUE(refuses(4, 4)) << "no kind";
    EXPECT_TRUE(refuses(4, 3)) << "alone, and yet with a block";
    EXPECT_TRUE(refuses(5, 9)) << "longer than the image";
    EXPECT_TRUE(refuses(5, 0)) << "shorter";
    EXPECT_TRUE(refuses(5, 255)) << "longer than any";
    EXPECT_TRUE(refuses(6, 1)) << "reserved";
    EXPECT_TRUE(refuses(22, 1)) << "no such block";
    EXPECT_TRUE(refuses(24, 0)) << "a write of nothing";
    EXPECT_TRUE(refuses(25, 2)) << "more than a page";
    EXPECT_TRUE(refuses(28, 1)) << "reserved";
    EXPECT_FALSE(refuses(8, 99)) << "any key will do";
    // Whatever it is, nothing is read or kept beyond the bounds.
    Random random(1);
    for (uint64_t key = 6; key < 20; ++key) {
        put(2, key);
    }
    const auto many = image(count);
    for (uint32_t round = 0; round < 20'000; ++round) {
        auto bytes = many;
        bytes[random.below(bytes.size())] = static_cast<std::byte>(random.below(256));
        bytes.resize(bytes.size() - random.below(2) * random.below(bytes.size()));
        NoteTable table(kMax);
        static_cast<void>(table.load(bytes, count));
        ASSERT_LE(table.size(), count);
    }
}

/// The same as a plain list, in random runs.
TEST_F(TableTest, DoesWhatAPlainListDoes) {
    struct Plain {
        uint32_t owner;
        uint64_t key;
        bool is_pending;
        uint32_t index;
    };
    Random random(7);
    std::deque<Plain> list;
    uint32_t checkpoints = 0;
    const auto erase = [&](uint32_t owner, NoteRange gone) {
        return std::erase_if(list, [&](const Plain& one) {
            return !one.is_pending && one.owner == owner && gone.has(one.key);
        });
    };
    for (uint32_t step = 0; step < 50'000; ++step) {
        const auto owner = static_cast<uint32_t>(1 + random.below(3));
        const uint64_t first = random.below(30);
        const NoteRange range{first, first + random.below(10) - 1};
        const uint64_t what = random.below(20);
        if (what < 14) {
            const uint64_t key = random.below(30);
            const Note note = make(owner, key, what < 7 ? range : NoteRange{});
            // Forgotten ones that a record forgets again give their room back too.
            if (!table_.has_room(note)) {
                EXPECT_EQ(table_.size(), kMax);
                continue;
            }
            const uint32_t index = table_.add(note, NoteKind::kWrite, key, 1);
            erase(owner, note.forget);
            list.push_back({owner, key, true, index});
        } else if (what < 17 && !list.empty()) {
            Plain& one = list[random.below(list.size())];
            if (one.is_pending) {
                table_.confirm(one.index);
                one.is_pending = false;
            }
        } else if (what == 17) {
            table_.forget(owner, range);
            erase(owner, range);
        } else if (what == 18) {
            for (Plain& one : list) {
                if (one.is_pending) {
                    table_.confirm(one.index);
                    one.is_pending = false;
                }
            }
            table_.begin_checkpoint();
            table_.end_checkpoint();
            EXPECT_EQ(table_.size(), list.size());
            ++checkpoints;
        }
        for (const uint32_t each : {1U, 2U, 3U}) {
            Keys expected;
            for (const Plain& one : list) {
                if (one.owner == each && !one.is_pending) {
                    expected.push_back(one.key);
                }
            }
            ASSERT_EQ(keys(each), expected) << "step " << step;
        }
    }
    EXPECT_GT(checkpoints, 1000U);
}

}  // namespace
}  // namespace basalt::bdev::store
