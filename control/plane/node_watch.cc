#include "control/plane/node_watch.h"

#include <algorithm>
#include <utility>

#include "control/plane/limits.h"
#include "reactor/base/assert.h"
#include "reactor/base/log.h"

namespace basalt::cluster {

using health::HealthAction;
using health::HealthEvent;
using health::NodeState;

health::NodeState to_state(Node::Health health) {
    if (health == Node::DOWN) {
        return NodeState::kDown;
    }
    return health == Node::OUT ? NodeState::kOut : NodeState::kUp;
}

Node::Health to_health(NodeState state) {
    switch (state) {
        case NodeState::kUp: return Node::UP;
        case NodeState::kDown: return Node::DOWN;
        case NodeState::kOut: return Node::OUT;
    }
    return Node::UP;
}

NodeWatch::NodeWatch(Reactor& here, NodeApi& api) : here_(here), api_(api), health_(settings_) {}

NodeWatch::~NodeWatch() {
    BASALT_ASSERT(asking_ == 0 || here_.is_abandoned());
}

void NodeWatch::describe(const Uuid& node, const Versioned<Node>& record) {
    Watched& watched = nodes_[node];
    if (watched.version == record.version) {
        return;
    }
    watched.version = record.version;
    watched.address = record.record.address();
    HealthEvent event{.kind = HealthEvent::Kind::kDescribed, .now_ns = here_.clock().now_ns()};
    event.node = node;
    event.description = {.node = node,
                         .datacenter = record.record.datacenter(),
                         .rack = record.record.rack(),
                         .state = to_state(record.record.health())};
    static_cast<void>(health_.apply(event));
}

void NodeWatch::tick(const ClusterView& view, const health::HealthSettings& settings) {
    const uint64_t now_ns = here_.clock().now_ns();
    if (settings != settings_) {
        settings_ = settings;
        health_.set(settings);
        // From now on, and not only after what was waited for has come.
        scan_ns_ = std::min(scan_ns_, now_ns + settings_.scan_interval_ns);
        for (auto& [uuid, watched] : nodes_) {
            watched.ask_ns = std::min(watched.ask_ns, now_ns + settings_.heartbeat_interval_ns);
        }
    }
    for (const auto& [uuid, record] : view.nodes()) {
        describe(uuid, record);
    }
    std::vector<Uuid> due;
    for (auto one = nodes_.begin(); one != nodes_.end();) {
        Watched& watched = one->second;
        if (!view.nodes().contains(one->first) && !watched.is_asked) {
            HealthEvent event{.kind = HealthEvent::Kind::kRemoved, .now_ns = now_ns};
            event.node = one->first;
            static_cast<void>(health_.apply(event));
            one = nodes_.erase(one);
            continue;
        }
        if (!watched.is_asked && now_ns >= watched.ask_ns) {
            due.push_back(one->first);
        }
        ++one;
    }
    if (now_ns >= scan_ns_) {
        scan_ns_ = now_ns + settings_.scan_interval_ns;
        const HealthEvent event{.kind = HealthEvent::Kind::kScan, .now_ns = now_ns};
        for (const HealthAction& action : health_.apply(event)) {
            BASALT_LOG(kWarn,
                       "cluster",
                       "node {} is {}: {}",
                       action.node.to_string(),
                       to_string(action.state),
                       nodes_[action.node].heard.problem);
        }
    }
    report(now_ns);
    for (const Uuid& one : due) {
        nodes_.at(one).ask_ns = now_ns + settings_.heartbeat_interval_ns;
        ask_now(one).detach();
    }
}

void NodeWatch::report(uint64_t now_ns) {
    reports_.clear();
    for (const health::NodeReport& one : health_.report(now_ns)) {
        reports_.emplace(one.node, one);
    }
}

Task<void> NodeWatch::ask(Uuid node) {
    while (nodes_.contains(node) && nodes_.at(node).is_asked) {
        co_await sleep_for(here_, kSeenPollNs);
    }
    if (nodes_.contains(node)) {
        co_await ask_now(node);
    }
}

Task<void> NodeWatch::ask_now(Uuid node) {
    Watched& watched = nodes_.at(node);  // Stays while it is asked.
    watched.is_asked = true;
    ++asking_;
    const v1::NodeGetInfoRequest request;
    v1::NodeGetInfoResponse info;
    const std::optional<rpc::RpcError> error =
        co_await api_.call(watched.address, "node_get_info", request, info, kInfoTimeoutNs);
    --asking_;
    watched.is_asked = false;
    if (error) {
        watched.heard.problem = error->message;
        co_return;
    }
    if (info.uuid() != node.to_string()) {
        watched.heard.problem = "the daemon at " + watched.address + " is " +
                                (info.uuid().empty() ? "no node" : "node " + info.uuid());
        co_return;
    }
    watched.heard.problem.clear();
    watched.heard.info = std::move(info);
    watched.heard.heard_ns = here_.clock().now_ns();
    HealthEvent event{.kind = HealthEvent::Kind::kHeartbeat, .now_ns = watched.heard.heard_ns};
    event.node = node;
    for (const HealthAction& action : health_.apply(event)) {
        BASALT_LOG(kInfo, "cluster", "node {} is up again", action.node.to_string());
    }
    report(watched.heard.heard_ns);
}

Task<void> NodeWatch::drain() {
    while (asking_ > 0) {
        co_await sleep_for(here_, kSeenPollNs);
    }
}

const NodeWatch::Heard* NodeWatch::find(const Uuid& node) const {
    const auto known = nodes_.find(node);
    return known == nodes_.end() ? nullptr : &known->second.heard;
}

NodeState NodeWatch::state(const Uuid& node) const {
    const auto known = reports_.find(node);
    return known == reports_.end() ? NodeState::kUp : known->second.state;
}

uint64_t NodeWatch::silent_ns(const Uuid& node) const {
    const auto known = nodes_.find(node);
    if (known == nodes_.end()) {
        return 0;
    }
    const uint64_t heard_ns = known->second.heard.heard_ns;
    const auto reported = reports_.find(node);
    if (heard_ns == 0) {
        return reported == reports_.end() ? 0 : reported->second.silent_ns;
    }
    return here_.clock().now_ns() - heard_ns;
}

}  // namespace basalt::cluster
