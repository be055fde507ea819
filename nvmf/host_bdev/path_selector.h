#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "nvmf/host_bdev/limits.h"

namespace basalt::nvmf {

/// What a path is good for, for one namespace: the Asymmetric Namespace Access states (NVMe Base
/// Specification, Asymmetric Namespace Access Reporting), and none where the controller does not
/// have the namespace.
enum class PathAccess : uint8_t {
    kNone,
    kOptimized,
    kNonOptimized,
    kInaccessible,
    kPersistentLoss,
    kChange,
};

/// SPDK's multipath policies and selectors.
enum class MultipathPolicy : uint8_t { kActivePassive, kActiveActive };
enum class MultipathSelector : uint8_t { kRoundRobin, kQueueDepth };

/// How a namespace's paths are used. A value; the same on all cores.
struct PathRules {
    MultipathPolicy policy = MultipathPolicy::kActivePassive;
    MultipathSelector selector = MultipathSelector::kRoundRobin;
    uint32_t rr_min_io = 1;  ///< Commands to one path before the next one has its turn.
    std::optional<uint8_t> preferred{};
    /// kActivePassive: stay where one is, as long as that is as good, when a better one returns.
    bool no_failback = false;

    bool operator==(const PathRules&) const = default;
};

/// One path as the selection sees it.
struct PathView {
    PathAccess access = PathAccess::kNone;
    bool is_connected = false;
    uint32_t in_flight = 0;
};

/// Where the selection stands, on one core.
struct PathCursor {
    std::optional<uint8_t> current{};
    uint32_t used = 0;  ///< Commands in a row that went to `current`.
};

/// Chooses the path of the next command, and moves the cursor. Optimized paths go before others
/// that are accessible; within a class, active_passive prefers the preferred path, then the current
/// one, then the first, and active_active spreads. Nothing if no path is usable. Pure.
[[nodiscard]] std::optional<uint8_t> select_path(std::span<const PathView> paths,
                                                 const PathRules& rules,
                                                 PathCursor& cursor);

}  // namespace basalt::nvmf
