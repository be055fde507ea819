#pragma once

#include "control/config/config.h"

namespace basalt::control {

/// Sends the messages of all rooms to standard error through spdlog: a line each, or with
/// `is_json` a JSON object each ({"time", "level", "thread", "room", "message"}). Call before other
/// threads start. Afterwards Log::set_level() decides what is logged.
void start_logging(const LogConfig& config);

}  // namespace basalt::control
