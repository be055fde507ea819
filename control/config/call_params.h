#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/config/config.h"
#include "control/config/table_reader.h"

// What readers of tables have in common that turn them into calls of the API.

namespace basalt::control {

/// Copies a key of the file into a parameter of the same or another name.
template <typename Value>
void put(nlohmann::json& params, const char* name, const std::optional<Value>& value) {
    if (value) {
        params[name] = *value;
    }
}

[[nodiscard]] inline std::string required_text(TableReader& table, std::string_view key) {
    std::optional<std::string> value = table.text(key);
    if (!value || value->empty()) {
        table.fail(key, "is missing");
    }
    return std::move(*value);
}

/// The "size" of a table, which is a whole number of blocks, in blocks.
[[nodiscard]] inline uint64_t blocks_of(TableReader& table, uint64_t block_bytes) {
    const std::optional<uint64_t> bytes = table.size_bytes("size");
    if (!bytes) {
        table.fail("size", "is missing");
    }
    if (*bytes % block_bytes != 0) {
        table.fail("size", "must be a multiple of " + std::to_string(block_bytes) + " bytes");
    }
    return *bytes / block_bytes;
}

inline void add_call(std::vector<StartupCall>& calls,
                     const std::string& origin,
                     const char* method,
                     nlohmann::json params) {
    calls.push_back({.method = method,
                     .params = std::move(params),
                     .origin = origin,
                     .new_file = std::nullopt});
}

}  // namespace basalt::control
