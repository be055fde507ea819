#include "nvmf/host_bdev/path_selector.h"

#include <array>

#include <gtest/gtest.h>

namespace basalt::nvmf {
namespace {

using Views = std::array<PathView, 3>;

constexpr PathView up(PathAccess access, uint32_t in_flight = 0) {
    return {.access = access, .is_connected = true, .in_flight = in_flight};
}
constexpr PathView kDown{.access = PathAccess::kOptimized};

TEST(PathSelector, NoPathIsChosenWhereNoneIsConnectedAndAccessible) {
    const Views views{kDown, up(PathAccess::kInaccessible), up(PathAccess::kChange)};
    PathCursor cursor;
    for (const auto policy : {MultipathPolicy::kActivePassive, MultipathPolicy::kActiveActive}) {
        for (const auto selector :
             {MultipathSelector::kRoundRobin, MultipathSelector::kQueueDepth}) {
            EXPECT_FALSE(select_path(views, {.policy = policy, .selector = selector}, cursor));
        }
    }
    const Views lost{up(PathAccess::kPersistentLoss), up(PathAccess::kNone), kDown};
    EXPECT_FALSE(select_path(lost, {}, cursor));
}

TEST(PathSelector, AnOptimizedPathGoesBeforeAnotherInEveryPolicy) {
    const Views views{up(PathAccess::kNonOptimized), up(PathAccess::kOptimized, 99), kDown};
    for (const auto policy : {MultipathPolicy::kActivePassive, MultipathPolicy::kActiveActive}) {
        for (const auto selector :
             {MultipathSelector::kRoundRobin, MultipathSelector::kQueueDepth}) {
            PathCursor cursor;
            const PathRules rules{.policy = policy, .selector = selector};
            EXPECT_EQ(select_path(views, rules, cursor), 1);
            EXPECT_EQ(select_path(views, rules, cursor), 1);
        }
    }
}

TEST(PathSelector, ANonOptimizedPathServesWhereThereIsNoOther) {
    const Views views{kDown, up(PathAccess::kInaccessible), up(PathAccess::kNonOptimized)};
    PathCursor cursor;
    EXPECT_EQ(select_path(views, {}, cursor), 2);
}

TEST(PathSelector, ActivePassiveStaysAndGoesBackToThePreferredPath) {
    Views views{up(PathAccess::kOptimized), up(PathAccess::kOptimized), kDown};
    PathCursor cursor;
    const PathRules rules{.preferred = 1};
    EXPECT_EQ(select_path(views, rules, cursor), 1);
    views[1].is_connected = false;
    EXPECT_EQ(select_path(views, rules, cursor), 0);
    views[1].is_connected = true;
    EXPECT_EQ(select_path(views, rules, cursor), 1);
    // Without a preference there is no reason to go back.
    views[1].is_connected = false;
    EXPECT_EQ(select_path(views, {}, cursor), 0);
    views[1].is_connected = true;
    EXPECT_EQ(select_path(views, {}, cursor), 0);
}

TEST(PathSelector, ActivePassiveFailsBackToAnOptimizedPathUnlessToldNotTo) {
    Views views{kDown, up(PathAccess::kNonOptimized), kDown};
    PathCursor cursor;
    const PathRules stays{.no_failback = true};
    EXPECT_EQ(select_path(views, stays, cursor), 1);
    views[0].is_connected = true;
    EXPECT_EQ(select_path(views, stays, cursor), 1);
    EXPECT_EQ(select_path(views, {}, cursor), 0);
}

TEST(PathSelector, RoundRobinGivesEachPathItsTurn) {
    const Views views{
        up(PathAccess::kOptimized), up(PathAccess::kNonOptimized), up(PathAccess::kOptimized)};
    PathCursor cursor;
    const PathRules rules{.policy = MultipathPolicy::kActiveActive, .rr_min_io = 2};
    std::vector<int> chosen;
    chosen.reserve(8);
    for (int i = 0; i < 8; ++i) {
        chosen.push_back(*select_path(views, rules, cursor));
    }
    EXPECT_EQ(chosen, (std::vector<int>{0, 0, 2, 2, 0, 0, 2, 2}));
}

TEST(PathSelector, QueueDepthTakesTheLeastBusyPath) {
    const Views views{up(PathAccess::kOptimized, 5),
                      up(PathAccess::kOptimized, 2),
                      up(PathAccess::kNonOptimized, 0)};
    PathCursor cursor;
    const PathRules rules{.policy = MultipathPolicy::kActiveActive,
                          .selector = MultipathSelector::kQueueDepth};
    EXPECT_EQ(select_path(views, rules, cursor), 1);
}

}  // namespace
}  // namespace basalt::nvmf
