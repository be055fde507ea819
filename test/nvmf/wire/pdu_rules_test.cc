// What a receiver refuses, and how it names the violation.

#include <string>

#include <gtest/gtest.h>

#include "nvmf/wire/command_build.h"
#include "nvmf/wire/digest.h"
#include "test/nvmf/wire/wire_testing.h"

namespace basalt::nvmf {
namespace {

using testing::ByteVector;
using testing::encoded;
using testing::established;
using testing::from_hex;
using testing::pattern;
using testing::RecordingHandler;
using testing::with_payload;

constexpr Violation violation(Fes fes, uint32_t fei) {
    return {.fes = fes, .fei = fei, .close_silently = false};
}

constexpr Violation bad_field(uint32_t offset) {
    return violation(Fes::kInvalidHeaderField, offset);
}

/// What a receiver says to `bytes`; kNone if it accepts them.
Violation verdict(const ByteVector& bytes, const PduRules& rules) {
    RecordingHandler handler;
    PduReceiver receiver(handler, rules);
    const size_t taken = receiver.feed(bytes);
    EXPECT_LE(taken, bytes.size());
    EXPECT_EQ(receiver.is_done(), handler.violation_count == 1);
    return handler.violation;
}

/// A PDU of every type that `side` receives, with payload where it carries one.
std::vector<ByteVector> one_of_each(Side side, const PduFormat& format) {
    std::vector<ByteVector> pdus;
    const auto data = pattern(64);
    if (side == Side::kController) {
        Sqe flush = make_command(nvme_cmd_flush, CommandId(1), Nsid(1));
        pdus.push_back(
            encoded([&](auto out) { return encode_capsule_cmd(out, flush, 0, format); }));
        Sqe write = make_command(nvme_cmd_write, CommandId(2), Nsid(1));
        set_in_capsule_data(write, 64);
        pdus.push_back(with_payload(
            encoded([&](auto out) { return encode_capsule_cmd(out, write, 64, format); }),
            data,
            format));
        const H2cDataFields fields{.cid = CommandId(2),
                                   .tag = TransferTag(9),
                                   .offset = 4096,
                                   .length_bytes = 64,
                                   .last = true};
        pdus.push_back(with_payload(
            encoded([&](auto out) { return encode_h2c_data(out, fields, format); }), data, format));
        return pdus;
    }
    Cqe cqe;
    cqe.command_id.set(3);
    pdus.push_back(encoded([&](auto out) { return encode_capsule_resp(out, cqe, format); }));
    const R2tFields r2t{
        .cid = CommandId(2), .tag = TransferTag(9), .offset = 4096, .length_bytes = 64};
    pdus.push_back(encoded([&](auto out) { return encode_r2t(out, r2t, format); }));
    const C2hDataFields fields{
        .cid = CommandId(3), .offset = 0, .length_bytes = 64, .last = true, .success = true};
    pdus.push_back(with_payload(
        encoded([&](auto out) { return encode_c2h_data(out, fields, format); }), data, format));
    return pdus;
}

ByteVector ic_req() {
    return encoded([](auto out) { return encode_ic_req(out, {}); });
}

ByteVector ic_resp() {
    return encoded([](auto out) { return encode_ic_resp(out, {}); });
}

ByteVector term_req(Side sender) {
    return encoded([&](auto out) {
        return encode_term_req(out, sender, bad_field(0), from_hex("ff00000000000000"));
    });
}

PduRules awaiting_ic(Side side) {
    PduRules rules;
    rules.side = side;
    return rules;
}

/// A 24-byte or 72-byte header that nothing but a test would write.
ByteVector raw(const std::string& common_hex, size_t header_bytes) {
    ByteVector bytes = from_hex(common_hex);
    bytes.resize(header_bytes);
    return bytes;
}

void flip(ByteVector& bytes, size_t bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
}

TEST(PduRules, FindEverySingleBitErrorUnderAHeaderDigest) {
    for (const Side side : {Side::kController, Side::kHost}) {
        for (const bool data_digest : {false, true}) {
            const PduFormat format{.header_digest = true, .data_digest = data_digest};
            const PduRules rules = established(side, true, data_digest);
            for (const ByteVector& pdu : one_of_each(side, format)) {
                const size_t header_bits = (static_cast<size_t>(pdu[2]) + kDigestBytes) * 8;
                for (size_t bit = 0; bit < header_bits; ++bit) {
                    ByteVector damaged = pdu;
                    flip(damaged, bit);
                    EXPECT_TRUE(verdict(damaged, rules))
                        << "type " << static_cast<int>(pdu[0]) << " bit " << bit;
                }
            }
        }
    }
}

TEST(PduRules, SurviveEverySingleBitErrorWithoutADigest) {
    for (const Side side : {Side::kController, Side::kHost}) {
        const PduRules rules = established(side, false, false);
        for (const ByteVector& pdu : one_of_each(side, {})) {
            for (size_t bit = 0; bit < static_cast<size_t>(pdu[2]) * 8; ++bit) {
                ByteVector damaged = pdu;
                flip(damaged, bit);
                RecordingHandler handler;
                PduReceiver receiver(handler, rules);
                EXPECT_LE(receiver.feed(damaged), damaged.size());
                // Refused, or accepted as something that keeps the rules; a shorter length leaves
                // bytes over that may be refused in their turn.
                EXPECT_GE(handler.violation_count + static_cast<int>(handler.pdus.size()), 1);
                EXPECT_LE(handler.violation_count, 1);
                for (const auto& accepted : handler.pdus) {
                    EXPECT_TRUE(accepted.header.size() == 24 || accepted.header.size() == 72);
                    EXPECT_LE(accepted.data.size(), damaged.size());
                }
            }
        }
    }
}

TEST(PduRules, SurviveEverySingleBitErrorInTheHandshake) {
    for (const Side side : {Side::kController, Side::kHost}) {
        const ByteVector pdu = side == Side::kController ? ic_req() : ic_resp();
        for (size_t bit = 0; bit < pdu.size() * 8; ++bit) {
            ByteVector damaged = pdu;
            flip(damaged, bit);
            RecordingHandler handler;
            PduReceiver receiver(handler, awaiting_ic(side));
            EXPECT_LE(receiver.feed(damaged), damaged.size());
            EXPECT_EQ(handler.violation_count + static_cast<int>(handler.pdus.size()), 1);
            // The common header and the version have no bit that may differ.
            EXPECT_EQ(handler.violation_count == 1 || bit >= 80, true) << "bit " << bit;
        }
    }
}

TEST(PduRules, RefuseTypesOfTheOtherDirection) {
    for (const Side side : {Side::kController, Side::kHost}) {
        const Side other = side == Side::kController ? Side::kHost : Side::kController;
        for (const ByteVector& pdu : one_of_each(other, {})) {
            EXPECT_EQ(verdict(pdu, established(side, false, false)), bad_field(0));
        }
        EXPECT_EQ(verdict(term_req(side), established(side, false, false)), bad_field(0));
    }
}

TEST(PduRules, RefuseUnknownTypes) {
    for (const int type : {0x08, 0x0a, 0x0b, 0x10, 0x80, 0xff}) {
        ByteVector pdu = raw("0000180018000000", 24);
        pdu[0] = static_cast<std::byte>(type);
        EXPECT_EQ(verdict(pdu, established(Side::kController, false, false)), bad_field(0));
        EXPECT_EQ(verdict(pdu, established(Side::kHost, false, false)), bad_field(0));
    }
}

TEST(PduRules, AcceptTheHandshakeOnceAndFirst) {
    EXPECT_FALSE(verdict(ic_req(), awaiting_ic(Side::kController)));
    EXPECT_FALSE(verdict(ic_resp(), awaiting_ic(Side::kHost)));
    EXPECT_EQ(verdict(ic_req(), established(Side::kController, false, false)),
              violation(Fes::kPduSequenceError, 0));
    EXPECT_EQ(verdict(ic_resp(), established(Side::kHost, false, false)),
              violation(Fes::kPduSequenceError, 0));
    for (const Side side : {Side::kController, Side::kHost}) {
        for (const ByteVector& pdu : one_of_each(side, {})) {
            EXPECT_EQ(verdict(pdu, awaiting_ic(side)), violation(Fes::kPduSequenceError, 0));
        }
    }
}

TEST(PduRules, AcceptTerminateRequestsAtAnyTime) {
    EXPECT_FALSE(verdict(term_req(Side::kHost), awaiting_ic(Side::kController)));
    EXPECT_FALSE(verdict(term_req(Side::kHost), established(Side::kController, true, true)));
    EXPECT_FALSE(verdict(term_req(Side::kController), awaiting_ic(Side::kHost)));
    EXPECT_FALSE(verdict(term_req(Side::kController), established(Side::kHost, true, true)));
}

TEST(PduRules, NeverAnswerABadTerminateRequest) {
    // Too short, too long, a wrong header length, a flag.
    for (const char* const common :
         {"0200180017000000", "0200180099000000", "0200170018000000", "0201180018000000"}) {
        const Violation found =
            verdict(raw(common, 24), established(Side::kController, false, false));
        EXPECT_TRUE(found) << common;
        EXPECT_TRUE(found.close_silently) << common;
    }
}

TEST(PduRules, RefuseAVersionTheyDoNotSpeak) {
    for (const Side side : {Side::kController, Side::kHost}) {
        ByteVector pdu = side == Side::kController ? ic_req() : ic_resp();
        pdu[8] = std::byte{1};
        EXPECT_EQ(verdict(pdu, awaiting_ic(side)), violation(Fes::kUnsupportedParameter, 8));
    }
}

TEST(PduRules, RefuseAnAlignmentBeyond128Bytes) {
    for (const Side side : {Side::kController, Side::kHost}) {
        ByteVector pdu = side == Side::kController ? ic_req() : ic_resp();
        pdu[10] = std::byte{31};
        EXPECT_FALSE(verdict(pdu, awaiting_ic(side)));
        pdu[10] = std::byte{32};
        EXPECT_EQ(verdict(pdu, awaiting_ic(side)), bad_field(10));
    }
}

TEST(PduRules, RefuseAMaxH2cDataBelow4096OrNoMultipleOf4) {
    for (const char* const bytes_max : {"00000000", "fc0f0000", "02100000"}) {
        ByteVector pdu = ic_resp();
        const ByteVector field = from_hex(bytes_max);
        std::copy(field.begin(), field.end(), pdu.begin() + 12);
        EXPECT_EQ(verdict(pdu, awaiting_ic(Side::kHost)), bad_field(12));
    }
}

TEST(PduRules, RefuseDigestFlagsThatWereNotAgreed) {
    const auto capsule = raw("0401480048000000", 76);
    EXPECT_EQ(verdict(capsule, established(Side::kController, false, false)), bad_field(1));
    const auto bare = raw("0400480048000000", 76);
    EXPECT_EQ(verdict(bare, established(Side::kController, true, false)), bad_field(1));
    // A data digest without data.
    const auto empty = raw("040248004c000000", 76);
    EXPECT_EQ(verdict(empty, established(Side::kController, false, false)), bad_field(1));
    // Data without the digest that was agreed.
    const auto undigested = raw("040048484c000000", 76);
    EXPECT_EQ(verdict(undigested, established(Side::kController, false, true)), bad_field(1));
}

TEST(PduRules, RefuseSuccessWithoutLast) {
    EXPECT_EQ(verdict(raw("0708181828000000", 40), established(Side::kHost, false, false)),
              bad_field(1));
}

TEST(PduRules, RefuseAWrongHeaderLength) {
    for (const char* const common :
         {"0400470048000000", "0400490049000000", "0400ff00ff000000", "0400000048000000"}) {
        EXPECT_EQ(verdict(raw(common, 255), established(Side::kController, false, false)),
                  bad_field(2));
    }
}

TEST(PduRules, RefuseABadDataOffset) {
    const PduRules rules = established(Side::kController, false, false);
    // Inside the header; beyond the PDU; unaligned; set without data; missing with data.
    for (const char* const common : {"040048474c000000",
                                     "040048504c000000",
                                     "0400484a58000000",
                                     "0400484c48000000",
                                     "040048004c000000"}) {
        EXPECT_EQ(verdict(raw(common, 200), rules), bad_field(3)) << common;
    }
    EXPECT_EQ(
        verdict(raw("0400484c50000000", 200), established(Side::kController, false, false, 8)),
        bad_field(3));
    // A response has no data, so no offset either.
    EXPECT_EQ(verdict(raw("0500181818000000", 24), established(Side::kHost, false, false)),
              bad_field(3));
}

TEST(PduRules, AcceptADataOffsetAtTheHeadersEndWithoutData) {
    EXPECT_FALSE(
        verdict(raw("0400484848000000", 72), established(Side::kController, false, false)));
}

TEST(PduRules, RefuseAPduShorterThanItsHeader) {
    for (const char* const common : {"0400480000000000", "0400480047000000"}) {
        EXPECT_EQ(verdict(raw(common, 72), established(Side::kController, false, false)),
                  bad_field(4));
    }
    // With a digest the header is four bytes longer.
    EXPECT_EQ(verdict(raw("0401480048000000", 76), established(Side::kController, true, false)),
              bad_field(4));
}

TEST(PduRules, RefuseAPduWithRoomForTheDigestOnly) {
    EXPECT_EQ(verdict(raw("040248484c000000", 76), established(Side::kController, false, true)),
              bad_field(4));
}

TEST(PduRules, RefuseDataWhereThereIsNone) {
    EXPECT_EQ(verdict(raw("0500180019000000", 25), established(Side::kHost, false, false)),
              bad_field(4));
    EXPECT_EQ(verdict(raw("0900180028000000", 40), established(Side::kHost, false, false)),
              bad_field(4));
    EXPECT_EQ(verdict(raw("0000800081000000", 129), awaiting_ic(Side::kController)), bad_field(4));
}

TEST(PduRules, RefuseDataPdusWithoutData) {
    EXPECT_EQ(verdict(raw("0604180018000000", 24), established(Side::kController, false, false)),
              bad_field(4));
    EXPECT_EQ(verdict(raw("0704180018000000", 24), established(Side::kHost, false, false)),
              bad_field(4));
}

TEST(PduRules, RefuseMoreInCapsuleDataThanAgreed) {
    PduRules rules = established(Side::kController, false, false);
    rules.capsule_data_bytes_max = 8192;
    // 72 + 8192 is 0x2048.
    EXPECT_FALSE(verdict(raw("0400484848200000", 72), rules));
    EXPECT_EQ(verdict(raw("0400484849200000", 72), rules), bad_field(4));
    EXPECT_EQ(verdict(raw("04004848ffffffff", 72), rules), bad_field(4));
}

TEST(PduRules, RefuseMoreH2cDataThanAgreed) {
    PduRules rules = established(Side::kController, false, false);
    rules.data_bytes_max = 4096;
    const auto h2c = [](uint32_t bytes) {
        return encoded([&](auto out) {
            return encode_h2c_data(
                out,
                {.cid = CommandId(1), .tag = TransferTag(1), .offset = 0, .length_bytes = bytes},
                {});
        });
    };
    EXPECT_FALSE(verdict(h2c(4096), rules));
    EXPECT_EQ(verdict(h2c(4097), rules), violation(Fes::kLimitExceeded, 0));
}

TEST(PduRules, RefuseMoreC2hDataThanAnyCommandMoves) {
    PduRules rules = established(Side::kHost, false, false);
    rules.data_bytes_max = 4096;
    EXPECT_EQ(verdict(raw("0704181819100000", 24), rules), bad_field(4));
}

TEST(PduRules, RefuseALengthThatIsNotTheDatas) {
    for (const Side side : {Side::kController, Side::kHost}) {
        ByteVector pdu = one_of_each(side, {})[2];
        pdu[16] = std::byte{63};
        EXPECT_EQ(verdict(pdu, established(side, false, false)), bad_field(16));
    }
}

TEST(PduRules, RefuseTransfersBeyond4GiB) {
    for (const Side side : {Side::kController, Side::kHost}) {
        ByteVector pdu = one_of_each(side, {})[2];
        // Offset ffffffbf and 64 bytes end at ffffffff; one more does not.
        const ByteVector last_good = from_hex("bfffffff");
        std::copy(last_good.begin(), last_good.end(), pdu.begin() + 12);
        EXPECT_FALSE(verdict(pdu, established(side, false, false)));
        pdu[12] = std::byte{0xc0};
        EXPECT_EQ(verdict(pdu, established(side, false, false)),
                  violation(Fes::kDataTransferOutOfRange, 0));
    }
}

TEST(PduRules, RefuseAnR2tOfNothingOrBeyond4GiB) {
    ByteVector pdu = one_of_each(Side::kHost, {})[1];
    ByteVector empty = pdu;
    empty[16] = std::byte{0};
    EXPECT_EQ(verdict(empty, established(Side::kHost, false, false)), bad_field(16));
    const ByteVector far = from_hex("c0ffffff");
    std::copy(far.begin(), far.end(), pdu.begin() + 12);
    EXPECT_EQ(verdict(pdu, established(Side::kHost, false, false)),
              violation(Fes::kDataTransferOutOfRange, 0));
}

TEST(PduRules, NameTheDigestThatCameInAHeaderDigestError) {
    const PduFormat format{.header_digest = true};
    ByteVector pdu = one_of_each(Side::kController, format)[0];
    const ByteVector wrong = from_hex("78563412");
    std::copy(wrong.begin(), wrong.end(), pdu.begin() + 72);
    EXPECT_EQ(verdict(pdu, established(Side::kController, true, false)),
              violation(Fes::kHeaderDigestError, 0x12345678));
}

}  // namespace
}  // namespace basalt::nvmf
