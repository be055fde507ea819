#include <gtest/gtest.h>

#include "keyring/keyring.h"
#include "nvmf/auth/host_exchange.h"
#include "test/nvmf/target/scripted_host.h"

namespace basalt::nvmf {
namespace {

// Made by `nvme gen-dhchap-key`.
constexpr std::string_view kHostSecret =
    "DHHC-1:00:7T3DybjvCi4LwfXOL1sb1bK3s/G31axaK2o/CuNqLxG7QNt1:";
constexpr std::string_view kControllerSecret =
    "DHHC-1:01:jp+UPD/AKo9StXj43QFST9mJ+cqj6HKEKIFpC5NHpQj+eyRN:";
constexpr std::string_view kOtherSecret =
    "DHHC-1:00:UzzsxZeOH5qEmMxf2av+JZGMt1R/ygXLHl4zMBaEkf8bc3oM:";

constexpr AuthAlgorithms kQuick{0b0010, 0b000001};
constexpr uint32_t kAuthRequired = 1U << 17U;
constexpr uint32_t kEnable = 1U | (6U << 16U) | (4U << 20U);

/// What a host proves itself with, and what it wants.
struct Wish {
    std::string_view host = kHostSecret;
    std::string_view controller{};  // Empty: no proof of the controller is wanted.
    AuthAlgorithms algorithms = kQuick;
};

/// A target that knows a secret of one host, and hosts that know it, too, or not.
class TargetAuth : public testing::Test {
  protected:
    explicit TargetAuth(const TransportOptions& options = {}) : world(4, sim::calm(), options) {
        files_.put("/host", kHostSecret);
        files_.put("/controller", kControllerSecret);
        files_.put("/other", kOtherSecret);
        files_.put("/junk", "no secret at all");
        for (const char* name : {"host", "controller", "other", "junk"}) {
            EXPECT_TRUE(ring_.add_file_key(name, std::string("/") + name));
        }
    }

    HostKeys keys(const char* host, const char* controller = nullptr) {
        HostKeys keys;
        keys.dhchap = std::move(*ring_.find(host));
        if (controller != nullptr) {
            keys.dhchap_controller = std::move(*ring_.find(controller));
        }
        return keys;
    }
    Status add_host(HostKeys keys) {
        return world.run(world.target->add_host(std::string(TargetWorld::kNqn),
                                                std::string(ScriptedHost::kHostNqn),
                                                std::nullopt,
                                                std::move(keys)));
    }
    Status set_keys(HostKeys keys) {
        return world.run(world.target->set_host_keys(
            std::string(TargetWorld::kNqn), std::string(ScriptedHost::kHostNqn), std::move(keys)));
    }

    /// Runs the host's half over a connected queue. The failure it saw; kNone: both are content.
    AuthFailure authenticate(ScriptedHost& host, const Wish& wish = {}) {
        const DhchapSecret own = std::move(*DhchapSecret::parse(wish.host));
        std::optional<DhchapSecret> theirs;
        if (!wish.controller.empty()) {
            theirs = std::move(*DhchapSecret::parse(wish.controller));
        }
        HostExchange exchange({.names = {.host_nqn = std::string(ScriptedHost::kHostNqn),
                                         .subsystem_nqn = std::string(TargetWorld::kNqn)},
                               .algorithms = wish.algorithms,
                               .transaction = 77,
                               .sequence = 5},
                              own,
                              theirs ? &*theirs : nullptr);
        while (!exchange.is_done() && !exchange.has_failed()) {
            if (exchange.wants_to_send()) {
                Bytes message(kAuthMessageBytesMax);
                message.resize(exchange.send(message));
                EXPECT_TRUE(send(host, message).ok());
            } else {
                Bytes message;
                EXPECT_TRUE(receive(host, 4096, &message).ok());
                EXPECT_EQ(message.size(), 4096U);
                exchange.apply(message, random_);
            }
        }
        return exchange.is_done() ? AuthFailure::kNone : exchange.failure();
    }
    static NvmeStatus send(ScriptedHost& host, const Bytes& message) {
        const Sqe sqe = make_auth(true, CommandId(9), static_cast<uint32_t>(message.size()));
        return host.command(sqe, message).status();
    }
    static NvmeStatus receive(ScriptedHost& host, uint32_t bytes, Bytes* out) {
        return host.command(make_auth(false, CommandId(10), bytes), {}, out).status();
    }
    /// Connects a queue; what it answered.
    static uint32_t connect(ScriptedHost& host,
                            QueueId qid = kAdminQueueId,
                            ControllerId cntlid = kControllerIdAny) {
        EXPECT_TRUE(host.handshake());
        const Cqe cqe = host.connect(qid, cntlid);
        EXPECT_TRUE(cqe.status().ok());
        return cqe.dw0.get();
    }
    static NvmeStatus enable(ScriptedHost& host) {
        return host.command(make_property_set(CommandId(2), NVME_REG_CC, kEnable)).status();
    }

    MemoryKeyFiles files_;
    Keyring ring_{files_};
    SystemAuthRandom random_;
    TargetWorld world;
};

/// A host may have one connection and one controller a reactor.
class TargetAuthFewPlaces : public TargetAuth {
  protected:
    TargetAuthFewPlaces() : TargetAuth({.host_connections_max = 1, .host_controllers_max = 1}) {}
};

TEST_F(TargetAuth, AsksHostsWithAKeyAndNobodyElse) {
    {
        ScriptedHost host(world);
        EXPECT_EQ(connect(host) & kAuthRequired, 0U);
        EXPECT_TRUE(enable(host).ok());
    }
    ASSERT_TRUE(add_host(keys("host")));
    ScriptedHost asked(world);
    const uint32_t answer = connect(asked);
    EXPECT_EQ(answer & ~0xffffU, kAuthRequired);
    EXPECT_NE(answer & 0xffffU, 0U);
    ScriptedHost stranger(world);
    ASSERT_TRUE(stranger.handshake());
    const Cqe cqe =
        stranger.connect(kAdminQueueId, kControllerIdAny, TargetWorld::kNqn, "nqn.2026-01.io.x:y");
    EXPECT_TRUE(cqe.status().ok()) << "any host may connect";
    EXPECT_EQ(cqe.dw0.get() & kAuthRequired, 0U);
}

TEST_F(TargetAuth, ExecutesNothingButAuthenticationBeforeIt) {
    ASSERT_TRUE(add_host(keys("host")));
    ScriptedHost host(world);
    connect(host);
    EXPECT_EQ(enable(host), status::kAuthenticationRequired);
    EXPECT_EQ(host.command(make_property_get(CommandId(3), NVME_REG_CAP, true)).status(),
              status::kAuthenticationRequired);
    EXPECT_EQ(host.command(make_identify(CommandId(4), NVME_IDENTIFY_CNS_CTRL, Nsid(0))).status(),
              status::kAuthenticationRequired);
    EXPECT_EQ(host.command(make_command(nvme_admin_keep_alive, CommandId(5), Nsid(0))).status(),
              status::kAuthenticationRequired);
    EXPECT_EQ(authenticate(host), AuthFailure::kNone);
    EXPECT_TRUE(enable(host).ok());
}

TEST_F(TargetAuth, EveryQueueAuthenticatesOnAllReactors) {
    ASSERT_TRUE(add_host(keys("host")));
    ScriptedHost admin(world);
    const ControllerId cntlid(static_cast<uint16_t>(connect(admin)));
    ASSERT_EQ(authenticate(admin), AuthFailure::kNone);
    ASSERT_TRUE(enable(admin).ok());
    for (uint16_t qid = 1; qid <= 2; ++qid) {
        ScriptedHost queue(world);
        const uint32_t answer = connect(queue, QueueId(qid), cntlid);
        EXPECT_EQ(answer, cntlid.raw() | kAuthRequired);
        const Sqe flush = make_command(nvme_cmd_flush, CommandId(6), Nsid(1));
        EXPECT_EQ(queue.command(flush).status(), status::kAuthenticationRequired);
        EXPECT_EQ(authenticate(queue), AuthFailure::kNone);
        EXPECT_TRUE(queue.command(flush).status().ok());
    }
}

TEST_F(TargetAuth, AnUnprovenHostGetsNoQueueThroughAnotherConnection) {
    ASSERT_TRUE(add_host(keys("host")));
    ScriptedHost admin(world);
    const ControllerId cntlid(static_cast<uint16_t>(connect(admin)));
    ScriptedHost queue(world);
    ASSERT_TRUE(queue.handshake());
    EXPECT_FALSE(queue.connect(QueueId(1), cntlid).status().ok()) << "it is not enabled";
}

TEST_F(TargetAuth, ProvesItselfToAHostThatAsks) {
    ASSERT_TRUE(add_host(keys("host", "controller")));
    for (const DhGroup group : {DhGroup::kNull, DhGroup::kFfdhe2048, DhGroup::kFfdhe3072}) {
        ScriptedHost host(world);
        connect(host);
        const AuthAlgorithms algorithms{0b1110, AuthAlgorithms::bit(group)};
        EXPECT_EQ(authenticate(host, {.controller = kControllerSecret, .algorithms = algorithms}),
                  AuthFailure::kNone);
        EXPECT_TRUE(enable(host).ok());
    }
}

TEST_F(TargetAuth, TellsAHostWithAWrongSecretAndEndsItsConnection) {
    ASSERT_TRUE(add_host(keys("host")));
    ScriptedHost host(world);
    connect(host);
    EXPECT_EQ(authenticate(host, {.host = kOtherSecret}), AuthFailure::kFailed);
    EXPECT_EQ(enable(host), status::kAuthenticationRequired);
    EXPECT_TRUE(host.wait_closed(kNsPerSecond));
}

TEST_F(TargetAuth, EndsWithAHostThatIsNotContentWithItsProof) {
    ASSERT_TRUE(add_host(keys("host", "controller")));
    ScriptedHost host(world);
    connect(host);
    EXPECT_EQ(authenticate(host, {.controller = kOtherSecret}), AuthFailure::kFailed);
    EXPECT_TRUE(host.wait_closed(kNsPerSecond));
    // And without a secret of its own it has no proof to give.
    ASSERT_TRUE(set_keys(keys("host")));
    ScriptedHost other(world);
    connect(other);
    EXPECT_EQ(authenticate(other, {.controller = kControllerSecret}), AuthFailure::kFailed);
    EXPECT_TRUE(other.wait_closed(kNsPerSecond));
}

TEST_F(TargetAuth, TakesOnlyAlgorithmsThatAreAllowed) {
    ASSERT_TRUE(add_host(keys("host")));
    world.target->allow_auth_algorithms({0b1000, 0b000010});
    ScriptedHost weak(world);
    connect(weak);
    EXPECT_EQ(authenticate(weak, {.algorithms = {0b0010, 0b111111}}), AuthFailure::kHashUnusable);
    ScriptedHost groupless(world);
    connect(groupless);
    EXPECT_EQ(authenticate(groupless, {.algorithms = {0b1110, 0b000001}}),
              AuthFailure::kGroupUnusable);
    ScriptedHost strong(world);
    connect(strong);
    EXPECT_EQ(authenticate(strong, {.algorithms = {0b1110, 0b000011}}), AuthFailure::kNone);
}

TEST_F(TargetAuth, ClosesAQueueThatTakesTooLong) {
    ASSERT_TRUE(add_host(keys("host")));
    ScriptedHost silent(world);
    connect(silent);
    EXPECT_FALSE(silent.wait_closed(29 * kNsPerSecond));
    EXPECT_TRUE(silent.wait_closed(2 * kNsPerSecond));
    // Nor does it help to begin.
    ScriptedHost slow(world);
    connect(slow);
    Bytes message(kAuthMessageBytesMax);
    message.resize(encode_negotiate(1, kQuick, message));
    EXPECT_TRUE(send(slow, message).ok());
    EXPECT_TRUE(slow.wait_closed(31 * kNsPerSecond));
}

TEST_F(TargetAuth, ALiveQueueAuthenticatesAgainWithNewKeys) {
    ASSERT_TRUE(add_host(keys("host")));
    ScriptedHost admin(world);
    connect(admin);
    ASSERT_EQ(authenticate(admin), AuthFailure::kNone);
    ASSERT_TRUE(enable(admin).ok());
    ASSERT_TRUE(set_keys(keys("other")));
    const Sqe keep_alive = make_command(nvme_admin_keep_alive, CommandId(5), Nsid(0));
    EXPECT_TRUE(admin.command(keep_alive).status().ok()) << "connections stay";
    EXPECT_EQ(authenticate(admin, {.host = kOtherSecret}), AuthFailure::kNone);
    EXPECT_TRUE(admin.command(keep_alive).status().ok());
    ScriptedHost late(world);
    connect(late);
    EXPECT_EQ(authenticate(late, {.host = kHostSecret}), AuthFailure::kFailed);
    // The old secret is of no use on the live queue, either, and costs it its connection.
    EXPECT_EQ(authenticate(admin, {.host = kHostSecret}), AuthFailure::kFailed);
    EXPECT_EQ(admin.command(keep_alive).status(), status::kAuthenticationRequired);
    EXPECT_TRUE(admin.wait_closed(kNsPerSecond));
}

TEST_F(TargetAuth, AFileThatChangesCountsFromTheNextExchangeOn) {
    ASSERT_TRUE(add_host(keys("host")));
    files_.put("/host", kOtherSecret);
    ScriptedHost host(world);
    connect(host);
    EXPECT_EQ(authenticate(host, {.host = kOtherSecret}), AuthFailure::kNone);
    files_.remove("/host");
    ScriptedHost unlucky(world);
    connect(unlucky);
    EXPECT_EQ(authenticate(unlucky, {.host = kOtherSecret}), AuthFailure::kFailed);
}

TEST_F(TargetAuth, ALiveQueueThatBeginsAndDoesNotGoOnStaysLive) {
    ASSERT_TRUE(add_host(keys("host")));
    ScriptedHost admin(world);
    connect(admin);
    ASSERT_EQ(authenticate(admin), AuthFailure::kNone);
    ASSERT_TRUE(enable(admin).ok());
    Bytes message(kAuthMessageBytesMax);
    message.resize(encode_negotiate(1, kQuick, message));
    EXPECT_TRUE(send(admin, message).ok());
    EXPECT_FALSE(admin.wait_closed(40 * kNsPerSecond));
    EXPECT_EQ(authenticate(admin), AuthFailure::kNone);
}

TEST_F(TargetAuth, AHostWithoutAKeyHasNothingToProve) {
    ScriptedHost host(world);
    connect(host);
    Bytes message(kAuthMessageBytesMax);
    message.resize(encode_negotiate(1, kQuick, message));
    const NvmeStatus refused = send(host, message);
    EXPECT_TRUE(refused.is(status::kInvalidOpcode));
    EXPECT_TRUE(refused.dnr);
    EXPECT_TRUE(enable(host).ok());
}

TEST_F(TargetAuth, RefusesCommandsThatMakeNoSense) {
    ASSERT_TRUE(add_host(keys("host")));
    ScriptedHost early(world);
    ASSERT_TRUE(early.handshake());
    EXPECT_EQ(receive(early, 4096, nullptr), status::kCommandSequenceError.with_dnr());
    ScriptedHost host(world);
    connect(host);
    const Bytes message(16);
    Sqe sqe = make_auth(true, CommandId(9), 16);
    sqe.cdw11.set(17);  // TL is not what the SGL says.
    EXPECT_EQ(host.command(sqe, message).status(), status::kInvalidField.with_dnr());
    sqe = make_auth(true, CommandId(9), 16);
    sqe.cdw10.set(0xea000000U | (1U << 16U) | (1U << 8U));
    EXPECT_EQ(host.command(sqe, message).status(), status::kInvalidField.with_dnr());
    sqe = make_auth(true, CommandId(9), 16);
    sqe.cdw10.set(0xe9000000U | (2U << 16U) | (1U << 8U));
    EXPECT_EQ(host.command(sqe, message).status(), status::kInvalidField.with_dnr());
    EXPECT_EQ(receive(host, 8192, nullptr), status::kInvalidField.with_dnr()) << "too long";
    EXPECT_EQ(host.command(make_auth(false, CommandId(9), 0)).status(),
              status::kInvalidField.with_dnr());
    // A buffer that is too small costs nothing; the message is still there.
    Bytes negotiate(kAuthMessageBytesMax);
    negotiate.resize(encode_negotiate(1, kQuick, negotiate));
    ASSERT_TRUE(send(host, negotiate).ok());
    EXPECT_EQ(receive(host, 8, nullptr), status::kInvalidField.with_dnr());
    Bytes answer;
    EXPECT_TRUE(receive(host, 64, &answer).ok());
    EXPECT_EQ(decode_header(answer)->message, AuthMessage::kChallenge);
}

TEST_F(TargetAuth, TwoMessagesAtATimeAreRefused) {
    ASSERT_TRUE(add_host(keys("host")));
    ScriptedHost host(world);
    connect(host);
    Bytes message(kAuthMessageBytesMax);
    message.resize(encode_negotiate(1, kQuick, message));
    const auto bytes = static_cast<uint32_t>(message.size());
    Bytes both = host.capsule(make_auth(true, CommandId(1), bytes), message);
    const Bytes second = host.capsule(make_auth(true, CommandId(2), bytes), message);
    both.insert(both.end(), second.begin(), second.end());
    host.send(both);
    const Cqe one = host.completion();
    const Cqe other = host.completion();
    EXPECT_NE(one.status().ok(), other.status().ok());
}

// Wherever a host goes away, nothing of it stays: the world's end would find it.
TEST_F(TargetAuth, AHostMayVanishAtAnyMoment) {
    ASSERT_TRUE(add_host(keys("host")));
    for (uint32_t step = 0; step < 3; ++step) {
        ScriptedHost host(world);
        connect(host);
        Bytes message(kAuthMessageBytesMax);
        message.resize(encode_negotiate(1, {0b1000, 0b000010}, message));
        if (step == 0) {
            host.vanish();
            continue;
        }
        host.send(host.capsule(make_auth(true, CommandId(1), static_cast<uint32_t>(message.size())),
                               message));
        if (step == 2) {
            static_cast<void>(host.completion());
        }
        host.vanish();
    }
    ScriptedHost next(world);
    connect(next);
    EXPECT_EQ(authenticate(next), AuthFailure::kNone);
}

TEST_F(TargetAuth, ATargetThatStopsWaitsForWhatIsUnderWay) {
    ASSERT_TRUE(add_host(keys("host")));
    ScriptedHost host(world);
    connect(host);
    Bytes message(kAuthMessageBytesMax);
    message.resize(encode_negotiate(1, {0b1000, 0b000010}, message));
    host.send(host.capsule(make_auth(true, CommandId(1), static_cast<uint32_t>(message.size())),
                           message));
    // The world's destructor shuts the target down at once.
}

TEST_F(TargetAuth, RefusesKeysThatAreOfNoUse) {
    EXPECT_EQ(add_host(keys("junk")).error().code, Errc::kInvalidArgument);
    HostKeys lonely;
    lonely.dhchap_controller = std::move(*ring_.find("controller"));
    EXPECT_EQ(add_host(std::move(lonely)).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(set_keys(keys("host")).error().code, Errc::kNotFound) << "no such host yet";
    ASSERT_TRUE(add_host({}));
    ScriptedHost host(world);
    EXPECT_EQ(connect(host) & kAuthRequired, 0U);
    ASSERT_TRUE(set_keys(keys("host", "controller")));
    EXPECT_NE(world.target->host_keys(TargetWorld::kNqn, ScriptedHost::kHostNqn), nullptr);
    ScriptedHost asked(world);
    EXPECT_NE(connect(asked) & kAuthRequired, 0U);
    ASSERT_TRUE(set_keys({}));
    EXPECT_EQ(world.target->host_keys(TargetWorld::kNqn, ScriptedHost::kHostNqn), nullptr);
    EXPECT_EQ(authenticate(asked), AuthFailure::kFailed) << "its key is gone meanwhile";
}

TEST_F(TargetAuthFewPlaces, WhoHasProvedNothingTakesNoPlaceOfTheHostItNames) {
    ASSERT_TRUE(add_host(keys("host")));
    std::vector<std::unique_ptr<ScriptedHost>> claimants;
    for (uint32_t i = 0; i < 4; ++i) {
        claimants.push_back(std::make_unique<ScriptedHost>(world));
        connect(*claimants.back());
    }
    std::vector<std::unique_ptr<ScriptedHost>> proven;
    for (uint32_t i = 0; i < 2; ++i) {
        proven.push_back(std::make_unique<ScriptedHost>(world));
        connect(*proven.back());
        ASSERT_EQ(authenticate(*proven.back()), AuthFailure::kNone);
        EXPECT_TRUE(enable(*proven.back()).ok());
    }
    ScriptedHost late(world);
    ASSERT_TRUE(late.handshake());
    EXPECT_EQ(late.connect(kAdminQueueId, kControllerIdAny).status(),
              status::kConnectControllerBusy)
        << "now they are taken";
    EXPECT_EQ(authenticate(*claimants[0]), AuthFailure::kNone);
    EXPECT_TRUE(claimants[0]->wait_closed()) << "it came too late";
    EXPECT_EQ(authenticate(*proven[0]), AuthFailure::kNone) << "whoever has a place keeps it";
    proven.clear();
    world.world.run_for(100 * kNsPerMs);
    EXPECT_EQ(authenticate(*claimants[1]), AuthFailure::kNone);
    EXPECT_TRUE(enable(*claimants[1]).ok());
}

}  // namespace
}  // namespace basalt::nvmf
