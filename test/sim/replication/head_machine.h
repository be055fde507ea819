#pragma once

#include <memory>
#include <vector>

#include "reactor/sim/world.h"
#include "replication/head/head.h"
#include "replication/head/scrubber.h"
#include "replication/link/store_connection.h"
#include "test/sim/replication/sim_authority.h"
#include "test/sim/replication/store_machine.h"

namespace basalt::replication::test {

struct HeadMachineOptions {
    Settings settings{};
    HeadMemoryOptions memory{.writes = {8, 6}, .reads = {40, 40}};
    uint64_t silence_ns = 0;
    Mistakes mistakes{};
};

/// A machine that can be the head of the volume: a Head, with a connection to each store.
class HeadMachine {
  public:
    /// A machine without power. All outlive it.
    HeadMachine(sim::World& world,
                SimAuthority& authority,
                const std::vector<std::unique_ptr<StoreMachine>>& stores,
                const HeadMachineOptions& options);
    HeadMachine(const HeadMachine&) = delete;
    HeadMachine& operator=(const HeadMachine&) = delete;
    ~HeadMachine();

    void boot(Claim claim);
    /// What hosts have under way is the caller's to forget.
    void crash(sim::Crash how);

    [[nodiscard]] bool is_on() const { return life_ != nullptr; }
    // While it is on.
    [[nodiscard]] Head& head() { return *life_->head; }
    [[nodiscard]] Scrubber& scrubber() { return *life_->scrubber; }
    [[nodiscard]] bool is_open() const {
        return is_on() && life_->head->statistics().state == HeadCore::State::kOpen;
    }
    void set_away(bool is_away) { life_->port->set_away(is_away); }

    const sim::NodeId node;

  private:
    struct Life {
        std::unique_ptr<HeadMemory> memory;
        std::unique_ptr<SimAuthority::Port> port;
        std::vector<std::unique_ptr<StoreConnection>> connections;
        std::unique_ptr<Head> head;
        std::unique_ptr<Scrubber> scrubber;
    };

    sim::World& world_;
    SimAuthority& authority_;
    const std::vector<std::unique_ptr<StoreMachine>>& stores_;
    const HeadMachineOptions options_;
    std::unique_ptr<Life> life_;
};

}  // namespace basalt::replication::test
