#pragma once

#include <optional>
#include <string_view>

#include "reactor/io/socket_address.h"

namespace basalt::control {

/// Reads "127.0.0.1:4420", "[::1]:4420", or, with a `default_port`, an address without port
/// ("0.0.0.0", "::", "[::]"). Addresses are numeric. Errors: kInvalidArgument.
[[nodiscard]] Result<SocketAddress> parse_endpoint(std::string_view text,
                                                   std::optional<uint16_t> default_port);

}  // namespace basalt::control
