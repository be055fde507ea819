#pragma once

#include "nvmf/target/request.h"
#include "nvmf/wire/status.h"

namespace basalt::nvmf {

/// Connect, Disconnect, Property Get and Set, Authentication Send and Receive. See
/// command_executor.h for the contract.
[[nodiscard]] NvmeStatus check_fabrics_command(Request& request);
void execute_fabrics_command(Request& request);

/// The two that a queue executes before its host has proved itself.
[[nodiscard]] bool is_authentication_command(const Sqe& sqe);

}  // namespace basalt::nvmf
