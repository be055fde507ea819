#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "test/control/daemon_process.h"

namespace basalt::control {
namespace {

using Json = nlohmann::json;

constexpr const char* kNqn = "nqn.2026-01.io.basalt:t";

std::string message_of(const std::string& output) {
    return output.substr(0, output.find('\n'));
}

TEST(Basaltd, StartsEmptyAnswersAndEndsWithZeroOnSigterm) {
    DaemonProcess daemon;
    daemon.start({});
    ASSERT_TRUE(daemon.wait_until_ready());
    EXPECT_EQ(daemon.result("spdk_get_version")["version"], "Basalt v0.1.0");
    EXPECT_EQ(daemon.result("bdev_get_bdevs"), Json::array());
    daemon.signal(SIGTERM);
    EXPECT_EQ(daemon.wait(), 0);
    EXPECT_NE(daemon.output().find("SIGTERM: draining"), std::string::npos);
    EXPECT_FALSE(std::filesystem::exists(daemon.socket_path()));
}

TEST(Basaltd, RaisesItsLimitOfOpenFilesAsFarAsItMay) {
    rlimit limit{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const rlimit low{.rlim_cur = 256, .rlim_max = limit.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    DaemonProcess daemon;
    daemon.start({});
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ASSERT_TRUE(daemon.wait_until_ready());
    rlimit raised{};
    const auto pid = daemon.result("framework_get_reactors")["pid"].get<pid_t>();
    ASSERT_EQ(prlimit(pid, RLIMIT_NOFILE, nullptr, &raised), 0);
    EXPECT_EQ(raised.rlim_cur, limit.rlim_max);
}

TEST(Basaltd, EndsWithZeroOnSigintAndWhenItIsAskedTo) {
    DaemonProcess daemon;
    daemon.start({});
    ASSERT_TRUE(daemon.wait_until_ready());
    daemon.signal(SIGINT);
    EXPECT_EQ(daemon.wait(), 0);
    DaemonProcess asked;
    asked.start({});
    ASSERT_TRUE(asked.wait_until_ready());
    EXPECT_NE(asked.error("spdk_kill_instance", {{"sig_name", "SIGUSR1"}}), "");
    EXPECT_EQ(asked.result("spdk_kill_instance", {{"sig_name", "SIGTERM"}}), true);
    EXPECT_EQ(asked.wait(), 0);
}

TEST(Basaltd, OffersEveryMethodThatTheApiDeclares) {
    DaemonProcess daemon;
    daemon.start({});
    ASSERT_TRUE(daemon.wait_until_ready());
    const Json methods = daemon.result("rpc_get_methods");
    for (const char* name : {"rpc_get_methods",
                             "spdk_get_version",
                             "framework_get_reactors",
                             "thread_get_stats",
                             "log_set_level",
                             "bdev_null_create",
                             "bdev_null_delete",
                             "bdev_malloc_create",
                             "bdev_malloc_delete",
                             "bdev_aio_create",
                             "bdev_aio_delete",
                             "bdev_uring_create",
                             "bdev_uring_delete",
                             "bdev_nvme_attach_passthrough",
                             "bdev_get_bdevs",
                             "bdev_get_iostat",
                             "bdev_get_histogram",
                             "bdev_enable_histogram",
                             "bdev_error_create",
                             "bdev_error_inject_error",
                             "bdev_delay_create",
                             "nvmf_create_transport",
                             "nvmf_get_transports",
                             "nvmf_create_subsystem",
                             "nvmf_delete_subsystem",
                             "nvmf_get_subsystems",
                             "nvmf_subsystem_add_ns",
                             "nvmf_subsystem_remove_ns",
                             "nvmf_subsystem_add_listener",
                             "nvmf_subsystem_remove_listener",
                             "nvmf_subsystem_add_host",
                             "nvmf_subsystem_remove_host",
                             "nvmf_subsystem_allow_any_host",
                             "nvmf_subsystem_get_controllers",
                             "nvmf_subsystem_get_qpairs",
                             "nvmf_get_stats",
                             "save_config",
                             "load_config"}) {
        EXPECT_NE(std::find(methods.begin(), methods.end(), name), methods.end()) << name;
    }
}

TEST(Basaltd, ReportsItsReactorsAndThreads) {
    DaemonProcess daemon;
    daemon.start({"--cores", "0x1"});
    ASSERT_TRUE(daemon.wait_until_ready());
    const Json reactors = daemon.result("framework_get_reactors")["reactors"];
    ASSERT_EQ(reactors.size(), 1U);
    EXPECT_EQ(reactors[0]["lcore"], 0);
    EXPECT_EQ(reactors[0]["lw_threads"][0]["name"], "basalt-r0");
    EXPECT_EQ(reactors[0]["lw_threads"][0]["cpumask"], "1");
    const Json threads = daemon.result("thread_get_stats")["threads"];
    ASSERT_EQ(threads.size(), 2U);
    EXPECT_EQ(threads[1]["name"], "basalt-control");
    EXPECT_EQ(daemon.result("log_set_level", {{"level", "DEBUG"}}), true);
    EXPECT_EQ(daemon.result("log_get_level"), "DEBUG");
}

TEST(Basaltd, ServesTheVolumesOfATomlFile) {
    DaemonProcess daemon;
    const std::string config = daemon.write_file("b.toml", R"(
uuid = "00000000-0000-0000-0000-00000000000a"
[nvmf]
discovery_port = 0
[[bdev]]
name = "f"
type = "file"
path = ")" + daemon.path("f.img") + R"("
size = "8MiB"
[[subsystem]]
nqn = "nqn.2026-01.io.basalt:t"
allow_any_host = true
listen = ["127.0.0.1:14471"]
[[subsystem.namespace]]
bdev = "f"
)");
    daemon.start({"-c", config});
    ASSERT_TRUE(daemon.wait_until_ready());
    EXPECT_NE(daemon.output().find("node 00000000-0000-0000-0000-00000000000a"), std::string::npos);
    EXPECT_EQ(std::filesystem::file_size(daemon.path("f.img")), 8U << 20U);
    const Json subsystem = daemon.result("nvmf_get_subsystems", {{"nqn", kNqn}})[0];
    EXPECT_EQ(subsystem["namespaces"][0]["bdev_name"], "f");
    EXPECT_EQ(subsystem["listen_addresses"][0]["trsvcid"], "14471");
    EXPECT_EQ(daemon.result("bdev_get_bdevs", {{"name", "f"}})[0]["claimed"], true);
    daemon.signal(SIGTERM);
    EXPECT_EQ(daemon.wait(), 0);
}

TEST(Basaltd, RefusesABadTomlFileWithFileLineAndKey) {
    DaemonProcess daemon;
    const std::string config = daemon.write_file("b.toml", "cores = \"0\"\nhugepage = 5\n");
    EXPECT_EQ(daemon.run({"-c", config}), 1);
    EXPECT_EQ(daemon.output(),
              "basaltd: " + config + ":2: hugepage: unknown key; did you mean 'hugepages'?\n");
}

TEST(Basaltd, RefusesWhatTheMachineLacksInOneLine) {
    {
        DaemonProcess daemon;
        EXPECT_EQ(daemon.run({"--cores", "1000"}), 1);
        EXPECT_NE(daemon.output().find("basaltd: processor 1000 is not there"), std::string::npos);
    }
    {
        DaemonProcess daemon;
        EXPECT_EQ(daemon.run({"--hugepages", "4000000"}), 1);
        EXPECT_NE(daemon.output().find("are missing. Get them with"), std::string::npos);
        EXPECT_EQ(message_of(daemon.output()).size() + 1, daemon.output().size());
    }
    const auto refusal = [](const std::string& toml, const std::vector<std::string>& more = {}) {
        DaemonProcess daemon;
        const std::string file = daemon.write_file("b.toml", toml);
        std::vector<std::string> arguments{"-c", file};
        arguments.insert(arguments.end(), more.begin(), more.end());
        EXPECT_EQ(daemon.run(arguments), 1);
        std::string text = daemon.output();
        for (size_t at = text.find(file); at != std::string::npos; at = text.find(file)) {
            text.replace(at, file.size(), "FILE");
        }
        return text;
    };
    EXPECT_EQ(refusal("poll = \"busy\"\ncores = \"999\"\n")
                  .find("basaltd: FILE:2: cores: processor 999 is not there"),
              0U);
    EXPECT_EQ(refusal("cores = \"999\"\n", {"--cores", "998"})
                  .find("basaltd: processor 998 is not there"),
              0U);
    const std::string pages = refusal("hugepages = 500000\n");
    EXPECT_EQ(pages.find("basaltd: FILE:1: hugepages: "), 0U) << pages;
    EXPECT_NE(pages.find("are missing. Get them with"), std::string::npos);
    EXPECT_EQ(refusal("hugepages = 500000\n", {"--hugepages", "400000"}).find("FILE"),
              std::string::npos);
    const std::string bdev = "[[bdev]]\nname = \"f\"\ntype = \"file\"\n";
    for (const char* more : {"", "size = \"1MiB\"\n"}) {
        const std::string path = refusal(bdev + "path = \"/nonexistent/y\"\n" + more);
        EXPECT_NE(path.find("FILE:4: bdev.path: "), std::string::npos) << path;
        EXPECT_NE(path.find("/nonexistent/y"), std::string::npos) << path;
    }
    const std::string drive =
        refusal("[[bdev]]\nname = \"d\"\ntype = \"nvme\"\npath = \"/dev/nonexistent\"\n");
    EXPECT_NE(drive.find("FILE:4: bdev.path: "), std::string::npos) << drive;
    const std::string key = refusal("[[key]]\nname = \"k\"\npath = \"/nonexistent/k\"\n");
    EXPECT_NE(key.find("FILE:3: key.path: "), std::string::npos) << key;
    // Not what the path has no part in.
    DaemonProcess files;
    const std::string twice =
        refusal("[[bdev]]\nname = \"f\"\ntype = \"null\"\nsize = \"1MiB\"\n" + bdev + "path = \"" +
                files.write_file("f.img", std::string(4096, 'x')) + "\"\n");
    EXPECT_NE(twice.find("FILE:5: bdev: bdev_aio_create: bdev 'f'"), std::string::npos) << twice;
    {
        DaemonProcess daemon;
        EXPECT_EQ(daemon.run({"--frobnicate"}), 1);
        EXPECT_NE(daemon.output().find("--frobnicate"), std::string::npos);
    }
    {
        DaemonProcess daemon;
        EXPECT_EQ(daemon.run({"--rpc-tcp", "0.0.0.0:5"}), 1);
        EXPECT_NE(daemon.output().find("loopback"), std::string::npos);
    }
}

TEST(Basaltd, ASecondDaemonOnOneSocketIsRefusedAndTheFirstServesOn) {
    DaemonProcess first;
    first.start({});
    ASSERT_TRUE(first.wait_until_ready());
    DaemonProcess second;
    EXPECT_EQ(second.run_on(first.socket_path()), 1);
    EXPECT_NE(second.output().find("another daemon has it"), std::string::npos);
    EXPECT_EQ(first.result("bdev_get_bdevs"), Json::array());
}

TEST(Basaltd, SavesItsConfigurationAndStartsFromIt) {
    DaemonProcess daemon;
    daemon.start({});
    ASSERT_TRUE(daemon.wait_until_ready());
    const Json disk{{"name", "m"}, {"num_blocks", 2048}, {"block_size", 512}};
    const Json delay{{"name", "d"},
                     {"base_bdev_name", "m"},
                     {"avg_read_latency", 1},
                     {"p99_read_latency", 2},
                     {"avg_write_latency", 3},
                     {"p99_write_latency", 4}};
    EXPECT_EQ(daemon.result("bdev_malloc_create", disk), "m");
    EXPECT_EQ(daemon.result("bdev_delay_create", delay), "d");
    EXPECT_EQ(daemon.result("nvmf_create_transport", {{"trtype", "tcp"}, {"max_io_size", 65536}}),
              true);
    EXPECT_EQ(daemon.result("nvmf_create_subsystem", {{"nqn", kNqn}, {"serial_number", "S1"}}),
              true);
    EXPECT_EQ(
        daemon.result("nvmf_subsystem_add_host", {{"nqn", kNqn}, {"host", "nqn.2026-01.h:a"}}),
        true);
    const Json space{{"bdev_name", "d"}, {"nsid", 3}, {"ptpl_file", daemon.path("reservation")}};
    EXPECT_EQ(daemon.result("nvmf_subsystem_add_ns", {{"nqn", kNqn}, {"namespace", space}}), 3);
    const Json address{
        {"trtype", "TCP"}, {"adrfam", "IPv4"}, {"traddr", "127.0.0.1"}, {"trsvcid", "14472"}};
    EXPECT_EQ(
        daemon.result("nvmf_subsystem_add_listener", {{"nqn", kNqn}, {"listen_address", address}}),
        true);
    const Json saved = daemon.result("save_config");
    EXPECT_NE(saved.dump().find(daemon.path("reservation")), std::string::npos);
    const Json subsystems = daemon.result("nvmf_get_subsystems");
    daemon.signal(SIGTERM);
    EXPECT_EQ(daemon.wait(), 0);

    DaemonProcess again;
    again.start({"--json", again.write_file("s.json", saved.dump())});
    ASSERT_TRUE(again.wait_until_ready());
    EXPECT_EQ(again.result("save_config"), saved);
    EXPECT_EQ(again.result("nvmf_get_subsystems"), subsystems);
    again.signal(SIGTERM);
    EXPECT_EQ(again.wait(), 0);

    DaemonProcess loaded;
    loaded.start({});
    ASSERT_TRUE(loaded.wait_until_ready());
    EXPECT_EQ(loaded.result("load_config", saved), true);
    EXPECT_EQ(loaded.result("framework_get_config", {{"name", "bdev"}}),
              saved["subsystems"][1]["config"]);
    EXPECT_NE(loaded.error("load_config", saved).find("bdev_malloc_create"), std::string::npos);
}

TEST(Basaltd, RefusesASavedConfigurationWithTheMethodThatFailed) {
    DaemonProcess daemon;
    const std::string saved = daemon.write_file("s.json", R"({"subsystems": [
        {"subsystem": "bdev", "config": [
            {"method": "bdev_null_create",
             "params": {"name": "n", "num_blocks": 8, "block_size": 512}},
            {"method": "bdev_null_create",
             "params": {"name": "n", "num_blocks": 8, "block_size": 512}}]}]})");
    EXPECT_EQ(daemon.run({"--json", saved}), 1);
    EXPECT_NE(daemon.output().find(saved + ": subsystem 'bdev': bdev_null_create: bdev 'n'"),
              std::string::npos);

    DaemonProcess unknown;
    const std::string foreign = unknown.write_file("s.json", R"({"subsystems": [
        {"subsystem": "bdev", "config": [{"method": "bdev_frob"}]}]})");
    EXPECT_EQ(unknown.run({"--json", foreign}), 1);
    EXPECT_NE(unknown.output().find("subsystem 'bdev': bdev_frob: "), std::string::npos);

    DaemonProcess broken;
    EXPECT_EQ(broken.run({"--json", broken.write_file("s.json", "{")}), 1);
    EXPECT_EQ(broken.output().find("basaltd: " + broken.path("s.json")), 0U);
}

TEST(Basaltd, FindsTheUuidOfAFileAgainAfterARestart) {
    std::array<DaemonProcess, 2> lives;
    const std::string path = lives[0].write_file("f.img", std::string(1 << 20, 'x'));
    const std::string config = lives[0].write_file("b.toml", R"(
[[bdev]]
name = "f"
type = "file"
path = ")" + path + R"("
[[bdev]]
name = "m"
type = "malloc"
size = "1MiB"
)");
    std::array<Json, 2> file_uuids;
    std::array<Json, 2> memory_uuids;
    for (size_t life = 0; life < lives.size(); ++life) {
        DaemonProcess& daemon = lives[life];
        daemon.start({"-c", config});
        ASSERT_TRUE(daemon.wait_until_ready()) << daemon.output();
        file_uuids[life] = daemon.result("bdev_get_bdevs", {{"name", "f"}})[0]["uuid"];
        memory_uuids[life] = daemon.result("bdev_get_bdevs", {{"name", "m"}})[0]["uuid"];
        daemon.signal(SIGTERM);
        EXPECT_EQ(daemon.wait(), 0);
    }
    EXPECT_TRUE(file_uuids[0].is_string());
    EXPECT_EQ(file_uuids[0], file_uuids[1]);
    EXPECT_NE(memory_uuids[0], memory_uuids[1]) << "its data is gone";
}

}  // namespace
}  // namespace basalt::control
