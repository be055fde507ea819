#pragma once

#include <cstdint>
#include <string_view>

#include "reactor/base/result.h"

namespace basalt::control {

/// Bytes of a size in text: "64MiB", "1.5GiB", "100G", "4096" (K, M, G and T are powers of 1024;
/// the "iB" may be missing). Errors: kInvalidArgument: it is no size; kOutOfRange: no whole number
/// from 1 to 2^63 - 1.
[[nodiscard]] Result<uint64_t> parse_size(std::string_view text);

}  // namespace basalt::control
