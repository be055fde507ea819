// Heads and stores on machines of their own: the shells and the data protocol together.

#include <gtest/gtest.h>

#include "reactor/io/random.h"
#include "test/replication/network/network_cluster.h"
#include "test/sim/seeds.h"

namespace basalt::replication::test {
namespace {

ClusterOptions options(uint64_t seed) {
    ClusterOptions how;
    how.seed = seed;
    how.settings = {.replicas = 3,
                    .write_quorum = 2,
                    .blocks = 1024,
                    .window_ops = 64,
                    .reads = 32,
                    .drop_timeout_us = 1'000'000,
                    .takeover_wait_us = 100'000};
    return how;
}

TEST(ReplicationNetwork, HostsGetWhatTheyWrote) {
    NetworkCluster cluster(options(1));
    HostIo io;
    io.prepare(HeadOp::kWrite, 201, 500, 12);
    ASSERT_EQ(cluster.run(io), kOk);
    io.prepare(HeadOp::kWriteZeroes, 202, 1);
    ASSERT_EQ(cluster.run(io), kOk);
    io.prepare(HeadOp::kUnmap, 400, 200);
    ASSERT_EQ(cluster.run(io), kOk);
    io.prepare(HeadOp::kRead, 200, 502, 0xee);
    ASSERT_EQ(cluster.run(io), kOk);
    for (uint64_t block = 200; block < 702; ++block) {
        const bool is_written = block > 200 && block < 701 && block != 202;
        const bool is_there = is_written && (block < 400 || block >= 600);
        EXPECT_EQ(io.value_of(block - 200), is_there ? 12U : 0U) << block;
    }
    EXPECT_TRUE(cluster.settles_alike());
}

// A host that writes its own blocks over and over and reads each back.
struct Writer {
    static constexpr uint64_t kBlocks = 64;

    void begin(NetworkCluster& cluster, Random& random) {
        is_reading = !is_reading;
        if (!is_reading) {
            ++value;
            first = random.below(kBlocks);
            count = 1 + random.below(kBlocks - first);
            io.prepare(HeadOp::kWrite, base + first, count, value);
        } else {
            io.prepare(HeadOp::kRead, base + first, count, 0xee);
        }
        io.submit(*cluster.head);
    }
    void check() const {
        EXPECT_EQ(io.request.status, kOk);
        for (uint64_t i = 0; is_reading && i < count; ++i) {
            EXPECT_EQ(io.value_of(i), value) << base + first + i;
        }
    }

    HostIo io;
    uint64_t base = 0;
    uint64_t value = 0;
    uint64_t first = 0;
    uint64_t count = 0;
    bool is_reading = true;
};

// Gives how often a replica came back.
uint64_t run_with_faults(uint64_t seed) {
    NetworkCluster cluster(options(seed));
    Random random(seed);
    std::vector<Writer> writers(8);
    for (size_t i = 0; i < writers.size(); ++i) {
        writers[i].base = i * Writer::kBlocks;
        writers[i].value = (i + 1) << 32U;
    }
    for (uint32_t round = 0; round < 400; ++round) {
        for (Writer& writer : writers) {
            if (writer.io.is_done) {
                writer.check();
                writer.begin(cluster, random);
            }
        }
        // One store at a time is away: two are a quorum.
        StoreMachine& store = *cluster.stores[random.below(3)];
        sim::Fabric& network = cluster.world.network();
        switch (random.below(16)) {
            case 0: network.cut_connections(store.node); break;
            case 1:
                network.heal_all();
                network.partition(cluster.node, store.node);
                break;
            case 2:
                network.heal_all();
                network.partition(store.node, cluster.node);
                break;
            case 3:
            case 4: network.heal_all(); break;
            default: break;
        }
        cluster.world.run_for(random.below(40) * kNsPerMs);
    }
    cluster.world.network().heal_all();
    for (Writer& writer : writers) {
        EXPECT_TRUE(cluster.world.run_until([&] { return writer.io.is_done; }, 60 * kNsPerSecond));
        writer.check();
    }
    EXPECT_TRUE(cluster.settles_alike());
    return cluster.head->statistics().returns;
}

TEST(ReplicationNetwork, NothingIsLostWhenConnectionsAre) {
    const Seeds seeds(12);
    uint64_t returns = 0;
    for (const uint64_t seed : seeds) {
        SCOPED_TRACE(seed);
        returns += run_with_faults(seed);
    }
    EXPECT_TRUE(!seeds.are_usual() || returns > 12) << returns;
}

}  // namespace
}  // namespace basalt::replication::test
