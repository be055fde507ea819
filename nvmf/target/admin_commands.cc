#include "nvmf/target/admin_commands.h"

#include "nvmf/target/connection.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"

namespace basalt::nvmf {

namespace {

/// The command moves `needed` bytes: the host's memory must be as long.
NvmeStatus check_data(Request& request, uint32_t needed) {
    if (request.data_bytes < needed) {
        return status::kDataSglLengthInvalid.with_dnr();
    }
    request.data_bytes = needed;
    return status::kSuccess;
}

NvmeStatus check_log_page(Request& request) {
    const GetLogPageView command(request.sqe);
    if (command.length_bytes() > request.connection().group().options().io_bytes_max) {
        return status::kInvalidField.with_dnr();
    }
    return check_data(request, static_cast<uint32_t>(command.length_bytes()));
}

/// The namespace that the command names can be reached by this path, if the command needs that.
NvmeStatus check_path(const Request& request) {
    const NamespaceAccess& access = request.connection().link.access;
    const NvmeStatus path = access.check(request.sqe.nsid());
    if (path.ok() || !access.is_visible(request.sqe.nsid())) {
        return status::kSuccess;  // Whether a hidden one may be named is the command's to say.
    }
    const bool is_needed = needs_namespace_access(
        request.sqe.opcode, FeaturesView(request.sqe).fid(), access.ana_state(request.sqe.nsid()));
    return is_needed ? path : status::kSuccess;
}

/// What a discovery controller answers; the rest is an invalid opcode there.
bool is_discovery_command(uint8_t opcode) {
    return opcode == nvme_admin_identify || opcode == nvme_admin_get_log_page ||
           opcode == nvme_admin_keep_alive || opcode == nvme_admin_async_event ||
           opcode == nvme_admin_get_features || opcode == nvme_admin_set_features;
}

}  // namespace

NvmeStatus check_admin_command(Request& request) {
    const Controller& controller = *request.connection().link.controller;
    if (!controller.is_ready()) {
        return status::kCommandSequenceError.with_dnr();
    }
    const uint8_t opcode = request.sqe.opcode;
    if (request.connection().link.subsystem->is_discovery() && !is_discovery_command(opcode)) {
        return status::kInvalidOpcode.with_dnr();
    }
    if (const NvmeStatus path = check_path(request); !path.ok()) {
        return path;
    }
    switch (opcode) {
        case nvme_admin_identify: return check_data(request, kIdentifyBytes);
        case nvme_admin_get_log_page: return check_log_page(request);
        case nvme_admin_get_features:
        case nvme_admin_set_features: return check_data(request, feature_data_bytes(request));
        case nvme_admin_keep_alive:
        case nvme_admin_async_event:
        case nvme_admin_abort_cmd: return check_data(request, 0);
        default: return status::kInvalidOpcode.with_dnr();
    }
}

void finish_abort(Request& request, bool was_aborted) {
    if (Controller* controller = request.connection().link.controller) {
        controller->abort_done();
    }
    request.cqe.dw0.set(was_aborted ? 0 : 1);
    request.connection().complete(request, status::kSuccess);
}

void execute_admin_command(Request& request) {
    Controller& controller = *request.connection().link.controller;
    if (controller.resets() != request.checked_version) [[unlikely]] {
        request.connection().drop(request);  // It has waited for a buffer meanwhile.
        return;
    }
    controller.note_traffic();
    NvmeStatus outcome = status::kSuccess;
    switch (request.sqe.opcode) {
        case nvme_admin_identify: outcome = identify(request); break;
        case nvme_admin_get_log_page: get_log_page(request); return;
        case nvme_admin_get_features: outcome = get_features(request); break;
        case nvme_admin_set_features: set_features(request); return;
        case nvme_admin_keep_alive: controller.keep_alive(); break;
        case nvme_admin_async_event: controller.add_event_request(request); return;
        default:
            BASALT_ASSERT(request.sqe.opcode == nvme_admin_abort_cmd);
            controller.execute_abort(request);
            return;
    }
    if (!request.completes_later) {
        request.connection().complete(request, outcome);
    }
}

}  // namespace basalt::nvmf
