#pragma once

#include <array>
#include <cstdint>

#include "nvmf/target/limits.h"
#include "nvmf/wire/sqe.h"
#include "nvmf/wire/status.h"

namespace basalt::nvmf {

/// A command that failed, as the Error Information log tells it. A value.
struct ErrorRecord {
    static constexpr uint16_t kLocationUnknown = 0xffff;

    uint64_t lba = 0;
    Nsid nsid;
    QueueId qid;
    CommandId cid;
    NvmeStatus status;
    uint16_t location = kLocationUnknown;  ///< The byte of the command that is at fault.
};

/// True if a failure of that kind belongs in the log. What a host asked for itself (an abort), what
/// is an answer and no failure (a comparison's, a reservation's) and what another path may serve is
/// no news to an administrator.
[[nodiscard]] bool is_worth_logging(NvmeStatus status);

/// What there is to tell about command `sqe` of queue `qid` that failed with `status`.
[[nodiscard]] ErrorRecord make_error_record(const Sqe& sqe, QueueId qid, NvmeStatus status);

/// The Error Information log of one controller: the last kErrorLogEntries failures, and how many
/// there were (NVMe Base Specification, "Error Information log page").
///
/// Owner: Controller. Core: the controller's.
class ErrorLog {
  public:
    void add(const ErrorRecord& record);
    /// `count` failures of which nothing is known but that they were.
    void add_lost(uint64_t count) { count_ += count; }

    /// All failures since the controller was made; also the number of the last one.
    [[nodiscard]] uint64_t count() const { return count_; }
    /// The entry `index` places before the last one, in the layout of the page; all zero if there
    /// is none. `index` is below kErrorLogEntries.
    [[nodiscard]] nvme_error_log_page entry(uint32_t index) const;

  private:
    struct Numbered {
        uint64_t number = 0;  // From 1; 0: none.
        ErrorRecord record;
    };

    std::array<Numbered, kErrorLogEntries> ring_{};
    uint32_t next_ = 0;
    uint64_t count_ = 0;
};

/// Failures of one queue on their way to the log on another core. Bounded: of a host that errs
/// faster than messages travel, the rest is counted alone.
struct ErrorBatch {
    std::array<ErrorRecord, kErrorsUnderWayMax> records{};
    uint32_t count = 0;
    uint64_t lost = 0;

    [[nodiscard]] bool is_empty() const { return count == 0 && lost == 0; }
    [[nodiscard]] bool add(const ErrorRecord& record);
};

}  // namespace basalt::nvmf
