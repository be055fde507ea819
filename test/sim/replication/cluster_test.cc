// Whole clusters, seed by seed: cluster_run.h.

#include <gtest/gtest.h>

#include "test/sim/replication/quiet_run.h"
#include "test/sim/seeds.h"

namespace basalt::replication::test {
namespace {

void run_seeds(ClusterRunOptions options, uint64_t count) {
    const Seeds seeds(count);
    ClusterRunResult sum;
    for (const uint64_t seed : seeds) {
        options.seed = seed;
        const ClusterRunResult result = run_quietly(options);
        ASSERT_EQ(result.problem, "") << "seed " << seed;
        sum.add(result);
    }
    if (seeds.are_usual()) {
        // A simulation in which nothing happens proves nothing.
        EXPECT_GT(sum.requests, count * 100);
        EXPECT_GT(sum.stale, count);
        EXPECT_GT(sum.lost, count);
        EXPECT_GT(sum.crashes, count);
        EXPECT_GT(sum.openings, count);
        EXPECT_GT(sum.drops, count / 4);
        EXPECT_GT(sum.returns, count / 4);
        EXPECT_GT(sum.lines, count / 4);
        EXPECT_GT(sum.dropped_lines, count / 4);
        EXPECT_GT(sum.rotten, count / 4);
        EXPECT_GT(sum.found, count);
    }
}

TEST(ReplicationCluster, ThreeStoresKeepEveryPromise) {
    run_seeds({.replicas = 3, .write_quorum = 2, .heads = 2}, 30);
}

TEST(ReplicationCluster, FiveStoresKeepEveryPromise) {
    run_seeds({.replicas = 5, .write_quorum = 3, .heads = 3}, 10);
}

TEST(ReplicationCluster, TheSameSeedIsTheSameRun) {
    for (uint64_t seed = 0; seed < 3; ++seed) {
        const ClusterRunResult first = run_quietly({.seed = seed});
        const ClusterRunResult second = run_quietly({.seed = seed});
        EXPECT_EQ(first.trace, second.trace);
        EXPECT_EQ(first.requests, second.requests);
    }
}

}  // namespace
}  // namespace basalt::replication::test
