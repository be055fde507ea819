#include "replication/wire/frame.h"

#include <array>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace basalt::replication::wire {
namespace {

using Bytes = std::vector<std::byte>;

template <typename Body>
Bytes encoded(const Header& header, const Body& body) {
    Bytes out(kHeaderBytes + kBodyBytesMax);
    out.resize(encode(header, body, out));
    return out;
}

Hello hello() {
    Hello out{.connection = 3, .session = 5, .epoch = Epoch(6), .tenure = Epoch(4)};
    out.cluster.bytes.fill(0xc1);
    out.drive.bytes.fill(0xd1);
    return out;
}

RequestFields request() {
    return {.volume = 1,
            .epoch = Epoch(2),
            .tenure = Epoch(3),
            .session = 4,
            .range = {5, 6},
            .number = {Epoch(7), 8},
            .generation = {Epoch(9), 10},
            .watermark = {Epoch(11), 12},
            .as_of = {Epoch(13), 14},
            .is_replica_away = true,
            .is_exact = true};
}

AnswerFields answer() {
    return {.fence = Epoch(1),
            .agreed = Epoch(2),
            .number = {Epoch(3), 4},
            .newest = {Epoch(5), 6},
            .watermark = {Epoch(7), 8},
            .generation = {Epoch(9), 10},
            .blocks = 11,
            .entries = 12,
            .is_blank = true};
}

const Header kHello{.opcode = Opcode::kHello, .id = 1};
const Header kRequest{.opcode = Opcode::kWrite, .payload_bytes = 4100, .table_crc = 9, .id = 2};
const Header kAnswer{.opcode = Opcode::kRead, .is_answer = true, .status = Errc::kStaleEpoch};

/// Whether the bytes are a whole frame of that kind.
bool decodes(const Bytes& frame, const Hello*) {
    return decode_hello(frame).has_value();
}
bool decodes(const Bytes& frame, const RequestFields*) {
    return decode_request(frame).has_value();
}
bool decodes(const Bytes& frame, const AnswerFields*) {
    return decode_answer(frame).has_value();
}

TEST(WireFrame, APingLooksAsThePageSays) {
    const Bytes frame = encoded({.opcode = Opcode::kPing, .credits = 2, .id = 7}, RequestFields{});
    Bytes expected(152);
    constexpr std::array<uint8_t, 25> kStart{0x42, 0x52, 0x45, 0x50, 0x10, 0xad, 0x3b, 0xec, 0x02,
                                             0,    0,    0,    0x70, 0,    0,    0,    0,    0,
                                             0,    0,    0x02, 0,    0,    0,    0x07};
    for (size_t i = 0; i < kStart.size(); ++i) {
        expected[i] = std::byte{kStart[i]};
    }
    EXPECT_EQ(frame, expected);
}

TEST(WireFrame, FieldsStandWhereThePageSays) {
    const Bytes frame = encoded(kRequest, request());
    const auto at = [&frame](size_t offset) {
        return std::to_integer<uint32_t>(frame[kHeaderBytes + offset]);
    };
    const std::array<std::pair<size_t, uint32_t>, 14> fields{{{0, 1},
                                                              {8, 2},
                                                              {16, 3},
                                                              {24, 4},
                                                              {28, 3},
                                                              {32, 5},
                                                              {40, 6},
                                                              {48, 7},
                                                              {56, 8},
                                                              {64, 9},
                                                              {72, 10},
                                                              {80, 11},
                                                              {96, 13},
                                                              {104, 14}}};
    for (const auto& [offset, value] : fields) {
        EXPECT_EQ(at(offset), value) << offset;
    }
}

TEST(WireFrame, WhatIsWrittenIsRead) {
    EXPECT_EQ(*decode_hello(encoded(kHello, hello())), hello());
    EXPECT_EQ(*decode_request(encoded(kRequest, request())), request());
    EXPECT_EQ(*decode_answer(encoded(kAnswer, answer())), answer());
    Header expected = kRequest;
    expected.body_bytes = kRequestBytes;
    EXPECT_EQ(*decode_header(encoded(kRequest, request())), expected);
    for (uint8_t opcode = 2; opcode <= kOpcodeLast; ++opcode) {
        const Header header{.opcode = Opcode{opcode}};
        EXPECT_TRUE(decode_request(encoded(header, request())));
    }
}

template <typename Body>
void expect_no_damage_is_taken(const Header& header, const Body& body) {
    const Bytes frame = encoded(header, body);
    const Body* kind = nullptr;
    ASSERT_TRUE(decodes(frame, kind));
    for (size_t size = 0; size < frame.size(); ++size) {
        EXPECT_FALSE(
            decodes(Bytes(frame.begin(), frame.begin() + static_cast<ptrdiff_t>(size)), kind))
            << size;
    }
    for (size_t bit = 0; bit < frame.size() * 8; ++bit) {
        Bytes damaged = frame;
        damaged[bit / 8] ^= std::byte{1} << (bit % 8);
        EXPECT_FALSE(decodes(damaged, kind)) << bit;
    }
}

TEST(WireFrame, NoTruncationAndNoSingleBitIsTakenForSound) {
    expect_no_damage_is_taken(kHello, hello());
    expect_no_damage_is_taken(kRequest, request());
    expect_no_damage_is_taken(kAnswer, answer());
}

TEST(WireFrame, RefusesAFrameOfAnotherKind) {
    EXPECT_EQ(decode_answer(encoded(kRequest, request())).error().code, Errc::kProtocol);
    EXPECT_EQ(decode_request(encoded(kAnswer, answer())).error().code, Errc::kProtocol);
    EXPECT_EQ(decode_request(encoded(kHello, hello())).error().code, Errc::kProtocol);
    EXPECT_EQ(decode_hello(encoded(kRequest, request())).error().code, Errc::kProtocol);
}

TEST(WireFrame, RefusesRangesThatAreTooLongOrWrapAround) {
    RequestFields body = request();
    body.range.count = kRangeBlocksMax + 1;
    EXPECT_EQ(decode_request(encoded(kRequest, body)).error().code, Errc::kProtocol);
    body.range = {~uint64_t{0}, 2};
    EXPECT_EQ(decode_request(encoded(kRequest, body)).error().code, Errc::kProtocol);
}

TEST(WireFrame, SidesAgreeOnTheHighestCommonVersion) {
    Hello newer = hello();
    newer.version_max = 9;
    EXPECT_EQ(*negotiate(hello(), newer), kVersionMax);
    newer.version_min = 2;
    EXPECT_EQ(negotiate(hello(), newer).error().code, Errc::kNotSupported);
}

TEST(WireFrame, RefusesStrangers) {
    Hello stranger = hello();
    stranger.cluster.bytes[0] = 0;
    EXPECT_EQ(negotiate(hello(), stranger).error().code, Errc::kPermissionDenied);
    stranger = hello();
    stranger.drive.bytes[0] = 0;
    EXPECT_EQ(negotiate(hello(), stranger).error().code, Errc::kNotFound);
    stranger = hello();
    stranger.block_bytes = 512;
    EXPECT_EQ(negotiate(hello(), stranger).error().code, Errc::kNotSupported);
}

}  // namespace
}  // namespace basalt::replication::wire
