#pragma once

#include "nvmf/target/request.h"
#include "nvmf/wire/status.h"

namespace basalt::nvmf {

/// Connect, Disconnect, Property Get and Property Set. See command_executor.h for the contract.
[[nodiscard]] NvmeStatus check_fabrics_command(Request& request);
void execute_fabrics_command(Request& request);

}  // namespace basalt::nvmf
