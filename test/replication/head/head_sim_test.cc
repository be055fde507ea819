// Two heads over replicas in memory, seed by seed: hosts read and write at random while replicas
// stop, die and come back, links end, the authority is away, and heads take the volume from each
// other. Every request completes once, each block is a register that is linearizable, and in the
// end all replicas are the same and nothing is under way.

#include <algorithm>
#include <deque>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "test/replication/head/cluster.h"
#include "test/replication/head/history.h"
#include "test/sim/seeds.h"

namespace basalt::replication::test {
namespace {

constexpr uint64_t kBlocks = 280;

struct Run {
    Run(uint64_t seed, uint32_t replicas, uint32_t write_quorum)
        : random(seed * 77 + 5), cluster(options(seed, replicas, write_quorum)) {}

    static ClusterOptions options(uint64_t seed, uint32_t replicas, uint32_t write_quorum) {
        ClusterOptions how;
        how.seed = seed;
        how.delay_max_ns = seed % 3 == 0 ? 5 * kNsPerMs : 300 * kNsPerUs;
        how.lease_us = 100'000;
        how.memory = {.writes = {8, 6}, .reads = {40, 40}};
        how.settings = {.replicas = replicas,
                        .write_quorum = write_quorum,
                        .read_quorum = seed % 5 == 0 ? 2U : 1U,
                        .blocks = kBlocks,
                        .distance = {0, 1, 1, 1, 1},
                        .window_ops = 16,
                        .reads = 8,
                        .resync_copies = 2,
                        .read_timeout_us = 50'000,
                        .slow_us = 10'000,
                        .drop_timeout_us = 150'000,
                        .takeover_wait_us = 50'000};
        return how;
    }

    struct Host {
        HostIo io;
        uint64_t begin_ns = 0;
        uint64_t value = 0;
        Run* run = nullptr;
    };

    void submit(Host& host) {
        HostIo& io = host.io;
        const uint64_t dice = random.below(100);
        const uint64_t first = random.chance(1, 2) ? random.below(12) : random.below(kBlocks);
        const uint64_t most = random.chance(1, 12) ? 200 : 6;
        const uint64_t count = 1 + random.below(std::min(most, kBlocks - first));
        host.run = this;
        host.value = 0;
        host.begin_ns = cluster.world.now_ns();
        if (dice < 45) {
            host.value = history.begin_write(first, count, host.begin_ns, false);
            io.prepare(HeadOp::kWrite, first, count, host.value);
        } else if (dice < 55) {
            host.value = history.begin_write(first, count, host.begin_ns, true);
            io.prepare(random.chance(1, 2) ? HeadOp::kUnmap : HeadOp::kWriteZeroes, first, count);
        } else if (dice < 56) {
            io.prepare(HeadOp::kSnapshot, 0, 0);
        } else {
            io.prepare(HeadOp::kRead, first, count, 0xeeee);
        }
        io.context = &host;
        io.on_end = [](HostIo&, void* context) {
            Host& host_of = *static_cast<Host*>(context);
            host_of.run->ended(host_of);
        };
        io.submit(cluster.head(static_cast<uint32_t>(random.below(2))));
    }

    void ended(Host& host) {
        const HeadRequest& request = host.io.request;
        const uint64_t now_ns = cluster.world.now_ns();
        ++done;
        if (!request.status) {
            stale += uint64_t{request.status == Errc::kStaleEpoch};
            if (request.status != Errc::kStaleEpoch) {
                problem = fmt::format("status {}", static_cast<int>(request.status.error().code));
            }
            return;
        }
        if (host.value != 0) {
            history.end_write(host.value, now_ns);
        }
        for (uint64_t i = 0; request.op == HeadOp::kRead && i < request.count; ++i) {
            std::string why =
                history.check_read(request.first + i, host.io.value_of(i), host.begin_ns, now_ns);
            if (!why.empty()) {
                problem = std::move(why);
            }
        }
    }

    void fault() {
        const auto replica = static_cast<uint32_t>(random.below(cluster.settings().replicas));
        const auto seat = static_cast<uint32_t>(random.below(2));
        switch (random.below(8)) {
            case 0: cluster.crash(replica); return;
            case 1: cluster.restart(replica); return;
            case 2:
                if (cluster.replicas[replica] != nullptr) {
                    cluster.replicas[replica]->set_stopped(
                        !cluster.replicas[replica]->is_stopped());
                }
                return;
            case 3: cluster.seats[seat].links[replica]->reset(); return;
            case 4: cluster.head(seat).take_over(); return;
            case 5: cluster.seats[seat].authority->set_away(random.chance(1, 3)); return;
            default: heal_some(); return;
        }
    }
    void heal_some() {
        for (uint32_t i = 0; i < cluster.settings().replicas; ++i) {
            if (random.chance(2, 3)) {
                cluster.restart(i);
                cluster.replicas[i]->set_stopped(false);
            }
        }
    }

    void go() {
        cluster.start(0);
        cluster.start(1);
        for (uint32_t step = 0; step < 400 && problem.empty(); ++step) {
            for (Host& host : hosts) {
                if (host.io.is_done && random.chance(1, 3)) {
                    submit(host);
                }
            }
            if (random.chance(1, 12)) {
                fault();
            }
            cluster.world.run_for(random.below(4 * kNsPerMs));
        }
        finish();
    }

    void finish() {
        for (uint32_t i = 0; i < cluster.settings().replicas; ++i) {
            cluster.restart(i);
            cluster.replicas[i]->set_stopped(false);
        }
        for (auto& seat : cluster.seats) {
            seat.authority->set_away(false);
        }
        const bool is_over = cluster.world.run_until(
            [&] {
                return std::all_of(
                    hosts.begin(), hosts.end(), [](const Host& host) { return host.io.is_done; });
            },
            60 * kNsPerSecond);
        if (!is_over && problem.empty()) {
            problem = "a request waits for ever";
        }
        if (problem.empty() && !cluster.world.run_until_idle(60 * kNsPerSecond)) {
            problem = "it never comes to rest";
        }
        uint32_t open = 0;
        for (uint32_t seat = 0; seat < 2; ++seat) {
            const HeadStatistics end = cluster.head(seat).statistics();
            openings += end.openings;
            drops += end.drops;
            returns += end.returns;
            const bool is_open = end.state == HeadCore::State::kOpen;
            open += uint32_t{is_open};
            if (is_open && end.live != ReplicaSet::all(cluster.settings().replicas) &&
                problem.empty()) {
                problem = "not all replicas came back";
            }
        }
        if (open != 1 && problem.empty()) {
            problem = fmt::format("{} heads are open", open);
        }
        if (problem.empty()) {
            problem = history.check_all();
        }
        if (problem.empty() && !cluster.are_disks_alike()) {
            problem = "the replicas are not the same";
        }
    }

    Random random;
    Cluster cluster;
    History history{kBlocks};
    std::array<Host, 12> hosts;
    std::string problem;
    uint64_t done = 0;
    uint64_t stale = 0;
    uint64_t openings = 0;
    uint64_t drops = 0;
    uint64_t returns = 0;
};

void run_seeds(uint64_t count, uint32_t replicas, uint32_t write_quorum) {
    const Seeds seeds(count);
    uint64_t done = 0;
    uint64_t stale = 0;
    uint64_t openings = 0;
    uint64_t drops = 0;
    uint64_t returns = 0;
    for (const uint64_t seed : seeds) {
        Run run(seed, replicas, write_quorum);
        run.go();
        ASSERT_EQ(run.problem, "") << "seed " << seed;
        done += run.done;
        stale += run.stale;
        openings += run.openings;
        drops += run.drops;
        returns += run.returns;
    }
    if (seeds.are_usual()) {
        EXPECT_GT(done, count * 200);
        EXPECT_GT(stale, count);
        EXPECT_GT(openings, count);
        if (write_quorum < replicas) {
            EXPECT_GT(drops, count / 4);
            EXPECT_GT(returns, count / 4);
        }
    }
}

TEST(HeadSim, ThreeReplicasKeepEveryPromise) {
    run_seeds(16, 3, 2);
}

TEST(HeadSim, FiveReplicasKeepEveryPromise) {
    run_seeds(5, 5, 3);
}

TEST(HeadSim, TwoReplicasKeepEveryPromise) {
    run_seeds(5, 2, 2);
}

}  // namespace
}  // namespace basalt::replication::test
