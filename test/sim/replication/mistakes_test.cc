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
    for (options.seed = 0; options.seed < most; ++options.seed) {
        const std::string problem = run_quietly(options).problem;
        if (!problem.empty()) {
            return true;
        }
    }
    return false;
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
TEST(ReplicationClusterFinds, AStoreThatAnswersBeforeItIsDurable) {
    EXPECT_TRUE(is_found({.store_mistakes = {.acks_before_durable = true}}));
}
TEST(ReplicationClusterFinds, AWindowThatIsForgottenInACrash) {
    EXPECT_TRUE(is_found({.store_mistakes = {.forgets_window = true}}));
}
TEST(ReplicationClusterFinds, ADirtyBitmapThatIsForgottenInACrash) {
    EXPECT_TRUE(is_found({.store_mistakes = {.forgets_dirty = true}}));
}

}  // namespace
}  // namespace basalt::replication::test
