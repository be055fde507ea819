#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "control/placement/selector.h"

namespace basalt::placement {

/// One slot of a chunk's set (or of a group's) that gets another drive. A value.
struct Move {
    uint32_t chunk = 0;  ///< Its place among those that were given.
    uint32_t slot = 0;
    uint32_t from = 0;
    uint32_t to = 0;

    bool operator==(const Move&) const = default;
};

/// What a plan is made of: the keys of chunks, and where each is now, in the same order.
struct Placed {
    std::span<const uint64_t> keys;
    std::span<const DriveSet> sets;
};

/// A plan. A value.
struct Plan {
    std::vector<Move> moves;
    std::vector<uint32_t> stuck;  ///< Chunks with a drive that leaves, and nowhere to go.
};

/// Moves what is on drives without weight (failed, drained), and nothing else, to where the rule
/// leads beside those that stay. Drives with weight are `selector`'s topology's.
[[nodiscard]] Plan plan_evacuation(const Selector& selector, Placed placed);

/// Evens out: moves slots from drives that have more than their share to drives that have less,
/// until none is further from it than `tolerance` (0.05: 5 %) or one slot, or nothing helps any
/// more. No other slot moves, so a drive that comes takes its share and nothing else changes
/// place. No set is spread worse by a move. Of drives without weight it takes nothing away:
/// plan_evacuation() does. Also smooths what chance has left uneven in a new placement.
[[nodiscard]] Plan plan_rebalance(const Selector& selector, Placed placed, double tolerance);

}  // namespace basalt::placement
