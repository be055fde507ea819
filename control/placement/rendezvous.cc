#include "control/placement/rendezvous.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include <xxhash.h>

#include "reactor/base/assert.h"

namespace basalt::placement {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

// Where the integral over all thresholds is computed: more changes nothing in the fifth digit.
constexpr uint32_t kPoints = 256;
// Rounds, and where to stop: an error of 0.1 % is far below what any number of chunks shows.
constexpr uint32_t kRoundsMax = 40;
constexpr double kGoodEnough = 1e-3;

/// The chances of 0, 1, … wanted - 1 winners among the candidates before each one, and of at most
/// so many among those from each one on.
class Counts {
  public:
    Counts(size_t candidates, uint32_t wanted)
        : wanted_(wanted), before_((candidates + 1) * wanted), from_((candidates + 1) * wanted) {}

    /// `chances` are those of each to score below some threshold, independently.
    void compute(std::span<const double> chances) {
        const size_t count = chances.size();
        std::fill_n(before_.begin(), wanted_, 0.0);
        before_[0] = 1.0;
        for (size_t i = 0; i < count; ++i) {
            step(&before_[i * wanted_], &before_[(i + 1) * wanted_], chances[i]);
        }
        std::fill_n(from_.begin() + static_cast<ptrdiff_t>(count * wanted_), wanted_, 0.0);
        from_[count * wanted_] = 1.0;
        for (size_t i = count; i-- > 0;) {
            step(&from_[(i + 1) * wanted_], &from_[i * wanted_], chances[i]);
        }
    }

    /// The chance that fewer than `wanted` of all but `one` score below the threshold.
    [[nodiscard]] double few_without(size_t one) const {
        const double* before = &before_[one * wanted_];
        const double* after = &from_[(one + 1) * wanted_];
        double up_to = 0;
        double sum = 0;
        for (uint32_t m = 0; m < wanted_; ++m) {
            up_to += after[m];
            sum += before[wanted_ - 1 - m] * up_to;
        }
        return sum;
    }

  private:
    void step(const double* from, double* to, double chance) const {
        for (uint32_t m = wanted_; m-- > 0;) {
            to[m] = from[m] * (1 - chance) + (m > 0 ? from[m - 1] * chance : 0);
        }
    }

    const uint32_t wanted_;
    std::vector<double> before_;
    std::vector<double> from_;
};

/// How much of `wanted` each gets that is not at its cap yet; true if somebody reached it.
bool deal(std::span<const double> weights,
          std::span<const double> caps,
          double wanted,
          std::vector<double>& dealt) {
    double left = wanted;
    double weight = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
        const bool is_capped = dealt[i] >= caps[i];
        left -= is_capped ? caps[i] : 0;
        weight += is_capped ? 0 : weights[i];
    }
    bool has_reached = false;
    for (size_t i = 0; i < weights.size(); ++i) {
        if (dealt[i] < caps[i]) {
            dealt[i] = std::min(caps[i], std::max(left, 0.0) * weights[i] / weight);
            has_reached |= dealt[i] >= caps[i];
        }
    }
    return has_reached;
}

}  // namespace

std::vector<double> shares(std::span<const double> weights,
                           double wanted,
                           std::span<const double> caps) {
    std::vector<double> limits(weights.size(), 1.0);
    std::ranges::copy(caps, limits.begin());
    for (size_t i = 0; i < weights.size(); ++i) {
        limits[i] = weights[i] > 0 ? limits[i] : 0;
    }
    if (std::accumulate(limits.begin(), limits.end(), 0.0) <= wanted) {
        return limits;
    }
    std::vector<double> dealt(weights.size(), 0.0);
    while (deal(weights, limits, wanted, dealt)) {
    }
    return dealt;
}

std::vector<double> chances_of(std::span<const double> rates, uint32_t wanted) {
    std::vector<double> chances(rates.size(), 0.0);
    std::vector<double> below(rates.size());
    Counts counts(rates.size(), wanted);
    for (uint32_t point = 0; point < kPoints; ++point) {
        // The threshold goes from 0 to infinity, and is mostly about 1.
        const double x = (point + 0.5) / kPoints;
        const double threshold = x / (1 - x);
        const double width = 1 / (kPoints * (1 - x) * (1 - x));
        for (size_t i = 0; i < rates.size(); ++i) {
            below[i] = -std::expm1(-rates[i] * threshold);
        }
        counts.compute(below);
        for (size_t i = 0; i < rates.size(); ++i) {
            chances[i] += width * rates[i] * (1 - below[i]) * counts.few_without(i);
        }
    }
    return chances;
}

std::vector<double> calibrate(std::span<const double> chances, uint32_t wanted) {
    std::vector<double> rates(chances.size(), 0.0);
    std::vector<uint32_t> open;  // Neither always nor never.
    uint32_t left = wanted;
    for (uint32_t i = 0; i < chances.size(); ++i) {
        if (chances[i] >= 1) {
            rates[i] = kInfinite;
            left -= std::min(left, 1U);
        } else if (chances[i] > 0) {
            open.push_back(i);
        }
    }
    if (left == 0 || open.size() <= left) {
        for (const uint32_t i : open) {
            rates[i] = chances[i];
        }
        return rates;
    }
    // At the threshold 1 each is below with its chance, so that `left` are on the average.
    std::vector<double> tried;
    tried.reserve(open.size());
    for (const uint32_t i : open) {
        tried.push_back(-std::log1p(-chances[i]));
    }
    const auto [least, most] = std::ranges::minmax(tried);
    for (uint32_t round = 0; round < kRoundsMax && left > 1 && least < most; ++round) {
        const std::vector<double> got = chances_of(tried, left);
        double worst = 0;
        for (size_t i = 0; i < open.size(); ++i) {
            const double want = chances[open[i]];
            worst = std::max(worst, std::abs(got[i] / want - 1));
            tried[i] *= std::log1p(-want) / std::log1p(-std::min(got[i], 1 - 1e-12));
        }
        if (worst < kGoodEnough) {
            break;
        }
    }
    for (size_t i = 0; i < open.size(); ++i) {
        rates[open[i]] = left > 1 ? tried[i] : chances[open[i]];
    }
    return rates;
}

double score(uint64_t key, uint64_t candidate, double rate) {
    if (rate <= 0) {
        return kInfinite;
    }
    const std::array<uint64_t, 2> input{key, candidate};
    const uint64_t hash = XXH3_64bits(input.data(), sizeof(input));
    // 53 bits and a half: above 0 and below 1.
    const double chance = (static_cast<double>(hash >> 11U) + 0.5) * 0x1p-53;
    // Who always wins comes before all others, in an order that is the key's too.
    return std::isinf(rate) ? chance - 1 : -std::log(chance) / rate;
}

std::vector<uint32_t> lowest(std::span<const double> scores, uint32_t wanted) {
    std::vector<uint32_t> order;
    for (uint32_t i = 0; i < scores.size(); ++i) {
        if (scores[i] < kInfinite) {
            order.push_back(i);
        }
    }
    const size_t count = std::min<size_t>(order.size(), wanted);
    std::ranges::partial_sort(
        order, order.begin() + static_cast<ptrdiff_t>(count), {}, [&](uint32_t index) {
            return scores[index];
        });
    order.resize(count);
    return order;
}

}  // namespace basalt::placement
