#pragma once

#include "nvmf/target/request.h"
#include "nvmf/wire/status.h"

namespace basalt::nvmf {

/// Judges a command whose capsule is there before any of its data is asked for: may this queue send
/// it now, do its namespace, range and lengths fit? Sets data_bytes to what the command really
/// moves, and io.wants_device_memory. Success, or the status to refuse it with.
[[nodiscard]] NvmeStatus check_command(Request& request);

/// Performs a checked command whose data is there. Connection::complete() follows, now or later.
void execute_command(Request& request);

}  // namespace basalt::nvmf
