// Who may connect how: our host against our target, with TLS keys, secure addresses and neither.
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "nvmf/initiator/host_controller.h"
#include "nvmf/target/tls_access.h"
#include "nvmf/wire/nqn.h"
#include "test/nvmf/target/target_world.h"

namespace basalt::nvmf {
namespace {

constexpr const char* kHost = "nqn.2026-11.io.basalt:host";
constexpr const char* kOtherHost = "nqn.2026-11.io.basalt:other";
constexpr const char* kKey = "NVMeTLSkey-1:01:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrZ:";
constexpr const char* kLongKey =
    "NVMeTLSkey-1:02:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwP/w0S89ELi3W2LxIcLXVsDn8kXZQ==:";

HostTls tls_of(const char* host,
               const char* key = kKey,
               std::string_view subsystem = TargetWorld::kNqn) {
    return make_host_tls(ConfiguredPsk::parse(key).value(), "key0", {host, subsystem}).value();
}

class TargetTls : public testing::Test {
  protected:
    /// Options of a host; with `tls` it uses that version of its identity.
    HostOptions options(const char* host,
                        const HostTls* tls = nullptr,
                        IdentityVersion version = IdentityVersion::kPlain) {
        HostOptions options;
        options.address = world.address;
        options.subsystem_nqn = std::string(TargetWorld::kNqn);
        options.host_nqn = host;
        if (tls != nullptr) {
            options.tls = tls->credentials[static_cast<size_t>(version)];
        }
        return options;
    }
    void add_host(const char* host, std::optional<HostTls> tls) {
        world.expect_ok(
            world.target->add_host(std::string(TargetWorld::kNqn), host, std::move(tls)));
    }
    /// Connects, and ends the controller if it did.
    Status try_to_connect(const HostOptions& how) {
        HostController controller(*world.host, how, nullptr);
        const Status status = world.run(controller.connect());
        world.run(finish(controller));
        return status;
    }
    static Task<bool> finish(HostController& controller) {
        co_await controller.end();
        co_return true;
    }
    static Task<bool> finish(HostQueue& queue) {
        co_await queue.end();
        co_return true;
    }
    /// True if the controller still answers.
    bool is_alive(HostController& controller) {
        return world.run(controller.identify_namespace(Nsid(1))).has_value();
    }
    SocketAddress add_secure_listener(uint16_t port) {
        return world
            .run(world.target->add_listener(std::string(TargetWorld::kNqn),
                                            sim::World::address(world.server, port),
                                            AnaState::kOptimized,
                                            true))
            .value();
    }

    TargetWorld world{1};
};

TEST_F(TargetTls, AHostWithAKeyIsServedThroughTlsByEitherIdentity) {
    for (const char* key : {kKey, kLongKey}) {
        const HostTls tls = tls_of(kHost, key);
        add_host(kHost, tls);
        for (const IdentityVersion version :
             {IdentityVersion::kPlain, IdentityVersion::kWithDigest}) {
            HostController controller(*world.host, options(kHost, &tls, version), nullptr);
            ASSERT_TRUE(world.run(controller.connect()));
            EXPECT_TRUE(is_alive(controller));
            HostQueue queue(*world.host, controller.io_queue_options(QueueId(1), 32));
            EXPECT_TRUE(world.run(queue.connect()));
            world.run(finish(queue));
            world.run(finish(controller));
        }
        world.expect_ok(world.target->remove_host(std::string(TargetWorld::kNqn), kHost));
    }
}

TEST_F(TargetTls, AHostWithAKeyIsRefusedInClear) {
    add_host(kHost, tls_of(kHost));
    const Status status = try_to_connect(options(kHost));
    ASSERT_FALSE(status);
    EXPECT_NE(status.error().detail, 0U);  // The target's answer to Connect.
    // Others on the same port are not concerned.
    EXPECT_TRUE(try_to_connect(options(kOtherHost)));
}

TEST_F(TargetTls, AWrongKeyIsRefused) {
    add_host(kHost, tls_of(kHost));
    const HostTls wrong =
        tls_of(kHost, "NVMeTLSkey-1:00:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrZ:");
    for (const IdentityVersion version : {IdentityVersion::kPlain, IdentityVersion::kWithDigest}) {
        const Status status = try_to_connect(options(kHost, &wrong, version));
        ASSERT_FALSE(status);
        EXPECT_EQ(status.error().code, Errc::kPermissionDenied);
    }
}

TEST_F(TargetTls, AKeyIsGoodForItsHostAndSubsystemOnly) {
    const HostTls tls = tls_of(kHost);
    const HostTls other = tls_of(kOtherHost, kLongKey);
    add_host(kHost, tls);
    add_host(kOtherHost, other);
    HostOptions impostor = options(kOtherHost, &tls);  // Proves to be kHost, says kOtherHost.
    EXPECT_FALSE(try_to_connect(impostor));
    impostor.host_nqn = "nqn.2026-11.io.basalt:third";  // Whom allow_any_host would let in.
    EXPECT_FALSE(try_to_connect(impostor));
    // Discovery is another subsystem, too.
    HostOptions discovery = options(kHost, &tls);
    discovery.subsystem_nqn = std::string(kDiscoveryNqn);
    EXPECT_FALSE(try_to_connect(discovery));
    EXPECT_TRUE(try_to_connect(options(kHost, &tls)));
}

TEST_F(TargetTls, ASecureAddressTakesNothingElse) {
    const HostTls tls = tls_of(kHost);
    add_host(kHost, tls);
    const SocketAddress address = add_secure_listener(4421);
    HostOptions how = options(kOtherHost);
    how.address = address;
    Status status = try_to_connect(how);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Errc::kConnectionClosed);  // Before any PDU.
    how = options(kHost, &tls);
    how.address = address;
    EXPECT_TRUE(try_to_connect(how));
    const HostTls unknown = tls_of(kOtherHost);
    how = options(kOtherHost, &unknown);
    how.address = address;
    status = try_to_connect(how);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Errc::kPermissionDenied);
}

TEST_F(TargetTls, AnAddressMayBeSecureForOneSubsystemAndClearForAnother) {
    const std::string second = "nqn.2026-11.io.basalt:second";
    world.expect_ok(world.target->create_subsystem(
        {.nqn = second, .serial_number = "S2", .allow_any_host = true}));
    const SocketAddress address = add_secure_listener(4421);
    ASSERT_TRUE(world.run(world.target->add_listener(second, address)));
    HostOptions how = options(kHost);
    how.address = address;
    const Status refused = try_to_connect(how);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().detail, 0U);
    how.subsystem_nqn = second;
    EXPECT_TRUE(try_to_connect(how));
}

TEST_F(TargetTls, ANewKeyCountsFromTheNextConnectionOn) {
    const HostTls old_key = tls_of(kHost);
    const HostTls new_key = tls_of(kHost, kLongKey);
    add_host(kHost, old_key);
    HostController first(
        *world.host, options(kHost, &old_key, IdentityVersion::kWithDigest), nullptr);
    ASSERT_TRUE(world.run(first.connect()));
    world.expect_ok(world.target->set_host_tls(std::string(TargetWorld::kNqn), new_key));
    EXPECT_TRUE(is_alive(first));
    EXPECT_FALSE(try_to_connect(options(kHost, &old_key)));
    EXPECT_TRUE(try_to_connect(options(kHost, &new_key)));
    EXPECT_TRUE(is_alive(first));
    world.run(finish(first));
    EXPECT_FALSE(
        world.run(world.target->set_host_tls(std::string(TargetWorld::kNqn), tls_of(kOtherHost))));
}

TEST_F(TargetTls, AHostThatIsGivenAKeyLosesItsClearConnections) {
    add_host(kHost, std::nullopt);
    HostController clear(*world.host, options(kHost), nullptr);
    ASSERT_TRUE(world.run(clear.connect()));
    const HostTls tls = tls_of(kHost);
    world.expect_ok(world.target->set_host_tls(std::string(TargetWorld::kNqn), tls));
    EXPECT_FALSE(is_alive(clear));
    world.run(finish(clear));

    HostController secure(*world.host, options(kHost, &tls), nullptr);
    ASSERT_TRUE(world.run(secure.connect()));
    world.expect_ok(world.target->remove_host(std::string(TargetWorld::kNqn), kHost));
    EXPECT_FALSE(is_alive(secure));
    world.run(finish(secure));
}

TEST_F(TargetTls, DiscoveryTellsWhoHasToUseTls) {
    add_host(kHost, tls_of(kHost));
    const SocketAddress secure = add_secure_listener(4421);
    for (const char* host : {kHost, kOtherHost}) {
        HostOptions how = options(host);
        how.subsystem_nqn = std::string(kDiscoveryNqn);
        HostController controller(*world.host, how, nullptr);
        ASSERT_TRUE(world.run(controller.connect()));
        const auto log = world.run(controller.read_discovery_log());
        ASSERT_TRUE(log);
        size_t addresses = 0;
        for (const nvmf_disc_log_entry& entry : *log) {
            if (entry.subtype != NVME_NQN_NVME) {
                continue;  // The discovery service itself.
            }
            ++addresses;
            const bool is_secure_port = std::string_view(entry.trsvcid) == "4421";
            const bool needs_tls = is_secure_port || host == kHost;
            EXPECT_EQ(entry.treq & 3, needs_tls ? NVMF_TREQ_REQUIRED : NVMF_TREQ_NOT_SPECIFIED);
            EXPECT_EQ(entry.tsas.tcp.sectype,
                      needs_tls ? NVMF_TCP_SECTYPE_TLS13 : NVMF_TCP_SECTYPE_NONE);
        }
        EXPECT_EQ(addresses, 2U);
        world.run(finish(controller));
    }
    EXPECT_EQ(secure.port(), 4421);
}

TEST_F(TargetTls, DiscoveryCanBeSecuredByAKeyOfItsOwn) {
    const HostTls tls = tls_of(kHost, kKey, kDiscoveryNqn);
    world.expect_ok(world.target->add_host(std::string(kDiscoveryNqn), kHost, tls));
    HostOptions how = options(kHost, &tls);
    how.subsystem_nqn = std::string(kDiscoveryNqn);
    EXPECT_TRUE(try_to_connect(how));
    how.tls = {};
    EXPECT_FALSE(try_to_connect(how));
}

}  // namespace
}  // namespace basalt::nvmf
