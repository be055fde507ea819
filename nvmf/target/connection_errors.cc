#include "nvmf/target/connection.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"

// Commands that fail: what the log of their controller, which may live on another core, is told.

namespace basalt::nvmf {

NvmeStatus Connection::note_error(const Request& request, NvmeStatus status) {
    if (link.settings.has_retry_delays) {
        status.crd = retry_delay(status);
    }
    if (!is_live() || link.subsystem->is_discovery() || !is_worth_logging(status)) {
        return status;
    }
    const ErrorRecord record = make_error_record(request.sqe, link.qid, status);
    if (link.controller != nullptr) {
        link.controller->error_log.add(record);
        status.more = true;
        return status;
    }
    status.more = errors_.add(record);
    send_errors();
    return status;
}

void Connection::send_errors() {
    if (error_report_.is_under_way || errors_.is_empty()) {
        return;
    }
    error_report_.is_under_way = true;
    error_report_.batch = errors_;
    errors_ = {};
    hold();
    group_->report_errors(error_report_, link);
}

void Connection::errors_reported() {
    error_report_.is_under_way = false;
    send_errors();
    release_hold();
}

}  // namespace basalt::nvmf
