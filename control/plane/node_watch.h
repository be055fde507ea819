#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "control/cluster/cluster_view.h"
#include "control/health/node_health.h"
#include "control/plane/node_api.h"
#include "reactor/reactor.h"
#include "rpc/proto/cluster.pb.h"

namespace basalt::cluster {

/// Asks all nodes again and again how they are, and decides which are up, down and out.
///
/// Life: tick(), …, then drain() when the calls are cancelled. Owner: ControlPlane. Core: the
/// control thread's.
class NodeWatch {
  public:
    /// What is known of a node. A value.
    struct Heard {
        v1::NodeGetInfoResponse info;  ///< What it said last.
        uint64_t heard_ns = 0;         ///< When it said so; 0: never.
        std::string problem;           ///< Why it does not answer; empty: it does.
    };

    NodeWatch(Reactor& here, NodeApi& api);
    NodeWatch(const NodeWatch&) = delete;
    NodeWatch& operator=(const NodeWatch&) = delete;
    ~NodeWatch();

    /// Takes nodes in that are new in `view`, asks those whose time it is, and looks who is silent.
    void tick(const ClusterView& view, const health::HealthSettings& settings);
    /// Asks a node now; what is known of it is new then, if it answers.
    [[nodiscard]] Task<void> ask(Uuid node);
    /// When no call is under way any more.
    [[nodiscard]] Task<void> drain();

    /// Null: it is no node.
    [[nodiscard]] const Heard* find(const Uuid& node) const;
    [[nodiscard]] health::NodeState state(const Uuid& node) const;
    /// How long a node has been silent; 0: it is none.
    [[nodiscard]] uint64_t silent_ns(const Uuid& node) const;

  private:
    struct Watched {
        Heard heard;
        std::string address;
        Revision version;     // Of the record that was described.
        uint64_t ask_ns = 0;  // When it is to be asked again.
        bool is_asked = false;
    };

    void describe(const Uuid& node, const Versioned<Node>& record);
    [[nodiscard]] Task<void> ask_now(Uuid node);
    void report(uint64_t now_ns);

    Reactor& here_;
    NodeApi& api_;
    health::HealthSettings settings_;
    health::NodeHealth health_;
    std::map<Uuid, Watched> nodes_;
    std::map<Uuid, health::NodeReport> reports_;
    uint64_t scan_ns_ = 0;  // When to look again who is silent.
    uint32_t asking_ = 0;
};

/// A record's health as the decisions have it, and back.
[[nodiscard]] health::NodeState to_state(Node::Health health);
[[nodiscard]] Node::Health to_health(health::NodeState state);

}  // namespace basalt::cluster
