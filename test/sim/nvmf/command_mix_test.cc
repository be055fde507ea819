// Hosts that do all that a host may, in any order, on several cores: each command is answered once
// and rightly, none after a reset, and all data is what the answers said. And one host that leaves
// at every byte of what the two sides say.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bdev/layer/delay_bdev.h"
#include "reactor/base/log.h"
#include "test/sim/nvmf/mix_host.h"
#include "test/sim/seeds.h"

namespace basalt::nvmf {
namespace {

constexpr uint32_t kHosts = 3;
constexpr uint64_t kIdleTurns = 50;
constexpr uint64_t kLimitNs = 7200 * kNsPerSecond;

/// Of all that hosts share.
TransportOptions as_few_as_may_be() {
    TransportOptions options;
    options.small_buffers = kBuffersOfASizeMin;
    options.medium_buffers = kBuffersOfASizeMin;
    options.large_buffers = kBuffersOfASizeMin;
    options.capsule_buffers = kBuffersOfASizeMin;
    options.requests = kRequestsPerGroupMin;
    options.capsule_requests = kCapsuleRequestsPerGroupMin;
    return options;
}

/// A target with one more namespace that takes its time, so that commands are there to be aborted.
class MixWorld : public TargetWorld {
  public:
    MixWorld(uint64_t seed, const sim::FaultOptions& faults)
        : TargetWorld(seed, sim::calm(), as_few_as_may_be()) {
        Log::set_level(LogLevel::kOff);
        add_malloc("Slow", kBlocks, kBlockBytes);
        bdev::DelayOptions delay;
        delay.name = "Delay0";
        delay.latencies = {300, 900, 200, 700};
        auto made = std::move(bdev::DelayBdev::make(delay, *registry->find("Slow"))).value();
        BASALT_ASSERT(registry->add(std::move(made)).has_value());
        BASALT_ASSERT(add_namespace("Delay0") == Nsid(3));
        world.faults() = faults;
    }

    [[nodiscard]] uint32_t queues() {
        uint32_t count = 0;
        for (const PollGroupStats& group : run(target->stats())) {
            count += group.admin_queues + group.io_queues;
        }
        return count;
    }
};

struct Outcome {
    MixHost::Counts counts;
    std::vector<std::string> errors;
    uint32_t queues_left = 0;
    uint64_t trace_hash = 0;
};

Outcome run(uint64_t seed, const sim::FaultOptions& faults, bool network_is_exact) {
    MixWorld world(seed, faults);
    Random random(seed);
    std::vector<std::unique_ptr<MixHost>> hosts;
    for (uint32_t i = 1; i <= kHosts; ++i) {
        MixHost::Options options;
        options.number = i;
        options.network_is_exact = network_is_exact;
        hosts.push_back(std::make_unique<MixHost>(world, seed, options));
    }
    Outcome outcome;
    const auto is_done = [&] {
        return std::all_of(hosts.begin(), hosts.end(), [](auto& host) { return host->is_done(); });
    };
    uint64_t steps = 0;
    uint64_t idle_turns = 0;
    while (!is_done()) {
        if (world.world.now_ns() > kLimitNs) {
            outcome.errors.emplace_back("not done in the end");
            break;
        }
        uint64_t steps_now = 0;
        for (const auto& host : hosts) {
            host->turn();
            steps_now += host->steps();
        }
        idle_turns = std::exchange(steps, steps_now) == steps_now ? idle_turns + 1 : 0;
        // While the network is cut nobody has anything to do for long.
        world.world.run_for(idle_turns > kIdleTurns ? kNsPerSecond / 4
                                                    : random.below(100) * kNsPerUs);
    }
    world.world.faults() = sim::calm();
    world.world.run_for(300 * kNsPerSecond);
    outcome.queues_left = world.queues();
    for (const auto& host : hosts) {
        host->check_all();
        const MixHost::Counts& counts = host->counts();
        outcome.counts.answered += counts.answered;
        outcome.counts.unanswered += counts.unanswered;
        outcome.counts.mismatches += counts.mismatches;
        outcome.counts.aborted += counts.aborted;
        outcome.counts.resets += counts.resets;
        outcome.counts.connections += counts.connections;
        outcome.errors.insert(outcome.errors.end(), host->errors().begin(), host->errors().end());
    }
    outcome.trace_hash = world.world.trace_hash();
    return outcome;
}

void expect_right(const Outcome& outcome, uint64_t seed) {
    EXPECT_EQ(outcome.errors, std::vector<std::string>()) << "seed " << seed;
    EXPECT_EQ(outcome.queues_left, 0U) << "seed " << seed;
}

TEST(CommandMix, EachCommandIsAnsweredOnceAndRightlyAndNoneAfterAReset) {
    MixHost::Counts all;
    const Seeds seeds(40);
    for (const uint64_t seed : seeds) {
        const Outcome outcome = run(seed, sim::calm(), true);
        expect_right(outcome, seed);
        all.answered += outcome.counts.answered;
        all.unanswered += outcome.counts.unanswered;
        all.mismatches += outcome.counts.mismatches;
        all.aborted += outcome.counts.aborted;
        all.resets += outcome.counts.resets;
    }
    if (seeds.are_usual()) {
        // All of it must have been tried.
        EXPECT_GT(all.answered, 40 * 300U);
        EXPECT_GT(all.unanswered, 200U);
        EXPECT_GT(all.mismatches, 200U);
        EXPECT_GT(all.aborted, 20U);
        EXPECT_GT(all.resets, 20U);
    }
}

TEST(CommandMix, FaultsOfTheNetworkAndBetweenCoresChangeNothingOfThat) {
    uint64_t answered = 0;
    const Seeds seeds(40);
    for (const uint64_t seed : seeds) {
        const Outcome outcome = run(seed, sim::swarm(seed), false);
        expect_right(outcome, seed);
        answered += outcome.counts.answered;
    }
    if (seeds.are_usual()) {
        EXPECT_GT(answered, 40 * 200U);
    }
}

TEST(CommandMix, TheSameSeedGivesTheSameHistory) {
    for (const uint64_t seed : Seeds(2)) {
        EXPECT_EQ(run(seed, sim::swarm(seed), false).trace_hash,
                  run(seed, sim::swarm(seed), false).trace_hash);
    }
}

}  // namespace
}  // namespace basalt::nvmf
