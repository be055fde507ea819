#include "nvmf/target/error_log.h"

#include <gtest/gtest.h>

#include "nvmf/wire/command_build.h"

namespace basalt::nvmf {
namespace {

ErrorRecord record(uint16_t cid) {
    return make_error_record(
        make_command(0xff, CommandId(cid), Nsid(3)), QueueId(2), status::kInvalidOpcode.with_dnr());
}

TEST(ErrorLog, IsAllZeroWhileNothingHasFailed) {
    const ErrorLog log;
    EXPECT_EQ(log.count(), 0U);
    for (uint32_t i = 0; i < kErrorLogEntries; ++i) {
        EXPECT_EQ(log.entry(i).error_count, 0U);
        EXPECT_EQ(log.entry(i).trtype, 0U);
    }
}

TEST(ErrorLog, TellsTheLastFailureFirstAndForgetsTheOldest) {
    ErrorLog log;
    for (uint16_t cid = 1; cid <= kErrorLogEntries + 5; ++cid) {
        log.add(record(cid));
    }
    EXPECT_EQ(log.count(), kErrorLogEntries + 5U);
    for (uint32_t i = 0; i < kErrorLogEntries; ++i) {
        const nvme_error_log_page entry = log.entry(i);
        EXPECT_EQ(entry.error_count, kErrorLogEntries + 5 - i);
        EXPECT_EQ(entry.cmdid, kErrorLogEntries + 5 - i);
        EXPECT_EQ(entry.sqid, 2U);
        EXPECT_EQ(entry.nsid, 3U);
        EXPECT_EQ(entry.trtype, NVMF_TRTYPE_TCP);
        EXPECT_EQ(entry.parm_error_location, 0U) << "the opcode is at fault";
        EXPECT_EQ(entry.status_field >> 1U, status::kInvalidOpcode.with_dnr().raw());
    }
}

TEST(ErrorLog, CountsWhatItWasOnlyToldTheNumberOf) {
    ErrorLog log;
    log.add(record(1));
    log.add_lost(10);
    log.add(record(2));
    EXPECT_EQ(log.entry(0).error_count, 12U);
    EXPECT_EQ(log.entry(1).error_count, 1U);
}

TEST(ErrorLog, KnowsTheBlockOfAnIoCommandAlone) {
    Sqe read = make_command(nvme_cmd_read, CommandId(1), Nsid(1));
    set_range(read, Lba(0x123456789aULL), BlockCount(1));
    EXPECT_EQ(make_error_record(read, QueueId(1), status::kLbaOutOfRange).lba, 0x123456789aU);
    EXPECT_EQ(make_error_record(read, kAdminQueueId, status::kInvalidField).lba, 0U);
    EXPECT_EQ(make_error_record(read, QueueId(1), status::kInternalError).location,
              ErrorRecord::kLocationUnknown);
}

TEST(ErrorLog, LeavesOutWhatIsNoNews) {
    EXPECT_FALSE(is_worth_logging(status::kSuccess));
    EXPECT_FALSE(is_worth_logging(status::kAbortRequested));
    EXPECT_FALSE(is_worth_logging(status::kCompareFailure));
    EXPECT_FALSE(is_worth_logging(status::kReservationConflict));
    EXPECT_FALSE(is_worth_logging(status::kAnaInaccessible));
    EXPECT_TRUE(is_worth_logging(status::kUnrecoveredReadError));
    EXPECT_TRUE(is_worth_logging(status::kInvalidField));
}

TEST(ErrorBatch, CountsWhatItHasNoRoomFor) {
    ErrorBatch batch;
    EXPECT_TRUE(batch.is_empty());
    for (uint16_t cid = 0; cid < kErrorsUnderWayMax; ++cid) {
        EXPECT_TRUE(batch.add(record(cid)));
    }
    EXPECT_FALSE(batch.add(record(9)));
    EXPECT_EQ(batch.lost, 1U);
    EXPECT_EQ(batch.records[kErrorsUnderWayMax - 1].cid, CommandId(kErrorsUnderWayMax - 1));
}

}  // namespace
}  // namespace basalt::nvmf
