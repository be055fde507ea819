#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "replication/link/replica_server.h"
#include "replication/link/tcp_link.h"
#include "test/replication/head/cluster.h"

namespace basalt::replication::test {

/// A store: a machine with one replica of volume 1, in memory, and the server before it.
class StoreMachine : public ReplicaDirectory {
  public:
    static constexpr uint16_t kPort = 4500;

    StoreMachine(sim::World& world, const ClusterOptions& options, uint8_t drive_id)
        : drive{{drive_id}},
          node(world.add_node()),
          here(world.add_reactor(node)),
          disk(options.settings),
          replica(here, options.settings, disk, options.delay_max_ns),
          server(here, *this, {.address = address()}) {
        BASALT_ASSERT(server.listen().has_value());
    }

    [[nodiscard]] SocketAddress address() const { return sim::World::address(node, kPort); }
    [[nodiscard]] ReplicaPort* find(const bdev::Uuid& wanted, uint64_t volume) override {
        return wanted == drive && volume == 1 ? &replica : nullptr;
    }
    [[nodiscard]] bool has_drive(const bdev::Uuid& wanted) override { return wanted == drive; }

    const bdev::Uuid drive;
    const sim::NodeId node;
    Reactor& here;
    ReplicaDisk disk;
    MemoryReplica replica;
    ReplicaServer server;
};

/// A head on one machine, its replicas on others, the data protocol over a network between them.
class NetworkCluster {
  public:
    explicit NetworkCluster(const ClusterOptions& how) : options(how), world(how.seed) {
        node = world.add_node();
        here = &world.add_reactor(node);
        control = &world.add_reactor(node);
        const StaticAuthorityOptions map{.volume = bdev::Uuid{{7, 7}},
                                         .replicas = settings().replicas,
                                         .lease_us = options.lease_us,
                                         .path = "/map"};
        auto opening = StaticAuthority::open(*control, world.file_system(node), map);
        BASALT_ASSERT(world.run_until([&] { return opening.is_done(); }, kNsPerSecond));
        map_authority = std::move(opening.result()).value();
        authority = std::make_unique<SlowAuthority>(
            *here, map_authority->add_port(*here), options.delay_max_ns);
        memory = std::move(HeadMemory::make(options.memory)).value();
        Head::Links links;
        for (uint32_t i = 0; i < settings().replicas; ++i) {
            stores.push_back(
                std::make_unique<StoreMachine>(world, options, static_cast<uint8_t>(i + 1)));
            connections.push_back(std::make_unique<StoreConnection>(
                *here,
                memory->reads(),
                StoreOptions{.address = stores[i]->address(), .drive = stores[i]->drive}));
            links.push_back(std::make_unique<TcpLink>(
                *connections[i], TcpLinkOptions{.volume = 1, .blocks = settings().blocks}));
        }
        head = std::make_unique<Head>(*here, settings(), *memory, *authority, std::move(links));
        for (const auto& connection : connections) {
            connection->start();
        }
        head->start(Claim::kIfFree);
    }
    NetworkCluster(const NetworkCluster&) = delete;
    NetworkCluster& operator=(const NetworkCluster&) = delete;
    ~NetworkCluster() {
        world.network().heal_all();
        head->stop();
        auto closing = map_authority->close();
        EXPECT_TRUE(world.run_until([&] { return closing.is_done(); }, kNsPerSecond));
        head.reset();
        const auto count_down = [](void* left) { --*static_cast<size_t*>(left); };
        size_t left = connections.size() + stores.size();
        for (const auto& connection : connections) {
            connection->stop(count_down, &left);
        }
        for (const auto& store : stores) {
            store->server.stop(count_down, &left);
        }
        EXPECT_TRUE(world.run_until([&] { return left == 0; }, 60 * kNsPerSecond));
        for (const auto& store : stores) {
            store->replica.die();
        }
        connections.clear();
    }

    [[nodiscard]] const Settings& settings() const { return options.settings; }
    [[nodiscard]] Status run(HostIo& io) {
        io.submit(*head);
        EXPECT_TRUE(world.run_until([&] { return io.is_done; }, 30 * kNsPerSecond));
        return io.request.status;
    }
    /// All replicas are live, nothing is under way, and what they hold is the same.
    [[nodiscard]] bool settles_alike() {
        const bool has_settled = world.run_until(
            [&] {
                const HeadStatistics now = head->statistics();
                return now.state == HeadCore::State::kOpen && head->is_at_rest() &&
                       now.live == ReplicaSet::all(settings().replicas);
            },
            60 * kNsPerSecond);
        return has_settled && std::all_of(stores.begin(), stores.end(), [&](const auto& store) {
                   return store->disk.bytes == stores[0]->disk.bytes;
               });
    }

    const ClusterOptions options;
    sim::World world;
    sim::NodeId node{};
    Reactor* here = nullptr;
    Reactor* control = nullptr;
    std::vector<std::unique_ptr<StoreMachine>> stores;
    std::unique_ptr<StaticAuthority> map_authority;
    std::unique_ptr<SlowAuthority> authority;
    std::unique_ptr<HeadMemory> memory;
    std::vector<std::unique_ptr<StoreConnection>> connections;
    std::unique_ptr<Head> head;
};

}  // namespace basalt::replication::test
