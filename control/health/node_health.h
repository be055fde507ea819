#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "bdev/core/uuid.h"
#include "control/health/settings.h"

namespace basalt::health {

/// A node as the cluster sees it.
///
///   kUp -> kDown -> kOut
///    ^       |        |
///    +-------+--------+
enum class NodeState : uint8_t {
    kUp,    ///< Heard of. Silence for down_after moves it on.
    kDown,  ///< Silent; its replicas are away, and the others note what they miss. A heartbeat
            ///< brings it back; out_after moves it on.
    kOut,   ///< What was on it is made anew elsewhere. A heartbeat brings it back.
};
[[nodiscard]] std::string_view to_string(NodeState state);

/// A node as the metadata has it. A value.
struct NodeDescription {
    bdev::Uuid node;
    std::string datacenter;
    std::string rack;  ///< Of its datacenter.
    NodeState state = NodeState::kUp;
    /// An administrator works on it: it may be down for as long as that takes.
    bool is_in_maintenance = false;
};

/// What happened. A value.
struct HealthEvent {
    enum class Kind : uint8_t {
        kDescribed,  ///< A node is new, or its description has changed. Its state is ignored if it
                     ///< is known.
        kRemoved,
        kHeartbeat,
        kScan,     ///< scan_interval is over.
        kGivenUp,  ///< An administrator says that a node that is down won't come back.
    };
    Kind kind = Kind::kScan;
    uint64_t now_ns = 0;  ///< Of a clock that doesn't go back.
    bdev::Uuid node{};    ///< All but kDescribed and kScan. One that is unknown is ignored.
    NodeDescription description{};  ///< kDescribed.
};

/// A node is in another state now: to be recorded, and acted upon. A value.
struct HealthAction {
    bdev::Uuid node;
    NodeState state = NodeState::kUp;

    bool operator==(const HealthAction&) const = default;
};

/// Why a node that is down is not put out, though its time is over.
enum class HoldReason : uint8_t {
    kNone,
    kMaintenance,
    kDomain,  ///< All of its rack or datacenter is down, and domain_out_after isn't over.
    kFewUp,   ///< Of those that aren't out, fewer than up_percent_min are up.
};
[[nodiscard]] std::string_view to_string(HoldReason reason);

/// A node, for `cluster status`. A value.
struct NodeReport {
    bdev::Uuid node;
    NodeState state = NodeState::kUp;
    uint64_t silent_ns = 0;               ///< Since its last heartbeat.
    HoldReason hold = HoldReason::kNone;  ///< kDown.
};

/// Decides which nodes are up, down and out, from their heartbeats. Pure: no clock, no messages;
/// the same events give the same actions.
///
/// One who begins knows nothing about the time before: a node that is up, or down, has been so
/// since the event that described it. So a change of the leading control process delays a
/// decision, and never hastens one.
///
/// A scan that is late by more than half a heartbeat means that this process didn't run; heartbeats
/// may wait unread then. The time since the scan before does not count for any node.
///
/// Owner: the leading control process. Core: the control thread's. A heartbeat costs a look-up, a
/// scan the number of nodes.
class NodeHealth {
  public:
    /// `settings` are valid (validate()).
    explicit NodeHealth(const HealthSettings& settings);

    /// In the order in which they are to be carried out.
    [[nodiscard]] std::vector<HealthAction> apply(const HealthEvent& event);

    /// Counts from now on.
    void set(const HealthSettings& settings);

    /// All nodes, in the order of their UUIDs.
    [[nodiscard]] std::vector<NodeReport> report(uint64_t now_ns) const;

  private:
    struct Node {
        NodeDescription description;
        uint64_t heard_ns = 0;
        uint64_t down_since_ns = 0;  // kDown.
    };
    /// How many nodes of a rack, or a datacenter, are in which state.
    struct Tally {
        uint32_t up = 0;
        uint32_t down = 0;
    };
    struct Census {
        Tally all;
        std::map<std::string, Tally> domains;
    };

    void describe(const HealthEvent& event);
    void scan(uint64_t now_ns, std::vector<HealthAction>& actions);
    [[nodiscard]] Census count() const;
    /// Why a node that is down stays so; kNone: its time isn't over, or nothing holds it.
    [[nodiscard]] HoldReason hold(const Node& node, const Census& census, uint64_t now_ns) const;
    static void move(Node& node, NodeState state, std::vector<HealthAction>& actions);

    HealthSettings settings_;
    std::map<bdev::Uuid, Node> nodes_;
    uint64_t scanned_ns_ = 0;  // 0: not yet.
};

}  // namespace basalt::health
