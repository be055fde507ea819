#include "nvmf/target/error_log.h"

#include "nvmf/wire/command.h"

namespace basalt::nvmf {

namespace {

/// The place in a command that a status speaks of, where that is certain (NVMe Base Specification,
/// "Error Information log page", Parameter Error Location: byte, bit 0).
uint16_t error_location(NvmeStatus status) {
    if (status.is(status::kInvalidOpcode)) {
        return offsetof(Sqe, opcode);
    }
    if (status.is(status::kInvalidNamespace)) {
        return offsetof(Sqe, namespace_id);
    }
    if (status.is(status::kDataSglLengthInvalid)) {
        return offsetof(Sqe, sgl1) + offsetof(SglDescriptor, length_bytes);
    }
    if (status.is(status::kSglTypeInvalid)) {
        return offsetof(Sqe, sgl1) + offsetof(SglDescriptor, identifier);
    }
    if (status.is(status::kLbaOutOfRange) || status.is(status::kInvalidLogPage)) {
        return offsetof(Sqe, cdw10);
    }
    return ErrorRecord::kLocationUnknown;
}

/// The commands of I/O queues that begin with a first block.
bool has_first_block(uint8_t opcode) {
    switch (opcode) {
        case nvme_cmd_read:
        case nvme_cmd_write:
        case nvme_cmd_compare:
        case nvme_cmd_write_zeroes:
        case nvme_cmd_verify: return true;
        default: return false;
    }
}

}  // namespace

bool is_worth_logging(NvmeStatus status) {
    constexpr uint8_t kPathRelated = 3;
    return !status.ok() && status.sct != kPathRelated && !status.is(status::kAbortRequested) &&
           !status.is(status::kAbortedSqDeletion) && !status.is(status::kAbortedFailedFused) &&
           !status.is(status::kAbortedMissingFused) && !status.is(status::kCompareFailure) &&
           !status.is(status::kReservationConflict);
}

ErrorRecord make_error_record(const Sqe& sqe, QueueId qid, NvmeStatus status) {
    ErrorRecord record;
    record.qid = qid;
    record.cid = sqe.cid();
    record.status = status;
    record.location = error_location(status);
    if (!sqe.is_fabrics()) {
        record.nsid = sqe.nsid();
        if (qid != kAdminQueueId && has_first_block(sqe.opcode)) {
            record.lba = RwView(sqe).slba().raw();
        }
    }
    return record;
}

void ErrorLog::add(const ErrorRecord& record) {
    ring_[next_] = {++count_, record};
    next_ = (next_ + 1) % kErrorLogEntries;
}

nvme_error_log_page ErrorLog::entry(uint32_t index) const {
    BASALT_ASSERT(index < kErrorLogEntries);
    const Numbered& found = ring_[(next_ + kErrorLogEntries - 1 - index) % kErrorLogEntries];
    nvme_error_log_page entry{};
    if (found.number == 0) {
        return entry;
    }
    entry.error_count = found.number;
    entry.sqid = found.record.qid.raw();
    entry.cmdid = found.record.cid.raw();
    entry.status_field = static_cast<uint16_t>(found.record.status.raw() << 1U);
    entry.parm_error_location = found.record.location;
    entry.lba = found.record.lba;
    entry.nsid = found.record.nsid.raw();
    entry.trtype = NVMF_TRTYPE_TCP;
    return entry;
}

bool ErrorBatch::add(const ErrorRecord& record) {
    if (count == records.size()) {
        ++lost;
        return false;
    }
    records[count++] = record;
    return true;
}

}  // namespace basalt::nvmf
