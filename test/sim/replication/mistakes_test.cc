// That the simulation of whole clusters finds mistakes: each of these on purpose, within a bounded
// number of seeds.

#include <gtest/gtest.h>

#include "test/sim/replication/cluster_run.h"
#include "test/sim/replication/quiet_run.h"

namespace basalt::replication::test {
namespace {

constexpr uint64_t kSeedsToFind = 60;

/// Whether one of the seeds shows that something is wrong.
bool is_found(ClusterRunOptions options, uint64_t most = kSeedsToFind) {
    options.scrubs = false;
    for (options.seed = 0; options.seed < most; ++options.seed) {
        const std::string problem = run_quietly(options).problem;
        if (!problem.empty()) {
            return true;
        }
    }
    return false;
}

/// Heads that die together with a store, and heads that are replaced and don't hear of it.
ClusterRunOptions with_bad_heads(const Mistakes& mistakes) {
    return {.steps = 200,
            .faults_in_thousand = 300,
            .faults = {Fault::kAuthorityAway, Fault::kHeadAndStore, Fault::kOldHead},
            .mistakes = mistakes};
}

/// One replica has what the others get late, and dies with the head.
ClusterRunOptions with_slow_stores(const Mistakes& mistakes) {
    return {.steps = 200,
            .faults_in_thousand = 250,
            .faults = {Fault::kHeadAndStore, Fault::kSlowDrive},
            .mistakes = mistakes};
}

/// Stores that come back from crashes, to heads that have never seen them.
ClusterRunOptions with_crashes(const StoreMistakes& mistakes) {
    return {.steps = 200,
            .faults_in_thousand = 250,
            .faults = {Fault::kStorePower, Fault::kBlackout, Fault::kHeadAndStore},
            .store_mistakes = mistakes};
}

TEST(ReplicationClusterFinds, NothingWhereThereIsNoMistake) {
    EXPECT_FALSE(is_found(with_bad_heads({}), kSeedsToFind / 6));
    EXPECT_FALSE(is_found(with_slow_stores({}), kSeedsToFind / 6));
    EXPECT_FALSE(is_found(with_crashes({}), kSeedsToFind / 6));
}
TEST(ReplicationClusterFinds, AnAcknowledgementBeforeTheQuorum) {
    EXPECT_TRUE(is_found(with_bad_heads({.acks_before_quorum = true})));
}
TEST(ReplicationClusterFinds, ASkippedFence) {
    EXPECT_TRUE(is_found(with_bad_heads({.skips_fence = true})));
}
TEST(ReplicationClusterFinds, AReadOfWhatIsNotAcknowledged) {
    EXPECT_TRUE(is_found(with_slow_stores({.reads_unacknowledged = true})));
}
TEST(ReplicationClusterFinds, AWatermarkThatMovesEarly) {
    EXPECT_TRUE(is_found({.mistakes = {.moves_watermark_early = true}}));
}
TEST(ReplicationClusterFinds, ALostDirtyBitmap) {
    EXPECT_TRUE(is_found({.mistakes = {.loses_dirty = true}}));
}
TEST(ReplicationClusterFinds, AResyncThatRacesAWrite) {
    EXPECT_TRUE(is_found({.mistakes = {.lets_resync_race = true}}));
}
TEST(ReplicationClusterFinds, ARangeThatIsMendedFromOneReplica) {
    EXPECT_TRUE(is_found(
        {.steps = 100, .faults = {Fault::kRot}, .mistakes = {.mends_without_asking = true}}));
}
TEST(ReplicationClusterFinds, ALineThatIsDroppedBeforeItIsDrawnEverywhere) {
    EXPECT_TRUE(is_found({.faults = {Fault::kSlowDrive}, .mistakes = {.drops_lines_early = true}}));
}
TEST(ReplicationClusterFinds, AStoreThatAnswersBeforeItIsDurable) {
    EXPECT_TRUE(is_found({.store_mistakes = {.acks_before_durable = true}}));
}
TEST(ReplicationClusterFinds, AWindowThatIsForgottenInACrash) {
    EXPECT_TRUE(is_found(with_crashes({.forgets_window = true})));
}
TEST(ReplicationClusterFinds, ADirtyBitmapThatIsForgottenInACrash) {
    EXPECT_TRUE(is_found(with_crashes({.forgets_dirty = true})));
}

}  // namespace
}  // namespace basalt::replication::test
