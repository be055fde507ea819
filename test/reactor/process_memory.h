#pragma once

#include "reactor/memory.h"

namespace basalt {

/// The HugeMemory of a test program, started without huge pages when it is first asked for.
[[nodiscard]] HugeMemory& process_memory();

}  // namespace basalt
