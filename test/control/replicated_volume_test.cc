// A replicated volume in processes of its own: three stores, heads, and a host between which and
// the head a daemon stands that connects again, as a host's kernel does. Killed, stopped, brought
// back.
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/control/daemon_process.h"
#include "test/control/free_port.h"

namespace basalt::control {
namespace {

using Json = nlohmann::json;
using std::chrono::milliseconds;

constexpr const char* kCluster = "0b5f8c3e-6f0a-4d59-9d1b-54d1f7c1a2aa";
constexpr const char* kUuid = "4f1d1f0e-92f5-4e6c-8f4b-52f9f3c01f11";
constexpr const char* kNqn = "nqn.2026-01.io.basalt:vol1";
constexpr const char* kHostNqn = "nqn.2026-01.io.basalt:host";
constexpr uint32_t kStores = 3;
constexpr uint32_t kMib = 32;

/// basalt-perf, which writes and checks what it reads.
class Load {
  public:
    enum class Outcome : uint8_t { kVerified, kAny };

    Load(const DaemonProcess& files,
         uint16_t port,
         const std::string& range,
         const char* seconds,
         Outcome outcome)
        : log_(files.path("perf.log")), outcome_(outcome) {
        std::vector<std::string> arguments{BASALT_PERF_PATH,
                                           "-a",
                                           "127.0.0.1",
                                           "-p",
                                           std::to_string(port),
                                           "-n",
                                           kHostNqn,
                                           "--rw",
                                           "randrw",
                                           "--qd",
                                           "8",
                                           "--range",
                                           range,
                                           "--time",
                                           seconds,
                                           "--warmup",
                                           "0",
                                           "--timeout",
                                           "60",
                                           "--verify",
                                           "--adaptive"};
        std::vector<char*> pointers;
        pointers.reserve(arguments.size() + 1);
        for (std::string& argument : arguments) {
            pointers.push_back(argument.data());
        }
        pointers.push_back(nullptr);
        pid_ = fork();
        if (pid_ == 0) {
            const int fd = open(log_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
            dup2(fd, STDOUT_FILENO);
            dup2(fd, STDERR_FILENO);
            execv(pointers[0], pointers.data());
            _exit(127);
        }
    }
    Load(const Load&) = delete;
    Load& operator=(const Load&) = delete;
    ~Load() {
        int status = 0;
        EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
        std::ostringstream text;
        text << std::ifstream(log_).rdbuf();
        EXPECT_TRUE(outcome_ == Outcome::kAny || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
            << text.str();
    }

  private:
    std::string log_;
    Outcome outcome_;
    pid_t pid_ = -1;
};

/// A daemon with a drive of replicas in a file, and one replica.
struct Store {
    void make() {
        image = daemon.write_file("disk.img", "");
        std::filesystem::resize_file(image, uint64_t{256} << 20U);
        daemon.start({});
        ASSERT_TRUE(daemon.wait_until_ready());
        const Json pool{{"lvs_name", "p"}};
        EXPECT_EQ(daemon.result("bdev_uring_create", {{"filename", image}, {"name", "disk"}}),
                  "disk");
        drive =
            daemon.result("bdev_lvol_create_lvstore", {{"bdev_name", "disk"}, {"lvs_name", "p"}});
        EXPECT_EQ(daemon.result("replication_start_server",
                                {{"address", address}, {"cluster", kCluster}}),
                  true);
        EXPECT_EQ(daemon.result("replication_add_drive", pool), drive);
        make_replica(false);
        config = daemon.write_file("saved.json", daemon.result("save_config").dump());
    }
    void make_replica(bool is_replacement) const {
        EXPECT_EQ(daemon.result("replication_create_replica",
                                {{"volume", 7},
                                 {"size_in_mib", kMib},
                                 {"lvs_name", "p"},
                                 {"replacement", is_replacement}}),
                  true);
    }
    void kill() {
        daemon.signal(SIGKILL);
        EXPECT_EQ(daemon.wait(), 128 + SIGKILL);
    }
    void boot() {
        daemon.start({"--json", config});
        ASSERT_TRUE(daemon.wait_until_ready()) << daemon.output();
    }
    [[nodiscard]] Json replica() const { return daemon.result("replication_get_replicas")[0]; }
    [[nodiscard]] std::string place() const { return address + "/" + drive; }

    const std::string address = "127.0.0.1:" + std::to_string(find_free_port());
    DaemonProcess daemon;
    std::string image;
    std::string config;
    std::string drive;
};

class ReplicatedVolume : public testing::Test {
  protected:
    void SetUp() override {
        for (Store& store : stores_) {
            store.make();
        }
        head_ = std::make_unique<DaemonProcess>();
        begin(*head_);
        host_.start({});
        ASSERT_TRUE(host_.wait_until_ready());
        attach(port_);
        serve(host_, kHostNqn, "Nvme0n1", host_port_);
    }
    /// A path to the volume, for the host.
    void attach(uint16_t port) const {
        EXPECT_EQ(host_.result("bdev_nvme_attach_controller",
                               {{"name", "Nvme0"},
                                {"trtype", "tcp"},
                                {"adrfam", "ipv4"},
                                {"traddr", "127.0.0.1"},
                                {"trsvcid", std::to_string(port)},
                                {"subnqn", kNqn},
                                {"ctrlr_loss_timeout_sec", -1},
                                {"reconnect_delay_sec", 1},
                                {"multipath", "multipath"}}),
                  Json::array({"Nvme0n1"}));
    }

    [[nodiscard]] Json volume() const {
        return {{"name", "vol1"},
                {"uuid", kUuid},
                {"volume", 7},
                {"size_in_mib", kMib},
                {"cluster", kCluster},
                {"replicas", {stores_[0].place(), stores_[1].place(), stores_[2].place()}},
                {"map_file", host_.path("vol1.map")},
                {"lease_ms", 300},
                {"drop_timeout_ms", 500},
                {"takeover_wait_ms", 500}};
    }
    void begin(DaemonProcess& daemon) const {
        daemon.start({});
        ASSERT_TRUE(daemon.wait_until_ready());
        EXPECT_EQ(daemon.result("bdev_replicated_create", volume()), "vol1");
        serve(daemon, kNqn, "vol1", port_);
    }
    static void serve(const DaemonProcess& daemon,
                      const char* nqn,
                      const char* device,
                      uint16_t port,
                      uint32_t first_cntlid = 1) {
        EXPECT_EQ(daemon.result("nvmf_create_transport", {{"trtype", "TCP"}}), true);
        EXPECT_EQ(daemon.result("nvmf_create_subsystem",
                                {{"nqn", nqn},
                                 {"allow_any_host", true},
                                 {"ana_reporting", true},
                                 {"min_cntlid", first_cntlid},
                                 {"max_cntlid", first_cntlid + 998}}),
                  true);
        EXPECT_EQ(daemon.result("nvmf_subsystem_add_ns",
                                {{"nqn", nqn}, {"namespace", {{"bdev_name", device}}}}),
                  1);
        EXPECT_EQ(daemon.result("nvmf_subsystem_add_listener",
                                {{"nqn", nqn},
                                 {"listen_address",
                                  {{"trtype", "TCP"},
                                   {"adrfam", "IPv4"},
                                   {"traddr", "127.0.0.1"},
                                   {"trsvcid", std::to_string(port)}}}}),
                  true);
    }

    /// Waits until `daemon` says that the volume is so there, and tells hosts so.
    static void wait_for_role(const DaemonProcess& daemon, const char* state, const char* ana) {
        Json now;
        for (int i = 0; i < 3000; ++i) {
            now = Json::array({daemon.result("bdev_replicated_get")[0]["state"]});
            now.push_back(daemon.result("nvmf_subsystem_get_listeners",
                                        {{"nqn", kNqn}})[0]["ana_states"][0]["ana_state"]);
            if (now == Json::array({state, ana})) {
                return;
            }
            std::this_thread::sleep_for(milliseconds(10));
        }
        FAIL() << now.dump() << ", not " << state << " and " << ana;
    }
    static void take_over(const DaemonProcess& daemon) {
        EXPECT_EQ(daemon.result("bdev_replicated_take_over", {{"name", "vol1"}}), true);
        wait_for_role(daemon, "open", "optimized");
    }
    [[nodiscard]] Json head() const { return head_->result("bdev_replicated_get")[0]; }
    /// Waits until the head says so of a replica; how it stands then.
    Json wait_for(size_t store, const char* state) const {
        Json now;
        for (int i = 0; i < 3000; ++i) {
            now = head();
            if (now["replicas"][store]["state"] == state) {
                return now;
            }
            std::this_thread::sleep_for(milliseconds(10));
        }
        ADD_FAILURE() << "replica " << store << " is not " << state << ": " << now.dump();
        return now;
    }
    void wait_until_all_are_in_sync() const {
        for (size_t i = 0; i < kStores; ++i) {
            wait_for(i, "in_sync");
        }
    }
    [[nodiscard]] Load load(const std::string& range,
                            const char* seconds,
                            Load::Outcome outcome = Load::Outcome::kVerified) const {
        return {host_, host_port_, range, seconds, outcome};
    }

    const uint16_t port_ = find_free_port();
    const uint16_t host_port_ = find_free_port();
    std::array<Store, kStores> stores_;
    DaemonProcess host_;
    std::unique_ptr<DaemonProcess> head_;
};

TEST_F(ReplicatedVolume, AStoreThatWasKilledGetsWhatItMissedAndNoMore) {
    { const Load all = load("16m", "0.5"); }
    wait_until_all_are_in_sync();
    EXPECT_EQ(head()["copied_blocks"], 0);
    stores_[0].kill();
    { const Load some = load("1m", "1"); }
    const Json without = wait_for(0, "out");
    EXPECT_GT(without["dirty_blocks"], 0);
    EXPECT_LE(without["dirty_blocks"], 256);
    EXPECT_EQ(without["drops"], 1);
    stores_[0].boot();
    const Json with = wait_for(0, "in_sync");
    EXPECT_LE(with["copied_blocks"], 300) << "of 4096 that were written";
    EXPECT_GT(with["copied_blocks"], 0);
    EXPECT_EQ(with["returns"], 1);
    EXPECT_EQ(with["dirty_blocks"], 0);
    EXPECT_GT(with["epoch"], without["epoch"]);
    // The head tells the stores when it is so, and they forget what was dirty.
    Json dirty;
    for (int i = 0; i < 500 && dirty != 0; ++i) {
        dirty = stores_[0].replica()["dirty_blocks"];
        std::this_thread::sleep_for(milliseconds(10));
    }
    EXPECT_EQ(dirty, 0);
    EXPECT_EQ(stores_[0].replica()["agreed_epoch"], stores_[1].replica()["agreed_epoch"]);
}

TEST_F(ReplicatedVolume, HostsGoOnWhileStoresAreKilledAndStopped) {
    const Load under_way = load("8m", "5");
    std::this_thread::sleep_for(milliseconds(700));
    stores_[1].kill();
    wait_for(1, "out");
    stores_[1].boot();
    wait_for(1, "in_sync");
    stores_[2].daemon.signal(SIGSTOP);
    wait_for(2, "out");
    stores_[2].daemon.signal(SIGCONT);
    wait_for(2, "in_sync");
    wait_until_all_are_in_sync();
}

TEST_F(ReplicatedVolume, AnotherHeadTakesOverFromOneThatWasKilled) {
    const Load under_way = load("8m", "4");
    std::this_thread::sleep_for(milliseconds(700));
    const Json before = head();
    auto next = std::make_unique<DaemonProcess>();
    {
        DaemonProcess early;
        early.start({});
        ASSERT_TRUE(early.wait_until_ready());
        EXPECT_EQ(early.call("bdev_replicated_create", volume())["error"]["code"], -16);
    }
    head_->signal(SIGKILL);
    EXPECT_EQ(head_->wait(), 128 + SIGKILL);
    begin(*next);
    head_ = std::move(next);
    wait_until_all_are_in_sync();
    const Json after = head();
    EXPECT_EQ(after["state"], "open");
    EXPECT_GT(after["epoch"], before["epoch"]);
}

TEST_F(ReplicatedVolume, HostsGoOnWhileTwoHeadsTakeTheVolumeFromEachOther) {
    DaemonProcess other;
    other.start({});
    ASSERT_TRUE(other.wait_until_ready());
    Json standby = volume();
    standby["standby"] = true;
    EXPECT_EQ(other.result("bdev_replicated_create", standby), "vol1");
    const uint16_t other_port = find_free_port();
    serve(other, kNqn, "vol1", other_port, 1000);
    wait_for_role(other, "standby", "inaccessible");
    attach(other_port);
    const Load under_way = load("8m", "6");
    std::this_thread::sleep_for(milliseconds(500));
    wait_for_role(*head_, "open", "optimized");
    // From one that lives, and back again.
    take_over(other);
    wait_for_role(*head_, "standby", "inaccessible");
    take_over(*head_);
    wait_for_role(other, "standby", "inaccessible");
    // From one that is stopped, and finds out when it goes on.
    head_->signal(SIGSTOP);
    take_over(other);
    head_->signal(SIGCONT);
    wait_for_role(*head_, "standby", "inaccessible");
    // From one that is dead, and is a standby when it comes back.
    other.signal(SIGKILL);
    EXPECT_EQ(other.wait(), 128 + SIGKILL);
    wait_for_role(*head_, "standby", "inaccessible");
    take_over(*head_);
    other.start({});
    ASSERT_TRUE(other.wait_until_ready());
    EXPECT_EQ(other.call("bdev_replicated_create", volume())["error"]["code"], -16);
    EXPECT_EQ(other.result("bdev_replicated_create", standby), "vol1");
    serve(other, kNqn, "vol1", other_port, 1000);
    wait_until_all_are_in_sync();
    EXPECT_EQ(other.result("bdev_replicated_get")[0]["state"], "standby");
}

TEST_F(ReplicatedVolume, ADriveTakesThePlaceOfOneThatIsLost) {
    { const Load some = load("4m", "0.3"); }
    wait_until_all_are_in_sync();
    const Json replacing{{"name", "vol1"}, {"drive", stores_[2].drive}};
    Store spare;
    spare.make();
    Json to = replacing;
    to["replica"] = spare.place();
    EXPECT_EQ(head_->call("bdev_replicated_replace_replica", to)["error"]["code"], -16)
        << "it counts";
    stores_[2].kill();
    wait_for(2, "out");
    const Json volume{{"volume", 7}, {"lvs_name", "p"}};
    EXPECT_EQ(spare.daemon.result("replication_delete_replica", volume), true);
    spare.make_replica(true);
    to["replica"] = stores_[1].place();
    EXPECT_EQ(head_->call("bdev_replicated_replace_replica", to)["error"]["code"], -17);
    to["replica"] = spare.place();
    EXPECT_EQ(head_->result("bdev_replicated_replace_replica", to), true);
    { const Load meanwhile = load("4m", "0.5"); }
    const Json after = wait_for(2, "in_sync");
    EXPECT_EQ(after["replicas"][2]["replica"], spare.place());
    EXPECT_GE(after["copied_blocks"], 1024) << "all that was written";
    EXPECT_EQ(spare.replica()["blank"], false);
    EXPECT_NE(head_->result("save_config").dump().find(spare.place()), std::string::npos);
}

// No end of a daemon waits for stores that are gone.
TEST_F(ReplicatedVolume, ADaemonEndsThoughHostsWaitForAQuorum) {
    wait_until_all_are_in_sync();
    stores_[0].kill();
    stores_[1].kill();
    const Load waiting = load("1m", "0.3", Load::Outcome::kAny);
    while (head()["writes_under_way"] == 0) {
        std::this_thread::sleep_for(milliseconds(10));
    }
    head_->signal(SIGTERM);
    EXPECT_EQ(head_->wait(), 0) << head_->output();
    host_.signal(SIGKILL);
}

// Nor for a call of the API, which the end otherwise lets finish.
TEST_F(ReplicatedVolume, ADaemonEndsThoughACallWaitsForAQuorum) {
    wait_until_all_are_in_sync();
    stores_[0].kill();
    stores_[1].kill();
    EXPECT_EQ(head_->result("nvmf_delete_subsystem", {{"nqn", kNqn}}), true);
    // To make a pool is to write.
    std::atomic<bool> is_answered = false;
    Json answer;
    std::thread caller([&] {
        answer =
            head_->call("bdev_lvol_create_lvstore", {{"bdev_name", "vol1"}, {"lvs_name", "top"}});
        is_answered = true;
    });
    while (head()["writes_under_way"] == 0 && !is_answered) {
        std::this_thread::sleep_for(milliseconds(10));
    }
    EXPECT_FALSE(is_answered);
    head_->signal(SIGTERM);
    EXPECT_EQ(head_->wait(), 0) << head_->output();
    caller.join();
    EXPECT_TRUE(answer.contains("error")) << answer.dump();
    host_.signal(SIGKILL);
}

}  // namespace
}  // namespace basalt::control
