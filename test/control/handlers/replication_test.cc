// The store role by the API, over a restart of the daemon.
#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "test/control/daemon_process.h"
#include "test/control/free_port.h"

namespace basalt::control {
namespace {

using Json = nlohmann::json;

constexpr const char* kCluster = "0b5f8c3e-6f0a-4d59-9d1b-54d1f7c1a2aa";

/// A daemon with a pool in a file of 64 MiB.
class ReplicaCalls : public testing::Test {
  protected:
    void SetUp() override {
        const std::string image = daemon_.write_file("disk.img", "");
        std::filesystem::resize_file(image, uint64_t{64} << 20U);
        daemon_.start({});
        ASSERT_TRUE(daemon_.wait_until_ready());
        EXPECT_EQ(result("bdev_uring_create", {{"filename", image}, {"name", "disk"}}), "disk");
        drive_ = result("bdev_lvol_create_lvstore", {{"bdev_name", "disk"}, {"lvs_name", "p"}});
    }
    void start_server() const {
        EXPECT_EQ(
            result("replication_start_server", {{"address", address_}, {"cluster", kCluster}}),
            true);
    }
    void make_replica() const {
        start_server();
        EXPECT_EQ(result("replication_add_drive", kPool), drive_);
        EXPECT_EQ(result("replication_create_replica",
                         {{"volume", 7}, {"size_in_mib", 100}, {"lvs_name", "p"}}),
                  true);
    }
    [[nodiscard]] Json result(const std::string& method, const Json& params = Json()) const {
        return daemon_.result(method, params);
    }
    [[nodiscard]] int64_t code(const std::string& method, const Json& params = Json()) const {
        const Json response = daemon_.call(method, params);
        return response.contains("error") ? response["error"]["code"].get<int64_t>() : 0;
    }

    const Json kPool{{"lvs_name", "p"}};
    const std::string address_ = "127.0.0.1:" + std::to_string(find_free_port());
    DaemonProcess daemon_;
    Json drive_;
};

TEST_F(ReplicaCalls, AReplicaIsServedUntilItIsDeleted) {
    make_replica();
    const Json server = result("replication_get_server");
    EXPECT_EQ(server["address"], address_);
    EXPECT_EQ(server["cluster"], kCluster);
    EXPECT_EQ(server["connections"], 0);
    EXPECT_EQ(server["drives"], Json::array({drive_}));
    const Json replicas = result("replication_get_replicas");
    ASSERT_EQ(replicas.size(), 1U);
    EXPECT_EQ(replicas[0]["volume"], 7);
    EXPECT_EQ(replicas[0]["drive"], drive_);
    EXPECT_EQ(replicas[0]["lvs_name"], "p");
    EXPECT_EQ(replicas[0]["open"], true);
    EXPECT_EQ(replicas[0]["num_blocks"], 100 * 256);
    EXPECT_EQ(replicas[0]["fence_epoch"], 0);
    EXPECT_EQ(replicas[0]["blank"], false);
    EXPECT_EQ(replicas[0]["dirty_blocks"], 0);
    EXPECT_EQ(result("replication_get_replicas", kPool), replicas);
    const Json volume{{"volume", 7}, {"lvs_name", "p"}};
    EXPECT_EQ(result("replication_delete_replica", volume), true);
    EXPECT_EQ(result("replication_get_replicas"), Json::array());
    EXPECT_EQ(result("bdev_lvol_get_lvols"), Json::array());
    EXPECT_EQ(code("replication_delete_replica", volume), -19);
}

TEST_F(ReplicaCalls, AReplacementBeginsBlank) {
    make_replica();
    EXPECT_EQ(
        result("replication_create_replica",
               {{"volume", 8}, {"size_in_mib", 100}, {"lvs_name", "p"}, {"replacement", true}}),
        true);
    EXPECT_EQ(result("replication_get_replicas")[1]["blank"], true);
}

TEST_F(ReplicaCalls, ReplicasAreOpenAgainAfterARestartWithTheSavedConfiguration) {
    make_replica();
    const Json before = result("replication_get_replicas");
    const Json saved = result("save_config");
    const std::string file = daemon_.write_file("saved.json", saved.dump());
    daemon_.signal(SIGTERM);
    EXPECT_EQ(daemon_.wait(), 0) << daemon_.output();
    daemon_.start({"--json", file});
    ASSERT_TRUE(daemon_.wait_until_ready()) << daemon_.output();
    EXPECT_EQ(result("replication_get_replicas"), before);
    EXPECT_EQ(result("save_config"), saved);
}

TEST_F(ReplicaCalls, APoolIsNotTakenAwayWhileItIsADrive) {
    start_server();
    EXPECT_EQ(result("replication_add_drive", kPool), drive_);
    EXPECT_EQ(code("bdev_store_close", kPool), -16) << "though nothing in it is used";
    EXPECT_EQ(code("bdev_lvol_delete_lvstore", kPool), -16);
    EXPECT_EQ(code("replication_stop_server"), -16);
    EXPECT_EQ(result("replication_remove_drive", kPool), true);
    EXPECT_EQ(result("replication_stop_server"), true);
    EXPECT_EQ(result("bdev_store_close", kPool), true);
}

TEST_F(ReplicaCalls, ADriveThatComesBackHasItsReplicas) {
    make_replica();
    EXPECT_EQ(result("replication_remove_drive", kPool), true);
    EXPECT_EQ(result("replication_get_replicas"), Json::array());
    EXPECT_EQ(result("replication_add_drive", kPool), drive_);
    EXPECT_EQ(result("replication_get_replicas")[0]["open"], true);
}

TEST_F(ReplicaCalls, WhatIsWrongIsRefusedWithWords) {
    const Json replica{{"volume", 7}, {"size_in_mib", 100}, {"lvs_name", "p"}};
    EXPECT_EQ(code("replication_get_server"), -19);
    EXPECT_EQ(code("replication_stop_server"), -19);
    EXPECT_EQ(result("replication_get_replicas"), Json::array());
    EXPECT_EQ(code("replication_create_replica", replica), -19);
    EXPECT_NE(daemon_.error("replication_add_drive", kPool).find("replication_start_server"),
              std::string::npos);
    const Json server{{"address", address_}, {"cluster", kCluster}};
    for (const char* address : {"127.0.0.1", "store1:4500", "127.0.0.1:0", ""}) {
        Json wrong = server;
        wrong["address"] = address;
        EXPECT_EQ(code("replication_start_server", wrong), -32602) << address;
    }
    Json wrong = server;
    wrong["core"] = 64;
    EXPECT_EQ(code("replication_start_server", wrong), -32602);
    wrong = server;
    wrong["address"] = "192.0.2.1:4500";
    EXPECT_EQ(code("replication_start_server", wrong), -99) << "not of this machine";
    start_server();
    EXPECT_EQ(code("replication_start_server", server), -17);
    EXPECT_EQ(code("replication_create_replica", replica), -19) << "its pool is no drive yet";
    EXPECT_EQ(result("replication_add_drive", kPool), drive_);
    EXPECT_EQ(code("replication_add_drive", kPool), -17);
    EXPECT_EQ(code("replication_add_drive", {{"lvs_name", "none"}}), -19);
    EXPECT_EQ(result("replication_create_replica", replica), true);
    EXPECT_EQ(code("replication_create_replica", replica), -17);
    Json none = replica;
    none["volume"] = 0;
    EXPECT_EQ(code("replication_create_replica", none), -32602);
}

/// A daemon that has a volume's only replica and its head.
class HeadCalls : public ReplicaCalls {
  protected:
    [[nodiscard]] Json volume() const {
        return {{"name", "vol1"},
                {"uuid", kUuid},
                {"volume", 7},
                {"size_in_mib", 100},
                {"cluster", kCluster},
                {"replicas", {address_ + "/" + drive_.get<std::string>()}},
                {"map_file", daemon_.path("vol1.map")}};
    }
    [[nodiscard]] Json wait_until_open() const {
        Json now;
        for (int i = 0; i < 3000 && now["state"] != "open"; ++i) {
            now = result("bdev_replicated_get", {{"name", "vol1"}})[0];
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        return now;
    }

    static constexpr const char* kUuid = "4f1d1f0e-92f5-4e6c-8f4b-52f9f3c01f11";
};

TEST_F(HeadCalls, AVolumeIsADeviceUntilItIsDeleted) {
    make_replica();
    EXPECT_EQ(result("bdev_replicated_create", volume()), "vol1");
    const Json now = wait_until_open();
    EXPECT_EQ(now["state"], "open") << now;
    EXPECT_EQ(now["uuid"], kUuid);
    EXPECT_EQ(now["num_blocks"], 100 * 256);
    EXPECT_EQ(now["write_quorum"], 1);
    EXPECT_EQ(now["epoch"], 1);
    ASSERT_EQ(now["replicas"].size(), 1U);
    EXPECT_EQ(now["replicas"][0]["replica"], volume()["replicas"][0]);
    EXPECT_EQ(now["replicas"][0]["local"], true);
    EXPECT_EQ(now["replicas"][0]["connected"], true);
    EXPECT_EQ(now["replicas"][0]["state"], "in_sync");
    EXPECT_FALSE(now.contains("resync"));
    const Json device = result("bdev_get_bdevs", {{"name", "vol1"}})[0];
    EXPECT_EQ(device["uuid"], kUuid);
    EXPECT_EQ(device["num_blocks"], 100 * 256);
    EXPECT_EQ(result("replication_get_replicas")[0]["connections"], 1);
    EXPECT_EQ(result("replication_get_server")["connections"], 0) << "it is not by a socket";
    EXPECT_EQ(result("replication_remove_drive", kPool), true);
    EXPECT_EQ(code("replication_stop_server"), -16) << "the head uses it";
    EXPECT_EQ(result("replication_add_drive", kPool), drive_);
    EXPECT_EQ(result("bdev_passthru_create", {{"name", "layer"}, {"base_bdev_name", "vol1"}}),
              "layer");
    EXPECT_EQ(code("bdev_replicated_delete", {{"name", "vol1"}}), -16);
    EXPECT_EQ(result("bdev_passthru_delete", {{"name", "layer"}}), true);
    EXPECT_EQ(result("bdev_replicated_delete", {{"name", "vol1"}}), true);
    EXPECT_EQ(code("bdev_replicated_delete", {{"name", "vol1"}}), -19);
    EXPECT_EQ(code("bdev_replicated_get", {{"name", "vol1"}}), -19);
    EXPECT_EQ(result("bdev_replicated_get"), Json::array());
    EXPECT_EQ(result("replication_remove_drive", kPool), true);
    EXPECT_EQ(result("replication_stop_server"), true);
}

TEST_F(HeadCalls, AScrubComparesReplicasAndTellsWhatItFound) {
    make_replica();
    EXPECT_EQ(result("bdev_replicated_create", volume()), "vol1");
    const Json name{{"name", "vol1"}};
    EXPECT_EQ(result("bdev_replicated_get_scrub", name)["state"], "none");
    // It waits until the volume is open.
    EXPECT_EQ(result("bdev_replicated_scrub", {{"name", "vol1"}, {"mbytes_per_sec", 0}}), true);
    Json now;
    for (int i = 0; i < 3000 && now["state"] != "done"; ++i) {
        now = result("bdev_replicated_get_scrub", name);
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(now["state"], "done") << now;
    EXPECT_EQ(now["blocks_done"], 100 * 256);
    EXPECT_EQ(now["blocks_found"], 0);
    EXPECT_EQ(now["findings"], Json::array());
    // One at a time; a slow one is told to stop, and the device can go though one is running.
    const Json slow{{"name", "vol1"}, {"mbytes_per_sec", 1}};
    EXPECT_EQ(result("bdev_replicated_scrub", slow), true);
    EXPECT_EQ(code("bdev_replicated_scrub", slow), -16);
    EXPECT_EQ(result("bdev_replicated_stop_scrub", name), true);
    for (int i = 0; i < 3000 && now["state"] != "stopped"; ++i) {
        now = result("bdev_replicated_get_scrub", name);
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(now["state"], "stopped") << now;
    EXPECT_EQ(result("bdev_replicated_scrub", slow), true);
    EXPECT_EQ(result("bdev_replicated_delete", name), true);
    for (const char* method :
         {"bdev_replicated_scrub", "bdev_replicated_stop_scrub", "bdev_replicated_get_scrub"}) {
        EXPECT_EQ(code(method, name), -19) << method;
    }
}

TEST_F(HeadCalls, SnapshotsAreTakenListedAndDeleted) {
    make_replica();
    EXPECT_EQ(result("bdev_replicated_create", volume()), "vol1");
    EXPECT_EQ(wait_until_open()["state"], "open");
    const Json name{{"name", "vol1"}};
    const Json monday{{"name", "vol1"}, {"snapshot_name", "monday"}};
    EXPECT_EQ(result("bdev_replicated_get_snapshots", name), Json::array());
    EXPECT_EQ(code("bdev_replicated_delete_snapshot", monday), -19);
    const std::string line = result("bdev_replicated_snapshot", monday);
    EXPECT_EQ(code("bdev_replicated_snapshot", monday), -17);
    EXPECT_EQ(code("bdev_replicated_snapshot",
                   {{"name", "vol1"}, {"snapshot_name", std::string(64, 'x')}}),
              -32602);
    EXPECT_EQ(result("bdev_replicated_get_snapshots", name),
              Json::array({{{"name", "monday"}, {"line", line}, {"state", "there"}}}));
    const Json device{{"name", "p/replica-0000000000000007@" + line}};
    EXPECT_EQ(result("bdev_get_bdevs", device).size(), 1U);
    // The list is there for the next head.
    EXPECT_EQ(result("bdev_replicated_delete", name), true);
    EXPECT_EQ(code("bdev_replicated_get_snapshots", name), -19);
    EXPECT_EQ(code("bdev_replicated_snapshot", monday), -19);
    EXPECT_EQ(result("bdev_replicated_create", volume()), "vol1");
    EXPECT_EQ(wait_until_open()["state"], "open");
    EXPECT_EQ(result("bdev_replicated_get_snapshots", name)[0]["line"], line);
    EXPECT_EQ(result("bdev_replicated_delete_snapshot", monday), true);
    Json now = result("bdev_replicated_get_snapshots", name);
    for (int i = 0; i < 1000 && !now.empty(); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        now = result("bdev_replicated_get_snapshots", name);
    }
    EXPECT_EQ(now, Json::array());
    EXPECT_EQ(code("bdev_get_bdevs", device), -19);
    EXPECT_EQ(result("bdev_replicated_delete", name), true);
}

TEST_F(HeadCalls, WhatIsOnAVolumeIsThereAfterARestartInAHigherEpoch) {
    make_replica();
    Json with_times = volume();
    with_times["lease_ms"] = 20;
    with_times["drop_timeout_ms"] = 700;
    EXPECT_EQ(result("bdev_replicated_create", with_times), "vol1");
    EXPECT_EQ(wait_until_open()["state"], "open");
    // A pool, so that the end has to close one above the head before the one below it.
    EXPECT_TRUE(result("bdev_lvol_create_lvstore", {{"bdev_name", "vol1"}, {"lvs_name", "upper"}})
                    .is_string());
    EXPECT_TRUE(
        result("bdev_lvol_create", {{"lvs_name", "upper"}, {"lvol_name", "v"}, {"size_in_mib", 10}})
            .is_string());
    EXPECT_EQ(code("replication_add_drive", {{"lvs_name", "upper"}}), -95);
    const Json saved = result("save_config");
    const std::string file = daemon_.write_file("saved.json", saved.dump());
    daemon_.signal(SIGTERM);
    EXPECT_EQ(daemon_.wait(), 0) << daemon_.output();
    daemon_.start({"--json", file});
    ASSERT_TRUE(daemon_.wait_until_ready()) << daemon_.output();
    EXPECT_EQ(result("save_config"), saved);
    EXPECT_EQ(wait_until_open()["epoch"], 2);
    EXPECT_EQ(result("bdev_examine", {{"name", "vol1"}}), true);
    EXPECT_EQ(result("bdev_get_bdevs", {{"name", "upper/v"}})[0]["num_blocks"], 10 * 256);
}

TEST_F(HeadCalls, WhatCanNotBeIsRefusedWithWords) {
    const auto refused = [this](const char* parameter, const Json& value) {
        Json params = volume();
        params[parameter] = value;
        return code("bdev_replicated_create", params);
    };
    const Json place = volume()["replicas"][0];
    EXPECT_EQ(refused("uuid", "4f1d"), -32602);
    EXPECT_EQ(refused("volume", 0), -32602);
    EXPECT_EQ(refused("size_in_mib", 0), -32602);
    EXPECT_EQ(refused("map_file", ""), -32602);
    EXPECT_EQ(refused("map_file", "/nonexistent/map"), -2);
    EXPECT_EQ(refused("replicas", Json::array()), -32602);
    EXPECT_EQ(refused("replicas", {place, place}), -32602) << "twice the same drive";
    EXPECT_EQ(refused("replicas", {"10.0.0.1:4500"}), -32602);
    EXPECT_EQ(refused("replicas", {"store1:4500/" + drive_.get<std::string>()}), -32602);
    EXPECT_EQ(refused("replicas", Json(std::vector<Json>(6, place))), -32602);
    EXPECT_EQ(refused("write_quorum", 2), -32602) << "of one replica";
    EXPECT_EQ(refused("read_quorum", 2), -32602);
    EXPECT_EQ(refused("core", 9), -32602);
    EXPECT_EQ(refused("drop_timeout_ms", 10), -32602) << "less than slow_ms";
    EXPECT_EQ(refused("name", "disk"), -17);
    EXPECT_EQ(refused("name", "a\nb"), -32602);
    EXPECT_EQ(result("bdev_replicated_get"), Json::array());
    EXPECT_EQ(result("bdev_replicated_create", volume()), "vol1");
    EXPECT_EQ(refused("name", "vol2"), -17) << "the UUID";
    Json other = volume();
    other["name"] = "vol2";
    other["uuid"] = "4f1d1f0e-92f5-4e6c-8f4b-52f9f3c01f12";
    EXPECT_EQ(code("bdev_replicated_create", other), -16) << "the map is in use";
    EXPECT_EQ(result("bdev_replicated_delete", {{"name", "vol1"}}), true);
    const Json none{{"name", "vol1"}, {"drive", drive_}, {"replica", place}};
    EXPECT_EQ(code("bdev_replicated_replace_replica", none), -19);
}

TEST_F(HeadCalls, AMapOfAnotherVolumeIsRefused) {
    make_replica();
    EXPECT_EQ(result("bdev_replicated_create", volume()), "vol1");
    EXPECT_EQ(wait_until_open()["state"], "open");
    EXPECT_EQ(result("bdev_replicated_delete", {{"name", "vol1"}}), true);
    Json other = volume();
    other["uuid"] = "4f1d1f0e-92f5-4e6c-8f4b-52f9f3c01f12";
    EXPECT_EQ(code("bdev_replicated_create", other), -32602);
    EXPECT_EQ(result("bdev_replicated_create", volume()), "vol1");
    EXPECT_EQ(wait_until_open()["epoch"], 2);
}

}  // namespace
}  // namespace basalt::control
