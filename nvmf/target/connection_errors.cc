#include "nvmf/target/connection.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"
#include "reactor/base/log.h"

// Commands that fail: what the log page of their controller, which may live on another core, and
// our own log are told.

namespace basalt::nvmf {

NvmeStatus Connection::note_error(const Request& request, NvmeStatus status) {
    if (link.settings.has_retry_delays) {
        status.crd = retry_delay(status);
    }
    if (!is_worth_logging(status)) {
        return status;
    }
    if (!request.sqe.is_fabrics() || request.sqe.fctype() != nvme_fabrics_type_connect) {
        log_failure(request, status);  // Why a Connect is refused is told in words already.
    }
    if (!is_live() || link.subsystem->is_discovery()) {
        return status;
    }
    const ErrorRecord record = make_error_record(request.sqe, link.qid, status);
    if (link.controller != nullptr) {
        link.controller->error_log.add(record);
        status.more = true;
        return status;
    }
    status.more = errors_.waiting.add(record);
    send_errors();
    return status;
}

/// A line for the administrator; a host that fails all the time gets one a second.
void Connection::log_failure(const Request& request, NvmeStatus status) {
    if (!errors_.lines.admit(group_->reactor().now_ns())) {
        return;
    }
    BASALT_LOG(
        kWarn,
        "nvmf",
        "connection {} from {}, queue {}: command {} (opcode {:#04x}, namespace {:#x}) failed "
        "with status {:#x}/{:#04x}; {} more of them since the last such line",
        id_,
        peer_.to_string(),
        link.qid.raw(),
        request.sqe.cid().raw(),
        request.sqe.opcode,
        request.sqe.nsid().raw(),
        status.sct,
        status.sc,
        errors_.lines.take_skipped());
}

void Connection::send_errors() {
    if (errors_.report.is_under_way || errors_.waiting.is_empty()) {
        return;
    }
    errors_.report.is_under_way = true;
    errors_.report.batch = errors_.waiting;
    errors_.waiting = {};
    hold();
    group_->report_errors(errors_.report, link);
}

void Connection::errors_reported() {
    errors_.report.is_under_way = false;
    send_errors();
    release_hold();
}

}  // namespace basalt::nvmf
