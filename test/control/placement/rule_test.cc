#include "control/placement/rule.h"

#include <gtest/gtest.h>

namespace basalt::placement {
namespace {

TEST(PlacementRuleTest, ReadsSteps) {
    const PlacementRule rule =
        PlacementRule::parse("strict, within datacenter:1,rack : 2, host:1").value();
    EXPECT_TRUE(rule.is_strict);
    const std::vector<RuleStep> steps{{RuleMode::kWithin, Level::kDatacenter, 1},
                                      {RuleMode::kDistinct, Level::kRack, 2},
                                      {RuleMode::kDistinct, Level::kHost, 1}};
    EXPECT_EQ(rule.steps, steps);
}

TEST(PlacementRuleTest, WritesWhatItReads) {
    for (const char* text : {"rack:3", "strict", "strict, within datacenter:1, rack:2, drive:32"}) {
        EXPECT_EQ(PlacementRule::parse(text).value().to_string(), text);
    }
}

TEST(PlacementRuleTest, RefusesWhatIsNoRule) {
    for (const char* text : {"",
                             "rack",
                             "rack:",
                             "rack:0",
                             "rack:33",
                             "rack:-1",
                             "rack:3x",
                             "rack:3,",
                             "shelf:3",
                             "within rack",
                             "within drive:1",
                             "within rack:1, rack:2",
                             "within rack:1, datacenter:1",
                             "Rack:3",
                             "rack:99999999999"}) {
        EXPECT_EQ(PlacementRule::parse(text).error().code, Errc::kInvalidArgument) << text;
    }
}

TEST(PlacementRuleTest, HasABoundedNumberOfSteps) {
    std::string text = "drive:1";
    for (int i = 1; i < 8; ++i) {
        text += ", drive:1";
    }
    EXPECT_TRUE(PlacementRule::parse(text));
    EXPECT_EQ(PlacementRule::parse(text + ", drive:1").error().code, Errc::kOutOfRange);
}

}  // namespace
}  // namespace basalt::placement
