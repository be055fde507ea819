#include "control/placement/loss.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <vector>

#include "reactor/io/random.h"

namespace basalt::placement {
namespace {

// What is counted, at most, and what is drawn instead: a second or less with thousands of sets.
constexpr double kCountedMax = 200'000;
constexpr uint64_t kDrawn = 100'000;
constexpr uint64_t kSeed = 1;

/// Which domains the drives of the sets are in, each different set once.
std::vector<DriveSet> domains_of(const Topology& topology,
                                 std::span<const DriveSet> sets,
                                 Level level) {
    std::set<DriveSet> found;
    for (const DriveSet& one : sets) {
        DriveSet domains;
        for (const uint32_t drive : one) {
            domains.push_back(topology.domain_of(drive, level));
        }
        std::ranges::sort(domains);
        found.insert(std::move(domains));
    }
    return {found.begin(), found.end()};
}

/// Whether a set loses too much with these domains gone.
class Judge {
  public:
    Judge(const std::vector<DriveSet>& sets, size_t domains, uint32_t tolerated)
        : sets_(sets), tolerated_(tolerated), of_domain_(domains), is_gone_(domains) {
        for (uint32_t i = 0; i < sets.size(); ++i) {
            for (const uint32_t domain : sets[i]) {
                if (of_domain_[domain].empty() || of_domain_[domain].back() != i) {
                    of_domain_[domain].push_back(i);
                }
            }
        }
    }

    [[nodiscard]] bool loses(std::span<const uint32_t> gone) {
        for (const uint32_t domain : gone) {
            is_gone_[domain] = 1;
        }
        // A set that loses anything is among those of some domain that is gone.
        const bool found = std::ranges::any_of(gone, [this](uint32_t domain) {
            return std::ranges::any_of(of_domain_[domain],
                                       [this](uint32_t set) { return is_lost(sets_[set]); });
        });
        for (const uint32_t domain : gone) {
            is_gone_[domain] = 0;
        }
        return found;
    }

  private:
    [[nodiscard]] bool is_lost(const DriveSet& set) const {
        uint32_t lost = 0;
        for (const uint32_t domain : set) {
            lost += is_gone_[domain];
        }
        return lost > tolerated_;
    }

    const std::vector<DriveSet>& sets_;
    const uint32_t tolerated_;
    std::vector<std::vector<uint32_t>> of_domain_;  // Sets that have a drive there.
    std::vector<uint8_t> is_gone_;
};

double combinations(size_t from, uint32_t count) {
    double product = 1;
    for (uint32_t i = 0; i < count; ++i) {
        product *= static_cast<double>(from - i) / (i + 1);
    }
    return product;
}

/// The next choice of numbers below `from` in lexicographic order; false after the last.
bool next_choice(std::vector<uint32_t>& choice, size_t from) {
    for (size_t i = choice.size(); i-- > 0;) {
        if (choice[i] < from - (choice.size() - i)) {
            ++choice[i];
            std::iota(choice.begin() + static_cast<ptrdiff_t>(i) + 1, choice.end(), choice[i] + 1);
            return true;
        }
    }
    return false;
}

LossEstimate count_all(Judge& judge, size_t domains, uint32_t failures) {
    std::vector<uint32_t> choice(failures);
    std::iota(choice.begin(), choice.end(), 0U);
    LossEstimate found{.is_exact = true};
    uint64_t lost = 0;
    do {
        lost += judge.loses(choice) ? 1U : 0U;
        ++found.cases;
    } while (next_choice(choice, domains));
    found.probability = static_cast<double>(lost) / static_cast<double>(found.cases);
    return found;
}

LossEstimate draw(Judge& judge, size_t domains, uint32_t failures) {
    Random random(kSeed);
    std::vector<uint32_t> order(domains);
    std::iota(order.begin(), order.end(), 0U);
    uint64_t lost = 0;
    for (uint64_t i = 0; i < kDrawn; ++i) {
        for (uint32_t k = 0; k < failures; ++k) {
            std::swap(order[k], order[k + random.below(domains - k)]);
        }
        lost += judge.loses(std::span(order).first(failures)) ? 1U : 0U;
    }
    const auto drawn = static_cast<double>(kDrawn);
    const double chance = static_cast<double>(lost) / drawn;
    // If nothing was lost, three cases of so many might have been ("rule of three").
    const double error = lost == 0 ? 3 / drawn : 2 * std::sqrt(chance * (1 - chance) / drawn);
    return {.probability = chance, .is_exact = false, .error = error, .cases = kDrawn};
}

}  // namespace

LossEstimate estimate_loss(const Topology& topology,
                           std::span<const DriveSet> sets,
                           uint32_t tolerated,
                           Level level,
                           uint32_t failures) {
    const size_t domains = topology.domains(level).size();
    const std::vector<DriveSet> different = domains_of(topology, sets, level);
    if (failures == 0 || different.empty()) {
        return {.is_exact = true};
    }
    const auto gone = static_cast<uint32_t>(std::min<size_t>(failures, domains));
    Judge judge(different, domains, tolerated);
    return combinations(domains, gone) <= kCountedMax ? count_all(judge, domains, gone)
                                                      : draw(judge, domains, gone);
}

}  // namespace basalt::placement
