#include "nvmf/host_bdev/retry_rules.h"

#include <algorithm>

namespace basalt::nvmf {

namespace {

constexpr uint8_t kPathStatusType = 3;

/// Failures that the same command meets again, whether or not the controller says so.
bool is_final(NvmeStatus status) {
    static constexpr std::array kFinal{status::kCompareFailure,
                                       status::kLbaOutOfRange,
                                       status::kInvalidOpcode,
                                       status::kInvalidField,
                                       status::kInvalidNamespace,
                                       status::kCapacityExceeded,
                                       status::kReservationConflict,
                                       status::kNamespaceWriteProtected};
    return std::any_of(
        kFinal.begin(), kFinal.end(), [&](NvmeStatus one) { return one.is(status); });
}

Judgement judge_lost(bdev::IoOp op, const Status& status, const Attempts& attempts) {
    if (attempts.moved >= kPathRetriesMax) {
        return {.verdict = Verdict::kDone, .outcome = status};
    }
    return {.verdict = changes_data(op) ? Verdict::kRetryFenced : Verdict::kRetryLost};
}

}  // namespace

bool is_ana_status(NvmeStatus status) {
    return status.is(status::kAnaInaccessible) || status.is(status::kAnaPersistentLoss) ||
           status.is(status::kAnaTransition);
}

bool is_path_status(NvmeStatus status) {
    return status.sct == kPathStatusType;
}

Judgement judge(bdev::IoOp op,
                const Status& status,
                bool was_lost,
                const Attempts& attempts,
                int32_t retries_max,
                const RetryDelays& delays) {
    if (status) {
        return {.verdict = Verdict::kDone, .outcome = kOk};
    }
    if (was_lost) {
        return judge_lost(op, status, attempts);
    }
    const bool may_retry = retries_max < 0 || attempts.failed < static_cast<uint32_t>(retries_max);
    if (status.error().detail == 0) {
        // A wrong data digest, or an answer that does not fit: the transport's doing. A write whose
        // answer did not fit was executed, so it may be again.
        if (may_retry) {
            return {.verdict = Verdict::kRetry, .delay_ns = kRetryDelayNs};
        }
        return {.verdict = Verdict::kDone, .outcome = status};
    }
    const NvmeStatus nvme = NvmeStatus::from_raw(status.error().detail);
    if (is_path_status(nvme) && (is_ana_status(nvme) || !nvme.dnr)) {
        if (attempts.moved < kPathRetriesMax) {
            return {.verdict = Verdict::kRetryElsewhere};
        }
        // No status of a path that is not the user's.
        return {.verdict = Verdict::kDone, .outcome = Errc::kUnreachable};
    }
    // A flush that failed is not tried into success: what it was to save may be lost already.
    if (nvme.dnr || is_final(nvme) || op == bdev::IoOp::kFlush || !may_retry) {
        return {.verdict = Verdict::kDone, .outcome = status};
    }
    const uint64_t delay_ns = nvme.crd == 0 ? kRetryDelayNs : delays[nvme.crd] * kCrdtUnitNs;
    return {.verdict = Verdict::kRetry, .delay_ns = delay_ns};
}

}  // namespace basalt::nvmf
