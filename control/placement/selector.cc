#include "control/placement/selector.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <set>
#include <utility>

#include <xxhash.h>

#include "control/placement/limits.h"
#include "control/placement/rendezvous.h"
#include "reactor/base/assert.h"

namespace basalt::placement {
namespace {

/// What to try when the rule has not led to enough drives, from the best spread to the least.
constexpr std::array<Level, 3> kWaysOut{Level::kRack, Level::kHost, Level::kDrive};

std::vector<double> weights_of(std::span<const Domain> domains) {
    std::vector<double> weights;
    weights.reserve(domains.size());
    for (const Domain& one : domains) {
        weights.push_back(static_cast<double>(one.weight));
    }
    return weights;
}

}  // namespace

uint64_t placement_key(const bdev::Uuid& volume, uint64_t index) {
    std::array<uint8_t, sizeof(volume.bytes) + sizeof(index)> input{};
    std::memcpy(input.data(), volume.bytes.data(), sizeof(volume.bytes));
    std::memcpy(input.data() + sizeof(volume.bytes), &index, sizeof(index));
    return XXH3_64bits(input.data(), input.size());
}

std::string_view to_string(Candidate::Outcome outcome) {
    static constexpr std::array<std::string_view, 5> kNames{
        "taken", "occupied", "unusable", "outside", "lost"};
    return kNames[static_cast<size_t>(outcome)];
}

/// A selection while it is made.
struct Selector::Selection {
    uint64_t key = 0;
    DriveSet drives{};
    // What the rule stays within: domains of one level, of which there are none at first.
    std::optional<Level> scope_level{};
    std::vector<uint32_t> scope{};
    std::vector<StepReport>* report = nullptr;

    [[nodiscard]] bool is_in_scope(const Topology& topology, Level level, uint32_t domain) const {
        if (!scope_level.has_value()) {
            return true;
        }
        for (; level != *scope_level; level = static_cast<Level>(static_cast<uint8_t>(level) - 1)) {
            domain = topology.domain(level, domain).parent;
        }
        return std::ranges::find(scope, domain) != scope.end();
    }

    /// Whether each domain may be taken, and if not, why.
    [[nodiscard]] std::vector<Candidate> candidates(const Topology& topology, Level level) const {
        std::vector<Candidate> found;
        const std::span<const Domain> domains = topology.domains(level);
        found.reserve(domains.size());
        for (uint32_t i = 0; i < domains.size(); ++i) {
            Candidate one{.level = level, .domain = i};
            if (!is_in_scope(topology, level, i)) {
                one.outcome = Candidate::Outcome::kOutside;
            } else if (domains[i].weight == 0) {
                one.outcome = Candidate::Outcome::kUnusable;
            }
            found.push_back(one);
        }
        return found;
    }
};

Selector::Selector(const Topology& topology, PlacementRule rule, uint32_t wanted)
    : topology_(topology), rule_(std::move(rule)), wanted_(wanted) {
    BASALT_ASSERT(wanted_ > 0);
    BASALT_ASSERT(wanted_ <= kSlotsMax);
    if (!rule_.steps.empty() && rule_.steps.front().mode == RuleMode::kDistinct) {
        const RuleStep& first = rule_.steps.front();
        const uint32_t count = std::min(first.count, wanted_);
        first_rates_ = calibrate(shares(weights_of(topology_.domains(first.level)), count), count);
    }
}

DriveSet Selector::complete(uint64_t key, std::span<const uint32_t> kept) const {
    Selection selection{.key = key, .drives = DriveSet(kept.begin(), kept.end())};
    run(selection);
    return std::move(selection.drives);
}

std::vector<StepReport> Selector::explain(uint64_t key) const {
    std::vector<StepReport> report;
    Selection selection{.key = key, .report = &report};
    run(selection);
    return report;
}

void Selector::run(Selection& selection) const {
    for (size_t i = 0; i < rule_.steps.size(); ++i) {
        const RuleStep& step = rule_.steps[i];
        if (step.mode == RuleMode::kWithin) {
            within(step, selection);
        } else {
            const bool is_calibrated = i == 0 && selection.drives.empty();
            distinct(step, is_calibrated ? first_rates_ : std::vector<double>(), selection);
        }
    }
    const size_t by_rule = selection.report != nullptr ? selection.report->size() : 0;
    for (const Level level : kWaysOut) {
        if (!rule_.is_strict && selection.drives.size() < wanted_) {
            distinct({.level = level, .count = wanted_}, {}, selection);
        }
    }
    if (selection.report != nullptr) {
        for (size_t i = by_rule; i < selection.report->size(); ++i) {
            (*selection.report)[i].is_fallback = true;
        }
    }
}

/// Scores those that may be taken and takes the lowest; what they are is told to the report.
std::vector<uint32_t> Selector::race(const RuleStep& step,
                                     std::span<const double> rates,
                                     uint32_t count,
                                     std::vector<Candidate>& candidates,
                                     uint64_t key) const {
    std::vector<double> scores;
    scores.reserve(candidates.size());
    for (Candidate& one : candidates) {
        const Domain& domain = topology_.domain(step.level, one.domain);
        const bool is_in = one.outcome == Candidate::Outcome::kLost;
        const double rate = rates.empty() ? static_cast<double>(domain.weight) : rates[one.domain];
        scores.push_back(score(key, domain.hash, is_in ? rate : 0));
        one.score = is_in ? scores.back() : 0;
    }
    std::vector<uint32_t> winners = lowest(scores, count);
    for (const uint32_t winner : winners) {
        candidates[winner].outcome = Candidate::Outcome::kTaken;
    }
    return winners;
}

void Selector::within(const RuleStep& step, Selection& selection) const {
    std::vector<Candidate> candidates = selection.candidates(topology_, step.level);
    selection.scope = race(step, {}, step.count, candidates, selection.key);
    selection.scope_level = step.level;
    if (selection.report != nullptr) {
        selection.report->push_back({.step = step, .candidates = std::move(candidates)});
    }
}

void Selector::distinct(const RuleStep& step,
                        std::span<const double> rates,
                        Selection& selection) const {
    const auto missing =
        wanted_ - std::min<uint32_t>(wanted_, static_cast<uint32_t>(selection.drives.size()));
    std::vector<Candidate> candidates = selection.candidates(topology_, step.level);
    for (const uint32_t drive : selection.drives) {
        candidates[topology_.domain_of(drive, step.level)].outcome = Candidate::Outcome::kOccupied;
    }
    const uint32_t count = std::min(step.count, missing);
    for (const uint32_t winner : race(step, rates, count, candidates, selection.key)) {
        candidates[winner].drive = descend(step.level, winner, selection.key);
        selection.drives.push_back(*candidates[winner].drive);
    }
    if (selection.report != nullptr) {
        selection.report->push_back({.step = step, .candidates = std::move(candidates)});
    }
}

/// The drive that the key leads to from a domain that has weight.
uint32_t Selector::descend(Level level, uint32_t domain, uint64_t key) const {
    while (level != Level::kDrive) {
        const Domain& here = topology_.domain(level, domain);
        level = static_cast<Level>(static_cast<uint8_t>(level) + 1);
        const std::span<const Domain> children =
            topology_.domains(level).subspan(here.first_child, here.child_count);
        std::vector<double> scores;
        scores.reserve(children.size());
        for (const Domain& one : children) {
            scores.push_back(score(key, one.hash, static_cast<double>(one.weight)));
        }
        const std::vector<uint32_t> winner = lowest(scores, 1);
        BASALT_ASSERT(!winner.empty());
        domain = here.first_child + winner.front();
    }
    return domain;
}

std::vector<double> Selector::shares_of_drives() const {
    const auto first = std::ranges::find(rule_.steps, RuleMode::kDistinct, &RuleStep::mode);
    const RuleStep step = first != rule_.steps.end() ? *first : RuleStep{.count = wanted_};
    const std::span<const Domain> domains = topology_.domains(step.level);
    // What the step does not take may be anywhere, for all that is known here.
    double most = 1 + wanted_ - std::min(step.count, wanted_);
    std::vector<double> slots;
    do {
        slots = shares(weights_of(domains), wanted_, std::vector<double>(domains.size(), most));
        most *= 2;
    } while (most <= 2 * wanted_ &&
             std::accumulate(slots.begin(), slots.end(), 0.0) < wanted_ - 0.5);
    std::vector<double> found;
    for (uint32_t drive = 0; drive < topology_.drive_count(); ++drive) {
        const uint32_t home = topology_.domain_of(drive, step.level);
        const auto weight = static_cast<double>(topology_.domain(Level::kDrive, drive).weight);
        found.push_back(
            weight == 0 ? 0 : slots[home] * weight / static_cast<double>(domains[home].weight));
    }
    return found;
}

bool Selector::is_spread(std::span<const uint32_t> drives) const {
    const auto domains = [&](Level level) {
        std::set<uint32_t> found;
        for (const uint32_t drive : drives) {
            found.insert(topology_.domain_of(drive, level));
        }
        return found.size();
    };
    size_t distinct_count = 0;
    for (const RuleStep& step : rule_.steps) {
        if (step.mode == RuleMode::kWithin) {
            if (domains(step.level) > step.count) {
                return false;
            }
            continue;
        }
        distinct_count = std::min<size_t>(distinct_count + step.count, drives.size());
        if (domains(step.level) < distinct_count) {
            return false;
        }
    }
    return drives.size() >= wanted_ && domains(Level::kDrive) == drives.size();
}

}  // namespace basalt::placement
