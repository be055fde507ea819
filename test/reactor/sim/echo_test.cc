// An echo service on three nodes under all network faults: every byte that comes back is the right
// one, and every connection ends exactly once.
#include "test/reactor/sim/echo.h"

#include <gtest/gtest.h>

namespace basalt::sim {
namespace {

constexpr uint16_t kPort = 7;

struct Outcome {
    uint64_t trace_hash = 0;
    uint32_t complete = 0;
    uint32_t closed = 0;
    uint32_t wrong = 0;
    bool is_over = false;
};

/// Two client nodes with three connections each, a server node with two reactors.
Outcome run_echo(uint64_t seed, const FaultOptions& faults, uint64_t drops_at = UINT64_MAX) {
    World world(seed, faults);
    const NodeId server_node = world.add_node();
    Reactor& front = world.add_reactor(server_node);
    Reactor& back = world.add_reactor(server_node);
    EchoServer server(front, {&front, &back}, World::address(server_node, kPort));
    server.drops_at = drops_at;
    std::vector<std::unique_ptr<EchoClient>> clients;
    for (uint64_t i = 0; i < 6; ++i) {
        Reactor& reactor = i % 3 == 0 ? world.add_reactor(world.add_node())
                                      : world.reactor(NodeId(i < 3 ? 1 : 2), CoreId(0));
        clients.push_back(std::make_unique<EchoClient>(reactor, i, 20'000));
        clients.back()->connect(World::address(server_node, kPort));
    }
    Outcome outcome;
    outcome.is_over = world.run_until(
        [&] {
            bool is_over = true;
            for (const auto& client : clients) {
                is_over = is_over && client->is_closed;
            }
            for (const auto& session : server.sessions) {
                is_over = is_over && session->is_closed;
            }
            return is_over;
        },
        600 * kNsPerSecond);
    for (const auto& client : clients) {
        outcome.complete += client->has_all() ? 1U : 0U;
        outcome.closed += client->is_closed ? 1U : 0U;
        outcome.wrong += client->is_wrong ? 1U : 0U;
    }
    outcome.trace_hash = world.trace_hash();
    world.power_off();
    return outcome;
}

TEST(Echo, AllBytesComeBackWhenNothingFails) {
    const Outcome outcome = run_echo(1, calm());
    EXPECT_TRUE(outcome.is_over);
    EXPECT_EQ(outcome.complete, 6U);
    EXPECT_EQ(outcome.wrong, 0U);
}

TEST(Echo, StreamsAreExactOrEndCleanlyUnderSwarmFaults) {
    uint32_t complete = 0;
    for (uint64_t seed = 0; seed < 200; ++seed) {
        const Outcome outcome = run_echo(seed, swarm(seed));
        EXPECT_TRUE(outcome.is_over) << "seed " << seed;
        EXPECT_EQ(outcome.wrong, 0U) << "seed " << seed;
        complete += outcome.complete;
    }
    // Both outcomes must have been tried.
    EXPECT_GT(complete, 200U);
    EXPECT_LT(complete, 1100U);
}

TEST(Echo, TheSameSeedGivesTheSameHistory) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
        EXPECT_EQ(run_echo(seed, swarm(seed)).trace_hash, run_echo(seed, swarm(seed)).trace_hash)
            << "seed " << seed;
    }
    EXPECT_NE(run_echo(1, swarm(1)).trace_hash, run_echo(2, swarm(1)).trace_hash);
}

TEST(Echo, ASwallowedByteIsCaught) {
    uint32_t caught = 0;
    for (uint64_t seed = 0; seed < 20; ++seed) {
        caught += run_echo(seed, without_silent_faults(swarm(seed)), 1000).wrong > 0 ? 1U : 0U;
    }
    // Not in runs in which no connection lived for a thousand bytes.
    EXPECT_GE(caught, 15U);
}

}  // namespace
}  // namespace basalt::sim
