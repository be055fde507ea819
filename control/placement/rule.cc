#include "control/placement/rule.h"

#include <algorithm>
#include <charconv>

#include "control/placement/limits.h"

namespace basalt::placement {
namespace {

constexpr std::string_view kStrict = "strict";
constexpr std::string_view kWithinPrefix = "within ";

std::string_view trimmed(std::string_view text) {
    const size_t first = text.find_first_not_of(' ');
    if (first == std::string_view::npos) {
        return {};
    }
    return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

Result<RuleStep> parse_step(std::string_view text) {
    RuleStep step;
    if (text.starts_with(kWithinPrefix)) {
        step.mode = RuleMode::kWithin;
        text = trimmed(text.substr(kWithinPrefix.size()));
    }
    const size_t colon = text.find(':');
    if (colon == std::string_view::npos) {
        return Error(Errc::kInvalidArgument);
    }
    BASALT_TRY(const Level level, parse_level(trimmed(text.substr(0, colon))));
    step.level = level;
    const std::string_view count = trimmed(text.substr(colon + 1));
    const auto [end, problem] =
        std::from_chars(count.data(), count.data() + count.size(), step.count);
    if (problem != std::errc() || end != count.data() + count.size() || step.count == 0 ||
        step.count > kSlotsMax || (step.mode == RuleMode::kWithin && step.level == Level::kDrive)) {
        return Error(Errc::kInvalidArgument);
    }
    return step;
}

/// Whether `next` may come after `steps`: what a rule stays within holds what it spreads over.
bool may_follow(const std::vector<RuleStep>& steps, const RuleStep& next) {
    return std::ranges::all_of(steps, [&](const RuleStep& one) {
        return one.mode != RuleMode::kWithin || one.level < next.level;
    });
}

}  // namespace

Result<PlacementRule> PlacementRule::parse(std::string_view text) {
    PlacementRule rule;
    while (true) {
        const size_t comma = text.find(',');
        const std::string_view word = trimmed(text.substr(0, comma));
        if (word == kStrict) {
            rule.is_strict = true;
        } else {
            BASALT_TRY(const RuleStep step, parse_step(word));
            if (!may_follow(rule.steps, step)) {
                return Error(Errc::kInvalidArgument);
            }
            rule.steps.push_back(step);
        }
        if (rule.steps.size() > kRuleStepsMax) {
            return Error(Errc::kOutOfRange);
        }
        if (comma == std::string_view::npos) {
            return rule;
        }
        text.remove_prefix(comma + 1);
    }
}

std::string PlacementRule::to_string() const {
    std::string text = is_strict ? std::string(kStrict) : std::string();
    for (const RuleStep& step : steps) {
        text += text.empty() ? "" : ", ";
        text += step.mode == RuleMode::kWithin ? kWithinPrefix : "";
        text += placement::to_string(step.level);
        text += ":" + std::to_string(step.count);
    }
    return text;
}

}  // namespace basalt::placement
