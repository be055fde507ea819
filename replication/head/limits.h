#pragma once

#include <cstdint>

#include "replication/limits.h"

namespace basalt::replication {

/// Parts of hosts' requests that have been begun; requests wait while all are in use. More than
/// reads and writes that the core takes are of no use, fewer than a front end's queues have
/// would let fast requests wait for slow ones.
inline constexpr uint32_t kPartsMax = 1024;

/// Parts under way of one request, so that a large one, an unmap of a volume say, leaves room for
/// others. Four keep three replicas busy.
inline constexpr uint32_t kPartsOfOneMax = 4;

/// How often the core is told the time while it waits for something.
inline constexpr uint64_t kTickMinUs = 1'000;
inline constexpr uint64_t kTickMaxUs = 50'000;

}  // namespace basalt::replication
