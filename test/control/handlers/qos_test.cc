// Limits by the API: set, shown, saved, refused.
#include <csignal>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "test/control/daemon_process.h"

namespace basalt::control {
namespace {

using Json = nlohmann::json;

class QosCalls : public testing::Test {
  protected:
    void SetUp() override {
        daemon_.start({});
        ASSERT_TRUE(daemon_.wait_until_ready());
        add_disk("d0");
        add_disk("d1");
    }
    void add_disk(const std::string& name) const {
        EXPECT_EQ(result("bdev_null_create",
                         {{"name", name}, {"num_blocks", 1000}, {"block_size", 4096}}),
                  name);
    }
    Json result(const std::string& method, const Json& params = Json()) const {
        return daemon_.result(method, params);
    }
    std::string error(const std::string& method, const Json& params) const {
        return daemon_.error(method, params);
    }
    Json limits(const std::string& name) const {
        return result("bdev_get_bdevs", {{"name", name}})[0]["assigned_rate_limits"];
    }
    void set(const Json& params) const { EXPECT_EQ(result("bdev_set_qos_limit", params), true); }

    DaemonProcess daemon_;
};

TEST_F(QosCalls, SetChangeAndTakeAwayLimitsAsSpdkDoes) {
    const Json none{{"rw_ios_per_sec", 0},
                    {"rw_mbytes_per_sec", 0},
                    {"r_mbytes_per_sec", 0},
                    {"w_mbytes_per_sec", 0}};
    EXPECT_EQ(limits("d0"), none);
    set({{"name", "d0"}, {"rw_ios_per_sec", 20000}, {"r_mbytes_per_sec", 100}});
    Json shown = none;
    shown["rw_ios_per_sec"] = 20000;
    shown["r_mbytes_per_sec"] = 100;
    EXPECT_EQ(limits("d0"), shown);
    EXPECT_EQ(limits("d1"), none);
    // What is not given stays.
    set({{"name", "d0"}, {"w_mbytes_per_sec", 50}});
    shown["w_mbytes_per_sec"] = 50;
    EXPECT_EQ(limits("d0"), shown);
    set({{"name", "d0"}, {"rw_ios_per_sec_max", 40000}, {"burst_seconds", 10}});
    shown["rw_ios_per_sec_max"] = 40000;
    shown["burst_seconds"] = 10;
    EXPECT_EQ(limits("d0"), shown);
    // A limit that goes takes its burst along, and the last one the bursts' length.
    set({{"name", "d0"}, {"rw_ios_per_sec", 0}});
    shown["rw_ios_per_sec"] = 0;
    shown.erase("rw_ios_per_sec_max");
    EXPECT_EQ(limits("d0"), shown);
    set({{"name", "d0"}, {"r_mbytes_per_sec", 0}, {"w_mbytes_per_sec", 0}});
    EXPECT_EQ(limits("d0"), none);
    set({{"name", "d0"}, {"rw_ios_per_sec", 1000}});
    EXPECT_EQ(result("bdev_null_delete", {{"name", "d0"}}), true);
}

TEST_F(QosCalls, RefuseWhatCanNotBe) {
    EXPECT_NE(error("bdev_set_qos_limit", {{"name", "d0"}}).find("no limit is given"),
              std::string::npos);
    EXPECT_NE(error("bdev_set_qos_limit", {{"name", "x"}, {"rw_ios_per_sec", 1}}).find("'x'"),
              std::string::npos);
    for (const Json& params : {Json{{"rw_ios_per_sec", 100}, {"rw_ios_per_sec_max", 99}},
                               Json{{"rw_ios_per_sec_max", 99}},
                               Json{{"burst_seconds", 5}},
                               Json{{"rw_ios_per_sec_min", 5}}}) {
        Json call = params;
        call["name"] = "d0";
        EXPECT_NE(error("bdev_set_qos_limit", call).find("a minimum needs a shared limit"),
                  std::string::npos)
            << params;
    }
    EXPECT_NE(error("bdev_set_qos_limit", {{"name", "d0"}, {"qos_group", "g"}}).find("'g'"),
              std::string::npos);
    EXPECT_NE(error("bdev_set_qos_limit", {{"name", "d0"}, {"weight", 0}}), "");
}

TEST_F(QosCalls, GroupsShareACapacity) {
    EXPECT_NE(error("bdev_qos_group_create", {{"name", "g"}}), "");
    EXPECT_EQ(result("bdev_qos_group_create",
                     {{"name", "g"}, {"rw_ios_per_sec", 1000}, {"rw_mbytes_per_sec", 10}}),
              true);
    EXPECT_NE(error("bdev_qos_group_create", {{"name", "g"}, {"rw_ios_per_sec", 1}}), "");
    set({{"name", "d0"}, {"qos_group", "g"}, {"rw_ios_per_sec_min", 700}, {"weight", 50}});
    EXPECT_EQ(limits("d0")["qos_group"], "g");
    EXPECT_EQ(limits("d0")["rw_ios_per_sec_min"], 700);
    EXPECT_EQ(limits("d0")["weight"], 50);
    EXPECT_NE(error("bdev_set_qos_limit",
                    {{"name", "d1"}, {"qos_group", "g"}, {"rw_ios_per_sec_min", 301}})
                  .find("minimums of all members"),
              std::string::npos);
    set({{"name", "d1"}, {"qos_group", "g"}, {"rw_ios_per_sec_min", 300}});
    const Json group{{"name", "g"},
                     {"rw_ios_per_sec", 1000},
                     {"rw_mbytes_per_sec", 10},
                     {"bdevs", {"d0", "d1"}}};
    EXPECT_EQ(result("bdev_qos_get_groups"), Json::array({group}));
    EXPECT_NE(error("bdev_qos_group_set_limit", {{"name", "g"}, {"rw_ios_per_sec", 999}}), "");
    EXPECT_EQ(result("bdev_qos_group_set_limit", {{"name", "g"}, {"rw_ios_per_sec", 2000}}), true);
    EXPECT_NE(error("bdev_qos_group_delete", {{"name", "g"}}).find("in use"), std::string::npos);
    // Its minimum has no meaning outside.
    EXPECT_NE(error("bdev_set_qos_limit", {{"name", "d0"}, {"qos_group", ""}}), "");
    set({{"name", "d0"}, {"qos_group", ""}, {"rw_ios_per_sec_min", 0}});
    EXPECT_EQ(result("bdev_null_delete", {{"name", "d1"}}), true);
    EXPECT_EQ(result("bdev_qos_group_delete", {{"name", "g"}}), true);
    EXPECT_EQ(result("bdev_qos_get_groups"), Json::array());
}

TEST_F(QosCalls, AreSavedAndRead) {
    EXPECT_EQ(result("bdev_qos_group_create", {{"name", "g"}, {"rw_ios_per_sec", 1000}}), true);
    set({{"name", "d0"},
         {"rw_ios_per_sec", 500},
         {"rw_ios_per_sec_max", 600},
         {"burst_seconds", 3},
         {"w_mbytes_per_sec", 7},
         {"qos_group", "g"},
         {"rw_ios_per_sec_min", 100},
         {"weight", 200}});
    set({{"name", "d1"}, {"r_mbytes_per_sec", 9}});
    const Json saved = result("save_config");
    const Json before = result("bdev_get_bdevs");
    daemon_.signal(SIGTERM);
    EXPECT_EQ(daemon_.wait(), 0);
    daemon_.start({"--json", daemon_.write_file("saved.json", saved.dump())});
    ASSERT_TRUE(daemon_.wait_until_ready());
    EXPECT_EQ(result("save_config"), saved);
    EXPECT_EQ(limits("d0"), before[0]["assigned_rate_limits"]);
    EXPECT_EQ(limits("d1"), before[1]["assigned_rate_limits"]);
}

TEST_F(QosCalls, HostsOfASubsystemAreLimitedSharedShownAndSaved) {
    const std::string nqn = "nqn.2026-01.io.basalt:t";
    const std::string host = "nqn.2026-01.io.basalt:host";
    EXPECT_EQ(result("nvmf_create_transport", {{"trtype", "TCP"}}), true);
    EXPECT_EQ(result("nvmf_create_subsystem", {{"nqn", nqn}, {"allow_any_host", true}}), true);
    const auto set_host = [&](Json params) {
        params["nqn"] = nqn;
        params["host"] = host;
        return daemon_.call("nvmf_subsystem_set_host_qos_limit", params);
    };
    const auto shown = [&] { return result("nvmf_get_subsystems", {{"nqn", nqn}})[0]; };
    EXPECT_FALSE(shown().contains("host_qos_limits"));
    EXPECT_TRUE(set_host({{"rw_ios_per_sec_min", 5}}).contains("error"));
    EXPECT_EQ(result("nvmf_subsystem_set_qos_limit", {{"nqn", nqn}, {"rw_ios_per_sec", 1000}}),
              true);
    EXPECT_EQ(set_host({{"rw_ios_per_sec_min", 500}, {"r_mbytes_per_sec", 7}})["result"], true);
    EXPECT_EQ(set_host({{"weight", 50}})["result"], true);
    const Json limits{
        {"host", host}, {"rw_ios_per_sec_min", 500}, {"r_mbytes_per_sec", 7}, {"weight", 50}};
    EXPECT_EQ(shown()["host_qos_limits"], Json::array({limits}));
    EXPECT_EQ(shown()["rw_ios_per_sec"], 1000);
    EXPECT_NE(error("nvmf_subsystem_set_qos_limit", {{"nqn", nqn}, {"rw_ios_per_sec", 499}}), "");
    EXPECT_NE(error("nvmf_subsystem_set_qos_limit", {{"nqn", "nqn.2026-01.io:x"}}), "");
    EXPECT_NE(
        error("nvmf_subsystem_set_host_qos_limit", {{"nqn", nqn}, {"host", "x"}, {"weight", 5}})
            .find("no NQN"),
        std::string::npos);
    const Json saved = result("save_config");
    daemon_.signal(SIGTERM);
    EXPECT_EQ(daemon_.wait(), 0);
    daemon_.start({"--json", daemon_.write_file("saved.json", saved.dump())});
    ASSERT_TRUE(daemon_.wait_until_ready());
    EXPECT_EQ(result("save_config"), saved);
    EXPECT_EQ(shown()["host_qos_limits"], Json::array({limits}));
    EXPECT_EQ(
        set_host({{"rw_ios_per_sec_min", 0}, {"r_mbytes_per_sec", 0}, {"weight", 100}})["result"],
        true);
    EXPECT_FALSE(shown().contains("host_qos_limits"));
    EXPECT_EQ(result("nvmf_delete_subsystem", {{"nqn", nqn}}), true);
}

}  // namespace
}  // namespace basalt::control
