#include "control/config/saved_config.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace basalt::control {
namespace {

std::string refusal(std::string_view text) {
    std::string problem;
    const auto calls = parse_saved_config(text, "s.json", problem);
    if (calls) {
        return "accepted";
    }
    EXPECT_EQ(calls.error().code, Errc::kInvalidArgument);
    return problem;
}

TEST(SavedConfig, IsReadInOrderWithNullPartsAndComments) {
    std::string problem;
    const auto calls = parse_saved_config(R"({
        "subsystems": [
            {"subsystem": "accel", "config": null},
            {"subsystem": "empty"},
            // As people write them.
            {"subsystem": "bdev", "config": [
                {"method": "bdev_null_create", "params": {"name": "n"}},
                {"method": "bdev_wait_for_examine"}
            ]},
            {"subsystem": "nvmf", "config": [
                {"method": "nvmf_create_transport", "params": null}
            ]}
        ]
    })",
                                          "s.json",
                                          problem);
    ASSERT_TRUE(calls) << problem;
    ASSERT_EQ(calls->size(), 3U);
    EXPECT_EQ((*calls)[0].method, "bdev_null_create");
    EXPECT_EQ((*calls)[0].params, nlohmann::json({{"name", "n"}}));
    EXPECT_EQ((*calls)[0].origin, "s.json: subsystem 'bdev'");
    EXPECT_EQ((*calls)[1].method, "bdev_wait_for_examine");
    EXPECT_EQ((*calls)[1].params, nlohmann::json::object());
    EXPECT_EQ((*calls)[2].method, "nvmf_create_transport");
    EXPECT_EQ((*calls)[2].params, nlohmann::json::object());
}

TEST(SavedConfig, OfAnyOtherShapeIsRefusedWithAReason) {
    EXPECT_NE(refusal("{").find("s.json: "), std::string::npos);
    EXPECT_NE(refusal("\n\n]").find("line 3"), std::string::npos);
    EXPECT_NE(refusal("[]").find("list \"subsystems\""), std::string::npos);
    EXPECT_NE(refusal("{}").find("list \"subsystems\""), std::string::npos);
    EXPECT_NE(refusal(R"({"subsystems": 5})").find("list \"subsystems\""), std::string::npos);
    EXPECT_NE(refusal(R"({"subsystems": [5]})").find("text \"subsystem\""), std::string::npos);
    EXPECT_NE(refusal(R"({"subsystems": [{"subsystem": 1}]})").find("text \"subsystem\""),
              std::string::npos);
    EXPECT_EQ(refusal(R"({"subsystems": [{"subsystem": "bdev", "config": {}}]})"),
              "s.json: subsystem 'bdev': \"config\" must be a list or null");
    EXPECT_EQ(refusal(R"({"subsystems": [{"subsystem": "bdev", "config": [5]}]})"),
              "s.json: subsystem 'bdev': each call must be an object with a text \"method\"");
    EXPECT_EQ(refusal(R"({"subsystems": [{"subsystem": "bdev",
                         "config": [{"method": "x", "params": []}]}]})"),
              "s.json: subsystem 'bdev': x: \"params\" must be an object");
}

TEST(SavedConfig, InAFileThatCanNotBeReadIsNamed) {
    std::string problem;
    EXPECT_FALSE(load_saved_config("/nonexistent.json", problem));
    EXPECT_EQ(problem, "/nonexistent.json: No such file or directory");
}

TEST(SavedConfig, LetsHostsInWhenAllElseIsThere) {
    std::string problem;
    const auto calls = parse_saved_config(R"({
        "subsystems": [
            {"subsystem": "nvmf", "config": [
                {"method": "nvmf_create_transport"},
                {"method": "nvmf_create_subsystem", "params": {"nqn": "a"}},
                {"method": "nvmf_subsystem_add_listener", "params": {"nqn": "a"}},
                {"method": "nvmf_subsystem_listener_set_ana_state", "params": {"nqn": "a"}},
                {"method": "nvmf_create_subsystem", "params": {"nqn": "b"}},
                {"method": "nvmf_subsystem_add_listener", "params": {"nqn": "b"}},
                {"method": "nvmf_subsystem_add_ns", "params": {"nqn": "b"}}
            ]},
            {"subsystem": "other", "config": [{"method": "bdev_set_qos_limit"}]}
        ]
    })",
                                          "s.json",
                                          problem);
    ASSERT_TRUE(calls) << problem;
    std::vector<std::string> methods;
    for (const StartupCall& call : *calls) {
        methods.push_back(call.method);
    }
    EXPECT_EQ(methods,
              (std::vector<std::string>{"nvmf_create_transport",
                                        "nvmf_create_subsystem",
                                        "nvmf_create_subsystem",
                                        "nvmf_subsystem_add_ns",
                                        "bdev_set_qos_limit",
                                        "nvmf_subsystem_add_listener",
                                        "nvmf_subsystem_listener_set_ana_state",
                                        "nvmf_subsystem_add_listener"}));
    EXPECT_EQ((*calls)[5].params["nqn"], "a");
}

}  // namespace
}  // namespace basalt::control
