// Virtual time, messages between reactors, and worlds that end in the middle.
#include "reactor/sim/world.h"

#include <gtest/gtest.h>

#include "test/reactor/sim/echo.h"

namespace basalt::sim {
namespace {

struct Numbered : Event {
    uint64_t number = 0;
    std::vector<uint64_t>* seen = nullptr;
};

std::vector<std::unique_ptr<Numbered>> post_numbers(Reactor& from,
                                                    CoreId to,
                                                    uint64_t count,
                                                    std::vector<uint64_t>& seen) {
    std::vector<std::unique_ptr<Numbered>> events;
    for (uint64_t i = 0; i < count; ++i) {
        auto event = std::make_unique<Numbered>();
        event->number = i;
        event->seen = &seen;
        event->set_run([](Event& e, Reactor&) {
            auto& self = static_cast<Numbered&>(e);
            self.seen->push_back(self.number);
        });
        from.post(to, *event);
        events.push_back(std::move(event));
    }
    return events;
}

TEST(World, TimeJumpsToTheNextTimer) {
    World world(1);
    Reactor& reactor = world.add_reactor(world.add_node());
    Timer timer;
    uint64_t fired_ns = 0;
    timer.set([](Timer& t, void* at) { *static_cast<uint64_t*>(at) = t.deadline_ns(); }, &fired_ns);
    const uint64_t start_ns = world.now_ns();
    reactor.start_timer(timer, 3600 * kNsPerSecond);
    EXPECT_TRUE(world.run_until([&] { return fired_ns != 0; }, 7200 * kNsPerSecond));
    EXPECT_EQ(fired_ns, start_ns + 3600 * kNsPerSecond);
    EXPECT_LT(reactor.counters().polls, 20U);
}

TEST(World, RunForTakesExactlyThatLong) {
    World world(1);
    Reactor& reactor = world.add_reactor(world.add_node());
    const uint64_t start_ns = world.now_ns();
    world.run_for(12'345);
    EXPECT_EQ(world.now_ns(), start_ns + 12'345);
    EXPECT_EQ(reactor.now_ns(), world.now_ns());
}

TEST(World, RunUntilGivesUpAtItsLimit) {
    World world(1);
    world.add_reactor(world.add_node());
    EXPECT_FALSE(world.run_until([] { return false; }, kNsPerSecond));
}

TEST(World, AnEventThatDefersItselfForEverDoesNotStopTime) {
    World world(1);
    Reactor& reactor = world.add_reactor(world.add_node());
    Event forever([](Event& event, Reactor& here) { here.defer_to_end_of_turn(event); });
    reactor.defer(forever);
    const uint64_t start_ns = world.now_ns();
    world.run_for(kNsPerMs);
    EXPECT_EQ(world.now_ns(), start_ns + kNsPerMs);
    world.power_off();
}

TEST(SimMailbox, KeepsTheOrderOfAPairThroughFullRingsAndDelays) {
    for (uint64_t seed = 0; seed < 50; ++seed) {
        FaultOptions faults;
        faults.message_ring_slots = 2;
        faults.message_jitter_ns = 10 * kNsPerUs;
        World world(seed, faults);
        const NodeId node = world.add_node();
        Reactor& first = world.add_reactor(node);
        Reactor& second = world.add_reactor(node);
        std::vector<uint64_t> seen;
        const auto events = post_numbers(first, second.core(), 300, seen);
        EXPECT_TRUE(world.run_until_idle(kNsPerSecond));
        ASSERT_EQ(seen.size(), 300U) << "seed " << seed;
        EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end())) << "seed " << seed;
        EXPECT_GT(first.counters().messages_stalled, 250U);
        EXPECT_EQ(second.counters().messages_received, 300U);
    }
}

TEST(SimMailbox, SendersOvertakeEachOther) {
    FaultOptions faults;
    faults.message_jitter_ns = 10 * kNsPerUs;
    bool first_won = false;
    bool second_won = false;
    for (uint64_t seed = 0; seed < 50; ++seed) {
        World world(seed, faults);
        const NodeId node = world.add_node();
        Reactor& first = world.add_reactor(node);
        Reactor& second = world.add_reactor(node);
        const CoreId receiver = world.add_reactor(node).core();
        std::vector<uint64_t> seen;
        const auto from_first = post_numbers(first, receiver, 1, seen);
        const auto from_second = post_numbers(second, receiver, 1, seen);
        from_second[0]->number = 1;
        world.run_until_idle(kNsPerSecond);
        ASSERT_EQ(seen.size(), 2U);
        (seen[0] == 0 ? first_won : second_won) = true;
    }
    EXPECT_TRUE(first_won);
    EXPECT_TRUE(second_won);
}

TEST(World, PausedReactorsStandStillAndThenGoOn) {
    FaultOptions faults;
    faults.reactor_pause_ppm = 1'000'000;
    faults.reactor_pause_ns_max = kNsPerSecond;
    World world(3, faults);
    const NodeId node = world.add_node();
    Reactor& first = world.add_reactor(node);
    Reactor& second = world.add_reactor(node);
    std::vector<uint64_t> seen;
    const uint64_t start_ns = world.now_ns();
    const auto events = post_numbers(first, second.core(), 1000, seen);
    EXPECT_TRUE(world.run_until([&] { return seen.size() == 1000; }, 100 * kNsPerSecond));
    EXPECT_GT(world.now_ns() - start_ns, kNsPerSecond / 10);
}

TEST(World, SpuriousTurnsHappen) {
    FaultOptions faults;
    faults.spurious_turn_ppm = 500'000;
    World world(3, faults);
    const NodeId node = world.add_node();
    Reactor& first = world.add_reactor(node);
    Reactor& bystander = world.add_reactor(node);
    Event busy([](Event& event, Reactor& here) { here.defer_to_end_of_turn(event); });
    first.defer(busy);
    world.run_for(kNsPerMs);
    EXPECT_GT(bystander.counters().polls, 100U);
    world.power_off();
}

TEST(World, EndsInTheMiddleOfEverythingWithoutALeak) {
    for (uint64_t seed = 0; seed < 30; ++seed) {
        auto world = std::make_unique<World>(seed, swarm(seed));
        const NodeId node = world->add_node();
        Reactor& server_reactor = world->add_reactor(node);
        EchoServer server(server_reactor, {&server_reactor}, World::address(node, 1));
        Reactor& client_reactor = world->add_reactor(world->add_node());
        EchoClient client(client_reactor, 0, 1'000'000);
        client.connect(World::address(node, 1));
        Timer timer;
        timer.set([](Timer&, void*) {}, nullptr);
        client_reactor.start_timer(timer, kNsPerSecond);
        Event event([](Event&, Reactor&) {});
        world->run_for(seed * 40 * kNsPerUs);
        client_reactor.defer(event);
        // Half of the worlds end before the objects that use them, half after.
        if (seed % 2 == 0) {
            world.reset();
        } else {
            world->power_off();
        }
        EXPECT_FALSE(timer.is_running());
        EXPECT_FALSE(event.link.is_linked());
    }
}

TEST(World, ReactorsCountTheTimeInWhichTheyWereBusy) {
    World world(1);
    Reactor& reactor = world.add_reactor(world.add_node());
    struct Ticks {
        Reactor& reactor;
        Timer timer;
    } ticks{reactor, {}};
    ticks.timer.set(
        [](Timer& timer, void* self) {
            static_cast<Ticks*>(self)->reactor.start_timer(timer, 5 * kNsPerUs);
        },
        &ticks);
    reactor.start_timer(ticks.timer, 0);
    world.run_for(kNsPerMs);
    // A turn of 500 ns in every 5 us.
    EXPECT_NEAR(static_cast<double>(reactor.counters().busy_ns), 100'000, 2'000);
    EXPECT_NEAR(static_cast<double>(reactor.counters().idle_ns), 900'000, 2'000);
    reactor.stop_timer(ticks.timer);
}

TEST(FaultOptions, CalmHasNoFaultsAndSwarmsDiffer) {
    const FaultOptions options = calm();
    EXPECT_EQ(options.connection_cut_ppm + options.segment_loss_ppm + options.read_error_ppm, 0U);
    uint32_t with_cuts = 0;
    for (uint64_t seed = 0; seed < 100; ++seed) {
        with_cuts += swarm(seed).connection_cut_ppm > 0 ? 1U : 0U;
        EXPECT_EQ(swarm(seed).segment_loss_ppm, swarm(seed).segment_loss_ppm);
        EXPECT_EQ(without_silent_faults(swarm(seed)).corrupt_ppm, 0U);
    }
    EXPECT_GT(with_cuts, 25U);
    EXPECT_LT(with_cuts, 75U);
}

}  // namespace
}  // namespace basalt::sim
