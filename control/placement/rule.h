#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "control/placement/topology.h"
#include "reactor/base/result.h"

namespace basalt::placement {

/// What a step of a rule does.
enum class RuleMode : uint8_t {
    kWithin,    ///< Chooses `count` domains; the steps that follow stay inside of them.
    kDistinct,  ///< Takes up to `count` drives, each in a domain that no other slot is in.
};

/// A value.
struct RuleStep {
    RuleMode mode = RuleMode::kDistinct;
    Level level = Level::kDrive;
    uint32_t count = 0;

    bool operator==(const RuleStep&) const = default;
};

/// How the copies of a chunk spread over failure domains. The steps are taken in order until there
/// are as many drives as are wanted. What is then still missing comes from distinct racks, hosts
/// and at last drives, unless the rule is strict. A value.
///
/// In text: "rack:3", "within datacenter:1, rack:2, host:1", "strict, host:3".
struct PlacementRule {
    std::vector<RuleStep> steps;
    bool is_strict = false;

    bool operator==(const PlacementRule&) const = default;

    /// Errors: kInvalidArgument: an unknown word, a count that is 0 or above kSlotsMax, a drive to
    /// stay within, a step that is not below what the rule stays within; kOutOfRange: too many
    /// steps.
    [[nodiscard]] static Result<PlacementRule> parse(std::string_view text);
    /// What parse() reads.
    [[nodiscard]] std::string to_string() const;
};

}  // namespace basalt::placement
