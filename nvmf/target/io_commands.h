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

/// An executing command is to be aborted. False: it can't be, a device has all of it. True: it has
/// ended with `why`, or is still executing and will end so as soon as it looks at
/// Request::is_abort_wanted, which the caller sets then; end_aborted() follows.
[[nodiscard]] bool stop_io_command(Request& request, NvmeStatus why = status::kAbortRequested);

// --- For commands of several parts.

/// Between two parts: nobody hears of the command any more, or it is to be aborted.
[[nodiscard]] bool has_to_stop(const Request& request);
/// Completes a command that was stopped, with what stop_io_command() was told.
void end_aborted(Request& request);
/// Ends a command with its device's outcome; it has given the namespace back.
void finish_io_command(Request& request, Status outcome);

/// Whether `command` is a write whose data had better stay where it was received.
[[nodiscard]] bool may_write_in_place(Subsystem& subsystem, const Sqe& command);

}  // namespace basalt::nvmf
