#pragma once

#include <cstdint>

namespace basalt {

/// Random numbers that need not be secret (jitter, shuffles, ids). One per reactor. Real reactors
/// seed it from getrandom(2), simulated ones from the run's seed. xoshiro256**, Blackman and Vigna,
/// "Scrambled linear pseudorandom number generators", section 10.
class Random {
  public:
    explicit Random(uint64_t seed);

    /// 64 uniform bits.
    [[nodiscard]] uint64_t next();

    /// Uniform in [0, bound); bound > 0.
    [[nodiscard]] uint64_t below(uint64_t bound);

    /// True with a probability of `numerator` in `denominator`; denominator > 0.
    [[nodiscard]] bool chance(uint64_t numerator, uint64_t denominator);

  private:
    uint64_t state_[4];
};

}  // namespace basalt
