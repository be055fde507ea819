#include "nvmf/target/command_executor.h"

#include "nvmf/target/admin_commands.h"
#include "nvmf/target/connection.h"
#include "nvmf/target/fabrics_commands.h"
#include "nvmf/target/io_commands.h"

namespace basalt::nvmf {

namespace {

/// Compare and Write is the one pair that there is.
NvmeStatus check_fusion(const Request& request) {
    const Connection& connection = request.connection();
    const bool is_possible = connection.is_live() && !connection.is_admin_queue();
    if (request.fused == nullptr) {
        return is_possible && request.sqe.fuse() == Fuse::kSecond
                   ? status::kAbortedMissingFused.with_dnr()
                   : status::kInvalidField.with_dnr();
    }
    const uint8_t wanted = request.sqe.fuse() == Fuse::kFirst ? nvme_cmd_compare : nvme_cmd_write;
    if (request.sqe.opcode != wanted) {
        return status::kInvalidField.with_dnr();
    }
    return request.data_bytes > kFusedBytesMax ? status::kAtomicWriteUnitExceeded.with_dnr()
                                               : status::kSuccess;
}

}  // namespace

NvmeStatus check_command(Request& request) {
    Connection& connection = request.connection();
    if (request.sqe.fuse() != Fuse::kNone) [[unlikely]] {
        if (const NvmeStatus fusion = check_fusion(request); !fusion.ok()) {
            return fusion;
        }
    }
    if (connection.is_authenticating() && !is_authentication_command(request.sqe)) {
        return status::kAuthenticationRequired;
    }
    if (request.sqe.is_fabrics()) {
        return check_fabrics_command(request);
    }
    if (!connection.is_live() || connection.link.is_disconnected) {
        return status::kCommandSequenceError.with_dnr();
    }
    return connection.is_admin_queue() ? check_admin_command(request) : check_io_command(request);
}

void execute_command(Request& request) {
    if (request.sqe.is_fabrics()) {
        execute_fabrics_command(request);
    } else if (request.connection().is_admin_queue()) {
        execute_admin_command(request);
    } else {
        execute_io_command(request);
    }
}

}  // namespace basalt::nvmf
