// Keys by name, hosts that must use TLS with them, and what is saved of both.
#include <csignal>
#include <filesystem>

#include <gtest/gtest.h>

#include "test/control/daemon_process.h"

namespace basalt::control {
namespace {

using Json = nlohmann::json;

constexpr const char* kNqn = "nqn.2026-01.io.basalt:t";
constexpr const char* kHost = "nqn.2026-01.io.basalt:host";
constexpr const char* kKey = "NVMeTLSkey-1:01:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrZ:\n";
constexpr const char* kOtherKey =
    "NVMeTLSkey-1:01:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAl7OaH:\n";

// Made by `nvme gen-dhchap-key`.
constexpr const char* kDhchapKey = "DHHC-1:00:7T3DybjvCi4LwfXOL1sb1bK3s/G31axaK2o/CuNqLxG7QNt1:\n";
constexpr const char* kOtherDhchapKey =
    "DHHC-1:01:jp+UPD/AKo9StXj43QFST9mJ+cqj6HKEKIFpC5NHpQj+eyRN:\n";

class KeyringCalls : public testing::Test {
  protected:
    void SetUp() override {
        daemon_.start({});
        ASSERT_TRUE(daemon_.wait_until_ready());
        key_path_ = key_file("host.key", kKey);
    }
    /// A file that may serve as a key.
    std::string key_file(const std::string& name, const std::string& text) {
        std::string path = daemon_.write_file(name, text);
        std::filesystem::permissions(
            path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
        return path;
    }
    Json result(const std::string& method, const Json& params = Json()) const {
        return daemon_.result(method, params);
    }
    void add_subsystem() const {
        EXPECT_EQ(result("nvmf_create_transport", {{"trtype", "TCP"}}), true);
        EXPECT_EQ(result("nvmf_create_subsystem", {{"nqn", kNqn}, {"serial_number", "S"}}), true);
    }

    DaemonProcess daemon_;
    std::string key_path_;
};

TEST_F(KeyringCalls, NameListAndForgetKeys) {
    EXPECT_EQ(result("keyring_get_keys"), Json::array());
    EXPECT_EQ(result("keyring_file_add_key", {{"name", "key0"}, {"path", key_path_}}), true);
    const Json keys = result("keyring_get_keys");
    ASSERT_EQ(keys.size(), 1U);
    EXPECT_EQ(keys[0]["name"], "key0");
    EXPECT_EQ(keys[0]["path"], key_path_);
    EXPECT_EQ(keys[0]["module"], "keyring_file");
    EXPECT_EQ(keys[0]["removed"], false);
    EXPECT_NE(daemon_.error("keyring_file_add_key", {{"name", "key0"}, {"path", key_path_}}), "");
    EXPECT_EQ(result("keyring_file_remove_key", {{"name", "key0"}}), true);
    EXPECT_NE(daemon_.error("keyring_file_remove_key", {{"name", "key0"}}), "");
    const std::string open = daemon_.write_file("open.key", kKey);
    std::filesystem::permissions(
        open, std::filesystem::perms::others_read, std::filesystem::perm_options::add);
    EXPECT_NE(
        daemon_.error("keyring_file_add_key", {{"name", "open"}, {"path", open}}).find("mode 0600"),
        std::string::npos);
}

TEST_F(KeyringCalls, GiveAHostATlsKeyAndSaveItsName) {
    add_subsystem();
    EXPECT_EQ(result("keyring_file_add_key", {{"name", "key0"}, {"path", key_path_}}), true);
    EXPECT_EQ(result("nvmf_subsystem_add_host", {{"nqn", kNqn}, {"host", kHost}, {"psk", "key0"}}),
              true);
    EXPECT_EQ(
        result("nvmf_subsystem_add_listener",
               {{"nqn", kNqn},
                {"listen_address", {{"trtype", "TCP"}, {"traddr", "127.0.0.1"}, {"trsvcid", "0"}}},
                {"secure_channel", true}}),
        true);
    const Json shown = result("nvmf_get_subsystems", {{"nqn", kNqn}});
    EXPECT_EQ(shown[0]["hosts"][0]["psk"], "key0");

    const Json saved = result("save_config");
    EXPECT_EQ(saved["subsystems"][0]["subsystem"], "keyring");
    EXPECT_EQ(saved["subsystems"][0]["config"][0]["params"],
              (Json{{"name", "key0"}, {"path", key_path_}}));
    EXPECT_EQ(saved.dump().find("VRLbtnN9"), std::string::npos);

    daemon_.signal(SIGTERM);
    EXPECT_EQ(daemon_.wait(), 0);
    DaemonProcess second;
    second.start({"--json", daemon_.write_file("saved.json", saved.dump())});
    ASSERT_TRUE(second.wait_until_ready());
    EXPECT_EQ(second.result("save_config")["subsystems"], saved["subsystems"]);
    EXPECT_EQ(daemon_.output().find("VRLbtnN9"), std::string::npos);
}

TEST_F(KeyringCalls, GiveAHostDhchapKeysReplaceThemAndSaveTheirNames) {
    add_subsystem();
    const std::string first = key_file("first.key", kDhchapKey);
    const std::string second_path = key_file("second.key", kOtherDhchapKey);
    EXPECT_EQ(result("keyring_file_add_key", {{"name", "first"}, {"path", first}}), true);
    EXPECT_EQ(result("keyring_file_add_key", {{"name", "second"}, {"path", second_path}}), true);
    EXPECT_EQ(result("keyring_file_add_key", {{"name", "tls"}, {"path", key_path_}}), true);
    const Json host{{"nqn", kNqn}, {"host", kHost}};
    const auto with = [&](const Json& keys) {
        Json params = host;
        params.update(keys);
        return params;
    };
    const char* add = "nvmf_subsystem_add_host";
    const char* set = "nvmf_subsystem_set_keys";
    EXPECT_NE(daemon_.error(add, with({{"dhchap_key", "none"}})).find("not in the keyring"),
              std::string::npos);
    EXPECT_NE(daemon_.error(add, with({{"dhchap_key", "tls"}})).find("no DH-HMAC-CHAP secret"),
              std::string::npos);
    EXPECT_NE(daemon_.error(add, with({{"dhchap_ctrlr_key", "first"}})).find("needs dhchap_key"),
              std::string::npos);
    EXPECT_NE(daemon_.error(set, with({{"dhchap_key", "first"}})), "") << "no such host yet";
    EXPECT_EQ(result(add, with({{"dhchap_key", "first"}})), true);
    EXPECT_EQ(result("nvmf_get_subsystems", {{"nqn", kNqn}})[0]["hosts"][0],
              (Json{{"nqn", kHost}, {"dhchap_key", "first"}}));
    EXPECT_EQ(result(set, with({{"dhchap_key", "second"}, {"dhchap_ctrlr_key", "first"}})), true);
    const Json shown = result("nvmf_get_subsystems", {{"nqn", kNqn}})[0]["hosts"][0];
    EXPECT_EQ(shown["dhchap_key"], "second");
    EXPECT_EQ(shown["dhchap_ctrlr_key"], "first");
    EXPECT_NE(daemon_.error("nvmf_set_config", {{"dhchap_digests", {"md5"}}}).find("md5"),
              std::string::npos);
    EXPECT_NE(daemon_.error("nvmf_set_config", {{"dhchap_dhgroups", {"modp1"}}}).find("modp1"),
              std::string::npos);
    EXPECT_EQ(result("nvmf_set_config",
                     {{"dhchap_digests", {"sha512"}}, {"dhchap_dhgroups", {"ffdhe4096", "null"}}}),
              true);

    const Json saved = result("save_config");
    EXPECT_NE(saved.dump().find("sha512"), std::string::npos);
    EXPECT_EQ(saved.dump().find("DHHC"), std::string::npos);
    DaemonProcess second;
    second.start({"--json", daemon_.write_file("saved.json", saved.dump())});
    ASSERT_TRUE(second.wait_until_ready());
    EXPECT_EQ(second.result("save_config")["subsystems"], saved["subsystems"]);
    EXPECT_EQ(daemon_.output().find("DHHC"), std::string::npos);
}

TEST_F(KeyringCalls, ReplaceATlsKeyAloneOrWithTheOthers) {
    add_subsystem();
    for (const auto& [name, text] : {std::pair("tls", kKey),
                                     {"other-tls", kOtherKey},
                                     {"dh", kDhchapKey},
                                     {"other-dh", kOtherDhchapKey}}) {
        const std::string path = key_file(std::string(name) + ".key", text);
        EXPECT_EQ(result("keyring_file_add_key", {{"name", name}, {"path", path}}), true);
    }
    const auto set = [&](Json keys) {
        keys.update({{"nqn", kNqn}, {"host", kHost}});
        return daemon_.error("nvmf_subsystem_set_keys", keys);
    };
    const auto shown = [&] {
        return result("nvmf_get_subsystems", {{"nqn", kNqn}})[0]["hosts"][0];
    };
    EXPECT_NE(set({{"psk", "tls"}}), "") << "no such host yet";
    EXPECT_EQ(result("nvmf_subsystem_add_host",
                     {{"nqn", kNqn}, {"host", kHost}, {"psk", "tls"}, {"dhchap_key", "dh"}}),
              true);
    EXPECT_NE(set({{"psk", "dh"}}).find("no TLS key"), std::string::npos);
    EXPECT_EQ(set({{"psk", "other-tls"}}), "");
    EXPECT_EQ(shown(), (Json{{"nqn", kHost}, {"psk", "other-tls"}, {"dhchap_key", "dh"}}));
    EXPECT_EQ(set({{"psk", "tls"}, {"dhchap_key", "other-dh"}}), "");
    EXPECT_EQ(shown(), (Json{{"nqn", kHost}, {"psk", "tls"}, {"dhchap_key", "other-dh"}}));
    EXPECT_EQ(set({{"dhchap_key", "dh"}}), "");
    EXPECT_EQ(shown(), (Json{{"nqn", kHost}, {"psk", "tls"}, {"dhchap_key", "dh"}}));
}

TEST_F(KeyringCalls, RefuseKeysThatAreNoTlsKeys) {
    add_subsystem();
    const auto error = [&](const std::string& key) {
        return daemon_.error("nvmf_subsystem_add_host",
                             {{"nqn", kNqn}, {"host", kHost}, {"psk", key}});
    };
    EXPECT_NE(error("none").find("not in the keyring"), std::string::npos);
    const std::string text = key_file("text.key", "secret words");
    EXPECT_EQ(result("keyring_file_add_key", {{"name", "text"}, {"path", text}}), true);
    EXPECT_NE(error("text").find("no TLS key"), std::string::npos);
    EXPECT_EQ(error("text").find("secret words"), std::string::npos);
    std::string damaged = kKey;
    damaged[20] = 'z';
    const std::string path = key_file("damaged.key", damaged);
    EXPECT_EQ(result("keyring_file_add_key", {{"name", "damaged"}, {"path", path}}), true);
    EXPECT_NE(error("damaged").find("checksum"), std::string::npos);
    EXPECT_EQ(result("nvmf_get_subsystems", {{"nqn", kNqn}})[0]["hosts"], Json::array());
}

}  // namespace
}  // namespace basalt::control
