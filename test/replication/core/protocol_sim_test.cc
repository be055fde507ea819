// The whole protocol of the pure cores, seed by seed: world.h.

#include <gtest/gtest.h>

#include "test/replication/core/world.h"
#include "test/sim/seeds.h"

namespace basalt::replication::test {
namespace {

Settings settings(uint32_t replicas, uint32_t write_quorum, uint32_t read_quorum = 1) {
    return {.replicas = replicas,
            .write_quorum = write_quorum,
            .read_quorum = read_quorum,
            .blocks = 12,
            .distance = {0, 1, 1, 1, 1},
            .window_ops = 8,
            .reads = 4,
            .resync_copies = 2,
            .read_timeout_us = 10'000,
            .slow_us = 5'000,
            .drop_timeout_us = 30'000,
            .takeover_wait_us = 10'000};
}

void run_seeds(WorldOptions options, uint64_t count) {
    const Seeds seeds(count);
    WorldResult sum;
    for (const uint64_t seed : seeds) {
        options.seed = seed;
        options.is_loud = is_followed(seed);
        const WorldResult result = World(options).run();
        ASSERT_EQ(result.violation, "");
        sum.acknowledged += result.acknowledged;
        sum.reads += result.reads;
        sum.openings += result.openings;
        sum.drops += result.drops;
        sum.returns += result.returns;
        sum.snapshots += result.snapshots;
        sum.repairs += result.repairs;
    }
    if (seeds.are_usual()) {
        // A simulation in which nothing happens proves nothing.
        EXPECT_GT(sum.acknowledged, count * 5);
        EXPECT_GT(sum.reads, count * 5);
        EXPECT_GE(sum.openings, count);
        EXPECT_GT(sum.snapshots, count / 4);
        if (options.settings.replicas > options.settings.write_quorum) {
            EXPECT_GT(sum.drops, count / 4);
            EXPECT_GT(sum.returns, count / 4);
        }
    }
}

TEST(ProtocolSim, ThreeReplicasWithQuorumTwoKeepEveryPromise) {
    run_seeds({.settings = settings(3, 2)}, 1500);
}

TEST(ProtocolSim, FiveReplicasWithQuorumThreeKeepEveryPromise) {
    run_seeds({.settings = settings(5, 3)}, 500);
}

TEST(ProtocolSim, FourReplicasWithQuorumThreeKeepEveryPromise) {
    run_seeds({.settings = settings(4, 3)}, 300);
}

TEST(ProtocolSim, TwoReplicasThatAreBothNeededKeepEveryPromise) {
    run_seeds({.settings = settings(2, 2)}, 300);
}

TEST(ProtocolSim, OneReplicaKeepsEveryPromise) {
    run_seeds({.settings = settings(1, 1)}, 200);
}

TEST(ProtocolSim, ReadsThatCompareTwoCopiesMendRottenBlocks) {
    run_seeds({.settings = settings(3, 2, 2), .has_wipes = false, .has_failovers = false}, 500);
}

TEST(ProtocolSim, TheSameSeedIsTheSameRun) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
        const WorldOptions options{.seed = seed, .settings = settings(3, 2)};
        const WorldResult first = World(options).run();
        const WorldResult second = World(options).run();
        EXPECT_EQ(first.trace, second.trace);
        EXPECT_EQ(first.acknowledged, second.acknowledged);
        EXPECT_EQ(first.reads, second.reads);
    }
}

constexpr uint64_t kSeedsToFind = 3000;

/// How many seeds it takes until the mistake is found; 0: not within `most`.
uint64_t seeds_until_found(Mistakes mistakes, uint64_t most, Settings of = settings(3, 2)) {
    WorldOptions options{.settings = of, .mistakes = mistakes, .fault_rate = 60};
    for (uint64_t seed = 0; seed < most; ++seed) {
        options.seed = seed;
        if (!World(options).run().violation.empty()) {
            return seed + 1;
        }
    }
    return 0;
}

/// The old head can read for long, and the new one does not wait for whom it does not reach.
Settings quick_to_take_over() {
    Settings quick = settings(3, 2);
    quick.blocks = 24;
    quick.window_ops = 4;
    quick.takeover_wait_us = 500;
    quick.drop_timeout_us = 10'000;
    return quick;
}

TEST(ProtocolSim, FindsNothingWhereThereIsNoMistake) {
    EXPECT_EQ(seeds_until_found({}, 700), 0U);
    EXPECT_EQ(seeds_until_found({}, 700, quick_to_take_over()), 0U);
}
TEST(ProtocolSim, FindsAnAcknowledgementBeforeTheQuorum) {
    EXPECT_GT(seeds_until_found({.acks_before_quorum = true}, kSeedsToFind), 0U);
}
TEST(ProtocolSim, FindsASkippedFence) {
    EXPECT_GT(seeds_until_found({.skips_fence = true}, kSeedsToFind), 0U);
}
TEST(ProtocolSim, FindsAMissingLease) {
    EXPECT_GT(seeds_until_found({.has_no_lease = true}, kSeedsToFind, quick_to_take_over()), 0U);
}
TEST(ProtocolSim, FindsAReadOfWhatIsNotAcknowledged) {
    EXPECT_GT(seeds_until_found({.reads_unacknowledged = true}, kSeedsToFind), 0U);
}
TEST(ProtocolSim, FindsAWatermarkThatMovesEarly) {
    EXPECT_GT(seeds_until_found({.moves_watermark_early = true}, kSeedsToFind), 0U);
}
TEST(ProtocolSim, FindsAWindowThatMissedAFailoverAndCounts) {
    EXPECT_GT(seeds_until_found({.counts_any_window = true}, kSeedsToFind), 0U);
}
TEST(ProtocolSim, FindsAReplicaThatIsDroppedEarly) {
    EXPECT_GT(seeds_until_found({.drops_early = true}, kSeedsToFind), 0U);
}
TEST(ProtocolSim, FindsALostDirtyBitmap) {
    EXPECT_GT(seeds_until_found({.loses_dirty = true}, kSeedsToFind), 0U);
}
TEST(ProtocolSim, FindsAResyncThatRacesAWrite) {
    EXPECT_GT(seeds_until_found({.lets_resync_race = true}, kSeedsToFind), 0U);
}

}  // namespace
}  // namespace basalt::replication::test
