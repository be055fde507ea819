// Pools, volumes and snapshots by the API, over a restart of the daemon.
#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "test/control/daemon_process.h"

namespace basalt::control {
namespace {

using Json = nlohmann::json;

constexpr const char* kNqn = "nqn.2026-01.io.basalt:t";

/// A daemon with a file of 64 MiB on which a pool can be.
class PoolCalls : public testing::Test {
  protected:
    void SetUp() override {
        image_ = daemon_.write_file("disk.img", "");
        std::filesystem::resize_file(image_, uint64_t{64} << 20U);
        boot();
    }
    void boot() {
        daemon_.start({});
        ASSERT_TRUE(daemon_.wait_until_ready());
        EXPECT_EQ(result("bdev_uring_create", {{"filename", image_}, {"name", "disk"}}), "disk");
    }
    void restart() {
        daemon_.signal(SIGTERM);
        EXPECT_EQ(daemon_.wait(), 0) << daemon_.output();
        boot();
    }
    void make_pool() const {
        EXPECT_TRUE(result("bdev_lvol_create_lvstore", {{"bdev_name", "disk"}, {"lvs_name", "p"}})
                        .is_string());
    }
    [[nodiscard]] Json make_volume(const std::string& name) const {
        return result("bdev_lvol_create",
                      {{"lvs_name", "p"}, {"lvol_name", name}, {"size_in_mib", 100}});
    }
    [[nodiscard]] Json result(const std::string& method, const Json& params = Json()) const {
        return daemon_.result(method, params);
    }
    [[nodiscard]] int64_t code(const std::string& method, const Json& params) const {
        const Json response = daemon_.call(method, params);
        return response.contains("error") ? response["error"]["code"].get<int64_t>() : 0;
    }

    DaemonProcess daemon_;
    std::string image_;
};

TEST_F(PoolCalls, APoolIsThereAgainAfterARestartWithTheSameUuids) {
    make_pool();
    const Json uuid = make_volume("v");
    const Json taken = result("bdev_lvol_snapshot", {{"lvol_name", "p/v"}, {"snapshot_name", "s"}});
    const Json before = result("bdev_lvol_get_lvols");
    ASSERT_EQ(before.size(), 2U);
    EXPECT_EQ(before[0]["alias"], "p/v");
    EXPECT_EQ(before[0]["uuid"], uuid);
    EXPECT_EQ(before[1]["uuid"], taken);
    EXPECT_EQ(before[1]["is_snapshot"], true);
    restart();
    EXPECT_EQ(result("bdev_lvol_get_lvols"), before);
    EXPECT_EQ(result("bdev_get_bdevs", {{"name", "p/v"}})[0]["uuid"], uuid);
    EXPECT_EQ(result("bdev_get_bdevs", {{"name", uuid}})[0]["name"], "p/v");
    const Json pool = result("bdev_lvol_get_lvstores", {{"lvs_name", "p"}})[0];
    EXPECT_EQ(pool["base_bdev"], "disk");
    EXPECT_EQ(pool["cluster_size"], 4096);
    EXPECT_GT(pool["free_clusters"], 10000);
}

TEST_F(PoolCalls, VolumesAreClonedResizedRenamedAndDeleted) {
    make_pool();
    static_cast<void>(make_volume("v"));
    EXPECT_TRUE(
        result("bdev_lvol_snapshot", {{"lvol_name", "p/v"}, {"snapshot_name", "s"}}).is_string());
    const Json clone = result("bdev_lvol_clone", {{"snapshot_name", "p/s"}, {"clone_name", "c"}});
    EXPECT_EQ(code("bdev_lvol_delete", {{"name", "p/s"}, {"refuse_with_clones", true}}), -16);
    EXPECT_EQ(result("bdev_lvol_delete", {{"name", "p/s"}}), true);
    EXPECT_EQ(result("bdev_lvol_resize", {{"name", clone}, {"size_in_mib", 200}}), true);
    EXPECT_EQ(result("bdev_get_bdevs", {{"name", "p/c"}})[0]["num_blocks"], 200 * 256);
    EXPECT_EQ(result("bdev_lvol_rename", {{"old_name", "p/c"}, {"new_name", "d"}}), true);
    EXPECT_EQ(result("bdev_lvol_set_read_only", {{"name", "p/d"}}), true);
    EXPECT_EQ(code("bdev_lvol_rename", {{"old_name", "p/d"}, {"new_name", "v"}}), -17);
    EXPECT_EQ(code("bdev_lvol_delete", {{"name", "p/nobody"}}), -19);
    EXPECT_EQ(result("bdev_lvol_delete", {{"name", "p/d"}}), true);
    const Json check = result("bdev_store_check", {{"lvs_name", "p"}});
    EXPECT_EQ(check["clean"], true) << check;
    EXPECT_EQ(result("bdev_store_get_stats", {{"lvs_name", "p"}})["partitions"].size(), 1U);
}

TEST_F(PoolCalls, AVolumeThatHostsUseIsResizedRenamedAndMadeReadOnly) {
    make_pool();
    const Json uuid = make_volume("v");
    EXPECT_EQ(code("nvmf_create_transport", {{"trtype", "TCP"}}), 0);
    EXPECT_EQ(code("nvmf_create_subsystem", {{"nqn", kNqn}, {"allow_any_host", true}}), 0);
    EXPECT_EQ(code("nvmf_subsystem_add_ns", {{"nqn", kNqn}, {"namespace", {{"bdev_name", "p/v"}}}}),
              0);
    EXPECT_EQ(result("bdev_lvol_resize", {{"name", "p/v"}, {"size_in_mib", 200}}), true);
    EXPECT_EQ(result("bdev_get_bdevs", {{"name", "p/v"}})[0]["num_blocks"], 200 * 256);
    EXPECT_EQ(result("bdev_lvol_resize", {{"name", "p/v"}, {"size_in_mib", 50}}), true);
    EXPECT_EQ(result("bdev_get_bdevs", {{"name", "p/v"}})[0]["num_blocks"], 50 * 256);
    EXPECT_EQ(result("bdev_lvol_rename", {{"old_name", "p/v"}, {"new_name", "w"}}), true);
    EXPECT_EQ(result("nvmf_get_subsystems", {{"nqn", kNqn}})[0]["namespaces"][0]["bdev_name"],
              "p/w");
    EXPECT_EQ(result("bdev_lvol_set_read_only", {{"name", "p/w"}}), true);
    EXPECT_EQ(code("bdev_lvol_delete", {{"name", "p/w"}}), -16);
}

TEST_F(PoolCalls, APoolIsMadeOnlyWhereThereIsNoneAndOnlyIfToldTo) {
    EXPECT_EQ(code("bdev_store_open", {{"bdev_name", "disk"}, {"lvs_name", "p"}}), -19);
    const Json with_create{{"bdev_name", "disk"}, {"lvs_name", "p"}, {"create", true}};
    const Json uuid = result("bdev_store_open", with_create);
    EXPECT_EQ(result("bdev_store_open", with_create), uuid);
    EXPECT_EQ(code("bdev_store_open", {{"bdev_name", "disk"}, {"lvs_name", "q"}}), -17);
    EXPECT_EQ(result("bdev_store_close", {{"lvs_name", "p"}}), true);
    EXPECT_EQ(result("bdev_store_open", with_create), uuid) << "it was closed, not gone";
    EXPECT_EQ(result("bdev_store_close", {{"lvs_name", "p"}}), true);
    EXPECT_EQ(result("bdev_uring_delete", {{"name", "disk"}}), true);
    {
        std::fstream image(image_, std::ios::in | std::ios::out | std::ios::binary);
        for (const int at : {100, 4196}) {
            image.seekp(at);
            image.put('x');
        }
    }
    EXPECT_EQ(result("bdev_uring_create", {{"filename", image_}, {"name", "disk"}}), "disk");
    EXPECT_NE(code("bdev_store_open", with_create), 0) << "a damaged pool is not written over";
}

TEST(Pools, AreMadeByTheTomlFileOnceAndOpenedByItEverAfter) {
    std::array<DaemonProcess, 2> lives;
    const std::string config = lives[0].write_file("b.toml",
                                                   "uuid = \"00000000-0000-0000-0000-00000000000a\""
                                                   R"(
[[bdev]]
name = "disk"
type = "file"
path = ")" + lives[0].path("disk.img") + R"("
size = "64MiB"
[[pool]]
name = "p"
bdev = "disk"
create = true
[[pool.volume]]
name = "v"
size = "100MiB"
rw_ios_per_sec = 1000
)");
    std::array<Json, 2> volumes;
    for (size_t life = 0; life < lives.size(); ++life) {
        DaemonProcess& daemon = lives[life];
        daemon.start({"-c", config});
        ASSERT_TRUE(daemon.wait_until_ready()) << daemon.output();
        volumes[life] = daemon.result("bdev_lvol_get_lvols");
        daemon.signal(SIGTERM);
        EXPECT_EQ(daemon.wait(), 0);
    }
    EXPECT_EQ(volumes[0][0]["alias"], "p/v");
    EXPECT_EQ(volumes[0], volumes[1]);
}

TEST_F(PoolCalls, SaysWhenAPoolIsLowOnSpace) {
    make_pool();
    const auto pool = [this] { return result("bdev_lvol_get_lvstores", {{"lvs_name", "p"}})[0]; };
    EXPECT_EQ(pool()["low_space_percent"], 10);
    EXPECT_EQ(pool()["low_on_space"], false);
    EXPECT_EQ(code("bdev_store_set_low_space", {{"lvs_name", "p"}, {"percent", 100}}), -32602);
    EXPECT_EQ(result("bdev_store_set_low_space", {{"lvs_name", "p"}, {"percent", 20}}), true);
    EXPECT_EQ(pool()["low_space_percent"], 20);
    EXPECT_NE(result("save_config").dump().find("bdev_store_set_low_space"), std::string::npos);
}

TEST_F(PoolCalls, APoolGrowsWithItsFile) {
    make_pool();
    const auto total = [this] {
        return result("bdev_lvol_get_lvstores", {{"lvs_name", "p"}})[0]["total_data_clusters"]
            .get<uint64_t>();
    };
    const uint64_t before = total();
    std::filesystem::resize_file(image_, uint64_t{128} << 20U);
    EXPECT_EQ(result("bdev_lvol_grow_lvstore", {{"lvs_name", "p"}}), true);
    EXPECT_EQ(total(), before) << "the device has not looked yet";
    EXPECT_EQ(result("bdev_uring_rescan", {{"name", "disk"}}), true);
    EXPECT_EQ(result("bdev_get_bdevs", {{"name", "disk"}})[0]["num_blocks"], 128 * 256);
    EXPECT_EQ(result("bdev_lvol_grow_lvstore", {{"lvs_name", "p"}}), true);
    EXPECT_GT(total(), before + 15000);
    std::filesystem::resize_file(image_, uint64_t{127} << 20U);
    EXPECT_NE(code("bdev_uring_rescan", {{"name", "disk"}}), 0) << "it is smaller now";
    std::filesystem::resize_file(image_, uint64_t{128} << 20U);
    EXPECT_EQ(code("bdev_aio_rescan", {{"name", "disk"}}), -32602) << "of the other kind";
    const uint64_t grown = total();
    restart();
    EXPECT_EQ(total(), grown);
    EXPECT_EQ(
        result("bdev_null_create", {{"name", "n"}, {"num_blocks", 256}, {"block_size", 4096}}),
        "n");
    EXPECT_EQ(result("bdev_null_resize", {{"name", "n"}, {"new_size", 3}}), true);
    EXPECT_EQ(result("bdev_get_bdevs", {{"name", "n"}})[0]["num_blocks"], 3 * 256);
}

TEST_F(PoolCalls, WhatAPoolStandsOnIsNotMadeSmaller) {
    make_pool();
    static_cast<void>(make_volume("v"));
    EXPECT_EQ(code("bdev_lvol_create_lvstore", {{"bdev_name", "p/v"}, {"lvs_name", "inner"}}), 0);
    EXPECT_EQ(code("bdev_lvol_resize", {{"name", "p/v"}, {"size_in_mib", 50}}), -16);
    EXPECT_EQ(code("bdev_lvol_set_read_only", {{"name", "p/v"}}), -16);
    EXPECT_EQ(result("bdev_lvol_resize", {{"name", "p/v"}, {"size_in_mib", 150}}), true);
}

TEST_F(PoolCalls, GroupsRollBackAndWhatOnlyASnapshotHolds) {
    make_pool();
    static_cast<void>(make_volume("a"));
    static_cast<void>(make_volume("b"));
    const Json group = result("bdev_store_snapshot_group",
                              {{"lvol_names", {"p/a", "p/b"}}, {"snapshot_name", "monday"}});
    EXPECT_EQ(group.size(), 2U);
    EXPECT_EQ(
        result("bdev_store_rollback", {{"lvol_name", "p/a"}, {"snapshot_name", "p/a@monday"}}),
        true);
    EXPECT_EQ(code("bdev_store_rollback", {{"lvol_name", "p/a"}, {"snapshot_name", "p/b@monday"}}),
              -32602);
    for (const Json& one : result("bdev_lvol_get_lvols", {{"with_exclusive", true}})) {
        EXPECT_EQ(one["exclusive_bytes"], 0) << one;
    }
}

TEST_F(PoolCalls, ScrubsAndTellsWhatItFound) {
    make_pool();
    static_cast<void>(make_volume("v"));
    EXPECT_EQ(result("bdev_store_get_progress", {{"lvs_name", "p"}})["scrub"]["state"], "none");
    EXPECT_EQ(result("bdev_store_scrub", {{"lvs_name", "p"}, {"mbytes_per_sec", 0}}), true);
    Json scrub;
    for (int i = 0; i < 1000 && scrub["state"] != "done"; ++i) {
        scrub = result("bdev_store_get_progress", {{"lvs_name", "p"}})["scrub"];
    }
    EXPECT_EQ(scrub["state"], "done") << scrub;
    EXPECT_EQ(scrub["damaged_blocks"], 0);
    EXPECT_EQ(result("bdev_store_stop_scrub", {{"lvs_name", "p"}}), true);
    EXPECT_EQ(code("bdev_store_scrub", {{"lvs_name", "none"}}), -19);
}

TEST_F(PoolCalls, TellsWhatIsDifferentAndInflates) {
    make_pool();
    static_cast<void>(make_volume("v"));
    EXPECT_TRUE(
        result("bdev_lvol_snapshot", {{"lvol_name", "p/v"}, {"snapshot_name", "s"}}).is_string());
    EXPECT_TRUE(
        result("bdev_lvol_clone", {{"snapshot_name", "p/s"}, {"clone_name", "c"}}).is_string());
    const Json ranges =
        result("bdev_store_get_changed_ranges", {{"name", "p/v"}, {"since", "p/s"}});
    EXPECT_EQ(ranges["ranges"].size(), 0U);
    EXPECT_FALSE(ranges.contains("next_offset"));
    EXPECT_EQ(code("bdev_store_get_changed_ranges", {{"name", "p/v"}, {"since", "p/c"}}), -32602);
    EXPECT_EQ(code("bdev_store_get_changed_ranges", {{"name", "p/v"}, {"offset", 512}}), -32602);
    EXPECT_EQ(code("bdev_store_get_changed_ranges", {{"name", "p/none"}}), -19);
    EXPECT_EQ(result("bdev_lvol_inflate", {{"name", "p/c"}}), true);
    EXPECT_EQ(code("bdev_lvol_decouple_parent", {{"name", "p/c"}}), -32602);
    EXPECT_EQ(result("bdev_lvol_decouple_parent", {{"name", "p/v"}}), true);
    EXPECT_EQ(result("bdev_lvol_delete", {{"name", "p/s"}, {"refuse_with_clones", true}}), true);
    EXPECT_EQ(result("bdev_store_check", {{"lvs_name", "p"}})["clean"], true);
}

TEST_F(PoolCalls, WhatIsServedIsNotTakenAway) {
    make_pool();
    static_cast<void>(make_volume("v"));
    EXPECT_EQ(result("nvmf_create_transport", {{"trtype", "TCP"}}), true);
    EXPECT_EQ(result("nvmf_create_subsystem", {{"nqn", kNqn}, {"allow_any_host", true}}), true);
    EXPECT_EQ(
        result("nvmf_subsystem_add_ns", {{"nqn", kNqn}, {"namespace", {{"bdev_name", "p/v"}}}}), 1);
    EXPECT_EQ(code("bdev_lvol_delete", {{"name", "p/v"}}), -16);
    EXPECT_EQ(code("bdev_lvol_delete_lvstore", {{"lvs_name", "p"}}), -16);
    EXPECT_EQ(code("bdev_uring_delete", {{"name", "disk"}}), -16);
    // But a snapshot is taken while it is served.
    EXPECT_TRUE(
        result("bdev_lvol_snapshot", {{"lvol_name", "p/v"}, {"snapshot_name", "s"}}).is_string());
    EXPECT_EQ(result("nvmf_subsystem_remove_ns", {{"nqn", kNqn}, {"nsid", 1}}), true);
    EXPECT_EQ(result("bdev_store_close", {{"lvs_name", "p"}}), true);
    EXPECT_EQ(result("bdev_lvol_get_lvols").size(), 0U);
    EXPECT_EQ(result("bdev_examine", {{"name", "disk"}}), true);
    EXPECT_EQ(result("bdev_lvol_get_lvols").size(), 2U);
    EXPECT_EQ(result("bdev_lvol_delete_lvstore", {{"lvs_name", "p"}}), true);
    EXPECT_EQ(result("bdev_examine", {{"name", "disk"}}), true);
    EXPECT_EQ(result("bdev_lvol_get_lvstores").size(), 0U);
    EXPECT_EQ(result("bdev_uring_delete", {{"name", "disk"}}), true);
}

TEST_F(PoolCalls, BadNamesAreRefusedWithWords) {
    EXPECT_NE(
        daemon_.error("bdev_lvol_create_lvstore", {{"bdev_name", "disk"}, {"lvs_name", "a/b"}})
            .find("none of them '/'"),
        std::string::npos);
    EXPECT_EQ(code("bdev_lvol_create_lvstore", {{"bdev_name", "none"}, {"lvs_name", "p"}}), -19);
    EXPECT_EQ(code("bdev_lvol_create", {{"lvol_name", "v"}, {"size_in_mib", 1}}), -32602);
    make_pool();
    EXPECT_EQ(code("bdev_lvol_create_lvstore", {{"bdev_name", "disk"}, {"lvs_name", "q"}}), -16);
}

}  // namespace
}  // namespace basalt::control
