#pragma once

#include <memory>
#include <vector>

#include "bdev/core/registry.h"
#include "bdev/leaf/malloc_bdev.h"
#include "bdev/leaf/null_bdev.h"
#include "nvmf/target/target.h"
#include "reactor/sim/world.h"

namespace basalt::nvmf {

/// I/O buffers from the heap.
class HeapBuffers final : public BufferMemory {
  public:
    Result<std::span<std::byte>> allocate(CoreId, size_t bytes) override {
        regions_.push_back(std::make_unique_for_overwrite<std::byte[]>(bytes + 4096));
        void* start = regions_.back().get();
        size_t space = bytes + 4096;
        return std::span(static_cast<std::byte*>(std::align(4096, bytes, start, space)), bytes);
    }

  private:
    std::vector<std::unique_ptr<std::byte[]>> regions_;
};

/// A simulated machine with a target on two reactors and a control thread, and a second machine for
/// hosts. One subsystem with a malloc device as namespace 1 and a null device as namespace 2.
class TargetWorld {
  public:
    static constexpr std::string_view kNqn = "nqn.2026-11.io.basalt:test";
    static constexpr uint64_t kBlocks = 2048;
    static constexpr uint32_t kBlockBytes = 512;
    static constexpr uint32_t kReactors = 2;

    explicit TargetWorld(uint64_t seed,
                         const sim::FaultOptions& faults = sim::calm(),
                         TransportOptions options = {})
        : world(seed, faults), server(world.add_node()), client(world.add_node()) {
        for (uint32_t i = 0; i < kReactors; ++i) {
            world.add_reactor(server);
        }
        control = &world.add_reactor(server);
        host = &world.add_reactor(client);
        registry = std::make_unique<bdev::BdevRegistry>(std::vector{CoreId(0), CoreId(1)});
        target = std::make_unique<Target>(*control, kReactors, buffers);
        options.discovery_port = kDiscoveryPort;
        expect_ok(target->create_transport(options));
        expect_ok(target->create_subsystem(
            {.nqn = std::string(kNqn), .serial_number = "S1", .allow_any_host = true}));
        add_malloc("Malloc0", kBlocks, kBlockBytes);
        add_null("Null0", 4096, 4096);
        add_namespace("Malloc0");
        add_namespace("Null0");
        address =
            run(target->add_listener(std::string(kNqn), sim::World::address(server, 4420))).value();
    }

    ~TargetWorld() {
        auto ended = target->shut_down();
        BASALT_ASSERT(world.run_until([&] { return ended.is_done(); }, 600 * kNsPerSecond));
        target.reset();
    }

    /// Runs the world until the sequence has ended.
    template <typename T>
    T run(Task<T> task) {
        BASALT_ASSERT(world.run_until([&] { return task.is_done(); }, 600 * kNsPerSecond));
        return task.result();
    }
    void expect_ok(Task<Status> task) { BASALT_ASSERT(run(std::move(task)).has_value()); }

    void add_malloc(const std::string& name, uint64_t blocks, uint32_t block_bytes) {
        bdev::MallocOptions options;
        options.name = name;
        options.uuid = bdev::Uuid::from_name("target-world", name);
        options.block_count = BlockCount(blocks);
        options.block_size_bytes = block_bytes;
        BASALT_ASSERT(registry->add(bdev::MallocBdev::make(options, memory).value()).has_value());
    }
    void add_null(const std::string& name, uint64_t blocks, uint32_t block_bytes) {
        bdev::NullOptions options;
        options.name = name;
        options.uuid = bdev::Uuid::from_name("target-world", name);
        options.block_count = BlockCount(blocks);
        options.block_size_bytes = block_bytes;
        BASALT_ASSERT(registry->add(bdev::NullBdev::make(options).value()).has_value());
    }
    Nsid add_namespace(const std::string& name) { return add_namespace(kNqn, name, {}); }
    Nsid add_namespace(std::string_view nqn, const std::string& name, NamespaceOptions options) {
        options.device = registry->find(name);
        options.claim = registry->claim(*options.device, "a namespace").value();
        return run(target->add_namespace(std::string(nqn), std::move(options))).value();
    }

    sim::World world;
    sim::NodeId server;
    sim::NodeId client;
    Reactor* control = nullptr;
    Reactor* host = nullptr;
    HeapBuffers buffers;
    bdev::AnonymousMemory memory;
    std::unique_ptr<bdev::BdevRegistry> registry;
    std::unique_ptr<Target> target;
    SocketAddress address;
};

}  // namespace basalt::nvmf
