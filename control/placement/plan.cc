#include "control/placement/plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "control/placement/rendezvous.h"
#include "reactor/base/assert.h"

namespace basalt::placement {
namespace {

/// Takes a drive out of `arriving` that shares the closest domain with `from`.
uint32_t take_nearest(const Topology& topology, uint32_t from, DriveSet& arriving) {
    const auto is_nearer = [&](uint32_t one, uint32_t other) {
        for (const Level level : {Level::kHost, Level::kRack, Level::kDatacenter}) {
            const uint32_t home = topology.domain_of(from, level);
            const bool is_one = topology.domain_of(one, level) == home;
            if (is_one != (topology.domain_of(other, level) == home)) {
                return is_one;
            }
        }
        return false;
    };
    const auto nearest = std::ranges::min_element(arriving, is_nearer);
    const uint32_t found = *nearest;
    arriving.erase(nearest);
    return found;
}

/// Gives each slot of `set` that `leaves` another drive.
template <typename Leaves>
void replace(const Topology& topology,
             uint32_t chunk,
             const DriveSet& set,
             const Leaves& leaves,
             DriveSet arriving,
             Plan& plan) {
    for (uint32_t slot = 0; slot < set.size(); ++slot) {
        if (!leaves(set[slot])) {
            continue;
        }
        if (arriving.empty()) {
            plan.stuck.push_back(chunk);
            return;
        }
        const uint32_t to = take_nearest(topology, set[slot], arriving);
        plan.moves.push_back({.chunk = chunk, .slot = slot, .from = set[slot], .to = to});
    }
}

/// One plan_rebalance().
class Evener {
  public:
    Evener(const Selector& selector, Placed placed, double tolerance)
        : selector_(selector),
          placed_(placed),
          counts_(selector.topology().drive_count()),
          has_moved_(placed.sets.size()) {
        double slots = 0;
        for (const DriveSet& set : placed.sets) {
            for (const uint32_t drive : set) {
                counts_[drive] += 1;
                slots += 1;
            }
        }
        for (const double share : selector.shares_of_drives()) {
            const double fair = share * slots / selector.wanted();
            // A slot more or less is no imbalance.
            most_.push_back(std::max(std::floor(fair * (1 + tolerance)), std::ceil(fair)));
            least_.push_back(std::min(std::ceil(fair * (1 - tolerance)), std::floor(fair)));
            fair_.push_back(fair);
        }
    }

    /// What is over its most goes to those below their shares, or else to those with some room;
    /// then those below their least take from the ones above their shares, or else from those that
    /// can spare one.
    [[nodiscard]] Plan run() {
        const auto is_over = [this](uint32_t drive) { return counts_[drive] > most_[drive]; };
        const auto is_under = [this](uint32_t drive) { return counts_[drive] < least_[drive]; };
        pass(is_over, [this](uint32_t drive) { return counts_[drive] + 1 <= fair_[drive]; });
        pass(is_over, [this](uint32_t drive) { return counts_[drive] + 1 <= most_[drive]; });
        pass([this](uint32_t drive) { return counts_[drive] - 1 >= fair_[drive]; }, is_under);
        pass([this](uint32_t drive) { return counts_[drive] - 1 >= least_[drive]; }, is_under);
        return std::move(plan_);
    }

  private:
    /// Nobody who gives becomes one who takes.
    template <typename Gives, typename Takes>
    void pass(const Gives& gives, const Takes& takes) {
        DriveSet takers;
        for (uint32_t drive = 0; drive < counts_.size(); ++drive) {
            if (has_weight(drive) && takes(drive)) {
                takers.push_back(drive);
            }
        }
        for (uint32_t chunk = 0; chunk < placed_.sets.size() && !takers.empty(); ++chunk) {
            const DriveSet& set = placed_.sets[chunk];
            for (uint32_t slot = 0; slot < set.size() && !has_moved_[chunk]; ++slot) {
                if (has_weight(set[slot]) && gives(set[slot])) {
                    const uint32_t to = move(chunk, slot, takers);
                    if (!takes(to)) {
                        std::erase(takers, to);
                    }
                }
            }
        }
    }

    /// Of those that take one the key chooses, by the room that they have. Returns whom; who had
    /// it if nobody fits.
    uint32_t move(uint32_t chunk, uint32_t slot, const DriveSet& takers) {
        DriveSet set = placed_.sets[chunk];
        const uint32_t from = set[slot];
        const bool was_spread = selector_.is_spread(set);
        double best = std::numeric_limits<double>::infinity();
        uint32_t to = from;
        for (const uint32_t drive : takers) {
            const double rank =
                score(placed_.keys[chunk], domain(drive).hash, most_[drive] - counts_[drive]);
            if (rank >= best || std::ranges::count(placed_.sets[chunk], drive) > 0) {
                continue;
            }
            set[slot] = drive;
            if (!was_spread || selector_.is_spread(set)) {
                best = rank;
                to = drive;
            }
        }
        if (to != from) {
            counts_[from] -= 1;
            counts_[to] += 1;
            plan_.moves.push_back({.chunk = chunk, .slot = slot, .from = from, .to = to});
            has_moved_[chunk] = true;
        }
        return to;
    }

    [[nodiscard]] const Domain& domain(uint32_t drive) const {
        return selector_.topology().domain(Level::kDrive, drive);
    }
    [[nodiscard]] bool has_weight(uint32_t drive) const { return domain(drive).weight > 0; }

    const Selector& selector_;
    const Placed placed_;
    std::vector<double> counts_;
    std::vector<double> fair_;
    std::vector<double> most_;
    std::vector<double> least_;
    std::vector<bool> has_moved_;  // Chunks: one move each, for the next would need its result.
    Plan plan_;
};

}  // namespace

Plan plan_evacuation(const Selector& selector, Placed placed) {
    BASALT_ASSERT(placed.keys.size() == placed.sets.size());
    const Topology& topology = selector.topology();
    const auto leaves = [&](uint32_t drive) {
        return topology.domain(Level::kDrive, drive).weight == 0;
    };
    Plan plan;
    for (uint32_t chunk = 0; chunk < placed.sets.size(); ++chunk) {
        const DriveSet& set = placed.sets[chunk];
        if (std::ranges::none_of(set, leaves)) {
            continue;
        }
        DriveSet kept;
        std::ranges::remove_copy_if(set, std::back_inserter(kept), leaves);
        DriveSet whole = selector.complete(placed.keys[chunk], kept);
        whole.erase(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(kept.size()));
        replace(topology, chunk, set, leaves, std::move(whole), plan);
    }
    return plan;
}

Plan plan_rebalance(const Selector& selector, Placed placed, double tolerance) {
    BASALT_ASSERT(placed.keys.size() == placed.sets.size());
    Evener evener(selector, placed, tolerance);
    return evener.run();
}

}  // namespace basalt::placement
