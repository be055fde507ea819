#pragma once

#include <array>
#include <cstdint>

#include "bdev/core/io_request.h"
#include "nvmf/host_bdev/limits.h"
#include "nvmf/wire/status.h"
#include "reactor/base/result.h"

namespace basalt::nvmf {

/// What becomes of a command that was answered, or whose connection ended.
enum class Verdict : uint8_t {
    kDone,            ///< Its status is the outcome.
    kRetry,           ///< Again after a pause, on any path.
    kRetryElsewhere,  ///< The path can't serve the namespace: again on another one, at once.
    kRetryLost,       ///< Its connection ended, what became of it is unknown: again at once.
    kRetryFenced,     ///< The same, but it changes data: again when the old path is fenced.
};

/// How often a command was tried, by reason.
struct Attempts {
    uint32_t failed = 0;  ///< The controller said no.
    uint32_t moved = 0;   ///< The path failed.
};

/// What judge() says. A value.
struct Judgement {
    Verdict verdict = Verdict::kDone;
    Status outcome{};       ///< For kDone: what the user is told.
    uint64_t delay_ns = 0;  ///< For kRetry.
};

/// CRDT1 to CRDT3 of a controller, in units of 100 ms; [0] is 0.
using RetryDelays = std::array<uint16_t, 4>;

/// Judges `status`, with which a command for `op` has ended. `was_lost`: it is why its connection
/// ended, and no answer. `retries_max` bounds Attempts::failed; -1: no bound. Pure.
///
/// A write that was answered is never sent again, and one that was not is sent again only before
/// its user is told anything; so among the copies of it that a user can know of there is no order
/// to get wrong. What fencing is for is the copy that nobody knows of: README.md.
[[nodiscard]] Judgement judge(bdev::IoOp op,
                              const Status& status,
                              bool was_lost,
                              const Attempts& attempts,
                              int32_t retries_max,
                              const RetryDelays& delays);

/// True for operations that leave other data behind.
[[nodiscard]] constexpr bool changes_data(bdev::IoOp op) {
    return op == bdev::IoOp::kWrite || op == bdev::IoOp::kWriteZeroes || op == bdev::IoOp::kUnmap;
}

/// True for statuses that say that this path can't reach the namespace now, and another may.
[[nodiscard]] bool is_path_status(NvmeStatus status);

/// True for the statuses of Asymmetric Namespace Access: the log has changed.
[[nodiscard]] bool is_ana_status(NvmeStatus status);

}  // namespace basalt::nvmf
