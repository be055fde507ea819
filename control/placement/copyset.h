#pragma once

#include <cstdint>
#include <vector>

#include "bdev/core/uuid.h"
#include "control/placement/rule.h"
#include "control/placement/selector.h"
#include "control/placement/topology.h"

namespace basalt::placement {

/// The drives that one volume's chunks may use: of all, or of only `stride` of them. The fewer they
/// are, the fewer sets of drives there are whose failure at once loses data, and the more data one
/// such failure loses; and a volume is as fast as its drives (Cidon et al., "Copysets: Reducing the
/// Frequency of Data Loss in Cloud Storage", USENIX ATC 2013, section 3). A value.
struct Copyset {
    DriveSet drives;  ///< In ascending order.
    /// Each drive's in the set. A large drive is in more volumes' sets, so that in the set it must
    /// not have all of its weight again: it is the weight over the chance to be there.
    std::vector<uint64_t> weights;
};

/// Chooses a volume's copyset: in proportion to weight,
/// spread evenly over the rule's first level for distinct domains and those below, over so many
/// domains that `wanted` drives find theirs. All drives with weight if `stride` is 0, or they are
/// not more. `stride` is 0 or at least `wanted`.
[[nodiscard]] Copyset choose_copyset(const Topology& topology,
                                     const PlacementRule& rule,
                                     uint32_t wanted,
                                     uint32_t stride,
                                     const bdev::Uuid& volume);

}  // namespace basalt::placement
