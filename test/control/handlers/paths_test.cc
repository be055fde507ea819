// ANA, who sees a namespace, referrals, write protection and the transport's settings: set by
// calls, shown, saved, and the same again in a daemon that starts from what was saved.
#include <csignal>

#include <gtest/gtest.h>

#include "test/control/daemon_process.h"

namespace basalt::control {
namespace {

using Json = nlohmann::json;

constexpr const char* kNqn = "nqn.2026-01.io.basalt:t";
constexpr const char* kPlain = "nqn.2026-01.io.basalt:plain";
constexpr const char* kHost = "nqn.2026-01.io.basalt:host";
constexpr const char* kDiscovery = "nqn.2014-08.org.nvmexpress.discovery";

Json address(const char* port) {
    return {{"trtype", "TCP"}, {"adrfam", "IPv4"}, {"traddr", "127.0.0.1"}, {"trsvcid", port}};
}

class PathCalls : public testing::Test {
  protected:
    void SetUp() override {
        daemon_.start({});
        ASSERT_TRUE(daemon_.wait_until_ready());
        result("nvmf_create_transport", {{"trtype", "TCP"}});
        result("nvmf_create_subsystem",
               {{"nqn", kNqn},
                {"ana_reporting", true},
                {"max_namespaces", 4},
                {"min_cntlid", 100},
                {"max_cntlid", 199}});
        result("nvmf_create_subsystem", {{"nqn", kPlain}});
        for (const char* name : {"a", "b"}) {
            result("bdev_null_create", {{"name", name}, {"num_blocks", 64}, {"block_size", 4096}});
        }
    }
    Json result(const std::string& method, const Json& params = Json()) const {
        return daemon_.result(method, params);
    }
    [[nodiscard]] int64_t code(const std::string& method, const Json& params) const {
        const Json response = daemon_.call(method, params);
        return response.contains("error") ? response["error"]["code"].get<int64_t>() : 0;
    }
    void add_namespace(Json space) const {
        EXPECT_TRUE(
            result("nvmf_subsystem_add_ns", {{"nqn", kNqn}, {"namespace", space}}).is_number());
    }
    /// The states of the groups by the one listener, in a word each.
    [[nodiscard]] std::vector<std::string> states() const {
        std::vector<std::string> words;
        const Json listeners = result("nvmf_subsystem_get_listeners", {{"nqn", kNqn}});
        for (const Json& group : listeners[0]["ana_states"]) {
            EXPECT_EQ(group["ana_group"], words.size() + 1);
            words.push_back(group["ana_state"]);
        }
        return words;
    }
    /// Starts another daemon from what this one saves; it must save and show the same. With
    /// `ends`, this one gives its ports up before.
    void expect_saved(bool ends = false) {
        const Json saved = result("save_config");
        const Json subsystems = result("nvmf_get_subsystems");
        const Json referrals = result("nvmf_discovery_get_referrals");
        const Json listeners = result("nvmf_subsystem_get_listeners", {{"nqn", kNqn}});
        if (ends) {
            daemon_.signal(SIGTERM);
            EXPECT_EQ(daemon_.wait(), 0);
        }
        DaemonProcess second;
        second.start({"--json", second.write_file("saved.json", saved.dump())});
        ASSERT_TRUE(second.wait_until_ready()) << second.output();
        EXPECT_EQ(second.result("save_config")["subsystems"], saved["subsystems"]);
        EXPECT_EQ(second.result("nvmf_get_subsystems"), subsystems);
        EXPECT_EQ(second.result("nvmf_discovery_get_referrals"), referrals);
        EXPECT_EQ(second.result("nvmf_subsystem_get_listeners", {{"nqn", kNqn}}), listeners);
    }

    DaemonProcess daemon_;
};

TEST_F(PathCalls, SetAnaStatesOfAListenerByGroupAndForAll) {
    const Json listener{{"nqn", kNqn}, {"listen_address", address("0")}};
    Json begin = listener;
    begin["ana_state"] = "non_optimized";
    EXPECT_EQ(result("nvmf_subsystem_add_listener", begin), true);
    EXPECT_EQ(states(), std::vector<std::string>(4, "non_optimized"));
    const Json bound = result("nvmf_subsystem_get_listeners", {{"nqn", kNqn}})[0]["address"];
    Json change{{"nqn", kNqn}, {"listen_address", bound}, {"ana_state", "optimized"}};
    EXPECT_EQ(result("nvmf_subsystem_listener_set_ana_state", change), true);
    EXPECT_EQ(states(), std::vector<std::string>(4, "optimized"));
    EXPECT_EQ(result("save_config").dump().find("ana_state\""), std::string::npos);
    change["ana_state"] = "inaccessible";
    change["anagrpid"] = 2;
    EXPECT_EQ(result("nvmf_subsystem_listener_set_ana_state", change), true);
    change["ana_state"] = "persistent_loss";
    change["anagrpid"] = 4;
    EXPECT_EQ(result("nvmf_subsystem_listener_set_ana_state", change), true);
    EXPECT_EQ(
        states(),
        (std::vector<std::string>{"optimized", "inaccessible", "optimized", "persistent_loss"}));

    change["anagrpid"] = 5;
    EXPECT_EQ(code("nvmf_subsystem_listener_set_ana_state", change), -32602);
    change["anagrpid"] = 1;
    change["ana_state"] = "lost";
    EXPECT_EQ(code("nvmf_subsystem_listener_set_ana_state", change), -32602);
    change.erase("ana_state");
    EXPECT_EQ(code("nvmf_subsystem_listener_set_ana_state", change), -32602);
    EXPECT_EQ(code("nvmf_subsystem_listener_set_ana_state",
                   {{"nqn", kNqn}, {"listen_address", address("1")}, {"ana_state", "optimized"}}),
              -32602);
    Json plain{{"nqn", kPlain}, {"listen_address", bound}, {"ana_state", "inaccessible"}};
    EXPECT_NE(daemon_.error("nvmf_subsystem_add_listener", plain).find("without ana_reporting"),
              std::string::npos);
    EXPECT_EQ(code("nvmf_subsystem_listener_set_ana_state", plain), -95);
    plain.erase("ana_state");
    EXPECT_EQ(result("nvmf_subsystem_add_listener", plain), true);
    EXPECT_FALSE(
        result("nvmf_subsystem_get_listeners", {{"nqn", kPlain}})[0].contains("ana_states"));
    expect_saved(true);
}

TEST_F(PathCalls, PutNamespacesIntoGroups) {
    add_namespace({{"bdev_name", "a"}});
    add_namespace({{"bdev_name", "b"}, {"anagrpid", 4}});
    const auto group = [&](size_t index) {
        return result("nvmf_get_subsystems", {{"nqn", kNqn}})[0]["namespaces"][index]["anagrpid"];
    };
    EXPECT_EQ(group(0), 1);
    EXPECT_EQ(group(1), 4);
    Json move{{"nqn", kNqn}, {"nsid", 1}, {"anagrpid", 3}};
    EXPECT_EQ(result("nvmf_subsystem_set_ns_ana_group", move), true);
    EXPECT_EQ(group(0), 3);
    expect_saved();
    move["anagrpid"] = 5;
    EXPECT_EQ(code("nvmf_subsystem_set_ns_ana_group", move), -32602);
    move["nsid"] = 3;
    EXPECT_EQ(code("nvmf_subsystem_set_ns_ana_group", move), -32602);
    EXPECT_EQ(
        code("nvmf_subsystem_set_ns_ana_group", {{"nqn", kPlain}, {"nsid", 1}, {"anagrpid", 1}}),
        -95);
}

TEST_F(PathCalls, ShowANamespaceToCertainHosts) {
    add_namespace({{"bdev_name", "a"}});
    add_namespace({{"bdev_name", "b"}, {"no_auto_visible", true}});
    const auto shown = [&](size_t index) {
        return result("nvmf_get_subsystems", {{"nqn", kNqn}})[0]["namespaces"][index];
    };
    EXPECT_FALSE(shown(0).contains("no_auto_visible"));
    EXPECT_EQ(shown(1)["no_auto_visible"], true);
    Json host{{"nqn", kNqn}, {"nsid", 2}, {"host", kHost}};
    EXPECT_EQ(result("nvmf_ns_add_host", host), true);
    EXPECT_EQ(result("nvmf_ns_add_host", host), true);
    EXPECT_EQ(shown(1)["hosts"], Json::array({kHost}));
    expect_saved();
    EXPECT_EQ(result("nvmf_ns_remove_host", host), true);
    EXPECT_FALSE(shown(1).contains("hosts"));
    host["host"] = "nobody";
    EXPECT_EQ(code("nvmf_ns_add_host", host), -32602);
    host["host"] = kHost;
    host["nsid"] = 3;
    EXPECT_EQ(code("nvmf_ns_add_host", host), -32602);
    host["nsid"] = 1;
    EXPECT_EQ(code("nvmf_ns_add_host", host), -13);
    EXPECT_NE(daemon_.error("nvmf_ns_remove_host", host).find("every host sees it"),
              std::string::npos);
}

TEST_F(PathCalls, KeepWriteProtection) {
    add_namespace({{"bdev_name", "a"}, {"write_protected", true}});
    EXPECT_EQ(result("nvmf_get_subsystems", {{"nqn", kNqn}})[0]["namespaces"][0]["write_protected"],
              true);
    expect_saved();
}

TEST_F(PathCalls, AreSavedSoThatHostsAreLetInLast) {
    result("nvmf_create_subsystem",
           {{"nqn", "nqn.2026-11.io.basalt:zz-later"}, {"allow_any_host", true}});
    result("nvmf_subsystem_add_listener", {{"nqn", kNqn}, {"listen_address", address("0")}});
    const Json saved = result("save_config");
    bool has_listener = false;
    for (const Json& part : saved["subsystems"]) {
        for (const Json& call : part["config"]) {
            const std::string method = call["method"];
            const bool is_of_listener = method.find("listener") != std::string::npos;
            EXPECT_TRUE(is_of_listener || !has_listener) << method;
            has_listener |= is_of_listener;
        }
    }
    EXPECT_TRUE(has_listener);
}

TEST_F(PathCalls, TellHostsOfOtherTargets) {
    EXPECT_EQ(result("nvmf_discovery_get_referrals"), Json::array());
    Json other{{"address", {{"trtype", "tcp"}, {"traddr", "192.0.2.2"}}}};
    EXPECT_EQ(result("nvmf_discovery_add_referral", other), true);
    EXPECT_EQ(result("nvmf_discovery_add_referral", other), true);
    Json subsystem{{"address", {{"trtype", "tcp"}, {"traddr", "2001:db8::2"}}},
                   {"subnqn", kPlain},
                   {"secure_channel", true}};
    EXPECT_EQ(result("nvmf_discovery_add_referral", subsystem), true);
    const Json told = result("nvmf_discovery_get_referrals");
    ASSERT_EQ(told.size(), 2U);
    EXPECT_EQ(told[0]["address"]["trsvcid"], "8009");
    EXPECT_EQ(told[0]["subnqn"], kDiscovery);
    EXPECT_EQ(told[0]["secure_channel"], false);
    EXPECT_EQ(told[1]["address"]["adrfam"], "IPv6");
    EXPECT_EQ(told[1]["address"]["trsvcid"], "4420");
    EXPECT_EQ(told[1]["secure_channel"], true);
    expect_saved();
    subsystem.erase("secure_channel");
    EXPECT_EQ(result("nvmf_discovery_remove_referral", subsystem), true);
    EXPECT_EQ(code("nvmf_discovery_remove_referral", subsystem), -32602);
    other["address"]["traddr"] = "other.example";
    EXPECT_EQ(code("nvmf_discovery_add_referral", other), -32602);
    EXPECT_EQ(result("nvmf_discovery_get_referrals").size(), 1U);
}

TEST_F(PathCalls, FilterWhatDiscoveryShows) {
    EXPECT_EQ(code("nvmf_set_config", {{"discovery_filters", {"port"}}}), -32602);
    EXPECT_EQ(result("nvmf_set_config", {{"discovery_filters", {"transport", "svcid"}}}), true);
    EXPECT_NE(result("save_config").dump().find(R"("discovery_filters":["svcid"])"),
              std::string::npos);
    expect_saved();
    EXPECT_EQ(result("nvmf_set_config", {{"discovery_filters", {"match_any"}}}), true);
    EXPECT_EQ(result("save_config").dump().find("nvmf_set_config"), std::string::npos);
}

TEST(TransportCalls, HonourWhatTheTransportIsGiven) {
    DaemonProcess daemon;
    daemon.start({});
    ASSERT_TRUE(daemon.wait_until_ready());
    const Json given{{"trtype", "TCP"},
                     {"max_aq_depth", 64},
                     {"num_shared_buffers", 100},
                     {"sock_priority", 3},
                     {"abort_timeout_sec", 2},
                     {"handshake_timeout_ms", 2000},
                     {"authentication_timeout_ms", 3000},
                     {"max_opening_connections", 400},
                     {"max_opening_per_address", 50},
                     {"max_connections_per_host", 600},
                     {"max_controllers_per_host", 70}};
    EXPECT_EQ(daemon.result("nvmf_create_transport", given), true);
    const Json saved = daemon.result("save_config");
    DaemonProcess second;
    second.start({"--json", second.write_file("saved.json", saved.dump())});
    ASSERT_TRUE(second.wait_until_ready()) << second.output();
    for (const DaemonProcess* each : {&daemon, &second}) {
        const Json transport = each->result("nvmf_get_transports")[0];
        for (const auto& [key, value] : given.items()) {
            EXPECT_EQ(transport[key], value) << key;
        }
    }
    EXPECT_NE(daemon.error("nvmf_create_subsystem", {{"nqn", kNqn}, {"dmrsl", 8}}).find("dmrsl"),
              std::string::npos);
}

}  // namespace
}  // namespace basalt::control
