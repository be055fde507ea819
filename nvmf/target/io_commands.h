#pragma once

#include "nvmf/target/request.h"
#include "nvmf/wire/status.h"

namespace basalt::nvmf {

/// The NVM command set on I/O queues: Flush, Write, Read, Compare, Write Zeroes, Dataset
/// Management. See command_executor.h for the contract of the two.
[[nodiscard]] NvmeStatus check_io_command(Request& request);
void execute_io_command(Request& request);

/// An executing command is to be aborted. False: it can't be. True: it has ended with Command Abort
/// Requested, or will do so soon; in the latter case Connection::finish_abort() follows.
[[nodiscard]] bool stop_io_command(Request& request);

}  // namespace basalt::nvmf
