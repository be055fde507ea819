#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/config/config.h"
#include "reactor/base/result.h"

namespace basalt::control {

/// Reads a saved configuration in SPDK's layout ({"subsystems": [{"subsystem", "config":
/// [{"method", "params"}]}]}) into calls, in order. "config" may be null, and comments are
/// skipped, as SPDK has it. Errors, explained in `problem`: kInvalidArgument (its contents), those
/// of reading the file.
[[nodiscard]] Result<std::vector<StartupCall>> load_saved_config(const std::string& path,
                                                                 std::string& problem);

/// The same for text in memory, which messages call `name`.
[[nodiscard]] Result<std::vector<StartupCall>> parse_saved_config(std::string_view text,
                                                                  const std::string& name,
                                                                  std::string& problem);

}  // namespace basalt::control
