#pragma once

#include <cstdint>

#include "reactor/io/io_driver.h"
#include "reactor/sim/sim_network.h"
#include "reactor/sim/sim_storage.h"

namespace basalt::sim {

/// The outside of one simulated reactor. Never waits: the world polls a reactor only when there is
/// something to do. Owner: World.
class SimDriver final : public IoDriver {
  public:
    SimDriver(Timeline& timeline, Fabric& fabric, SimFileSystem& files, NodeId node)
        : network_(timeline, fabric, node), storage_(timeline, files) {}

    uint32_t poll() override { return network_.poll() + storage_.poll(*reactor()); }
    void wait(uint64_t /*deadline_ns*/) override {}
    [[nodiscard]] uint32_t in_flight() const override {
        return network_.socket_count() + storage_.in_flight();
    }
    [[nodiscard]] SimNetwork& network() override { return network_; }
    [[nodiscard]] SimStorage& storage() override { return storage_; }
    [[nodiscard]] bool has_ready() const { return network_.has_ready() || storage_.has_ready(); }

  private:
    SimNetwork network_;
    SimStorage storage_;
};

}  // namespace basalt::sim
