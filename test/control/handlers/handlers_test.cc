#include <array>
#include <filesystem>
#include <fstream>
#include <utility>

#include <gtest/gtest.h>

#include "test/control/daemon_process.h"

namespace basalt::control {
namespace {

using Json = nlohmann::json;

constexpr const char* kNqn = "nqn.2026-01.io.basalt:t";

/// Calls to a daemon that starts empty.
class HandlersTest : public testing::Test {
  protected:
    void SetUp() override {
        daemon_.start({});
        ASSERT_TRUE(daemon_.wait_until_ready());
    }
    [[nodiscard]] Json result(const std::string& method, const Json& params = Json()) const {
        return daemon_.result(method, params);
    }
    [[nodiscard]] std::string error(const std::string& method, const Json& params) const {
        return daemon_.error(method, params);
    }
    [[nodiscard]] int64_t code(const std::string& method, const Json& params) const {
        const Json response = daemon_.call(method, params);
        return response.contains("error") ? response["error"]["code"].get<int64_t>() : 0;
    }
    void make_disk(const std::string& name) const {
        EXPECT_EQ(result("bdev_malloc_create",
                         {{"name", name}, {"num_blocks", 2048}, {"block_size", 4096}}),
                  name);
    }

    DaemonProcess daemon_;
};

TEST_F(HandlersTest, MakeAndRemoveEachKindOfDevice) {
    const Json null{{"name", "n"}, {"num_blocks", 100}, {"block_size", 512}};
    EXPECT_EQ(result("bdev_null_create", null), "n");
    EXPECT_EQ(code("bdev_null_create", null), -17);
    EXPECT_EQ(result("bdev_malloc_create", {{"num_blocks", 8}, {"block_size", 512}}), "Malloc0");
    EXPECT_EQ(result("bdev_malloc_create", {{"num_blocks", 8}, {"block_size", 512}}), "Malloc1");
    const std::string path = daemon_.write_file("f.img", std::string(1 << 20, 'x'));
    EXPECT_EQ(result("bdev_aio_create", {{"filename", path}, {"name", "f"}, {"block_size", 512}}),
              "f");
    EXPECT_EQ(result("bdev_get_bdevs", {{"name", "f"}})[0]["num_blocks"], 2048);
    EXPECT_EQ(result("bdev_get_bdevs", {{"name", "f"}})[0]["driver_specific"]["aio"]["filename"],
              path);
    EXPECT_NE(error("bdev_uring_delete", {{"name", "f"}}).find("not of that kind"),
              std::string::npos);
    EXPECT_EQ(result("bdev_aio_delete", {{"name", "f"}}), true);
    EXPECT_EQ(result("bdev_uring_create", {{"filename", path}, {"name", "u"}}), "u");
    EXPECT_EQ(result("bdev_uring_delete", {{"name", "u"}}), true);
    EXPECT_EQ(result("bdev_passthru_create", {{"name", "p"}, {"base_bdev_name", "n"}}), "p");
    EXPECT_NE(error("bdev_null_delete", {{"name", "n"}}).find("in use"), std::string::npos);
    EXPECT_EQ(result("bdev_passthru_delete", {{"name", "p"}}), true);
    EXPECT_EQ(result("bdev_null_delete", {{"name", "n"}}), true);
    EXPECT_EQ(code("bdev_null_delete", {{"name", "n"}}), -19);
    EXPECT_EQ(result("bdev_get_bdevs").size(), 2U);
}

TEST_F(HandlersTest, SaveEachKindOfDeviceSoThatItIsMadeAgain) {
    const std::string path = daemon_.write_file("f.img", std::string(1 << 20, 'x'));
    make_disk("m");
    EXPECT_EQ(result("bdev_null_create", {{"name", "n"}, {"num_blocks", 100}, {"block_size", 512}}),
              "n");
    EXPECT_EQ(result("bdev_aio_create", {{"filename", path}, {"name", "f"}, {"block_size", 512}}),
              "f");
    EXPECT_EQ(result("bdev_passthru_create", {{"name", "p"}, {"base_bdev_name", "n"}}), "p");
    EXPECT_EQ(result("bdev_error_create", {{"base_name", "p"}}), true);
    EXPECT_EQ(result("bdev_delay_create",
                     {{"name", "d"},
                      {"base_bdev_name", "EE_p"},
                      {"avg_read_latency", 1},
                      {"p99_read_latency", 2},
                      {"avg_write_latency", 3},
                      {"p99_write_latency", 4}}),
              "d");
    const Json saved = result("save_config");
    daemon_.signal(SIGTERM);
    EXPECT_EQ(daemon_.wait(), 0);
    DaemonProcess second;
    second.start({"--json", daemon_.write_file("saved.json", saved.dump())});
    ASSERT_TRUE(second.wait_until_ready());
    EXPECT_EQ(second.result("bdev_get_bdevs").size(), 6U);
    EXPECT_EQ(second.result("save_config"), saved);
}

TEST_F(HandlersTest, RefuseFilesThatCanNotBeDevicesByTheirPath) {
    EXPECT_NE(error("bdev_aio_create", {{"filename", "/nonexistent/x"}, {"name", "f"}})
                  .find("file '/nonexistent/x'"),
              std::string::npos);
    const std::string odd = daemon_.write_file("odd.img", std::string(1000, 'x'));
    EXPECT_NE(error("bdev_aio_create", {{"filename", odd}, {"name", "f"}}).find("multiple"),
              std::string::npos);
    EXPECT_NE(error("bdev_nvme_attach_passthrough",
                    {{"name", "x"}, {"nguid", "0123456789ABCDEF0123456789ABCDEF"}}),
              "");
    EXPECT_NE(error("bdev_nvme_attach_passthrough", {{"name", "x"}}).find("exactly one"),
              std::string::npos);
}

TEST_F(HandlersTest, InjectErrorsAndChangeDelays) {
    make_disk("m");
    EXPECT_EQ(result("bdev_error_create", {{"base_name", "m"}}), true);
    EXPECT_EQ(result("bdev_error_inject_error",
                     {{"name", "EE_m"}, {"io_type", "read"}, {"error_type", "failure"}}),
              true);
    EXPECT_EQ(result("bdev_error_inject_error",
                     {{"name", "EE_m"}, {"io_type", "clear"}, {"error_type", "failure"}}),
              true);
    EXPECT_EQ(code("bdev_error_inject_error",
                   {{"name", "m"}, {"io_type", "read"}, {"error_type", "failure"}}),
              -32602);
    EXPECT_EQ(result("bdev_error_delete", {{"name", "EE_m"}}), true);
    const Json delay{{"name", "d"},
                     {"base_bdev_name", "m"},
                     {"avg_read_latency", 1},
                     {"p99_read_latency", 2},
                     {"avg_write_latency", 3},
                     {"p99_write_latency", 4}};
    EXPECT_EQ(result("bdev_delay_create", delay), "d");
    EXPECT_EQ(result("bdev_delay_update_latency",
                     {{"delay_bdev_name", "d"}, {"latency_type", "p99_read"}, {"latency_us", 9}}),
              true);
    const Json saved = result("framework_get_config", {{"name", "bdev"}});
    EXPECT_EQ(saved[1]["params"]["p99_read_latency"], 9);
}

TEST_F(HandlersTest, CountPerDeviceAndPerThread) {
    make_disk("m");
    EXPECT_EQ(result("bdev_get_iostat")["bdevs"][0]["num_read_ops"], 0);
    EXPECT_EQ(result("bdev_get_iostat", {{"name", "m"}, {"per_channel", true}})["channels"].size(),
              1U);
    EXPECT_NE(error("bdev_get_iostat", {{"per_channel", true}}).find("one bdev"),
              std::string::npos);
    EXPECT_EQ(code("bdev_get_iostat", {{"name", "x"}}), -19);
    EXPECT_EQ(result("bdev_reset_iostat", {{"name", "m"}}), true);
    EXPECT_EQ(code("bdev_get_histogram", {{"name", "m"}}), -14);
    EXPECT_EQ(result("bdev_enable_histogram", {{"name", "m"}, {"enable", true}}), true);
    const Json histogram = result("bdev_get_histogram", {{"name", "m"}});
    // 58 rows of 128 counters of 8 bytes, in Base64.
    EXPECT_EQ(histogram["histogram"].get<std::string>().size(), (58U * 128 * 8 + 2) / 3 * 4);
}

TEST_F(HandlersTest, BuildAndTakeApartALiveTarget) {
    make_disk("m");
    const Json listener{
        {"nqn", kNqn},
        {"listen_address", {{"trtype", "TCP"}, {"traddr", "127.0.0.1"}, {"trsvcid", "14473"}}}};
    EXPECT_NE(error("nvmf_subsystem_add_listener", listener).find("nvmf_create_transport"),
              std::string::npos);
    EXPECT_EQ(result("nvmf_create_transport", {{"trtype", "TCP"}}), true);
    EXPECT_EQ(result("nvmf_get_transports")[0]["trtype"], "TCP");
    EXPECT_EQ(result("nvmf_create_subsystem", {{"nqn", kNqn}}), true);
    EXPECT_EQ(code("nvmf_create_subsystem", {{"nqn", "bad"}}), -32602);
    EXPECT_EQ(result("nvmf_subsystem_add_listener", listener), true);
    EXPECT_EQ(result("nvmf_subsystem_get_listeners", {{"nqn", kNqn}}).size(), 1U);
    EXPECT_EQ(result("nvmf_subsystem_add_ns", {{"nqn", kNqn}, {"namespace", {{"bdev_name", "m"}}}}),
              1);
    EXPECT_EQ(code("nvmf_subsystem_add_ns", {{"nqn", kNqn}, {"namespace", {{"bdev_name", "m"}}}}),
              -16);
    EXPECT_NE(error("bdev_malloc_delete", {{"name", "m"}}).find("used by a namespace"),
              std::string::npos);
    EXPECT_EQ(result("nvmf_subsystem_allow_any_host", {{"nqn", kNqn}, {"allow_any_host", true}}),
              true);
    EXPECT_EQ(result("nvmf_subsystem_add_host", {{"nqn", kNqn}, {"host", "nqn.2026-01.h:a"}}),
              true);
    EXPECT_EQ(result("nvmf_subsystem_remove_host", {{"nqn", kNqn}, {"host", "nqn.2026-01.h:a"}}),
              true);
    EXPECT_EQ(result("nvmf_subsystem_get_controllers", {{"nqn", kNqn}}), Json::array());
    EXPECT_EQ(result("nvmf_subsystem_get_qpairs", {{"nqn", kNqn}}), Json::array());
    EXPECT_EQ(result("nvmf_get_stats")["poll_groups"].size(), 1U);
    const Json move{{"nqn", kNqn}, {"cntlid", 1}, {"qid", 1}, {"reactor", 0}};
    EXPECT_EQ(code("nvmf_subsystem_move_qpair", move), -32602) << "no such queue";
    EXPECT_EQ(result("nvmf_subsystem_remove_ns", {{"nqn", kNqn}, {"nsid", 1}}), true);
    EXPECT_EQ(result("nvmf_subsystem_remove_listener", listener), true);
    EXPECT_EQ(result("nvmf_delete_subsystem", {{"nqn", kNqn}}), true);
    EXPECT_EQ(result("bdev_malloc_delete", {{"name", "m"}}), true);
    EXPECT_EQ(code("nvmf_get_subsystems", {{"nqn", kNqn}}), -19);
    EXPECT_EQ(code("nvmf_delete_subsystem", {{"nqn", kNqn}}), -32602);
    EXPECT_EQ(code("nvmf_subsystem_get_qpairs", {{"nqn", kNqn}}), -32602);
}

TEST_F(HandlersTest, SwitchTheBalancerOffAndOn) {
    EXPECT_EQ(result("framework_get_scheduler")["scheduler_name"], "dynamic");
    EXPECT_EQ(result("framework_set_scheduler", {{"name", "static"}}), true);
    EXPECT_EQ(result("framework_get_scheduler")["scheduler_name"], "static");
    EXPECT_NE(result("save_config").dump().find("framework_set_scheduler"), std::string::npos);
    EXPECT_EQ(code("framework_set_scheduler", {{"name", "gscheduler"}}), -22);
    EXPECT_EQ(result("framework_set_scheduler", {{"name", "dynamic"}}), true);
    EXPECT_EQ(result("save_config").dump().find("framework_set_scheduler"), std::string::npos);
}

TEST_F(HandlersTest, WaitForADeviceToAppear) {
    EXPECT_EQ(code("bdev_get_bdevs", {{"name", "late"}, {"timeout", 50}}), -19);
    make_disk("m");
    EXPECT_EQ(result("bdev_get_bdevs", {{"name", "m"}, {"timeout", 50}}).size(), 1U);
}

TEST_F(HandlersTest, SayWhichParameterCanNotBe) {
    const auto text = [&](const std::string& method, const Json& params) {
        return error(method, params);
    };
    EXPECT_NE(text("bdev_null_create", {{"name", "n"}, {"num_blocks", 10}, {"block_size", 4000}})
                  .find("block_size: must be a power of two from 512 to 4096, not 4000"),
              std::string::npos);
    EXPECT_NE(text("bdev_malloc_create", {{"num_blocks", 1ULL << 62U}, {"block_size", 512}})
                  .find("num_blocks: must be from 1 to 36028797018963967, not 4611686018427387904"),
              std::string::npos);
    make_disk("m");
    Json delay{{"name", "d"},
               {"base_bdev_name", "m"},
               {"avg_read_latency", 100},
               {"p99_read_latency", 200},
               {"avg_write_latency", 500},
               {"p99_write_latency", 400}};
    EXPECT_NE(text("bdev_delay_create", delay)
                  .find("avg_write_latency: must be at most p99_write_latency, 400 us, not 500"),
              std::string::npos);
    delay["p99_write_latency"] = 500;
    EXPECT_EQ(result("bdev_delay_create", delay), "d");
    EXPECT_NE(text("bdev_delay_update_latency",
                   {{"delay_bdev_name", "d"}, {"latency_type", "avg_read"}, {"latency_us", 300}})
                  .find("bdev 'd': avg_read_latency: must be at most p99_read_latency, 200 us, "
                        "not 300"),
              std::string::npos);
}

TEST_F(HandlersTest, NameTheDeviceBelowIfThatIsInUse) {
    make_disk("m");
    EXPECT_EQ(result("bdev_passthru_create", {{"name", "p"}, {"base_bdev_name", "m"}}), "p");
    const Json delay{{"name", "d"},
                     {"base_bdev_name", "m"},
                     {"avg_read_latency", 1},
                     {"p99_read_latency", 1},
                     {"avg_write_latency", 1},
                     {"p99_write_latency", 1}};
    const std::array<std::pair<const char*, Json>, 3> layers{
        {{"bdev_error_create", {{"base_name", "m"}}},
         {"bdev_passthru_create", {{"name", "q"}, {"base_bdev_name", "m"}}},
         {"bdev_delay_create", delay}}};
    for (const auto& [method, params] : layers) {
        EXPECT_NE(error(method, params).find("bdev 'm', used by device p: in use"),
                  std::string::npos)
            << error(method, params);
    }
}

TEST_F(HandlersTest, InjectTheNvmeStatusThatIsAskedFor) {
    make_disk("m");
    EXPECT_EQ(result("bdev_error_create", {{"base_name", "m"}}), true);
    Json failure{
        {"name", "EE_m"}, {"io_type", "read"}, {"error_type", "nvme_failure"}, {"num", 1000}};
    EXPECT_NE(error("bdev_error_inject_error", failure).find("nvme_sc: must not be 0"),
              std::string::npos);
    failure["nvme_sct"] = 2;
    failure["nvme_sc"] = 0x81;  // Unrecovered Read Error.
    EXPECT_EQ(result("bdev_error_inject_error", failure), true);
    EXPECT_NE(error("bdev_examine", {{"name", "EE_m"}}).find("media error"), std::string::npos)
        << error("bdev_examine", {{"name", "EE_m"}});
}

TEST_F(HandlersTest, HaveNothingToWaitForOnceTheyAnswer) {
    EXPECT_EQ(result("framework_wait_init"), true);
    EXPECT_EQ(result("bdev_wait_for_examine"), true);
}

}  // namespace
}  // namespace basalt::control
