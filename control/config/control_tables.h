#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "control/config/config.h"
#include "control/config/table_reader.h"

namespace basalt::control {

/// Reads [control_plane] and [metadata]; nothing without the first, which is the control role.
/// [control_plane] grpc_port is the same as the file's, and goes to `grpc_port`. Throws
/// ConfigError.
[[nodiscard]] std::optional<ControlPlaneConfig> read_control_plane(
    TableReader& top, std::optional<uint16_t>& grpc_port);

/// Whether it is 8-4-4-4-12 hexadecimal digits.
[[nodiscard]] bool is_uuid_text(std::string_view text);

}  // namespace basalt::control
