#include "nvmf/host_bdev/retry_rules.h"

#include <gtest/gtest.h>

namespace basalt::nvmf {
namespace {

using bdev::IoOp;

constexpr RetryDelays kDelays{0, 3, 5, 7};

Judgement judge_answer(IoOp op, NvmeStatus status, const Attempts& attempts = {}) {
    return judge(op, to_error(status), false, attempts, 3, kDelays);
}

TEST(RetryRules, ASuccessIsDone) {
    const Judgement judgement = judge(IoOp::kWrite, kOk, false, {}, 3, kDelays);
    EXPECT_EQ(judgement.verdict, Verdict::kDone);
    EXPECT_TRUE(judgement.outcome);
}

TEST(RetryRules, ALostCommandGoesAgainAndWaitsForTheFenceIfItChangesData) {
    const Status lost(Errc::kConnectionClosed);
    const std::pair<IoOp, Verdict> expected[] = {{IoOp::kRead, Verdict::kRetryLost},
                                                 {IoOp::kCompare, Verdict::kRetryLost},
                                                 {IoOp::kFlush, Verdict::kRetryLost},
                                                 {IoOp::kWrite, Verdict::kRetryFenced},
                                                 {IoOp::kWriteZeroes, Verdict::kRetryFenced},
                                                 {IoOp::kUnmap, Verdict::kRetryFenced}};
    for (const auto& [op, verdict] : expected) {
        EXPECT_EQ(judge(op, lost, true, {}, 0, kDelays).verdict, verdict);
        const Attempts many{.moved = kPathRetriesMax};
        EXPECT_EQ(judge(op, lost, true, many, 0, kDelays).verdict, Verdict::kDone);
    }
}

TEST(RetryRules, APathErrorGoesElsewhereAndNeverReachesTheUser) {
    for (const NvmeStatus status : {status::kInternalPathError,
                                    status::kAnaInaccessible,
                                    status::kAnaPersistentLoss,
                                    status::kAnaTransition,
                                    status::kAnaInaccessible.with_dnr(),
                                    status::kControllerPathError,
                                    status::kHostPathError,
                                    status::kAbortedByHost}) {
        EXPECT_EQ(judge_answer(IoOp::kWrite, status).verdict, Verdict::kRetryElsewhere);
        const Judgement at_last = judge_answer(IoOp::kWrite, status, {.moved = kPathRetriesMax});
        EXPECT_EQ(at_last.verdict, Verdict::kDone);
        EXPECT_EQ(at_last.outcome.error().detail, 0);
    }
    EXPECT_EQ(judge_answer(IoOp::kWrite, status::kInternalPathError.with_dnr()).verdict,
              Verdict::kDone);
}

TEST(RetryRules, WhatTheControllerMayDoLaterIsTriedSomeTimes) {
    for (const NvmeStatus status : {status::kNamespaceNotReady,
                                    status::kCommandInterrupted,
                                    status::kTransientTransportError,
                                    status::kAbortRequested,
                                    status::kInternalError}) {
        const Judgement judgement = judge_answer(IoOp::kRead, status, {.failed = 2});
        EXPECT_EQ(judgement.verdict, Verdict::kRetry);
        EXPECT_EQ(judgement.delay_ns, kRetryDelayNs);
        const Judgement at_last = judge_answer(IoOp::kRead, status, {.failed = 3});
        EXPECT_EQ(at_last.verdict, Verdict::kDone);
        EXPECT_EQ(at_last.outcome.error().detail, status.raw());
        EXPECT_EQ(judge_answer(IoOp::kRead, status.with_dnr()).verdict, Verdict::kDone);
    }
}

TEST(RetryRules, TheControllersDelayIsKept) {
    NvmeStatus status = status::kCommandInterrupted;
    status.crd = 2;
    EXPECT_EQ(judge_answer(IoOp::kRead, status).delay_ns, 500 * kNsPerMs);
}

TEST(RetryRules, WithoutABoundItGoesOn) {
    const Status status(to_error(status::kNamespaceNotReady));
    EXPECT_EQ(judge(IoOp::kRead, status, false, {.failed = 1000}, -1, kDelays).verdict,
              Verdict::kRetry);
}

TEST(RetryRules, WhatFailsForGoodIsNotTriedAgain) {
    for (const NvmeStatus status : {status::kCompareFailure,
                                    status::kLbaOutOfRange,
                                    status::kInvalidField,
                                    status::kReservationConflict,
                                    status::kCapacityExceeded,
                                    status::kNamespaceWriteProtected}) {
        EXPECT_EQ(judge_answer(IoOp::kWrite, status).verdict, Verdict::kDone);
    }
}

TEST(RetryRules, AFlushThatFailedIsNotTriedIntoSuccess) {
    EXPECT_EQ(judge_answer(IoOp::kFlush, status::kInternalError).verdict, Verdict::kDone);
    EXPECT_EQ(judge_answer(IoOp::kFlush, status::kAnaInaccessible).verdict,
              Verdict::kRetryElsewhere);
}

TEST(RetryRules, AWrongDigestIsTriedAgainSomeTimes) {
    const Status status(Errc::kDataCorrupt);
    EXPECT_EQ(judge(IoOp::kRead, status, false, {}, 3, kDelays).verdict, Verdict::kRetry);
    EXPECT_EQ(judge(IoOp::kRead, status, false, {.failed = 3}, 3, kDelays).verdict, Verdict::kDone);
}

}  // namespace
}  // namespace basalt::nvmf
