#include "reactor/sim/fault_options.h"

#include "reactor/io/clock.h"
#include "reactor/io/random.h"

namespace basalt::sim {

namespace {

constexpr uint32_t kPercent = 10'000;  // In parts per million.

/// Zero in half of all draws, else uniform up to `most`.
uint64_t sometimes(Random& random, uint64_t most) {
    const bool is_on = random.chance(1, 2);
    const uint64_t value = random.below(most) + 1;
    return is_on ? value : 0;
}

uint32_t sometimes_ppm(Random& random, uint32_t most_ppm) {
    return static_cast<uint32_t>(sometimes(random, most_ppm));
}

}  // namespace

FaultOptions calm() {
    return {};
}

FaultOptions swarm(uint64_t seed) {
    Random random(seed ^ 0x5357'4152'4DU);
    FaultOptions options;
    options.message_jitter_ns = sometimes(random, 50 * kNsPerUs);
    options.message_ring_slots = uint32_t{2} << random.below(10);
    options.reactor_pause_ppm = sometimes_ppm(random, 1 * kPercent);
    options.reactor_pause_ns_max = 10 * kNsPerMs;
    options.spurious_turn_ppm = sometimes_ppm(random, 10 * kPercent);

    options.network_jitter_ns = sometimes(random, 2 * kNsPerMs);
    options.segment_split_ppm = sometimes_ppm(random, 100 * kPercent);
    options.segment_loss_ppm = sometimes_ppm(random, 5 * kPercent);
    options.send_window_bytes = uint32_t{512} << random.below(10);
    options.connection_cut_ppm = sometimes_ppm(random, kPercent / 5);
    options.connect_refused_ppm = sometimes_ppm(random, 20 * kPercent);
    options.partition_ppm = sometimes_ppm(random, kPercent / 10);
    options.partition_ns_max = 60 * kNsPerSecond;

    options.storage_jitter_ns = sometimes(random, 5 * kNsPerMs);
    options.storage_stall_ppm = sometimes_ppm(random, kPercent / 10);
    options.storage_stall_ns = 30 * kNsPerSecond;
    options.read_error_ppm = sometimes_ppm(random, 10 * kPercent);
    options.write_error_ppm = sometimes_ppm(random, 10 * kPercent);
    options.flush_error_ppm = sometimes_ppm(random, 2 * kPercent);
    options.corrupt_ppm = sometimes_ppm(random, 10 * kPercent);
    options.misdirected_read_ppm = sometimes_ppm(random, 10 * kPercent);
    options.misdirected_write_ppm = sometimes_ppm(random, 10 * kPercent);
    options.lost_write_ppm = sometimes_ppm(random, 1 * kPercent);
    options.crash_loss_ppm = static_cast<uint32_t>(random.below(100 * kPercent + 1));
    return options;
}

FaultOptions without_silent_faults(FaultOptions options) {
    options.corrupt_ppm = 0;
    options.misdirected_read_ppm = 0;
    options.misdirected_write_ppm = 0;
    options.lost_write_ppm = 0;
    return options;
}

}  // namespace basalt::sim
