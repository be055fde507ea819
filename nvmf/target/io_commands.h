#pragma once

#include "nvmf/target/request.h"
#include "nvmf/wire/status.h"

namespace basalt::nvmf {

class Namespace;
class Subsystem;

/// The NVM command set on I/O queues: io/command_table.h lists it. See command_executor.h for the
/// contract of the two.
[[nodiscard]] NvmeStatus check_io_command(Request& request);
void execute_io_command(Request& request);

/// Whether the request's command may change blocks of `space` now, if that is what it does. Status:
/// Namespace is Write Protected.
[[nodiscard]] NvmeStatus check_write_access(const Request& request, const Namespace& space);

/// An executing command is to be aborted. False: it can't be. True: it has ended with Command Abort
/// Requested, or will do so soon; in the latter case Connection::finish_abort() follows.
[[nodiscard]] bool stop_io_command(Request& request);
/// Whether `command` is a write whose data had better stay where it was received.
[[nodiscard]] bool may_write_in_place(Subsystem& subsystem, const Sqe& command);

}  // namespace basalt::nvmf
