#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "bdev/core/bdev.h"
#include "reactor/base/result.h"

namespace basalt::control {

/// Upper-case hexadecimal digits of `bytes`, as SPDK writes identifiers.
[[nodiscard]] std::string to_hex(std::span<const uint8_t> bytes);

/// Fills `out` from exactly as many hexadecimal digits of either case. Errors: kInvalidArgument.
[[nodiscard]] Status from_hex(std::string_view text, std::span<uint8_t> out);

/// Standard Base64 with padding (RFC 4648, section 4).
[[nodiscard]] std::string to_base64(std::span<const uint8_t> bytes);

/// The parameters of the call that makes a device again.
[[nodiscard]] nlohmann::json to_json(const bdev::BdevConfig& config);

}  // namespace basalt::control
