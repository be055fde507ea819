// A device on our target, reached by two paths, with everything going wrong on the way that may: no
// request fails, none is stuck, and what is read is what was written last.
#include <gtest/gtest.h>

#include "reactor/base/log.h"
#include "test/bdev/support/model_check.h"
#include "test/nvmf/host_bdev/remote_world.h"

namespace basalt::nvmf {
namespace {

struct Outcome {
    std::string problem;
    uint64_t trace_hash = 0;
    uint64_t losses = 0;  // Associations beyond the first of each path.
};

/// Storage has its own tests, and a target that does not answer at the first attempt is no device.
sim::FaultOptions network_faults(uint64_t seed) {
    return sim::without_silent_faults(sim::swarm(seed));
}

Outcome run(uint64_t seed, const sim::FaultOptions& faults, uint32_t path_count) {
    Log::set_level(LogLevel::kError);
    RemoteWorld at(seed);
    at.attach();
    if (path_count > 1) {
        BASALT_ASSERT(at.attach(at.options_for(at.add_address(4421))).has_value());
        BASALT_ASSERT(at.run(at.remote->set_rules(
            "Nvme0n1",
            seed % 2 == 0 ? MultipathPolicy::kActiveActive : MultipathPolicy::kActivePassive,
            MultipathSelector::kRoundRobin,
            1 + static_cast<uint32_t>(seed % 3))));
    }
    at.world.faults() = faults;
    bdev::DeviceChannel& channel = at.open("Nvme0n1", static_cast<uint32_t>(seed % 2));
    Outcome outcome;
    outcome.problem = bdev::check_against_model(
        channel,
        channel.info(),
        {.seed = seed, .operations = 400, .queue_depth = 8, .blocks_max = 40},
        [&] { at.world.step(); });
    at.world.faults() = sim::calm();
    at.world.run_for(60 * kNsPerSecond);
    CorePaths& paths = *at.remote->find("Nvme0")->core_paths().on(*at.cores[seed % 2]);
    for (uint32_t i = 0; i < path_count; ++i) {
        if (!at.session(i)->is_live()) {
            outcome.problem += "; path " + std::to_string(i) + " did not come back";
        }
        outcome.losses += paths.epoch(i) - 1;
    }
    outcome.trace_hash = at.world.trace_hash();
    return outcome;
}

TEST(RemoteDevice, NothingFailsAndNothingIsWrongOnOnePathUnderSwarmFaults) {
    uint64_t losses = 0;
    for (uint64_t seed = 0; seed < 30; ++seed) {
        const Outcome outcome = run(seed, network_faults(seed), 1);
        EXPECT_EQ(outcome.problem, "") << "seed " << seed;
        losses += outcome.losses;
    }
    EXPECT_GT(losses, 50U);
}

TEST(RemoteDevice, NothingFailsAndNothingIsWrongOnTwoPathsUnderSwarmFaults) {
    uint64_t losses = 0;
    for (uint64_t seed = 0; seed < 30; ++seed) {
        const Outcome outcome = run(seed, network_faults(seed), 2);
        EXPECT_EQ(outcome.problem, "") << "seed " << seed;
        losses += outcome.losses;
    }
    EXPECT_GT(losses, 50U);
}

TEST(RemoteDevice, TheSameSeedGivesTheSameHistory) {
    for (uint64_t seed = 0; seed < 2; ++seed) {
        EXPECT_EQ(run(seed, network_faults(seed), 2).trace_hash,
                  run(seed, network_faults(seed), 2).trace_hash);
    }
}

}  // namespace
}  // namespace basalt::nvmf
