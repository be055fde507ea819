#include "control/placement/copyset.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <span>

#include "control/placement/limits.h"
#include "control/placement/rendezvous.h"
#include "reactor/base/assert.h"

namespace basalt::placement {
namespace {

// Weights in a copyset, which are quotients: the largest is this.
constexpr double kLargestWeight = 1U << 30U;

// What is whole but for the last bits is whole.
constexpr double kWholeEnough = 1e-9;

/// Numbers of drives for domains. As whole numbers they have the same sum.
using Deal = std::vector<double>;

/// Whole numbers with the same sum: each share rounded down, and what is left to those whom the
/// key names, with the chance of what they lost.
Deal rounded(const Deal& dealt, std::span<const Domain> domains, uint64_t key) {
    Deal whole;
    Deal rest;
    for (const double share : dealt) {
        whole.push_back(std::floor(share + kWholeEnough));
        rest.push_back(std::max(0.0, share - whole.back()));
    }
    const double left = std::accumulate(rest.begin(), rest.end(), 0.0);
    const auto extra = static_cast<uint32_t>(std::lround(left));
    if (extra == 0) {
        return whole;
    }
    const std::vector<double> rates = calibrate(shares(rest, extra), extra);
    std::vector<double> scores;
    for (size_t i = 0; i < domains.size(); ++i) {
        scores.push_back(score(key, domains[i].hash, rates[i]));
    }
    for (const uint32_t i : lowest(scores, extra)) {
        whole[i] += 1;
    }
    return whole;
}

/// Takes drives from where several are until `wanted` domains have some, if there are so many.
void spread_out(Deal& whole, std::span<const Domain> domains, uint32_t wanted, uint64_t key) {
    std::vector<double> scores;
    for (size_t i = 0; i < domains.size(); ++i) {
        const auto weight = static_cast<double>(domains[i].weight);
        scores.push_back(score(key, domains[i].hash, whole[i] > 0 ? 0 : weight));
    }
    const auto empty = static_cast<uint32_t>(std::ranges::count(whole, 0.0));
    const uint32_t used = static_cast<uint32_t>(whole.size()) - empty;
    for (const uint32_t i : lowest(scores, wanted - std::min(wanted, used))) {
        const auto most = std::ranges::max_element(whole);
        if (*most >= 2) {
            *most -= 1;
            whole[i] = 1;
        }
    }
}

/// The domains of one level that lie side by side.
struct Row {
    Level level;
    uint32_t first;
    uint32_t count;
};

/// Deals `stride` drives out, from the rule's level down. Twice: as numbers with fractions, which
/// give each drive's chance, and as whole ones, which give the drives.
class Dealer {
  public:
    Dealer(const Topology& topology, const PlacementRule& rule, uint32_t wanted, uint32_t stride)
        : topology_(topology), stride_(stride) {
        const auto distinct = std::ranges::find(rule.steps, RuleMode::kDistinct, &RuleStep::mode);
        if (distinct != rule.steps.end()) {
            level_ = distinct->level;
            spread_ = std::min(distinct->count, wanted);
        }
        count_usable();
    }

    /// Each drive's chance to be dealt.
    [[nodiscard]] std::vector<double> chances() const {
        std::vector<double> found(topology_.drive_count(), 0.0);
        add_chances(all(), top_shares(), 1.0, found);
        return found;
    }

    [[nodiscard]] DriveSet drives(uint64_t key) const {
        Deal top = rounded(top_shares(), domains(all()), key);
        spread_out(top, domains(all()), spread_, key);
        DriveSet found;
        add_drives(all(), top, key, found);
        std::ranges::sort(found);
        return found;
    }

  private:
    /// Drives that have weight, below each domain.
    void count_usable() {
        for (uint32_t level = kLevelCount; level-- > 0;) {
            const std::span<const Domain> row = topology_.domains(static_cast<Level>(level));
            usable_[level].resize(row.size());
            for (uint32_t i = 0; i < row.size(); ++i) {
                if (level == kLevelCount - 1) {
                    usable_[level][i] = row[i].weight > 0 ? 1 : 0;
                    continue;
                }
                const auto below = usable_[level + 1].begin() + row[i].first_child;
                usable_[level][i] = std::accumulate(below, below + row[i].child_count, 0.0);
            }
        }
    }

    [[nodiscard]] std::span<const Domain> domains(const Row& row) const {
        return topology_.domains(row.level).subspan(row.first, row.count);
    }
    [[nodiscard]] Row all() const {
        return {level_, 0, static_cast<uint32_t>(topology_.domains(level_).size())};
    }

    /// By weight, and of no domain more than can be in slots of one key, if there are others.
    [[nodiscard]] Deal top_shares() const {
        const Row row = all();
        double most = static_cast<double>(stride_) / spread_;
        while (true) {
            Deal dealt = row_shares(row, stride_, most);
            if (std::accumulate(dealt.begin(), dealt.end(), 0.0) > stride_ - 0.5) {
                return dealt;
            }
            most *= 2;
        }
    }

    [[nodiscard]] Deal row_shares(const Row& row, double count, double most) const {
        std::vector<double> weights;
        std::vector<double> caps;
        for (uint32_t i = 0; i < row.count; ++i) {
            weights.push_back(static_cast<double>(domains(row)[i].weight));
            caps.push_back(std::min(most, usable_[static_cast<size_t>(row.level)][row.first + i]));
        }
        return shares(weights, count, caps);
    }

    /// The domains below one of a row's.
    [[nodiscard]] Row below(const Row& row, uint32_t index) const {
        const Domain& here = domains(row)[index];
        return {static_cast<Level>(static_cast<uint8_t>(row.level) + 1),
                here.first_child,
                here.child_count};
    }

    void add_drives(const Row& row, const Deal& whole, uint64_t key, DriveSet& found) const {
        for (uint32_t i = 0; i < row.count; ++i) {
            if (whole[i] > 0 && row.level == Level::kDrive) {
                found.push_back(row.first + i);
            } else if (whole[i] > 0) {
                const Row next = below(row, i);
                const Deal dealt = row_shares(next, whole[i], whole[i]);
                add_drives(next, rounded(dealt, domains(next), key), key, found);
            }
        }
    }

    /// A share is rounded up with the chance of its fraction, and down otherwise.
    void add_chances(const Row& row,
                     const Deal& dealt,
                     double chance,
                     std::vector<double>& found) const {
        for (uint32_t i = 0; i < row.count; ++i) {
            if (row.level == Level::kDrive) {
                found[row.first + i] += chance * dealt[i];
                continue;
            }
            const double low = std::floor(dealt[i] + kWholeEnough);
            const double fraction = std::max(0.0, dealt[i] - low);
            const Row next = below(row, i);
            if (low > 0) {
                add_chances(next, row_shares(next, low, low), chance * (1 - fraction), found);
            }
            if (fraction > 0) {
                add_chances(next, row_shares(next, low + 1, low + 1), chance * fraction, found);
            }
        }
    }

    const Topology& topology_;
    const uint32_t stride_;
    Level level_ = Level::kDrive;
    uint32_t spread_ = 1;
    std::array<std::vector<double>, kLevelCount> usable_;
};

Copyset all_of(const Topology& topology) {
    Copyset set;
    const std::span<const Domain> drives = topology.domains(Level::kDrive);
    for (uint32_t i = 0; i < drives.size(); ++i) {
        if (drives[i].weight > 0) {
            set.drives.push_back(i);
            set.weights.push_back(drives[i].weight);
        }
    }
    return set;
}

}  // namespace

Copyset choose_copyset(const Topology& topology,
                       const PlacementRule& rule,
                       uint32_t wanted,
                       uint32_t stride,
                       const bdev::Uuid& volume) {
    BASALT_ASSERT(stride == 0 || stride >= wanted);
    Copyset all = all_of(topology);
    if (stride == 0 || all.drives.size() <= stride) {
        return all;
    }
    const Dealer dealer(topology, rule, wanted, stride);
    // Another key than any chunk's: the same would choose the same drives in the set, too.
    const uint64_t key = placement_key(volume, UINT64_MAX);
    Copyset set{.drives = dealer.drives(key), .weights = {}};
    const std::vector<double> chances = dealer.chances();
    std::vector<double> weights;
    for (const uint32_t drive : set.drives) {
        weights.push_back(static_cast<double>(topology.domain(Level::kDrive, drive).weight) /
                          chances[drive]);
    }
    const double largest = std::ranges::max(weights);
    for (const double weight : weights) {
        const double scaled = std::round(weight / largest * kLargestWeight);
        set.weights.push_back(static_cast<uint64_t>(std::max(1.0, scaled)));
    }
    return set;
}

}  // namespace basalt::placement
