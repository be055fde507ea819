#pragma once

#include <cstdint>

namespace basalt::control {

/// A TCP port of 127.0.0.1 on which nobody listens just now. The kernel gives the next one to who
/// asks next, so tests that run at the same time get others.
[[nodiscard]] uint16_t find_free_port();

}  // namespace basalt::control
