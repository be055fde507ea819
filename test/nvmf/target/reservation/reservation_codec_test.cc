// The reservation commands, Report's data and the notification page, byte by byte.
#include "nvmf/target/reservation/reservation_codec.h"

#include <cstring>

#include <gtest/gtest.h>

#include "nvmf/target/limits.h"
#include "nvmf/target/reservation/notice_log.h"

namespace basalt::nvmf {
namespace {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::initializer_list<int> values) {
    Bytes bytes;
    for (const int value : values) {
        bytes.push_back(static_cast<std::byte>(value));
    }
    return bytes;
}

Sqe command(uint8_t opcode, uint32_t cdw10, uint32_t cdw11 = 0) {
    Sqe sqe;
    sqe.opcode = opcode;
    sqe.cdw10.set(cdw10);
    sqe.cdw11.set(cdw11);
    return sqe;
}

const Bytes kTwoKeys =
    bytes_of({0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 1, 0, 0, 0, 0, 0, 0, 0x80});

TEST(ReservationCodec, ReadsRegister) {
    ReservationEvent event;
    ASSERT_TRUE(
        decode_reservation(command(nvme_cmd_resv_register, 0xc000000a), kTwoKeys, event).ok());
    EXPECT_EQ(event.action, ReservationAction::kReplaceKey);
    EXPECT_TRUE(event.ignores_key);
    EXPECT_EQ(event.persistence, PersistenceChange::kPersist);
    EXPECT_EQ(event.current_key, 0x1122334455667788U);
    EXPECT_EQ(event.other_key, 0x8000000000000001U);
}

TEST(ReservationCodec, ReadsAcquireAndRelease) {
    ReservationEvent event;
    ASSERT_TRUE(decode_reservation(command(nvme_cmd_resv_acquire, 0x402), kTwoKeys, event).ok());
    EXPECT_EQ(event.action, ReservationAction::kPreemptAndAbort);
    EXPECT_EQ(event.type, ReservationType::kExclusiveAccessRegistrantsOnly);
    EXPECT_FALSE(event.ignores_key);
    EXPECT_EQ(event.other_key, 0x8000000000000001U);

    ReservationEvent release;
    ASSERT_TRUE(decode_reservation(
                    command(nvme_cmd_resv_release, 0x601), std::span(kTwoKeys).first(8), release)
                    .ok());
    EXPECT_EQ(release.action, ReservationAction::kClear);
    EXPECT_EQ(release.type, ReservationType::kExclusiveAccessAllRegistrants);
    EXPECT_EQ(release.current_key, 0x1122334455667788U);
    EXPECT_EQ(release.persistence, PersistenceChange::kNone);
}

TEST(ReservationCodec, RefusesActionsThatDontExist) {
    ReservationEvent event;
    for (uint32_t action = 0; action < 8; ++action) {
        EXPECT_EQ(decode_reservation(command(nvme_cmd_resv_register, action), kTwoKeys, event).ok(),
                  action < 3);
        EXPECT_EQ(decode_reservation(command(nvme_cmd_resv_acquire, action), kTwoKeys, event).ok(),
                  action < 3);
        EXPECT_EQ(decode_reservation(command(nvme_cmd_resv_release, action), kTwoKeys, event).ok(),
                  action < 2);
    }
}

TEST(ReservationCodec, KnowsHowMuchDataACommandHas) {
    EXPECT_EQ(reservation_data_bytes(command(nvme_cmd_resv_register, 0)), 16U);
    EXPECT_EQ(reservation_data_bytes(command(nvme_cmd_resv_acquire, 0)), 16U);
    EXPECT_EQ(reservation_data_bytes(command(nvme_cmd_resv_release, 0)), 8U);
    EXPECT_EQ(reservation_data_bytes(command(nvme_cmd_resv_report, 15)), 64U);
    EXPECT_EQ(reservation_data_bytes(command(nvme_cmd_resv_report, UINT32_MAX)),
              uint64_t{4} << 32U);
}

TEST(ReservationCodec, ReportNeedsExtendedStructures) {
    EXPECT_TRUE(check_report(command(nvme_cmd_resv_report, 15, 1)).ok());
    EXPECT_TRUE(
        check_report(command(nvme_cmd_resv_report, 15, 0)).is(status::kHostIdInconsistentFormat));
}

ReservationState two_registrants() {
    ReservationState state;
    state.generation = 0x01020304;
    state.type = ReservationType::kWriteExclusive;
    state.holder = HostId{0xa0, 0xa1};
    state.persists = true;
    state.registrants = {{HostId{0xa0, 0xa1}, 0x1122334455667788U}, {HostId{0xb0}, 5}};
    return state;
}

/// The bytes that the specification gives for two_registrants(): 64 of head and 64 for each.
Bytes golden_report() {
    Bytes golden(192);
    const auto put = [&golden](size_t at, std::initializer_list<int> values) {
        const Bytes bytes = bytes_of(values);
        std::copy(bytes.begin(), bytes.end(), golden.begin() + static_cast<ptrdiff_t>(at));
    };
    put(0, {4, 3, 2, 1, 1, 2, 0, 0, 0, 1});                     // GEN, RTYPE, REGCTL, PTPLS
    put(64, {0xff, 0xff, 1});                                   // CNTLID, RCSTS: the holder
    put(72, {0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11});  // RKEY
    put(80, {0xa0, 0xa1});                                      // HOSTID
    put(128, {0xff, 0xff, 0});
    put(136, {5});
    put(144, {0xb0});
    return golden;
}

TEST(ReservationCodec, ReportIsWrittenAsTheSpecificationHasIt) {
    Bytes out(192, std::byte{0xee});
    encode_report(two_registrants(), out);
    EXPECT_EQ(out, golden_report());
}

TEST(ReservationCodec, ReportIsCutToWhatTheHostAsksForAndFilledUp) {
    const Bytes golden = golden_report();
    for (size_t length = 0; length <= 256; length += 4) {
        Bytes out(length, std::byte{0xee});
        encode_report(two_registrants(), out);
        Bytes wanted = golden;
        wanted.resize(length);
        EXPECT_EQ(out, wanted) << length;
    }
}

TEST(ReservationCodec, WithAllRegistrantsEachOneHolds) {
    ReservationState state = two_registrants();
    state.type = ReservationType::kWriteExclusiveAllRegistrants;
    state.holder = {};
    Bytes out(192);
    encode_report(state, out);
    EXPECT_EQ(out[66], std::byte{1});
    EXPECT_EQ(out[130], std::byte{1});
}

TEST(ReservationNoticeLog, APageIsWrittenAsTheSpecificationHasIt) {
    ReservationNoticeLog log;
    log.add(Nsid(0x01020304), NoticeType::kReservationReleased);
    log.add(Nsid(1), NoticeType::kReservationPreempted);
    const nvme_resv_notification_log page = log.oldest();
    Bytes out(64);
    std::memcpy(out.data(), &page, sizeof(page));
    Bytes golden = bytes_of({1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 4, 3, 2, 1});
    golden.resize(64);
    EXPECT_EQ(out, golden);
}

TEST(ReservationNoticeLog, NoticesComeOutInOrderAndThenAnEmptyPage) {
    ReservationNoticeLog log;
    log.add(Nsid(1), NoticeType::kRegistrationPreempted);
    log.add(Nsid(2), NoticeType::kReservationReleased);
    EXPECT_EQ(log.oldest().nsid, 1U);
    EXPECT_EQ(log.oldest().nalp, 1);
    log.pop();
    EXPECT_EQ(log.oldest().lpc, 2U);
    EXPECT_EQ(log.oldest().nalp, 0);
    log.pop();
    EXPECT_TRUE(log.is_empty());
    EXPECT_EQ(log.oldest().lpc, 0U);
    EXPECT_EQ(log.oldest().rnlpt, NVME_RESV_NOTIFY_RNLPT_EMPTY);
    log.clear();
    log.add(Nsid(1), NoticeType::kRegistrationPreempted);
    EXPECT_EQ(log.oldest().lpc, 1U);
}

TEST(ReservationNoticeLog, WhatIsLostShowsInTheNumbers) {
    ReservationNoticeLog log;
    for (uint32_t i = 0; i < kReservationNoticesMax + 3; ++i) {
        log.add(Nsid(1), NoticeType::kRegistrationPreempted);
    }
    EXPECT_EQ(log.oldest().lpc, 4U);
    EXPECT_EQ(log.oldest().nalp, kReservationNoticesMax - 1);
}

}  // namespace
}  // namespace basalt::nvmf
