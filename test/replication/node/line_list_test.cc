// The list of a volume's snapshots as bytes, and what a new head makes of it.

#include "replication/head/line_list.h"

#include <array>
#include <cstring>
#include <memory>

#include <gtest/gtest.h>

namespace basalt::replication {
namespace {

using State = LineRecord::State;
using Slot = std::array<std::byte, kLineSlotBytes>;

LineList some_list() {
    LineList list;
    list.volume = bdev::Uuid{{1, 2, 3}};
    list.change = 77;
    list.lines.push_back({State::kThere, {Epoch(3), 5}, "monday"});
    list.lines.push_back({State::kDeleting, {Epoch(4), 1}, std::string(kLineNameMax, 'x')});
    list.lines.push_back({State::kDrawing, {Epoch(4), 1}, "t"});
    return list;
}

TEST(LineList, ComesBackAsItWas) {
    const auto slot = std::make_unique<Slot>();
    EXPECT_EQ(decode_line_list(*slot).error().code, Errc::kNotFound);
    LineList list = some_list();
    encode_line_list(list, *slot);
    EXPECT_EQ(decode_line_list(*slot).value(), list);
    list.lines.clear();
    encode_line_list(list, *slot);
    EXPECT_EQ(decode_line_list(*slot).value(), list);
    list.lines.resize(kLinesMax, {State::kThere, {Epoch(1), 1}, std::string(kLineNameMax, 'n')});
    encode_line_list(list, *slot);
    EXPECT_EQ(decode_line_list(*slot).value(), list);
}

TEST(LineList, HasTheseBytes) {
    const auto slot = std::make_unique<Slot>();
    encode_line_list(some_list(), *slot);
    const auto at = [&slot](size_t index) { return std::to_integer<uint32_t>((*slot)[index]); };
    EXPECT_EQ(std::memcmp(slot->data(), "BSLTLIN1\x01\x02\x03", 11), 0);
    EXPECT_EQ(at(24), 77U);
    EXPECT_EQ(at(32), 3U);
    EXPECT_EQ(at(64), 3U);
    EXPECT_EQ(at(72), 5U);
    EXPECT_EQ(at(80), 2U);
    EXPECT_EQ(at(81), 6U);
    EXPECT_EQ(std::memcmp(slot->data() + 82, "monday\0", 7), 0);
    EXPECT_EQ(at(64 + 128 + 16), 3U);
}

TEST(LineList, IsNotTakenWhenABitIsAnotherOne) {
    const auto good = std::make_unique<Slot>();
    encode_line_list(some_list(), *good);
    // Each bit of what is used, and of the checksum; some of the rest.
    for (size_t byte = 0; byte < kLineSlotBytes; byte += byte < 512 || byte > 65500 ? 1 : 997) {
        const auto bad = std::make_unique<Slot>(*good);
        (*bad)[byte] ^= std::byte{1} << (byte % 8);
        ASSERT_EQ(decode_line_list(*bad).error().code, Errc::kDataCorrupt) << byte;
    }
}

TEST(LineList, WhatNobodyMadeToTheEndIsDeleted) {
    LineList list = some_list();
    EXPECT_TRUE(list.resolve({Epoch(5), 2}));
    ASSERT_EQ(list.lines.size(), 3U);
    EXPECT_EQ(list.lines[0], some_list().lines[0]);
    EXPECT_EQ(list.lines[2], (LineRecord{State::kDeleting, {Epoch(5), 2}, "t"}));
    EXPECT_FALSE(list.resolve({Epoch(5), 2}));
    // Nobody has drawn it.
    list = some_list();
    EXPECT_TRUE(list.resolve({Epoch(4), 1}));
    EXPECT_EQ(list.lines.size(), 2U);
    EXPECT_EQ(list.find("t"), nullptr);
    EXPECT_NE(list.find("monday"), nullptr);
}

}  // namespace
}  // namespace basalt::replication
