#pragma once

#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "reactor/sim/world.h"
#include "reactor/task.h"

namespace basalt::bdev {

/// A simulated machine with two cores, a control thread and drives, for tests of one device.
class SimNode {
  public:
    explicit SimNode(uint64_t seed, const sim::FaultOptions& faults = sim::calm())
        : world(seed, faults), node(world.add_node()) {
        boot();
    }

    [[nodiscard]] Reactor& core(uint32_t index) { return *reactors_[index]; }
    [[nodiscard]] Reactor& control() { return *reactors_.back(); }
    [[nodiscard]] const std::vector<CoreId>& cores() const { return cores_; }
    [[nodiscard]] sim::SimFileSystem& files() { return world.file_system(node); }

    /// Runs a sequence of the control thread to its end and returns its value.
    template <typename T>
    T wait(Task<T> task) {
        EXPECT_TRUE(world.run_until([&task] { return task.is_done(); }, 100 * kNsPerSecond));
        return task.result();
    }

    /// Turns until `io` is done.
    template <typename Io>
    void finish(const Io& io) {
        EXPECT_TRUE(world.run_until([&io] { return io.is_done(); }, 100 * kNsPerSecond));
    }

    /// After world.crash_node(): a new life with the same drives.
    void reboot() {
        world.restart_node(node);
        boot();
    }

    sim::World world;
    sim::NodeId node;

  private:
    void boot() {
        reactors_.clear();
        for (int i = 0; i < 3; ++i) {
            reactors_.push_back(&world.add_reactor(node));
        }
    }

    std::vector<Reactor*> reactors_;
    std::vector<CoreId> cores_{CoreId(0), CoreId(1)};
};

}  // namespace basalt::bdev
