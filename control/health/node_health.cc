#include "control/health/node_health.h"

#include <algorithm>

#include "reactor/base/assert.h"

namespace basalt::health {

namespace {

std::string rack_of(const NodeDescription& node) {
    return node.datacenter + "/" + node.rack;
}

}  // namespace

std::string_view to_string(NodeState state) {
    switch (state) {
        case NodeState::kUp: return "up";
        case NodeState::kDown: return "down";
        case NodeState::kOut: return "out";
    }
    return "?";
}

std::string_view to_string(HoldReason reason) {
    switch (reason) {
        case HoldReason::kNone: return "none";
        case HoldReason::kMaintenance: return "maintenance";
        case HoldReason::kDomain: return "domain";
        case HoldReason::kFewUp: return "few_up";
    }
    return "?";
}

NodeHealth::NodeHealth(const HealthSettings& settings) : settings_(settings) {
    BASALT_ASSERT(validate(settings));
}

void NodeHealth::set(const HealthSettings& settings) {
    BASALT_ASSERT(validate(settings));
    settings_ = settings;
}

std::vector<HealthAction> NodeHealth::apply(const HealthEvent& event) {
    std::vector<HealthAction> actions;
    if (event.kind == HealthEvent::Kind::kScan) {
        scan(event.now_ns, actions);
        return actions;
    }
    if (event.kind == HealthEvent::Kind::kDescribed) {
        describe(event);
        return actions;
    }
    const auto found = nodes_.find(event.node);
    if (found == nodes_.end()) {
        return actions;
    }
    Node& node = found->second;
    if (event.kind == HealthEvent::Kind::kRemoved) {
        nodes_.erase(found);
    } else if (event.kind == HealthEvent::Kind::kHeartbeat) {
        node.heard_ns = event.now_ns;
        if (node.description.state != NodeState::kUp) {
            move(node, NodeState::kUp, actions);
        }
    } else if (node.description.state == NodeState::kDown) {
        move(node, NodeState::kOut, actions);
    }
    return actions;
}

void NodeHealth::describe(const HealthEvent& event) {
    const auto [place, is_new] = nodes_.try_emplace(event.description.node);
    Node& node = place->second;
    if (is_new) {
        node = {event.description, event.now_ns, event.now_ns};
        return;
    }
    const NodeState state = node.description.state;
    node.description = event.description;
    node.description.state = state;
}

void NodeHealth::scan(uint64_t now_ns, std::vector<HealthAction>& actions) {
    const uint64_t gap_ns = scanned_ns_ == 0 ? 0 : now_ns - scanned_ns_;
    const uint64_t late_max_ns = settings_.heartbeat_interval_ns / 2;
    const bool is_late = gap_ns > settings_.scan_interval_ns + late_max_ns;
    const uint64_t given_ns = is_late ? gap_ns : 0;
    scanned_ns_ = now_ns;
    for (auto& [id, node] : nodes_) {
        node.heard_ns = std::min(node.heard_ns + given_ns, now_ns);
        node.down_since_ns = std::min(node.down_since_ns + given_ns, now_ns);
        if (node.description.state == NodeState::kUp &&
            now_ns - node.heard_ns > settings_.down_after_ns) {
            move(node, NodeState::kDown, actions);
            node.down_since_ns = now_ns;
        }
    }
    const Census census = count();
    for (auto& [id, node] : nodes_) {
        if (node.description.state == NodeState::kDown &&
            now_ns - node.down_since_ns >= settings_.out_after_ns &&
            hold(node, census, now_ns) == HoldReason::kNone) {
            move(node, NodeState::kOut, actions);
        }
    }
}

NodeHealth::Census NodeHealth::count() const {
    Census census;
    const auto enter = [](Tally& tally, NodeState state) {
        tally.up += state == NodeState::kUp ? 1 : 0;
        tally.down += state == NodeState::kDown ? 1 : 0;
    };
    for (const auto& [id, node] : nodes_) {
        const NodeDescription& description = node.description;
        enter(census.all, description.state);
        enter(census.domains[description.datacenter], description.state);
        enter(census.domains[rack_of(description)], description.state);
    }
    return census;
}

HoldReason NodeHealth::hold(const Node& node, const Census& census, uint64_t now_ns) const {
    const uint64_t down_ns = now_ns - node.down_since_ns;
    if (node.description.state != NodeState::kDown || down_ns < settings_.out_after_ns) {
        return HoldReason::kNone;
    }
    if (node.description.is_in_maintenance) {
        return HoldReason::kMaintenance;
    }
    // A single node is no domain: it fails as a node does.
    const auto is_dark = [&census](const std::string& domain) {
        const Tally& tally = census.domains.at(domain);
        return tally.up == 0 && tally.down > 1;
    };
    if (down_ns < settings_.domain_out_after_ns &&
        (is_dark(node.description.datacenter) || is_dark(rack_of(node.description)))) {
        return HoldReason::kDomain;
    }
    const uint64_t counted = uint64_t{census.all.up} + census.all.down;
    if (uint64_t{census.all.up} * 100 < counted * settings_.up_percent_min) {
        return HoldReason::kFewUp;
    }
    return HoldReason::kNone;
}

void NodeHealth::move(Node& node, NodeState state, std::vector<HealthAction>& actions) {
    node.description.state = state;
    actions.push_back({node.description.node, state});
}

std::vector<NodeReport> NodeHealth::report(uint64_t now_ns) const {
    const Census census = count();
    std::vector<NodeReport> reports;
    reports.reserve(nodes_.size());
    for (const auto& [id, node] : nodes_) {
        reports.push_back(
            {id, node.description.state, now_ns - node.heard_ns, hold(node, census, now_ns)});
    }
    return reports;
}

}  // namespace basalt::health
