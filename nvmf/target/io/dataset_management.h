#pragma once

#include "nvmf/target/request.h"
#include "nvmf/wire/status.h"

namespace basalt::nvmf {

/// Dataset Management (NVM Command Set Specification): its ranges are deallocated one after the
/// other, and the other attributes are hints that no device here uses. As io_commands.h has it for
/// all commands; `target_namespace` is set before it is executed.
[[nodiscard]] NvmeStatus check_dataset_management(Request& request);
void execute_dataset_management(Request& request);

}  // namespace basalt::nvmf
