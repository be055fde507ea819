// One basaltd serves, another uses what it serves, over the loopback interface.
#include <filesystem>

#include <gtest/gtest.h>

#include "test/control/daemon_process.h"

namespace basalt::control {
namespace {

using Json = nlohmann::json;

constexpr const char* kNqn = "nqn.2026-01.io.basalt:remote";
constexpr const char* kHost = "nqn.2026-01.io.basalt:host";
constexpr const char* kPsk = "NVMeTLSkey-1:01:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrZ:\n";
constexpr const char* kOtherPsk =
    "NVMeTLSkey-1:01:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAl7OaH:\n";
// Made by `nvme gen-dhchap-key`.
constexpr const char* kHostKey = "DHHC-1:00:7T3DybjvCi4LwfXOL1sb1bK3s/G31axaK2o/CuNqLxG7QNt1:\n";
constexpr const char* kControllerKey =
    "DHHC-1:01:jp+UPD/AKo9StXj43QFST9mJ+cqj6HKEKIFpC5NHpQj+eyRN:\n";
constexpr const char* kOtherKey = "DHHC-1:00:UzzsxZeOH5qEmMxf2av+JZGMt1R/ygXLHl4zMBaEkf8bc3oM:\n";

class BdevNvmeTest : public testing::Test {
  protected:
    void SetUp() override {
        server_.start({});
        client_.start({});
        ASSERT_TRUE(server_.wait_until_ready());
        ASSERT_TRUE(client_.wait_until_ready());
        make(server_,
             "bdev_malloc_create",
             {{"name", "Malloc0"}, {"num_blocks", 2048}, {"block_size", 4096}});
        make(server_, "nvmf_create_transport", {{"trtype", "TCP"}});
        make(server_, "nvmf_create_subsystem", {{"nqn", kNqn}, {"allow_any_host", true}});
        make(server_,
             "nvmf_subsystem_add_ns",
             {{"nqn", kNqn}, {"namespace", {{"bdev_name", "Malloc0"}}}});
        ports_[0] = listen();
        ports_[1] = listen();
    }

    static void make(const DaemonProcess& daemon, const std::string& method, const Json& params) {
        EXPECT_FALSE(daemon.result(method, params).is_null());
    }
    /// A port of the kernel's choice.
    std::string listen() {
        make(server_,
             "nvmf_subsystem_add_listener",
             {{"nqn", kNqn},
              {"listen_address", {{"trtype", "TCP"}, {"traddr", "127.0.0.1"}, {"trsvcid", "0"}}}});
        const Json listeners = server_.result("nvmf_subsystem_get_listeners", {{"nqn", kNqn}});
        return listeners.back()["address"]["trsvcid"];
    }
    [[nodiscard]] Json path(int index) const {
        return {{"name", "Nvme0"},
                {"trtype", "tcp"},
                {"adrfam", "ipv4"},
                {"traddr", "127.0.0.1"},
                {"trsvcid", ports_[index]}};
    }
    [[nodiscard]] Json attaching(int index) const {
        Json params = path(index);
        params["subnqn"] = kNqn;
        return params;
    }
    [[nodiscard]] int64_t code(const std::string& method, const Json& params) const {
        const Json response = client_.call(method, params);
        return response.contains("error") ? response["error"]["code"].get<int64_t>() : 0;
    }

    /// Puts a key into a daemon's ring, by a file that may serve as one.
    static void add_key(DaemonProcess& daemon, const std::string& name, const char* text) {
        const std::string path = daemon.write_file(name + ".key", text);
        std::filesystem::permissions(
            path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
        make(daemon, "keyring_file_add_key", {{"name", name}, {"path", path}});
    }

    DaemonProcess server_;
    DaemonProcess client_;
    std::string ports_[2];
};

TEST_F(BdevNvmeTest, ControllersAreAttachedShownAndDetached) {
    EXPECT_EQ(client_.result("bdev_nvme_attach_controller", attaching(0)),
              Json::array({"Nvme0n1"}));
    EXPECT_EQ(code("bdev_nvme_attach_controller", attaching(0)), -114);
    const Json bdev = client_.result("bdev_get_bdevs", {{"name", "Nvme0n1"}})[0];
    EXPECT_EQ(bdev["num_blocks"], 2048);
    EXPECT_EQ(bdev["product_name"], "NVMe disk");
    const Json nvme = bdev["driver_specific"]["nvme"][0];
    EXPECT_EQ(nvme["trid"]["subnqn"], kNqn);
    EXPECT_EQ(nvme["ns_data"]["id"], 1);
    EXPECT_EQ(bdev["driver_specific"]["mp_policy"], "active_passive");

    EXPECT_EQ(client_.result("bdev_nvme_attach_controller", attaching(1)),
              Json::array({"Nvme0n1"}));
    const Json controllers = client_.result("bdev_nvme_get_controllers", Json::object());
    ASSERT_EQ(controllers.size(), 1U);
    EXPECT_EQ(controllers[0]["name"], "Nvme0");
    ASSERT_EQ(controllers[0]["ctrlrs"].size(), 2U);
    EXPECT_EQ(controllers[0]["ctrlrs"][1]["state"], "enabled");
    EXPECT_EQ(controllers[0]["ctrlrs"][1]["trid"]["trsvcid"], ports_[1]);

    const Json paths =
        client_.result("bdev_nvme_get_io_paths", {{"name", "Nvme0n1"}})["poll_groups"][0];
    ASSERT_EQ(paths["io_paths"].size(), 2U);
    EXPECT_EQ(paths["io_paths"][0]["current"], true);
    EXPECT_EQ(paths["io_paths"][1]["current"], false);
    EXPECT_EQ(paths["io_paths"][1]["connected"], true);
    EXPECT_EQ(paths["io_paths"][1]["accessible"], true);

    EXPECT_EQ(code("bdev_nvme_get_controllers", {{"name", "Nvme1"}}), -19);
    EXPECT_EQ(client_.result("bdev_nvme_detach_controller", path(0)), true);
    EXPECT_EQ(code("bdev_nvme_detach_controller", path(0)), -19);
    EXPECT_EQ(client_.result("bdev_nvme_detach_controller", {{"name", "Nvme0"}}), true);
    EXPECT_EQ(client_.result("bdev_get_bdevs"), Json::array());
}

TEST_F(BdevNvmeTest, WrongParametersAreNamed) {
    Json params = attaching(0);
    params["trtype"] = "rdma";
    EXPECT_NE(client_.error("bdev_nvme_attach_controller", params).find("trtype"),
              std::string::npos);
    params = attaching(0);
    params["adrfam"] = "ipv6";
    EXPECT_NE(client_.error("bdev_nvme_attach_controller", params).find("adrfam"),
              std::string::npos);
    params = attaching(0);
    params["subnqn"] = "vol1";
    EXPECT_EQ(code("bdev_nvme_attach_controller", params), -32602);
    params = attaching(0);
    params["ctrlr_loss_timeout_sec"] = 5;
    params["reconnect_delay_sec"] = 10;
    EXPECT_NE(client_.error("bdev_nvme_attach_controller", params).find("reconnect_delay_sec"),
              std::string::npos);
    params = attaching(0);
    params["trsvcid"] = "1";
    EXPECT_EQ(code("bdev_nvme_attach_controller", params), -111);
    params = attaching(0);
    params["subnqn"] = "nqn.2026-01.io.basalt:nobody";
    EXPECT_NE(code("bdev_nvme_attach_controller", params), 0);
    EXPECT_EQ(client_.result("bdev_nvme_get_controllers", Json::object()), Json::array());
}

TEST_F(BdevNvmeTest, ADeviceInUseKeepsItsController) {
    make(client_, "bdev_nvme_attach_controller", attaching(0));
    make(client_, "bdev_passthru_create", {{"name", "p"}, {"base_bdev_name", "Nvme0n1"}});
    EXPECT_EQ(code("bdev_nvme_detach_controller", {{"name", "Nvme0"}}), -16);
    make(client_, "bdev_passthru_delete", {{"name", "p"}});
    EXPECT_EQ(client_.result("bdev_nvme_detach_controller", {{"name", "Nvme0"}}), true);
}

TEST_F(BdevNvmeTest, PathsAreChosenAsTold) {
    make(client_, "bdev_nvme_attach_controller", attaching(0));
    make(client_, "bdev_nvme_attach_controller", attaching(1));
    const Json controllers = client_.result("bdev_nvme_get_controllers", Json::object());
    const Json second = controllers[0]["ctrlrs"][1]["cntlid"];
    EXPECT_EQ(
        client_.result("bdev_nvme_set_preferred_path", {{"name", "Nvme0n1"}, {"cntlid", second}}),
        true);
    Json paths = client_.result("bdev_nvme_get_io_paths", Json::object())["poll_groups"][0];
    EXPECT_EQ(paths["io_paths"][0]["current"], false);
    EXPECT_EQ(paths["io_paths"][1]["current"], true);
    EXPECT_EQ(client_.result("bdev_nvme_set_multipath_policy",
                             {{"name", "Nvme0n1"}, {"policy", "active_active"}}),
              true);
    paths = client_.result("bdev_nvme_get_io_paths", Json::object())["poll_groups"][0];
    EXPECT_EQ(paths["io_paths"][0]["current"], true);
    EXPECT_EQ(paths["io_paths"][1]["current"], true);
    EXPECT_EQ(client_.result("bdev_nvme_reset_controller", {{"name", "Nvme0"}}), true);
    EXPECT_EQ(code("bdev_nvme_reset_controller", {{"name", "Nvme1"}}), -19);
}

TEST_F(BdevNvmeTest, WhatIsSavedBringsTheSameBack) {
    make(client_, "bdev_nvme_set_options", {{"bdev_retry_count", 7}, {"timeout_us", 5000000}});
    Json params = attaching(0);
    params["hdgst"] = true;
    params["ctrlr_loss_timeout_sec"] = -1;
    params["reconnect_delay_sec"] = 3;
    make(client_, "bdev_nvme_attach_controller", params);
    make(client_, "bdev_nvme_attach_controller", attaching(1));
    make(client_,
         "bdev_nvme_set_multipath_policy",
         {{"name", "Nvme0n1"}, {"policy", "active_active"}, {"rr_min_io", 4}});
    make(client_, "bdev_passthru_create", {{"name", "p"}, {"base_bdev_name", "Nvme0n1"}});
    const Json saved = client_.result("save_config");
    DaemonProcess other;
    other.start({"--json", other.write_file("saved.json", saved.dump())});
    ASSERT_TRUE(other.wait_until_ready()) << other.output();
    EXPECT_EQ(other.result("save_config"), saved);
    EXPECT_EQ(other.result("bdev_get_bdevs").size(), 2U);
}

TEST_F(BdevNvmeTest, DiscoveryAttachesAndIsSaved) {
    const Json params{{"name", "Disc"},
                      {"trtype", "tcp"},
                      {"traddr", "127.0.0.1"},
                      {"trsvcid", ports_[0]},
                      {"wait_for_attach", true}};
    EXPECT_EQ(client_.result("bdev_nvme_start_discovery", params), true);
    EXPECT_EQ(code("bdev_nvme_start_discovery", params), -17);
    EXPECT_EQ(client_.result("bdev_nvme_get_controllers", {{"name", "Disc0"}})[0]["name"], "Disc0");
    const Json info = client_.result("bdev_nvme_get_discovery_info");
    ASSERT_EQ(info.size(), 1U);
    EXPECT_EQ(info[0]["name"], "Disc");
    EXPECT_EQ(info[0]["referrals"][0]["trid"]["subnqn"], kNqn);
    const Json calls = client_.result("framework_get_config", {{"name", "bdev"}});
    ASSERT_EQ(calls.size(), 1U);
    EXPECT_EQ(calls[0]["method"], "bdev_nvme_start_discovery");
    EXPECT_EQ(client_.result("bdev_nvme_stop_discovery", {{"name", "Disc"}}), true);
    EXPECT_EQ(code("bdev_nvme_stop_discovery", {{"name", "Disc"}}), -19);
    EXPECT_EQ(code("bdev_nvme_detach_controller", {{"name", "Disc0"}}), -19);
}

TEST_F(BdevNvmeTest, WhatStandsOnADiscoveredDeviceIsMadeAgain) {
    Json params{{"name", "Disc"},
                {"trtype", "tcp"},
                {"traddr", "127.0.0.1"},
                {"trsvcid", ports_[0]},
                {"attach_timeout_ms", 10000}};
    EXPECT_EQ(client_.result("bdev_nvme_start_discovery", params), true);
    const Json layer{{"name", "p"}, {"base_bdev_name", "Disc0n1"}};
    EXPECT_EQ(client_.result("bdev_passthru_create", layer), "p");
    EXPECT_NE(client_.error("bdev_nvme_stop_discovery", {{"name", "Disc"}})
                  .find("'Disc0n1', used by device p"),
              std::string::npos);
    const auto starts_from = [](const Json& saved) {
        DaemonProcess other;
        other.start({"--json", other.write_file("saved.json", saved.dump())});
        EXPECT_TRUE(other.wait_until_ready()) << other.output();
        EXPECT_EQ(other.result("save_config"), saved);
    };
    // The device is waited for, whether or not the operator did.
    const Json used = client_.result("save_config");
    starts_from(used);
    EXPECT_EQ(client_.result("bdev_passthru_delete", {{"name", "p"}}), true);
    EXPECT_EQ(client_.result("bdev_nvme_stop_discovery", {{"name", "Disc"}}), true);
    EXPECT_EQ(client_.result("bdev_get_bdevs"), Json::array());
    EXPECT_EQ(code("bdev_passthru_create", layer), -19);
    starts_from(client_.result("save_config"));
}

TEST_F(BdevNvmeTest, KeysProveBothSidesAndAreSavedByName) {
    add_key(server_, "h", kHostKey);
    add_key(server_, "c", kControllerKey);
    add_key(server_, "other", kOtherKey);
    make(server_,
         "nvmf_subsystem_add_host",
         {{"nqn", kNqn}, {"host", kHost}, {"dhchap_key", "h"}, {"dhchap_ctrlr_key", "c"}});
    add_key(client_, "mine", kHostKey);
    add_key(client_, "theirs", kControllerKey);
    add_key(client_, "other", kOtherKey);
    make(client_, "bdev_nvme_set_options", {{"dhchap_dhgroups", Json::array({"ffdhe2048"})}});
    Json params = attaching(0);
    params["hostnqn"] = kHost;
    EXPECT_EQ(code("bdev_nvme_attach_controller", params), -13);
    params["dhchap_key"] = "nobody";
    EXPECT_EQ(code("bdev_nvme_attach_controller", params), -32602);
    params["dhchap_key"] = "mine";
    params["dhchap_ctrlr_key"] = "other";
    EXPECT_EQ(code("bdev_nvme_attach_controller", params), -13);
    params["dhchap_ctrlr_key"] = "theirs";
    EXPECT_EQ(client_.result("bdev_nvme_attach_controller", params), Json::array({"Nvme0n1"}));

    const Json calls = client_.result("framework_get_config", {{"name", "bdev"}});
    EXPECT_EQ(calls[0]["params"]["dhchap_dhgroups"], Json::array({"ffdhe2048"}));
    EXPECT_EQ(calls[1]["params"]["dhchap_key"], "mine");
    EXPECT_EQ(calls[1]["params"]["dhchap_ctrlr_key"], "theirs");
    EXPECT_EQ(client_.result("save_config").dump().find("DHHC"), std::string::npos);

    make(server_,
         "nvmf_subsystem_set_keys",
         {{"nqn", kNqn}, {"host", kHost}, {"dhchap_key", "other"}});
    EXPECT_EQ(client_.result("bdev_nvme_set_keys", {{"name", "Nvme0"}, {"dhchap_key", "other"}}),
              true);
    EXPECT_EQ(code("bdev_nvme_set_keys", {{"name", "Nvme1"}, {"dhchap_key", "other"}}), -19);
    EXPECT_EQ(code("bdev_nvme_set_keys", {{"name", "Nvme0"}, {"dhchap_key", "mine"}}), -13);
}

TEST_F(BdevNvmeTest, TlsWithAKeyOfTheRing) {
    add_key(server_, "psk", kPsk);
    make(server_, "nvmf_subsystem_add_host", {{"nqn", kNqn}, {"host", kHost}, {"psk", "psk"}});
    add_key(client_, "psk", kPsk);
    Json params = attaching(0);
    params["hostnqn"] = kHost;
    EXPECT_NE(code("bdev_nvme_attach_controller", params), 0) << "in clear";
    params["psk"] = "psk";
    EXPECT_EQ(client_.result("bdev_nvme_attach_controller", params), Json::array({"Nvme0n1"}));
    const Json calls = client_.result("framework_get_config", {{"name", "bdev"}});
    EXPECT_EQ(calls[0]["params"]["psk"], "psk");
}

TEST_F(BdevNvmeTest, AnAuthenticationMakesTheKeyForTls) {
    add_key(server_, "h", kHostKey);
    add_key(server_, "other", kOtherKey);
    make(server_, "nvmf_subsystem_add_host", {{"nqn", kNqn}, {"host", kHost}, {"dhchap_key", "h"}});
    add_key(client_, "mine", kHostKey);
    add_key(client_, "other", kOtherKey);
    make(client_, "bdev_nvme_set_options", {{"dhchap_dhgroups", Json::array({"ffdhe2048"})}});
    Json params = attaching(0);
    params["hostnqn"] = kHost;
    params["concat"] = true;
    params["dhchap_key"] = "other";
    EXPECT_EQ(code("bdev_nvme_attach_controller", params), -13);
    params["dhchap_key"] = "mine";
    EXPECT_EQ(client_.result("bdev_nvme_attach_controller", params), Json::array({"Nvme0n1"}));
    EXPECT_NE(server_.output().find("has a TLS key of its authentication"), std::string::npos);
    EXPECT_EQ(client_.result("framework_get_config", {{"name", "bdev"}})[1]["params"]["concat"],
              true);
    const Json stats = server_.result("nvmf_get_stats")["poll_groups"][0];
    EXPECT_EQ(stats["failed_authentications"], 1);
    // Other keys: the connections stay, and a new association needs what is new.
    make(server_,
         "nvmf_subsystem_set_keys",
         {{"nqn", kNqn}, {"host", kHost}, {"dhchap_key", "other"}});
    EXPECT_EQ(client_.result("bdev_get_bdevs", {{"name", "Nvme0n1"}}).size(), 1U);
    Json again = params;
    again["name"] = "Nvme1";
    again["multipath"] = "disable";
    EXPECT_NE(code("bdev_nvme_attach_controller", again), 0);
    EXPECT_EQ(client_.result("bdev_nvme_detach_controller", {{"name", "Nvme0"}}), true);
    EXPECT_EQ(code("bdev_nvme_attach_controller", params), -13);
    params["dhchap_key"] = "other";
    EXPECT_EQ(client_.result("bdev_nvme_attach_controller", params), Json::array({"Nvme0n1"}));
}

TEST_F(BdevNvmeTest, ATlsKeyIsReplacedOnALiveTarget) {
    add_key(server_, "psk", kPsk);
    add_key(server_, "new", kOtherPsk);
    make(server_, "nvmf_subsystem_add_host", {{"nqn", kNqn}, {"host", kHost}, {"psk", "psk"}});
    add_key(client_, "psk", kPsk);
    add_key(client_, "new", kOtherPsk);
    Json params = attaching(0);
    params["hostnqn"] = kHost;
    params["psk"] = "psk";
    EXPECT_EQ(client_.result("bdev_nvme_attach_controller", params), Json::array({"Nvme0n1"}));
    make(server_, "nvmf_subsystem_set_keys", {{"nqn", kNqn}, {"host", kHost}, {"psk", "new"}});
    EXPECT_EQ(client_.result("bdev_nvme_get_controllers")[0]["ctrlrs"][0]["state"], "enabled");
    EXPECT_EQ(client_.result("bdev_nvme_detach_controller", {{"name", "Nvme0"}}), true);
    EXPECT_NE(code("bdev_nvme_attach_controller", params), 0) << "with the old key";
    params["psk"] = "new";
    EXPECT_EQ(client_.result("bdev_nvme_attach_controller", params), Json::array({"Nvme0n1"}));
}

TEST_F(BdevNvmeTest, TheDaemonEndsInOrderWhileItsTargetIsGone) {
    make(client_, "bdev_nvme_attach_controller", attaching(0));
    server_.signal(9);
    client_.signal(15);
    EXPECT_EQ(client_.wait(), 0);
}

}  // namespace
}  // namespace basalt::control
