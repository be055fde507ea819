#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "reactor/reactor.h"
#include "reactor/sim/fabric.h"
#include "reactor/sim/fault_options.h"
#include "reactor/sim/sim_driver.h"
#include "reactor/sim/sim_file_system.h"
#include "reactor/sim/sim_mailbox.h"
#include "reactor/sim/timeline.h"

namespace basalt::sim {

/// What ends a node.
enum class Crash : uint8_t {
    kPowerLoss,  ///< Silence for its peers; its drives lose what was not durable.
    kProcess,    ///< The kernel resets the connections and keeps what was written.
};

/// A whole cluster in one thread: nodes with reactors, the network between them, their drives, and
/// virtual time. Everything that happens follows from the seed, the options and the calls made, so
/// a failing run is replayed by its seed; trace_hash() proves that it was.
///
/// A turn of the world runs what has come due, polls each reactor that has something to do, in a
/// seeded order, then lets a turn's time pass, or jumps to the next moment when nobody has.
///
/// Owner: the test. Reactors live as long as the world, also those of crashed nodes. The objects
/// that use a reactor are destroyed either while nothing of theirs is under way, or after their
/// node has crashed (crash_node(), power_off(), the world's end), in any state. After the world's
/// end they must not use their reactor any more. Crash a node between runs, not from inside one.
class World {
  public:
    explicit World(uint64_t seed, const FaultOptions& faults = calm());
    World(const World&) = delete;
    World& operator=(const World&) = delete;
    ~World();

    NodeId add_node();
    /// The reactor of `node`'s next core: 0, 1, … Messages go between cores of one node.
    Reactor& add_reactor(NodeId node);
    [[nodiscard]] Reactor& reactor(NodeId node, CoreId core);
    [[nodiscard]] static SocketAddress address(NodeId node, uint16_t port) {
        return Fabric::address(node, port, false);
    }
    [[nodiscard]] static SocketAddress address_ipv6(NodeId node, uint16_t port) {
        return Fabric::address(node, port, true);
    }

    /// Drives, files and NVMe devices of a node; they outlive its crashes.
    [[nodiscard]] SimFileSystem& file_system(NodeId node);
    Drive& add_drive(NodeId node, const std::string& path, const DriveOptions& options = {});
    NvmeDevice& add_nvme(NodeId node, const std::string& path, const NvmeOptions& options = {});

    /// One turn. False if nothing will happen any more by itself; time stands still then. Never
    /// passes `until_ns`.
    bool step(uint64_t until_ns = UINT64_MAX);
    void run_for(uint64_t duration_ns);
    /// Until `predicate()` holds, asked after each turn. False if it did not within `limit_ns`.
    template <typename Predicate>
    bool run_until(Predicate predicate, uint64_t limit_ns) {
        const uint64_t end_ns = now_ns() + limit_ns;
        while (!predicate()) {
            if (now_ns() >= end_ns || !step(end_ns)) {
                break;
            }
        }
        catch_up();
        return predicate();
    }
    /// Until nothing will happen any more by itself. False if that took more than `limit_ns`.
    bool run_until_idle(uint64_t limit_ns);

    [[nodiscard]] uint64_t now_ns() { return timeline_.now_ns(); }
    [[nodiscard]] uint64_t trace_hash() const { return timeline_.trace_hash(); }
    /// For a test's own choices, so that they follow from the seed too.
    [[nodiscard]] Random& random() { return timeline_.random(); }
    /// May be changed at any time between runs.
    [[nodiscard]] FaultOptions& faults() { return timeline_.faults; }
    /// Partitions and cuts.
    [[nodiscard]] Fabric& network() { return fabric_; }
    void partition_both_ways(NodeId a, NodeId b);
    void heal_both_ways(NodeId a, NodeId b);

    /// Ends all of `node` at once, without a word to its objects: reactors forget their events and
    /// timers and never run again, sockets and requests get no answer. Destroy the objects next.
    void crash_node(NodeId node, Crash crash = Crash::kPowerLoss);
    /// Brings a crashed node back: its addresses answer, add_reactor() starts anew at core 0.
    void restart_node(NodeId node);
    /// Crashes every node.
    void power_off();

  private:
    struct Core {
        Core(World& world, NodeId node_id, CoreId core_id);

        NodeId node;
        SimMailbox mailbox;
        SimDriver driver;
        Reactor reactor;
        uint64_t paused_until_ns = 0;
        bool was_busy = false;
    };
    struct Node {
        explicit Node(Timeline& timeline) : files(timeline) {}

        std::vector<SimMailbox*> mailboxes;  // By core; of this life of the node.
        std::vector<Core*> cores;
        SimFileSystem files;
    };

    [[nodiscard]] Node& node(NodeId id);
    [[nodiscard]] bool has_work(const Core& core) const;
    void poll(Core& core);
    /// Gives every reactor a turn, so that its now_ns() is the world's when a test talks to it.
    void catch_up();

    Timeline timeline_;
    Fabric fabric_;
    std::vector<std::unique_ptr<Node>> nodes_;
    std::vector<std::unique_ptr<Core>> cores_;  // All that ever were.
    std::vector<Core*> living_;
    std::vector<Core*> turn_;
};

}  // namespace basalt::sim
