#include "nvmf/target/command_executor.h"

#include "nvmf/target/admin_commands.h"
#include "nvmf/target/connection.h"
#include "nvmf/target/fabrics_commands.h"
#include "nvmf/target/io_commands.h"

namespace basalt::nvmf {

NvmeStatus check_command(Request& request) {
    Connection& connection = request.connection;
    if (request.sqe.fuse() != Fuse::kNone) {
        return status::kInvalidField.with_dnr();
    }
    if (request.sqe.is_fabrics()) {
        return check_fabrics_command(request);
    }
    if (!connection.is_live()) {
        return status::kCommandSequenceError.with_dnr();
    }
    return connection.is_admin_queue() ? check_admin_command(request) : check_io_command(request);
}

void execute_command(Request& request) {
    if (request.sqe.is_fabrics()) {
        execute_fabrics_command(request);
    } else if (request.connection.is_admin_queue()) {
        execute_admin_command(request);
    } else {
        execute_io_command(request);
    }
}

}  // namespace basalt::nvmf
