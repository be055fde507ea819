#pragma once

#include <span>
#include <string_view>

#include "reactor/base/result.h"

namespace basalt::nvmf {

/// The discovery service's well-known name.
inline constexpr std::string_view kDiscoveryNqn = "nqn.2014-08.org.nvmexpress.discovery";
/// What a name made of a UUID begins with; 36 characters of UUID follow.
inline constexpr std::string_view kUuidNqnPrefix = "nqn.2014-08.org.nvmexpress:uuid:";

/// True for an NVMe Qualified Name: "nqn.yyyy-mm." (month 01 to 12), then a reverse domain that
/// begins with a letter or digit; with an optional ":" and any text; UTF-8 without control
/// characters; at most 223 bytes. After kUuidNqnPrefix exactly a UUID in text must follow. NVMe
/// Base Specification, NVMe Qualified Names.
[[nodiscard]] bool is_valid_nqn(std::string_view nqn);

/// The name in a fixed field of 256 bytes as Connect and log pages have it: up to the first NUL.
/// Error: kInvalidArgument if it has no NUL or is no valid name. Valid as long as the field.
[[nodiscard]] Result<std::string_view> read_nqn_field(std::span<const char> field);

/// Writes `nqn`, a valid name, to a field of 256 bytes and fills the rest with NULs.
void write_nqn_field(std::span<char> field, std::string_view nqn);

}  // namespace basalt::nvmf
