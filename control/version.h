#pragma once

#include <cstdint>

namespace basalt::control {

/// The parts of the version that CMakeLists.txt gives the project.
struct Version {
    uint32_t major = 0;
    uint32_t minor = 0;
    uint32_t patch = 0;
};

[[nodiscard]] Version version();

/// For people: "Basalt v0.1.0".
[[nodiscard]] const char* version_text();

}  // namespace basalt::control
