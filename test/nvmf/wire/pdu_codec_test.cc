#include "nvmf/wire/pdu_codec.h"

#include <cstring>

#include <gtest/gtest.h>

#include "nvmf/wire/command_build.h"
#include "nvmf/wire/digest.h"
#include "test/nvmf/wire/wire_testing.h"

namespace basalt::nvmf {
namespace {

using testing::encoded;
using testing::from_hex;
using testing::to_hex;

const std::string kZeros112(224, '0');

PduFormat format(bool header_digest, bool data_digest, uint8_t align = 4) {
    return {.header_digest = header_digest, .data_digest = data_digest, .data_align_bytes = align};
}

/// A read of 8 blocks of 512 bytes from LBA 0x11223344: the worked example of format.md.
Sqe example_read() {
    Sqe sqe = make_command(nvme_cmd_read, CommandId(0x0042), Nsid(1));
    set_range(sqe, Lba(0x11223344), BlockCount(8));
    set_transport_data(sqe, 4096);
    return sqe;
}

const char* const kExampleReadSqe =
    "02 40 4200 01000000 00000000 00000000 0000000000000000"
    "0000000000000000 00100000 000000 5a"
    "44332211 00000000 07000000 00000000 00000000 00000000";

TEST(PduCodec, EncodesIcReqByteForByte) {
    const auto pdu = encoded([](auto out) {
        return encode_ic_req(
            out, {.data_align = 0, .header_digest = true, .data_digest = true, .r2t_max = 4});
    });
    EXPECT_EQ(to_hex(pdu),
              "0000800080000000"
              "0000"
              "00"
              "03"
              "03000000" +
                  kZeros112);
}

TEST(PduCodec, EncodesIcRespByteForByte) {
    const auto pdu = encoded([](auto out) {
        return encode_ic_resp(out,
                              {.data_align = 1,
                               .header_digest = false,
                               .data_digest = true,
                               .h2c_data_max_bytes = 131072});
    });
    EXPECT_EQ(to_hex(pdu),
              "0100800080000000"
              "0000"
              "01"
              "02"
              "00000200" +
                  kZeros112);
}

TEST(PduCodec, EncodesTermReqsByteForByte) {
    const Violation violation{.fes = Fes::kInvalidHeaderField, .fei = 4, .close_silently = false};
    const auto offending = from_hex("0400480000000100");
    const auto c2h = encoded(
        [&](auto out) { return encode_term_req(out, Side::kController, violation, offending); });
    EXPECT_EQ(to_hex(c2h),
              "0300180020000000"
              "0100"
              "04000000"
              "00000000000000000000"
              "0400480000000100");
    const auto h2c =
        encoded([&](auto out) { return encode_term_req(out, Side::kHost, violation, offending); });
    EXPECT_EQ(to_hex(h2c).substr(0, 2), "02");
    EXPECT_EQ(to_hex(h2c).substr(2), to_hex(c2h).substr(2));
}

TEST(PduCodec, CutsTheOffendingHeaderThatATermReqCarries) {
    const Violation violation{.fes = Fes::kPduSequenceError, .fei = 0, .close_silently = false};
    const auto offending = testing::pattern(kHeaderBufferBytes);
    const auto pdu =
        encoded([&](auto out) { return encode_term_req(out, Side::kHost, violation, offending); });
    EXPECT_EQ(pdu.size(), 152U);
    EXPECT_EQ(to_hex(pdu).substr(8, 8), "98000000");
}

TEST(PduCodec, EncodesCapsuleCmdByteForByte) {
    const auto pdu = encoded(
        [](auto out) { return encode_capsule_cmd(out, example_read(), 0, format(false, true)); });
    EXPECT_EQ(to_hex(pdu), "0400480048000000" + to_hex(from_hex(kExampleReadSqe)));
}

TEST(PduCodec, EncodesCapsuleCmdWithDigestsPaddingAndData) {
    Sqe sqe = make_command(nvme_cmd_write, CommandId(7), Nsid(1));
    set_in_capsule_data(sqe, 512);
    const auto pdu = encoded(
        [&](auto out) { return encode_capsule_cmd(out, sqe, 512, format(true, true, 32)); });
    // 72 + 4 is 76, aligned to 32 is 96; 96 + 512 + 4 is 612.
    ASSERT_EQ(pdu.size(), 96U);
    EXPECT_EQ(to_hex(pdu).substr(0, 16), "0403486064020000");
    const std::span<const std::byte> bytes(pdu);
    Le32 digest;
    std::memcpy(&digest, bytes.data() + 72, 4);
    EXPECT_EQ(digest.get(), crc32c(bytes.first(72)));
    EXPECT_EQ(to_hex(bytes.subspan(76)), std::string(40, '0'));
}

TEST(PduCodec, EncodesCapsuleRespByteForByte) {
    Cqe cqe;
    cqe.dw0.set(0x01020304);
    cqe.sq_head.set(0x0506);
    cqe.sq_id.set(3);
    cqe.command_id.set(0x0042);
    cqe.set_status(status::kLbaOutOfRange.with_dnr());
    const auto pdu =
        encoded([&](auto out) { return encode_capsule_resp(out, cqe, format(false, false)); });
    EXPECT_EQ(to_hex(pdu),
              "0500180018000000"
              "04030201"
              "00000000"
              "0605"
              "0300"
              "4200"
              "0081");
}

TEST(PduCodec, EncodesR2tByteForByteWithItsDigest) {
    const R2tFields fields{
        .cid = CommandId(0x42), .tag = TransferTag(0x17), .offset = 8192, .length_bytes = 4096};
    const auto plain =
        encoded([&](auto out) { return encode_r2t(out, fields, format(false, true)); });
    EXPECT_EQ(to_hex(plain),
              "0900180018000000"
              "4200"
              "1700"
              "00200000"
              "00100000"
              "00000000");
    const auto digested =
        encoded([&](auto out) { return encode_r2t(out, fields, format(true, false)); });
    ASSERT_EQ(digested.size(), 28U);
    EXPECT_EQ(to_hex(digested).substr(0, 16), "090118001c000000");
}

TEST(PduCodec, EncodesH2cDataByteForByte) {
    const H2cDataFields fields{.cid = CommandId(0x42),
                               .tag = TransferTag(0x17),
                               .offset = 8192,
                               .length_bytes = 4096,
                               .last = true};
    const auto pdu =
        encoded([&](auto out) { return encode_h2c_data(out, fields, format(false, true)); });
    // 24 + 4096 + 4 is 4124.
    EXPECT_EQ(to_hex(pdu),
              "060618181c100000"
              "4200"
              "1700"
              "00200000"
              "00100000"
              "00000000");
}

TEST(PduCodec, EncodesC2hDataByteForByte) {
    const C2hDataFields fields{
        .cid = CommandId(0x42), .offset = 0, .length_bytes = 4096, .last = true, .success = true};
    const auto pdu =
        encoded([&](auto out) { return encode_c2h_data(out, fields, format(false, false)); });
    EXPECT_EQ(to_hex(pdu),
              "070c181818100000"
              "4200"
              "0000"
              "00000000"
              "00100000"
              "00000000");
}

TEST(PduCodec, WritesTheWorkedExampleOfTheFormatPage) {
    const PduFormat digests = format(true, true);
    const auto command =
        encoded([&](auto out) { return encode_capsule_cmd(out, example_read(), 0, digests); });
    EXPECT_EQ(to_hex(command), "040148004c000000" + to_hex(from_hex(kExampleReadSqe)) + "5520e3c6");
    const C2hDataFields fields{
        .cid = CommandId(0x42), .offset = 0, .length_bytes = 4096, .last = true, .success = true};
    const testing::ByteVector zeros(4096);
    const auto data = testing::with_payload(
        encoded([&](auto out) { return encode_c2h_data(out, fields, digests); }), zeros, digests);
    ASSERT_EQ(data.size(), 4128U);
    EXPECT_EQ(to_hex(std::span(data).first(28)),
              "070f181c20100000"
              "42000000"
              "00000000"
              "00100000"
              "00000000"
              "dc883696");
    EXPECT_EQ(to_hex(std::span(data).last(4)), "8941f998");
}

}  // namespace
}  // namespace basalt::nvmf
