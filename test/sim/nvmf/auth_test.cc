// Who may connect how: our host against our target, with DH-HMAC-CHAP.
#include <string>

#include <gtest/gtest.h>

#include "keyring/keyring.h"
#include "nvmf/host_bdev/session_keys.h"
#include "nvmf/initiator/host_controller.h"
#include "test/nvmf/target/target_world.h"

namespace basalt::nvmf {
namespace {

constexpr const char* kHost = "nqn.2026-11.io.basalt:host";
// Made by `nvme gen-dhchap-key`.
constexpr std::string_view kHostSecret =
    "DHHC-1:00:7T3DybjvCi4LwfXOL1sb1bK3s/G31axaK2o/CuNqLxG7QNt1:";
constexpr std::string_view kControllerSecret =
    "DHHC-1:01:jp+UPD/AKo9StXj43QFST9mJ+cqj6HKEKIFpC5NHpQj+eyRN:";
constexpr std::string_view kOtherSecret =
    "DHHC-1:00:UzzsxZeOH5qEmMxf2av+JZGMt1R/ygXLHl4zMBaEkf8bc3oM:";

// Big groups take the simulation's real time.
constexpr AuthAlgorithms kQuick{0b1110, 0b000001};
constexpr AuthAlgorithms kWithDh{0b1110, 0b000010};

constexpr sim::FaultOptions kBadNetwork{.message_jitter_ns = 20 * kNsPerUs,
                                        .network_jitter_ns = 50 * kNsPerUs,
                                        .segment_split_ppm = 200'000,
                                        .segment_loss_ppm = 50'000,
                                        .connection_cut_ppm = 20'000};

/// Outlives the target, which refers to its keys.
struct AuthKeys {
    MemoryKeyFiles files;
    Keyring ring{files};
};

/// A target, and a host whose keys are in files that a test may change.
class AuthWorld : public AuthKeys, public TargetWorld {
  public:
    explicit AuthWorld(uint64_t seed, const sim::FaultOptions& faults = sim::calm())
        : TargetWorld(seed, faults), keeper(world.add_reactor(client)) {
        for (const auto& [name, secret] :
             {std::pair("host", kHostSecret), {"controller", kControllerSecret}}) {
            put("target-", name, secret);
            put("host-", name, secret);
        }
    }

    /// `owner` is "target-" or "host-": each has keys of its own.
    void put(const std::string& owner, const std::string& name, std::string_view secret) {
        files.put("/" + owner + name, secret);
        static_cast<void>(ring.add_file_key(owner + name, "/" + owner + name));
    }
    KeyReference key(const std::string& name) { return std::move(*ring.find(name)); }
    void add_host(bool has_controller_key = true) {
        HostKeys theirs;
        theirs.dhchap = key("target-host");
        if (has_controller_key) {
            theirs.dhchap_controller = key("target-controller");
        }
        expect_ok(target->add_host(std::string(kNqn), kHost, std::nullopt, std::move(theirs)));
    }
    void use_keys(bool is_mutual) {
        keys = SessionKeys(key("host-host"), is_mutual ? key("host-controller") : KeyReference());
    }
    HostOptions options(HostAuthenticator* authenticator) {
        HostOptions options;
        options.address = address;
        options.subsystem_nqn = std::string(kNqn);
        options.host_nqn = kHost;
        options.authenticator = authenticator;
        return options;
    }
    template <typename Connected>
    static Task<bool> end(Connected& connected) {
        co_await connected.end();
        co_return true;
    }
    /// Connects an admin queue and an I/O queue, and ends both.
    Status try_to_connect(HostAuthenticator* authenticator) {
        HostController controller(*host, options(authenticator), nullptr);
        Status status = run(controller.connect());
        if (status) {
            HostQueue queue(*host, controller.io_queue_options(QueueId(1), 32));
            const Result<ControllerId> connected = run(queue.connect());
            status = connected ? kOk : Status(connected.error());
            run(end(queue));
        }
        run(end(controller));
        return status;
    }

    Reactor& keeper;  // Where the host's authenticator lives.
    SystemAuthRandom random;
    SessionKeys keys;
    HostAuthenticator quick{keeper, keys, random, kQuick};
    HostAuthenticator with_dh{keeper, keys, random, kWithDh};
};

TEST(SimAuth, OneWayAndMutual) {
    AuthWorld at(1);
    at.add_host();
    for (const bool is_mutual : {false, true}) {
        at.use_keys(is_mutual);
        EXPECT_TRUE(at.try_to_connect(&at.quick));
        EXPECT_TRUE(at.try_to_connect(&at.with_dh));
    }
}

TEST(SimAuth, WithoutOrWithAWrongKeyAHostStaysOutside) {
    AuthWorld at(2);
    at.add_host();
    EXPECT_EQ(at.try_to_connect(nullptr).error().code, Errc::kPermissionDenied);
    EXPECT_EQ(at.try_to_connect(&at.quick).error().code, Errc::kPermissionDenied) << "no key";
    at.use_keys(false);
    at.put("host-", "host", kOtherSecret);
    EXPECT_EQ(at.try_to_connect(&at.quick).error().code, Errc::kPermissionDenied);
    at.put("host-", "host", "no secret at all");
    EXPECT_EQ(at.try_to_connect(&at.quick).error().code, Errc::kPermissionDenied);
    at.put("host-", "host", kHostSecret);
    EXPECT_TRUE(at.try_to_connect(&at.quick)) << "a key counts as it is at the time";
}

TEST(SimAuth, AControllerThatCannotProveItselfIsRefused) {
    AuthWorld at(3);
    at.add_host();
    at.use_keys(true);
    at.put("host-", "controller", kOtherSecret);
    EXPECT_EQ(at.try_to_connect(&at.quick).error().code, Errc::kPermissionDenied);
    // It has no key for that.
    at.put("host-", "controller", kControllerSecret);
    at.expect_ok(at.target->remove_host(std::string(AuthWorld::kNqn), kHost));
    at.add_host(false);
    EXPECT_EQ(at.try_to_connect(&at.quick).error().code, Errc::kPermissionDenied);
    // It does not ask us at all.
    at.expect_ok(at.target->remove_host(std::string(AuthWorld::kNqn), kHost));
    EXPECT_EQ(at.try_to_connect(&at.quick).error().code, Errc::kPermissionDenied);
    at.use_keys(false);
    EXPECT_TRUE(at.try_to_connect(&at.quick)) << "who wants no proof needs none";
}

TEST(SimAuth, LiveQueuesAuthenticateAgainWithTheKeysOfTheDay) {
    AuthWorld at(4);
    at.add_host();
    at.use_keys(true);
    HostController controller(*at.host, at.options(&at.quick), nullptr);
    ASSERT_TRUE(at.run(controller.connect()));
    EXPECT_TRUE(at.run(controller.admin().authenticate_again()));
    at.put("host-", "host", kOtherSecret);
    at.put("target-", "host", kOtherSecret);
    EXPECT_TRUE(at.run(controller.admin().authenticate_again()));
    EXPECT_TRUE(at.run(controller.identify_namespace(Nsid(1)))) << "all goes on";
    at.put("target-", "host", kHostSecret);
    EXPECT_EQ(at.run(controller.admin().authenticate_again()).error().code,
              Errc::kPermissionDenied);
    EXPECT_FALSE(controller.admin().is_live());
    at.run(AuthWorld::end(controller));
}

TEST(SimAuth, ConnectionsThatBreakAnywhereLeaveNothingBehind) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        SCOPED_TRACE(seed);
        AuthWorld at(seed, kBadNetwork);
        at.add_host();
        at.use_keys(true);
        uint32_t successes = 0;
        for (uint32_t attempt = 0; attempt < 6; ++attempt) {
            HostController controller(*at.host, at.options(&at.quick), nullptr);
            auto connecting = controller.connect();
            // Cut at some moment of the handshake, the next time a little later.
            at.world.run_until([&] { return connecting.is_done(); }, attempt * 100 * kNsPerUs);
            if (!connecting.is_done() && attempt < 5) {
                controller.admin().close(Error(Errc::kCancelled));
            }
            const Status status = at.run(std::move(connecting));
            if (status) {
                ++successes;
            } else {
                EXPECT_NE(status.error().code, Errc::kPermissionDenied);
            }
            at.run(AuthWorld::end(controller));
        }
        EXPECT_LE(successes, 6U);
    }
}

// --- Secure channel concatenation.
// ----------------------------------------------------------------

/// A controller that a host connects with a key that its authentication makes.
class ConcatTest : public testing::Test {
  protected:
    HostOptions options() {
        HostOptions how = at.options(&at.with_dh);
        how.concatenates = true;
        return how;
    }
    bool is_alive(HostController& controller) {
        return at.run(controller.identify_namespace(Nsid(1))).has_value();
    }
    /// Connects so many I/O queues, over both reactors, and ends them.
    uint32_t count_queues(HostController& controller, uint32_t wanted) {
        uint32_t connected = 0;
        for (uint32_t i = 1; i <= wanted; ++i) {
            HostQueue queue(*at.host,
                            controller.io_queue_options(QueueId(static_cast<uint16_t>(i)), 32));
            connected += at.run(queue.connect()) ? 1U : 0U;
            at.run(AuthWorld::end(queue));
        }
        return connected;
    }

    AuthWorld at{5};
};

TEST_F(ConcatTest, AllQueuesUseTlsWithTheKeyOfTheAuthentication) {
    at.add_host();
    for (const bool is_mutual : {false, true}) {
        at.use_keys(is_mutual);
        HostController controller(*at.host, options(), nullptr);
        ASSERT_TRUE(at.run(controller.connect()));
        EXPECT_TRUE(is_generated_identity(controller.admin().options().host.tls.identity));
        EXPECT_TRUE(is_alive(controller));
        EXPECT_EQ(count_queues(controller, 4), 4U);
        at.run(AuthWorld::end(controller));
    }
}

TEST_F(ConcatTest, NobodyElseGetsInWithTheKeyOfAnother) {
    at.add_host();
    at.use_keys(false);
    HostController controller(*at.host, options(), nullptr);
    ASSERT_TRUE(at.run(controller.connect()));
    HostOptions impostor = at.options(nullptr);
    impostor.tls = controller.admin().options().host.tls;
    impostor.host_nqn = "nqn.2026-11.io.basalt:other";  // Whom allow_any_host would let in.
    HostController other(*at.host, impostor, nullptr);
    EXPECT_FALSE(at.run(other.connect()));
    at.run(AuthWorld::end(other));
    impostor.host_nqn = kHost;
    impostor.subsystem_nqn = "nqn.2014-08.org.nvmexpress.discovery";
    HostController elsewhere(*at.host, impostor, nullptr);
    EXPECT_FALSE(at.run(elsewhere.connect()));
    at.run(AuthWorld::end(elsewhere));
    at.run(AuthWorld::end(controller));
}

TEST_F(ConcatTest, AKeyLastsAsLongAsItIsUsed) {
    at.add_host();
    at.use_keys(false);
    HostController controller(*at.host, options(), nullptr);
    ASSERT_TRUE(at.run(controller.connect()));
    at.world.run_for(600 * kNsPerSecond);
    EXPECT_EQ(count_queues(controller, 4), 4U);
    const HostQueueOptions queue = controller.io_queue_options(QueueId(1), 32);
    at.run(AuthWorld::end(controller));
    at.world.run_for(200 * kNsPerSecond);
    HostOptions late = at.options(nullptr);
    late.tls = queue.host.tls;
    HostController again(*at.host, late, nullptr);
    EXPECT_EQ(at.run(again.connect()).error().code, Errc::kPermissionDenied);
    at.run(AuthWorld::end(again));
}

TEST_F(ConcatTest, NewKeysOfTheHostMakeItUselessForNewConnections) {
    at.add_host();
    at.use_keys(false);
    HostController controller(*at.host, options(), nullptr);
    ASSERT_TRUE(at.run(controller.connect()));
    HostKeys theirs;
    theirs.dhchap = at.key("target-controller");
    at.expect_ok(at.target->set_host_keys(std::string(AuthWorld::kNqn), kHost, std::move(theirs)));
    EXPECT_TRUE(is_alive(controller)) << "connections stay";
    EXPECT_EQ(count_queues(controller, 2), 0U);
    at.run(AuthWorld::end(controller));
    HostController old_key(*at.host, options(), nullptr);
    EXPECT_EQ(at.run(old_key.connect()).error().code, Errc::kPermissionDenied);
    at.run(AuthWorld::end(old_key));
    at.put("host-", "host", kControllerSecret);
    HostController new_key(*at.host, options(), nullptr);
    EXPECT_TRUE(at.run(new_key.connect()));
    at.run(AuthWorld::end(new_key));
}

TEST_F(ConcatTest, ManyAssociationsLeaveNoMoreKeysThanAreAllowed) {
    at.add_host();
    at.use_keys(false);
    HostController first(*at.host, options(), nullptr);
    ASSERT_TRUE(at.run(first.connect()));
    for (uint32_t i = 0; i < 32; ++i) {
        HostController another(*at.host, options(), nullptr);
        ASSERT_TRUE(at.run(another.connect()));
        at.run(AuthWorld::end(another));
    }
    EXPECT_TRUE(is_alive(first));
    EXPECT_EQ(count_queues(first, 1), 0U) << "the oldest key is gone";
    at.run(AuthWorld::end(first));
}

TEST_F(ConcatTest, WhereNoKeyIsKnownThereIsNone) {
    at.use_keys(false);  // The target does not ask this host.
    HostController controller(*at.host, options(), nullptr);
    EXPECT_EQ(at.run(controller.connect()).error().code, Errc::kPermissionDenied);
    at.run(AuthWorld::end(controller));
}

TEST_F(ConcatTest, ALiveAdminQueueMayMakeAnotherKey) {
    at.add_host();
    at.use_keys(false);
    HostController controller(*at.host, options(), nullptr);
    ASSERT_TRUE(at.run(controller.connect()));
    const HostAuthWish wish{.is_required = true, .channel = SecureChannel::kReplacePsk};
    const Result<Secret> psk = at.run(authenticate(controller.admin(), at.with_dh, wish));
    ASSERT_TRUE(psk);
    HostOptions how = at.options(nullptr);
    how.tls = derive_generated_credential(psk->bytes(), {kHost, AuthWorld::kNqn}).value();
    HostController replaced(*at.host, how, nullptr);
    EXPECT_TRUE(at.run(replaced.connect()));
    at.run(AuthWorld::end(replaced));
    const HostAuthWish wrong{.is_required = true, .channel = SecureChannel::kNewPsk};
    EXPECT_FALSE(at.run(authenticate(controller.admin(), at.with_dh, wrong)));
    at.run(AuthWorld::end(controller));
}

}  // namespace
}  // namespace basalt::nvmf
