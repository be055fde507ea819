#pragma once

#include <cstdint>
#include <span>

#include "control/placement/selector.h"
#include "control/placement/topology.h"

namespace basalt::placement {

/// The chance that data is lost when domains fail at once. A value.
struct LossEstimate {
    double probability = 0;
    bool is_exact = false;  ///< All cases were counted; otherwise drawn by lot.
    double error = 0;       ///< Of what was drawn: two standard deviations.
    uint64_t cases = 0;     ///< Counted or drawn.
};

/// How likely it is that some set of `sets` loses `tolerated` + 1 of its drives or more when
/// `failures` domains of `level`, each as likely as another, are gone for good at the same moment.
/// `tolerated`: replicas - 1, or the parity shards of an erasure code. Counts all cases if they are
/// few enough, draws them otherwise, the same ones each time.
[[nodiscard]] LossEstimate estimate_loss(const Topology& topology,
                                         std::span<const DriveSet> sets,
                                         uint32_t tolerated,
                                         Level level,
                                         uint32_t failures);

}  // namespace basalt::placement
