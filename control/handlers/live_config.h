#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "control/handlers/context.h"

namespace basalt::control {

/// One call of a saved configuration.
struct SavedCall {
    std::string method;
    nlohmann::json params;
};

/// The calls that make the present block devices again, bases before layers.
[[nodiscard]] std::vector<SavedCall> bdev_calls(const Context& context);

/// The calls that give the present keys their names again. Not the keys.
[[nodiscard]] std::vector<SavedCall> keyring_calls(const Context& context);

/// The calls that make the present NVMe/TCP target again.
[[nodiscard]] std::vector<SavedCall> nvmf_calls(const Context& context);

}  // namespace basalt::control
