#include "test/sim/replication/head_machine.h"

#include <utility>

#include "replication/link/tcp_link.h"

namespace basalt::replication::test {

HeadMachine::HeadMachine(sim::World& world,
                         SimAuthority& authority,
                         const std::vector<std::unique_ptr<StoreMachine>>& stores,
                         const HeadMachineOptions& options)
    : node(world.add_node()),
      world_(world),
      authority_(authority),
      stores_(stores),
      options_(options) {
    world_.crash_node(node);
}

HeadMachine::~HeadMachine() {
    if (is_on()) {
        crash(sim::Crash::kPowerLoss);
    }
}

void HeadMachine::boot(Claim claim) {
    BASALT_ASSERT(!is_on());
    world_.restart_node(node);
    Reactor& here = world_.add_reactor(node);
    const Settings& settings = options_.settings;
    life_ = std::make_unique<Life>();
    life_->memory = std::move(HeadMemory::make(options_.memory)).value();
    life_->port = authority_.add_port(here);
    Head::Links links;
    for (uint32_t i = 0; i < settings.replicas; ++i) {
        life_->connections.push_back(
            std::make_unique<StoreConnection>(here,
                                              life_->memory->reads(),
                                              StoreOptions{.address = stores_[i]->address(),
                                                           .drive = stores_[i]->drive_uuid(),
                                                           .silence_ns = options_.silence_ns,
                                                           .reconnect_min_ns = 2 * kNsPerMs,
                                                           .reconnect_max_ns = 50 * kNsPerMs}));
        links.push_back(std::make_unique<TcpLink>(
            *life_->connections.back(),
            TcpLinkOptions{.volume = StoreMachine::kVolume,
                           .blocks = settings.blocks,
                           .window_entries_max = settings.window_ops * kWindowEntriesPerOp,
                           .messages_max = settings.window_ops + 2 * settings.reads + 64}));
    }
    life_->head = std::make_unique<Head>(
        here, settings, *life_->memory, *life_->port, std::move(links), options_.mistakes);
    life_->scrubber = std::make_unique<Scrubber>(*life_->head);
    for (const auto& connection : life_->connections) {
        connection->start();
    }
    life_->head->start(claim);
}

void HeadMachine::crash(sim::Crash how) {
    BASALT_ASSERT(is_on());
    world_.crash_node(node, how);
    life_->scrubber.reset();
    life_->head.reset();
    life_->connections.clear();
    life_.reset();
}

}  // namespace basalt::replication::test
