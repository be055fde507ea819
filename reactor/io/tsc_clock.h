#pragma once

#include <cstdint>

#include "reactor/io/clock.h"

namespace basalt {

/// The time of the machine, from the processor's time stamp counter: about 10 ns a look, no system
/// call. Where the counter is not fit for that (it changes speed, stops, or differs between cores,
/// as the kernel judges), each look is clock_gettime(CLOCK_MONOTONIC).
///
/// Its zero is that of CLOCK_MONOTONIC at construction; from there it may drift from that clock by
/// some parts in a million. Immutable after construction: one object serves all threads.
class TscClock final : public Clock {
  public:
    /// Calibrates for about 10 ms.
    TscClock();

    [[nodiscard]] uint64_t now_ns() override;

    /// Whether the counter is in use.
    [[nodiscard]] bool uses_tsc() const { return multiplier_ != 0; }

  private:
    uint64_t base_ns_ = 0;
    uint64_t base_ticks_ = 0;
    uint64_t multiplier_ = 0;  // Nanoseconds a tick, as a fraction of 2^32. 0: no counter.
};

}  // namespace basalt
