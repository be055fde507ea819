#include "reactor/sim/world.h"

#include <algorithm>
#include <utility>

#include "reactor/base/assert.h"

namespace basalt::sim {

namespace {
constexpr uint64_t kTurnNs = 500;  // What a busy turn of a reactor takes.
}

World::Core::Core(World& world, NodeId node_id, CoreId core_id)
    : node(node_id),
      mailbox(world.timeline_, world.node(node_id).mailboxes, core_id),
      driver(world.timeline_, world.fabric_, world.node(node_id).files, node_id),
      reactor(ReactorOptions{.core = core_id, .random_seed = world.timeline_.random().next()},
              world.timeline_,
              driver,
              mailbox) {}

World::World(uint64_t seed, const FaultOptions& faults)
    : timeline_(seed, faults), fabric_(timeline_) {}

World::~World() {
    power_off();
}

NodeId World::add_node() {
    nodes_.push_back(std::make_unique<Node>(timeline_));
    return fabric_.add_node();
}

World::Node& World::node(NodeId id) {
    BASALT_ASSERT(id.raw() < nodes_.size());
    return *nodes_[id.raw()];
}

Reactor& World::add_reactor(NodeId id) {
    Node& home = node(id);
    const CoreId core_id(static_cast<uint32_t>(home.cores.size()));
    cores_.push_back(std::make_unique<Core>(*this, id, core_id));
    Core& core = *cores_.back();
    home.cores.push_back(&core);
    home.mailboxes.push_back(&core.mailbox);
    living_.push_back(&core);
    return core.reactor;
}

Reactor& World::reactor(NodeId id, CoreId core) {
    BASALT_ASSERT(core.raw() < node(id).cores.size());
    return node(id).cores[core.raw()]->reactor;
}

SimFileSystem& World::file_system(NodeId id) {
    return node(id).files;
}

Drive& World::add_drive(NodeId id, const std::string& path, const DriveOptions& options) {
    return node(id).files.add_drive(path, options);
}

NvmeDevice& World::add_nvme(NodeId id, const std::string& path, const NvmeOptions& options) {
    return node(id).files.add_nvme(path, options);
}

bool World::has_work(const Core& core) const {
    return core.was_busy || core.mailbox.has_arrived() || core.driver.has_ready();
}

void World::poll(Core& core) {
    timeline_.trace((uint64_t{core.node.raw()} << 32U) | core.reactor.core().raw());
    core.was_busy = core.reactor.poll_once() == PollResult::kBusy;
    if (timeline_.roll(timeline_.faults.reactor_pause_ppm)) {
        core.paused_until_ns =
            timeline_.now_ns() + timeline_.up_to(timeline_.faults.reactor_pause_ns_max);
    }
}

bool World::step(uint64_t until_ns) {
    timeline_.run_due();
    uint64_t next_ns = timeline_.next_ns();
    const uint64_t now_ns = timeline_.now_ns();
    turn_.clear();
    for (Core* core : living_) {
        const uint64_t wakeup_ns = has_work(*core) ? now_ns : core->reactor.next_wakeup_ns();
        if (std::max(wakeup_ns, core->paused_until_ns) <= now_ns ||
            timeline_.roll(timeline_.faults.spurious_turn_ppm)) {
            turn_.push_back(core);
        } else {
            next_ns = std::min(next_ns, std::max(wakeup_ns, core->paused_until_ns));
        }
    }
    if (!turn_.empty()) {
        for (size_t i = turn_.size(); i > 1; --i) {
            std::swap(turn_[i - 1], turn_[timeline_.random().below(i)]);
        }
        for (Core* core : turn_) {
            poll(*core);
        }
        timeline_.advance_to(std::min(now_ns + kTurnNs, std::max(until_ns, now_ns)));
        return true;
    }
    if (next_ns == UINT64_MAX) {
        return false;
    }
    timeline_.advance_to(std::max(now_ns, std::min(next_ns, until_ns)));
    return true;
}

void World::run_for(uint64_t duration_ns) {
    const uint64_t end_ns = now_ns() + duration_ns;
    while (now_ns() < end_ns && step(end_ns)) {
    }
    if (now_ns() < end_ns) {
        timeline_.advance_to(end_ns);
    }
    catch_up();
}

bool World::run_until_idle(uint64_t limit_ns) {
    const uint64_t end_ns = now_ns() + limit_ns;
    bool is_idle = false;
    while (!is_idle && now_ns() < end_ns) {
        is_idle = !step(end_ns);
    }
    catch_up();
    return is_idle;
}

void World::catch_up() {
    for (Core* core : living_) {
        if (core->reactor.now_ns() < now_ns() && core->paused_until_ns <= now_ns()) {
            poll(*core);
        }
    }
}

void World::partition_both_ways(NodeId a, NodeId b) {
    fabric_.partition(a, b);
    fabric_.partition(b, a);
}

void World::heal_both_ways(NodeId a, NodeId b) {
    fabric_.heal(a, b);
    fabric_.heal(b, a);
}

void World::crash_node(NodeId id, Crash crash) {
    const bool loses_power = crash == Crash::kPowerLoss;
    Node& home = node(id);
    fabric_.power_off(id, !loses_power);
    for (Core* core : home.cores) {
        core->driver.network().power_off();
        core->driver.storage().power_off(loses_power);
        core->mailbox.power_off();
        core->reactor.abandon();
        living_.erase(std::find(living_.begin(), living_.end(), core));
    }
    home.files.crash(loses_power);
    home.cores.clear();
    home.mailboxes.clear();
}

void World::restart_node(NodeId id) {
    fabric_.power_on(id);
}

void World::power_off() {
    for (uint32_t i = 0; i < nodes_.size(); ++i) {
        crash_node(NodeId(i));
    }
    for (const std::unique_ptr<Core>& core : cores_) {
        core->reactor.abandon();
    }
}

}  // namespace basalt::sim
