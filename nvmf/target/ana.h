#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "nvmf/wire/spec.h"
#include "nvmf/wire/status.h"
#include "reactor/io/clock.h"

namespace basalt::nvmf {

struct SubsystemConfig;

/// How well a path (a listener) leads to the namespaces of an ANA group. NVMe Base Specification,
/// "Asymmetric Namespace Access states"; values as in the log.
enum class AnaState : uint8_t {
    kOptimized = NVME_ANA_STATE_OPTIMIZED,
    kNonOptimized = NVME_ANA_STATE_NONOPTIMIZED,
    kInaccessible = NVME_ANA_STATE_INACCESSIBLE,
    kPersistentLoss = NVME_ANA_STATE_PERSISTENT_LOSS,
    kChange = NVME_ANA_STATE_CHANGE,
};

/// ANATT: a host waits this long for the end of the state "change". Linux resets the controller
/// after twice as long, again and again. So a transition that nobody ends ends by itself then, as
/// inaccessible: the host looks for another path, and hears when this one is back.
inline constexpr uint8_t kAnaTransitionSeconds = 10;
inline constexpr uint64_t kAnaTransitionNs = kAnaTransitionSeconds * kNsPerSecond;

/// One ANA group as one listener leads to it.
struct AnaGroupState {
    AnaState state = AnaState::kOptimized;
    uint64_t changes = 1;  ///< Change count of its descriptor; 0 would mean that none is given.
    uint64_t change_ends_ns = 0;  ///< kChange only: when it becomes inaccessible, if nobody says.
};

[[nodiscard]] constexpr bool is_accessible(AnaState state) {
    return state == AnaState::kOptimized || state == AnaState::kNonOptimized;
}

/// What a command gets that came by a path whose state is `state`, which is not accessible. Without
/// DNR: the host tries another path.
[[nodiscard]] constexpr NvmeStatus ana_status(AnaState state) {
    switch (state) {
        case AnaState::kPersistentLoss: return status::kAnaPersistentLoss;
        case AnaState::kChange: return status::kAnaTransition;
        case AnaState::kInaccessible:
        case AnaState::kOptimized:
        case AnaState::kNonOptimized: break;
    }
    return status::kAnaInaccessible;
}

/// Whether an admin command works on the namespace it names, so that it fails where the namespace
/// can't be reached: NVMe Base Specification, "ANA effects on command processing". `feature` counts
/// for Get and Set Features only.
[[nodiscard]] bool needs_namespace_access(uint8_t admin_opcode, uint8_t feature, AnaState state);

/// The longest ANA log that a subsystem of so many namespaces, and as many groups, may have. Linux
/// switches ANA off where it is longer than MDTS.
[[nodiscard]] constexpr uint64_t ana_log_bytes_max(uint32_t namespaces_max) {
    return sizeof(nvme_ana_log) +
           uint64_t{namespaces_max} * (sizeof(nvme_ana_group_desc) + sizeof(uint32_t));
}

/// The groups of `config` that have a namespace and that no listener reaches as optimized. Empty
/// without ANA reporting and without listeners.
[[nodiscard]] std::vector<uint32_t> groups_without_optimized_path(const SubsystemConfig& config);

/// What the log tells about these groups is no longer the same on any listener.
void count_ana_change(SubsystemConfig& config, std::initializer_list<uint32_t> groups);

}  // namespace basalt::nvmf
