#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "bdev/core/uuid.h"
#include "control/placement/rule.h"
#include "control/placement/topology.h"

namespace basalt::placement {

/// Indexes of a Topology's drives, in the order of a chunk's slots.
using DriveSet = std::vector<uint32_t>;

/// The name of a chunk, or of a group of them, for placement: XXH3 of volume and index.
[[nodiscard]] uint64_t placement_key(const bdev::Uuid& volume, uint64_t index);

/// Why a domain was or wasn't taken, for `placement explain`. A value.
struct Candidate {
    enum class Outcome : uint8_t {
        kTaken,     ///< A drive of it is in a slot, or the next steps stay inside of it.
        kOccupied,  ///< It has a slot's drive already.
        kUnusable,  ///< It has no weight.
        kOutside,   ///< Not in what the rule stays within.
        kLost,      ///< Others have lower scores.
    };
    Level level = Level::kDrive;
    uint32_t domain = 0;  ///< Its index at that level.
    double score = 0;     ///< Of those that were in the race.
    Outcome outcome = Outcome::kLost;
    /// kTaken: which of its drives; none where steps stay inside of it.
    std::optional<uint32_t> drive{};
};
[[nodiscard]] std::string_view to_string(Candidate::Outcome outcome);

/// One step of a rule for one key, or one of the ways out when the rule wasn't enough.
struct StepReport {
    RuleStep step;
    bool is_fallback = false;
    std::vector<Candidate>
        candidates{};  ///< All domains of the level, in the order of their paths.
};

/// TopoHash: chooses drives for keys by a rule over a tree of failure domains. Every step ranks
/// the domains of its level by the key, takes the first, and in each of them goes down to a drive
/// by the same kind of ranking. The same input gives the same result, on every machine.
///
/// Each drive gets its weight's share of all keys, as far as the rule lets it: a rack that has half
/// of all weight can't have more than one of three replicas in distinct racks.
///
/// Immutable; the topology outlives it. Any thread. Making one costs the calibration of the first
/// step (rendezvous.h), a selection a hash for each domain of the rule's levels.
class Selector {
  public:
    /// `wanted` drives are chosen for each key, 1 to kSlotsMax.
    Selector(const Topology& topology, PlacementRule rule, uint32_t wanted);

    /// The drives for `key`. Fewer than wanted if there are too few, or too few for a strict rule.
    [[nodiscard]] DriveSet select(uint64_t key) const { return complete(key, {}); }

    /// The same with some slots taken already (and where they are is not judged): `kept`, then what
    /// is chosen beside them.
    [[nodiscard]] DriveSet complete(uint64_t key, std::span<const uint32_t> kept) const;

    /// What select(key) does, step by step.
    [[nodiscard]] std::vector<StepReport> explain(uint64_t key) const;

    /// Whether the drives are spread as the steps of the rule want it, without a way out.
    [[nodiscard]] bool is_spread(std::span<const uint32_t> drives) const;

    /// How many slots of a key each drive has on the average: by weight, as far as the first step
    /// for distinct domains lets it. The sum is wanted(), if there are enough drives.
    [[nodiscard]] std::vector<double> shares_of_drives() const;

    [[nodiscard]] const Topology& topology() const { return topology_; }
    [[nodiscard]] const PlacementRule& rule() const { return rule_; }
    [[nodiscard]] uint32_t wanted() const { return wanted_; }

  private:
    struct Selection;

    void run(Selection& selection) const;
    [[nodiscard]] std::vector<uint32_t> race(const RuleStep& step,
                                             std::span<const double> rates,
                                             uint32_t count,
                                             std::vector<Candidate>& candidates,
                                             uint64_t key) const;
    void within(const RuleStep& step, Selection& selection) const;
    void distinct(const RuleStep& step, std::span<const double> rates, Selection& selection) const;
    [[nodiscard]] uint32_t descend(Level level, uint32_t domain, uint64_t key) const;

    const Topology& topology_;
    const PlacementRule rule_;
    const uint32_t wanted_;
    // Of the domains of the first step's level, if it is one for distinct domains.
    std::vector<double> first_rates_;
};

}  // namespace basalt::placement
