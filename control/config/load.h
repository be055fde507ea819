#pragma once

#include <string>
#include <string_view>

#include "control/config/config.h"
#include "reactor/base/result.h"

namespace basalt::control {

/// Reads a TOML file. Every key is checked; the first mistake ends it. Errors, explained in
/// `problem` with file, line and key: kNotFound, kPermissionDenied, kIo (the file can't be read),
/// kInvalidArgument (its contents).
[[nodiscard]] Result<Config> load_config(const std::string& path, std::string& problem);

/// The same for text in memory, which messages call `name`.
[[nodiscard]] Result<Config> parse_config(std::string_view text,
                                          const std::string& name,
                                          std::string& problem);

/// Checks "127.0.0.1:5260" or "[::1]:5260": a loopback address with a port. Empty if it is right,
/// else what is wrong.
[[nodiscard]] std::string check_rpc_tcp(std::string_view text);

/// The levels that a person may write: trace, debug, info, warn, error, off. Errors:
/// kInvalidArgument.
[[nodiscard]] Result<LogLevel> parse_log_level(std::string_view text);

}  // namespace basalt::control
