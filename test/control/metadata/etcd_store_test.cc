#include "control/metadata/etcd/etcd_store.h"

#include <csignal>

#include <poll.h>

#include "control/metadata/backup.h"
#include "control/metadata/embedded_store.h"
#include "test/control/metadata/conformance.h"
#include "test/control/metadata/etcd_process.h"
#include "test/reactor/eventfd_driver.h"

namespace basalt::metadata {
namespace {

/// Of a reactor that is alone.
class NoMailbox final : public Mailbox {
  public:
    [[nodiscard]] bool send(CoreId /*to*/, Event& /*event*/) override { return false; }
    [[nodiscard]] uint32_t receive(std::span<Event*> /*out*/) override { return 0; }
    [[nodiscard]] bool prepare_sleep() override { return true; }
    void awake() override {}
};

/// A control process's loop, and its way to the etcd.
class Client {
  public:
    explicit Client(const etcd::EtcdOptions& options)
        : store_(EtcdStore::make(reactor_, options).value()) {}
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client() { store_.reset(); }

    [[nodiscard]] EtcdStore& store() { return *store_; }
    [[nodiscard]] Reactor& reactor() { return reactor_; }
    [[nodiscard]] uint64_t now_ns() { return clock_.now_ns(); }
    void step(int wait_ms) {
        pollfd ready{.fd = store_->poll_fd(), .events = POLLIN, .revents = 0};
        static_cast<void>(poll(&ready, 1, wait_ms));
        store_->process_ready();
        reactor_.poll_once();
    }
    template <typename T>
    T wait(Task<T> task) {
        const uint64_t end_ns = now_ns() + 30 * kNsPerSecond;
        while (!task.is_done() && now_ns() < end_ns) {
            step(1);
        }
        return task.result();
    }
    Result<Outcome> put(std::string key, std::string value) {
        return wait(store_->commit(
            {.conditions = {}, .changes = {put_of(std::move(key), std::move(value))}}));
    }
    Errc put_error(std::string key, std::string value) {
        const Result<Outcome> outcome = put(std::move(key), std::move(value));
        return outcome ? Errc::kOk : outcome.error().code;
    }
    Errc get_error(const std::string& key) {
        const Result<KeyValue> found = wait(store_->get(key));
        return found ? Errc::kOk : found.error().code;
    }

  private:
    SteadyClock clock_;
    EventfdDriver driver_{clock_};
    NoMailbox mailbox_;
    Reactor reactor_{{.core = CoreId(0)}, clock_, driver_, mailbox_};
    std::unique_ptr<EtcdStore> store_;
};

/// One member for all tests that do it no harm.
EtcdCluster& shared_etcd() {
    static EtcdCluster etcd;
    return etcd;
}

/// Each test has keys of its own.
std::string next_root() {
    static int count = 0;
    return "test" + std::to_string(count++) + "/";
}

class EtcdUnderTest final : public StoreUnderTest {
  public:
    [[nodiscard]] MetadataStore& store() override { return one_.store(); }
    [[nodiscard]] MetadataStore& other() override { return two_.store(); }
    void step() override {
        one_.step(1);
        two_.step(0);
    }
    [[nodiscard]] uint64_t now_ns() override { return one_.now_ns(); }

  private:
    const etcd::EtcdOptions options_{.endpoints = shared_etcd().endpoints(), .root = next_root()};
    Client one_{options_};
    Client two_{options_};
};

INSTANTIATE_TEST_SUITE_P(Etcd,
                         MetadataStoreConformance,
                         testing::Values(StoreKind{.name = "Etcd",
                                                   .make = []() -> std::unique_ptr<StoreUnderTest> {
                                                       return std::make_unique<EtcdUnderTest>();
                                                   },
                                                   .shortest_lease_ns = kNsPerSecond}),
                         name_of_kind);

TEST(EtcdStore, SeesNothingOfOthersWhoShareTheEtcd) {
    Client ours({.endpoints = shared_etcd().endpoints(), .root = "shared/a/"});
    Client theirs({.endpoints = shared_etcd().endpoints(), .root = "shared/b/"});
    Watcher watcher;
    ours.store().watch(watcher, "", ours.put("key", "ours")->revision);
    EXPECT_TRUE(theirs.put("key", "theirs"));
    EXPECT_TRUE(ours.put("key", "still ours"));
    EXPECT_EQ(ours.wait(ours.store().get("key"))->value, "still ours");
    const Page page =
        ours.wait(ours.store().list({.prefix = "", .after = "", .limit = 10, .at = {}})).value();
    EXPECT_EQ(page.keys.size(), 1U);
    while (watcher.told.empty()) {
        ours.step(1);
    }
    EXPECT_EQ(watcher.told.size(), 1U);
    EXPECT_EQ(watcher.told[0].now->value, "still ours");
    ours.store().unwatch(watcher);
}

TEST(EtcdStore, TakesOverFromAnEmbeddedStore) {
    Client client({.endpoints = shared_etcd().endpoints(), .root = next_root()});
    const TestFolder folder;
    auto embedded = EmbeddedStore::open(client.reactor(), folder / "metadata.db").value();
    for (int i = 0; i < 10; ++i) {
        Transaction many;
        for (int k = 0; k < 128; ++k) {
            many.changes.push_back(put_of("key" + std::to_string(i * 128 + k), "value"));
        }
        EXPECT_TRUE(client.wait(embedded->commit(std::move(many))));
    }
    EXPECT_TRUE(client.wait(move_metadata(*embedded, client.store())));
    const std::string there = client.wait(export_metadata(client.store())).value();
    EXPECT_EQ(there, client.wait(export_metadata(*embedded)).value());
    EXPECT_EQ(read_backup(there)->size(), 1280U);
    // And back.
    auto again = EmbeddedStore::open(client.reactor(), folder / "again.db").value();
    EXPECT_TRUE(client.wait(move_metadata(client.store(), *again)));
    EXPECT_EQ(client.wait(export_metadata(*again)).value(), there);
}

TEST(EtcdStore, RefusesOptionsThatMeanNothing) {
    SteadyClock clock;
    EventfdDriver driver(clock);
    NoMailbox mailbox;
    Reactor reactor({.core = CoreId(0)}, clock, driver, mailbox);
    const auto error = [&](const etcd::EtcdOptions& options) {
        return EtcdStore::make(reactor, options).error().code;
    };
    EXPECT_EQ(error({}), Errc::kInvalidArgument);
    EXPECT_EQ(error({.endpoints = {""}}), Errc::kInvalidArgument);
    EXPECT_EQ(error({.endpoints = {"a:1"}, .root = ""}), Errc::kInvalidArgument);
    EXPECT_EQ(error({.endpoints = {"a:1"}, .tls = {.certificate = "x"}}), Errc::kInvalidArgument);
    EXPECT_EQ(error({.endpoints = std::vector<std::string>(etcd::kEndpointsMax + 1, "a:1")}),
              Errc::kInvalidArgument);
}

TEST(EtcdStore, GoesOnAfterTheOnlyMemberWasRestarted) {
    EtcdCluster etcd;
    Client client({.endpoints = etcd.endpoints(), .call_timeout_ns = 300 * kNsPerMs});
    while (client.get_error("a") != Errc::kNotFound) {
    }
    Watcher watcher;
    client.store().watch(watcher, "", client.put("a", "1")->revision);
    EXPECT_TRUE(client.put("a", "2"));
    etcd.kill(0);
    EXPECT_EQ(client.get_error("a"), Errc::kUnreachable);
    EXPECT_EQ(client.put_error("a", "3"), Errc::kUnreachable);  // Certainly not done.
    etcd.start(0);
    while (client.get_error("a") != Errc::kOk) {
    }
    EXPECT_EQ(client.wait(client.store().get("a"))->value, "2");
    EXPECT_TRUE(client.put("a", "4"));
    while (watcher.told.size() < 2) {
        client.step(1);
    }
    EXPECT_EQ(watcher.told[0].now->value, "2");
    EXPECT_EQ(watcher.told[1].now->value, "4");
    EXPECT_FALSE(watcher.is_lost);

    // What happens while the watch is away may be forgotten before it is back.
    Client other({.endpoints = etcd.endpoints()});
    etcd.kill(0);
    etcd.start(0);
    EXPECT_TRUE(other.put("a", "5"));
    const Revision last = other.put("a", "6")->revision;
    EXPECT_TRUE(other.wait(other.store().forget(last)));
    while (!watcher.is_lost) {
        client.step(1);
    }
    EXPECT_EQ(watcher.told.size(), 2U);
}

TEST(EtcdStore, SaysThatTheQuotaIsUsedUp) {
    EtcdCluster etcd({.quota_bytes = 1U << 20U});
    Client client({.endpoints = etcd.endpoints()});
    EXPECT_TRUE(client.wait(client.store().health())->alarms.empty());
    Errc last = Errc::kOk;
    // It looks at its file, which gets what was put within 100 ms (--backend-batch-interval).
    for (int i = 0; i < 500 && last == Errc::kOk; ++i) {
        last = client.put_error("a" + std::to_string(i), std::string(100'000, 'x'));
        client.step(5);
    }
    EXPECT_EQ(last, Errc::kNoSpace);
    EXPECT_EQ(client.put_error("small", "1"), Errc::kNoSpace);
    EXPECT_EQ(client.wait(client.store().grant(kNsPerSecond)).error().code, Errc::kNoSpace);
    EXPECT_EQ(client.get_error("a0"), Errc::kOk);
    EXPECT_TRUE(
        client.wait(client.store().commit({.conditions = {}, .changes = {erase_of("a0")}})));
    const EtcdHealth health = client.wait(client.store().health()).value();
    EXPECT_TRUE(health.version.starts_with("3."));
    EXPECT_NE(health.leader, 0U);
    EXPECT_EQ(health.leader, health.member);
    EXPECT_GT(health.size_bytes, 500'000U);
    ASSERT_EQ(health.alarms.size(), 1U);
    EXPECT_EQ(health.alarms[0].kind, EtcdHealth::Alarm::Kind::kNoSpace);
    EXPECT_EQ(health.alarms[0].member, health.member);
}

TEST(EtcdStore, SpeaksTlsWithCertificatesOnBothSides) {
    EtcdCluster etcd({.has_tls = true});
    etcd::EtcdOptions options{.endpoints = etcd.endpoints(),
                              .has_tls = true,
                              .tls = {.authority = etcd.content("authority.pem"),
                                      .certificate = etcd.content("client.pem"),
                                      .key = etcd.content("client.key")}};
    {
        Client client(options);
        EXPECT_TRUE(client.put("a", "1"));
        Watcher watcher;
        client.store().watch(watcher, "", client.put("a", "2")->revision);
        EXPECT_TRUE(client.put("a", "3"));
        while (watcher.told.empty()) {
            client.step(1);
        }
        client.store().unwatch(watcher);
    }
    options.call_timeout_ns = 100 * kNsPerMs;
    etcd::EtcdOptions strange = options;
    strange.tls.authority = etcd.content("stranger.pem");
    EXPECT_NE(Client(strange).get_error("a"), Errc::kOk);
    etcd::EtcdOptions nameless = options;
    nameless.tls.certificate = nameless.tls.key = "";
    EXPECT_NE(Client(nameless).get_error("a"), Errc::kOk);
    etcd::EtcdOptions self_made = options;
    self_made.tls.certificate = etcd.content("stranger.pem");
    self_made.tls.key = etcd.content("stranger.key");
    EXPECT_NE(Client(self_made).get_error("a"), Errc::kOk);
    etcd::EtcdOptions plain{.endpoints = etcd.endpoints(), .call_timeout_ns = 100 * kNsPerMs};
    EXPECT_NE(Client(plain).get_error("a"), Errc::kOk);
    EXPECT_EQ(Client(options).get_error("a"), Errc::kOk);
}

/// Counts up by one, whatever happens meanwhile: after an answer that is not known it looks.
void count_up(Client& client) {
    while (true) {
        const Result<KeyValue> now = client.wait(client.store().get("counter"));
        if (!now) {
            continue;
        }
        const std::string wanted = std::to_string(std::stoull(now->value) + 1);
        const Result<Outcome> outcome = client.wait(client.store().commit(
            {.conditions = {{"counter", now->modified}}, .changes = {put_of("counter", wanted)}}));
        if (outcome) {
            ASSERT_TRUE(outcome->is_applied);
            return;
        }
        ASSERT_TRUE(outcome.error().code == Errc::kTimedOut ||
                    outcome.error().code == Errc::kUnreachable);
        if (outcome.error().code == Errc::kTimedOut) {
            Result<KeyValue> then = client.wait(client.store().get("counter"));
            while (!then) {
                then = client.wait(client.store().get("counter"));
            }
            if (then->value == wanted) {
                return;
            }
        }
    }
}

TEST(EtcdStore, GoesOnAtOtherMembersWhenOneDies) {
    EtcdCluster etcd({.members = 3, .election_timeout_ms = 500});
    Client client({.endpoints = etcd.endpoints()});
    while (client.put_error("counter", "0") != Errc::kOk) {
    }
    const LeaseId lease = client.wait(client.store().grant(30 * kNsPerSecond)).value();
    Watcher watcher;
    client.store().watch(watcher, "", client.wait(client.store().get("counter"))->modified);
    uint64_t counted = 0;
    // Whoever is the leader, twice: the member that the client talks to dies, then another one.
    for (const size_t victim : {0U, 1U}) {
        for (int i = 0; i < 10; ++i, ++counted) {
            count_up(client);
        }
        etcd.kill(victim);
        for (int i = 0; i < 10; ++i, ++counted) {
            count_up(client);
        }
        etcd.start(victim);
    }
    EXPECT_EQ(client.wait(client.store().get("counter"))->value, std::to_string(counted));
    EXPECT_TRUE(client.wait(client.store().keep_alive(lease)));
    while (watcher.told.size() < counted) {
        client.step(1);
    }
    for (size_t i = 0; i < watcher.told.size(); ++i) {
        EXPECT_EQ(watcher.told[i].now->value, std::to_string(i + 1));
    }
    EXPECT_FALSE(watcher.is_lost);
    client.store().unwatch(watcher);
}

}  // namespace
}  // namespace basalt::metadata
