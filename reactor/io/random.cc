#include "reactor/io/random.h"

#include <bit>

#include "reactor/base/assert.h"

namespace basalt {

Random::Random(uint64_t seed) : state_() {
    // SplitMix64 spreads any seed, zero too, over the four words.
    for (uint64_t& word : state_) {
        seed += 0x9E3779B97F4A7C15U;
        uint64_t mixed = seed;
        mixed = (mixed ^ (mixed >> 30U)) * 0xBF58476D1CE4E5B9U;
        mixed = (mixed ^ (mixed >> 27U)) * 0x94D049BB133111EBU;
        word = mixed ^ (mixed >> 31U);
    }
}

uint64_t Random::next() {
    const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const uint64_t shifted = state_[1] << 17U;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
}

uint64_t Random::below(uint64_t bound) {
    BASALT_ASSERT(bound > 0);
    // Rejects the tail that would make small remainders more likely.
    const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
    uint64_t value = next();
    while (value >= limit) {
        value = next();
    }
    return value % bound;
}

bool Random::chance(uint64_t numerator, uint64_t denominator) {
    return below(denominator) < numerator;
}

}  // namespace basalt
