#include "control/health/node_health.h"

#include <map>
#include <random>
#include <utility>

#include <gtest/gtest.h>

namespace basalt::health {
namespace {

using Kind = HealthEvent::Kind;
using Actions = std::vector<HealthAction>;

constexpr uint64_t kSecond = kNsPerSecond;
constexpr uint64_t kStart = 1000 * kSecond;

bdev::Uuid node(uint32_t number) {
    bdev::Uuid uuid;
    uuid.bytes[15] = static_cast<uint8_t>(number);
    return uuid;
}

/// Nodes that report as they should, but for those that are told not to.
struct Cluster {
    explicit Cluster(const HealthSettings& wanted = {}) : settings(wanted), health(wanted) {}

    void add(uint32_t number, const std::string& rack, NodeState state = NodeState::kUp) {
        describe({node(number), "dc1", rack, state, false});
        reports[number] = state == NodeState::kUp;
    }
    void describe(const NodeDescription& description) {
        apply({.kind = Kind::kDescribed, .now_ns = now_ns, .description = description});
    }
    void silence(std::initializer_list<uint32_t> numbers) {
        for (const uint32_t number : numbers) {
            reports[number] = false;
        }
    }
    Actions apply(const HealthEvent& event) {
        if (event.kind == Kind::kHeartbeat) {
            heard_ns[event.node] = event.now_ns;
        }
        Actions actions = health.apply(event);
        for (const HealthAction& action : actions) {
            check(event, action);
            said.push_back(action);
        }
        return actions;
    }
    /// What holds for all actions.
    void check(const HealthEvent& event, const HealthAction& action) {
        switch (action.state) {
            case NodeState::kUp: EXPECT_EQ(event.kind, Kind::kHeartbeat); break;
            case NodeState::kDown:
                EXPECT_GT(now_ns - heard_ns[action.node], settings.down_after_ns);
                down_since_ns[action.node] = now_ns;
                break;
            case NodeState::kOut:
                EXPECT_TRUE(event.kind == Kind::kGivenUp ||
                            now_ns - down_since_ns[action.node] >= settings.out_after_ns);
                break;
        }
    }
    /// Time passes: heartbeats and scans. What was decided meanwhile.
    Actions pass(uint64_t seconds) {
        said.clear();
        for (const uint64_t end = now_ns + seconds * kSecond; now_ns < end;) {
            now_ns += kSecond;
            if (now_ns % settings.heartbeat_interval_ns == 0) {
                for (const auto& [number, does] : reports) {
                    if (does) {
                        apply({.kind = Kind::kHeartbeat, .now_ns = now_ns, .node = node(number)});
                    }
                }
            }
            if (now_ns % settings.scan_interval_ns == 0) {
                apply({.kind = Kind::kScan, .now_ns = now_ns});
            }
        }
        return said;
    }
    [[nodiscard]] NodeReport report(uint32_t number) const {
        for (const NodeReport& one : health.report(now_ns)) {
            if (one.node == node(number)) {
                return one;
            }
        }
        ADD_FAILURE() << "no node " << number;
        return {};
    }

    HealthSettings settings;
    NodeHealth health;
    uint64_t now_ns = kStart;
    std::map<uint32_t, bool> reports;
    std::map<bdev::Uuid, uint64_t> heard_ns;
    std::map<bdev::Uuid, uint64_t> down_since_ns;
    Actions said;
};

Cluster three_racks() {
    Cluster cluster;
    for (uint32_t number = 1; number <= 9; ++number) {
        cluster.add(number, "rack" + std::to_string(number % 3));
    }
    return cluster;
}

TEST(NodeHealth, NothingIsSaidOfNodesThatReport) {
    Cluster cluster = three_racks();
    EXPECT_TRUE(cluster.pass(3600).empty());
    EXPECT_LE(cluster.report(1).silent_ns, 10 * kSecond);
}

TEST(NodeHealth, SilenceMakesANodeDownThenOutAndAHeartbeatBringsItBack) {
    Cluster cluster = three_racks();
    cluster.pass(100);
    cluster.silence({4});
    EXPECT_TRUE(cluster.pass(30).empty());
    EXPECT_EQ(cluster.pass(20), (Actions{{node(4), NodeState::kDown}}));
    EXPECT_TRUE(cluster.pass(570).empty());
    EXPECT_EQ(cluster.pass(40), (Actions{{node(4), NodeState::kOut}}));
    EXPECT_TRUE(cluster.pass(3600).empty()) << "once is enough";
    cluster.reports[4] = true;
    EXPECT_EQ(cluster.pass(10), (Actions{{node(4), NodeState::kUp}}));
    EXPECT_TRUE(cluster.pass(100).empty());
}

TEST(NodeHealth, ANodeThatComesBackInTimeIsNotPutOut) {
    Cluster cluster = three_racks();
    cluster.silence({4});
    EXPECT_EQ(cluster.pass(500), (Actions{{node(4), NodeState::kDown}}));
    cluster.reports[4] = true;
    EXPECT_EQ(cluster.pass(30), (Actions{{node(4), NodeState::kUp}}));
    cluster.silence({4});
    // Its time begins anew.
    EXPECT_EQ(cluster.pass(600), (Actions{{node(4), NodeState::kDown}}));
    EXPECT_EQ(cluster.pass(60), (Actions{{node(4), NodeState::kOut}}));
}

TEST(NodeHealth, ARackThatBlinksStartsNoStorm) {
    Cluster cluster = three_racks();
    cluster.silence({1, 4, 7});
    EXPECT_EQ(cluster.pass(3000).size(), 3) << "down, and no more";
    EXPECT_EQ(cluster.report(4).hold, HoldReason::kDomain);
    for (const uint32_t number : {1U, 4U, 7U}) {
        cluster.reports[number] = true;
    }
    EXPECT_EQ(cluster.pass(20).size(), 3);
    EXPECT_EQ(cluster.report(4).hold, HoldReason::kNone);
}

TEST(NodeHealth, ARackThatIsGoneForGoodIsRebuiltInTheEnd) {
    Cluster cluster = three_racks();
    cluster.silence({1, 4, 7});
    cluster.pass(3000);
    EXPECT_EQ(
        cluster.pass(700),
        (Actions{
            {node(1), NodeState::kOut}, {node(4), NodeState::kOut}, {node(7), NodeState::kOut}}));
}

TEST(NodeHealth, TheRestOfARackThatComesBackWithoutOneNodeIsNotHeldUpByIt) {
    Cluster cluster = three_racks();
    cluster.silence({1, 4, 7});
    cluster.pass(1000);
    cluster.reports[1] = cluster.reports[4] = true;
    EXPECT_EQ(
        cluster.pass(15),
        (Actions{{node(1), NodeState::kUp}, {node(4), NodeState::kUp}, {node(7), NodeState::kOut}}))
        << "the node's own time is over, and its rack is up";
}

TEST(NodeHealth, ARackOfOneNodeFailsAsANodeDoes) {
    Cluster cluster;
    for (uint32_t number = 1; number <= 4; ++number) {
        cluster.add(number, "rack" + std::to_string(number));
    }
    cluster.silence({2});
    EXPECT_EQ(cluster.pass(700),
              (Actions{{node(2), NodeState::kDown}, {node(2), NodeState::kOut}}));
}

TEST(NodeHealth, WithMostNodesAwayNoneIsPutOut) {
    Cluster cluster;
    for (uint32_t number = 1; number <= 5; ++number) {
        cluster.add(number, "rack" + std::to_string(number));
    }
    cluster.silence({1, 2, 3});
    EXPECT_EQ(cluster.pass(10'000).size(), 3);
    EXPECT_EQ(cluster.report(1).hold, HoldReason::kFewUp);
    cluster.reports[1] = true;
    EXPECT_EQ(
        cluster.pass(30),
        (Actions{
            {node(1), NodeState::kUp}, {node(2), NodeState::kOut}, {node(3), NodeState::kOut}}));
}

TEST(NodeHealth, MaintenanceHasAllTheTimeThatItTakes) {
    Cluster cluster = three_racks();
    cluster.describe({node(4), "dc1", "rack1", NodeState::kUp, true});
    cluster.silence({4});
    EXPECT_EQ(cluster.pass(100'000), (Actions{{node(4), NodeState::kDown}}));
    EXPECT_EQ(cluster.report(4).hold, HoldReason::kMaintenance);
    cluster.describe({node(4), "dc1", "rack1", NodeState::kUp, false});
    EXPECT_EQ(cluster.pass(20), (Actions{{node(4), NodeState::kOut}}));
}

TEST(NodeHealth, AnAdministratorKnowsBetter) {
    Cluster cluster = three_racks();
    cluster.silence({1, 4, 7});
    cluster.pass(60);
    const HealthEvent given_up{.kind = Kind::kGivenUp, .now_ns = cluster.now_ns, .node = node(4)};
    EXPECT_EQ(cluster.apply(given_up), (Actions{{node(4), NodeState::kOut}}));
    EXPECT_TRUE(cluster.apply(given_up).empty());
    const HealthEvent alive{.kind = Kind::kGivenUp, .now_ns = cluster.now_ns, .node = node(2)};
    EXPECT_TRUE(cluster.apply(alive).empty()) << "what is up is drained, not given up";
}

TEST(NodeHealth, ALeaderThatBeginsHastensNothing) {
    Cluster cluster = three_racks();
    cluster.add(10, "rack1", NodeState::kDown);
    cluster.add(11, "rack2", NodeState::kOut);
    cluster.silence({4});
    EXPECT_EQ(cluster.pass(590), (Actions{{node(4), NodeState::kDown}}));
    EXPECT_EQ(cluster.pass(60), (Actions{{node(10), NodeState::kOut}, {node(4), NodeState::kOut}}));
}

TEST(NodeHealth, AProcessThatSleptDoesNotBlameTheNodes) {
    Cluster cluster = three_racks();
    cluster.silence({4});
    cluster.pass(30);
    cluster.now_ns += 7200 * kSecond;
    EXPECT_TRUE(cluster.apply({.kind = Kind::kScan, .now_ns = cluster.now_ns}).empty());
    EXPECT_EQ(cluster.pass(60), (Actions{{node(4), NodeState::kDown}})) << "only who is silent";
    cluster.now_ns += 7200 * kSecond;
    EXPECT_TRUE(cluster.apply({.kind = Kind::kScan, .now_ns = cluster.now_ns}).empty());
    EXPECT_TRUE(cluster.pass(500).empty());
    EXPECT_EQ(cluster.pass(100), (Actions{{node(4), NodeState::kOut}}));
}

TEST(NodeHealth, WhoIsRemovedOrUnknownIsIgnored) {
    Cluster cluster = three_racks();
    cluster.apply({.kind = Kind::kRemoved, .now_ns = cluster.now_ns, .node = node(4)});
    EXPECT_TRUE(cluster.pass(1000).empty());
    EXPECT_EQ(cluster.health.report(cluster.now_ns).size(), 8);
    EXPECT_TRUE(cluster.apply({.kind = Kind::kGivenUp, .now_ns = cluster.now_ns, .node = node(99)})
                    .empty());
}

TEST(NodeHealth, SettingsThatMakeNoSenseAreRefused) {
    HealthSettings settings;
    EXPECT_TRUE(validate(settings));
    const auto refused = [](auto&& change) {
        HealthSettings changed;
        change(changed);
        return validate(changed) == Status(Errc::kInvalidArgument);
    };
    EXPECT_TRUE(refused([](HealthSettings& s) { s.heartbeat_interval_ns = 0; }));
    EXPECT_TRUE(refused([](HealthSettings& s) { s.scan_interval_ns = 0; }));
    EXPECT_TRUE(refused([](HealthSettings& s) { s.out_after_ns = 0; }));
    EXPECT_TRUE(refused([](HealthSettings& s) { s.down_after_ns = 19 * kSecond; }));
    EXPECT_TRUE(refused([](HealthSettings& s) { s.heartbeat_interval_ns = ~uint64_t{0}; }));
    EXPECT_TRUE(refused([](HealthSettings& s) { s.domain_out_after_ns = 599 * kSecond; }));
    EXPECT_TRUE(refused([](HealthSettings& s) { s.up_percent_min = 101; }));
}

/// States follow each other as they may, and the report tells what the actions did.
TEST(NodeHealth, KeepsItsPromisesOverRandomHistories) {
    for (uint32_t seed = 1; seed <= 50; ++seed) {
        std::mt19937 random(seed);
        Cluster cluster;
        std::map<bdev::Uuid, NodeState> states;
        for (uint32_t number = 1; number <= 12; ++number) {
            cluster.add(number, "rack" + std::to_string(random() % 4));
            states[node(number)] = NodeState::kUp;
        }
        std::map<NodeState, uint32_t> seen;
        for (uint32_t step = 0; step < 200; ++step) {
            cluster.reports[1 + static_cast<uint32_t>(random() % 12)] = random() % 3 != 0;
            for (const HealthAction& action : cluster.pass(15 * (1 + random() % 20))) {
                const NodeState was = std::exchange(states[action.node], action.state);
                EXPECT_NE(was, action.state);
                EXPECT_FALSE(was == NodeState::kUp && action.state == NodeState::kOut);
                EXPECT_FALSE(was == NodeState::kOut && action.state == NodeState::kDown);
                ++seen[action.state];
            }
            for (const NodeReport& report : cluster.health.report(cluster.now_ns)) {
                EXPECT_EQ(report.state, states[report.node]) << "seed " << seed;
            }
        }
        EXPECT_EQ(seen.size(), 3) << "seed " << seed;
    }
}

}  // namespace
}  // namespace basalt::health
