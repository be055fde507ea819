#include "reactor/tls/tls_socket.h"

#include <gtest/gtest.h>

#include "test/reactor/tls/tls_testing.h"

namespace basalt::tls {
namespace {

using test::End;
using test::kIdentity;
using test::make_psk;
using test::TestWorld;

/// Connects a client and waits for both ends.
End& connect(TestWorld& world) {
    End& client = world.connect();
    EXPECT_TRUE(world.run([&] {
        return client.is_connected && world.server.tls != nullptr && world.server.tls->is_secure();
    }));
    return client;
}

TEST(TlsSocket, CarriesBytesBothWaysForBothCipherSuites) {
    for (const CipherSuite suite : {CipherSuite::kAes128GcmSha256, CipherSuite::kAes256GcmSha384}) {
        TestWorld world;
        world.server.keys.keys[kIdentity] = make_psk(1, suite);
        End& client = world.connect(make_psk(1, suite));
        ASSERT_TRUE(world.run([&] { return client.is_connected; }));
        ASSERT_TRUE(world.run([&] { return world.server.tls->is_secure(); }));
        EXPECT_EQ(world.server.tls->identity(), kIdentity);
        EXPECT_EQ(world.server.tls->suite(), suite);
        constexpr size_t kBytes = 500'000;
        client.send(kBytes);
        End& server = world.server.end();
        server.send(kBytes);
        EXPECT_TRUE(
            world.run([&] { return client.received == kBytes && server.received == kBytes; }));
        EXPECT_TRUE(world.run([&] { return !client.is_sending && !server.is_sending; }));
        EXPECT_FALSE(client.is_wrong || server.is_wrong);
        client.socket->close();
        EXPECT_TRUE(world.run([&] { return world.is_over(); }));
        EXPECT_EQ(client.closed, Errc::kCancelled);
        EXPECT_EQ(server.closed, Errc::kConnectionClosed);
    }
}

TEST(TlsSocket, StreamsAreExactOrEndUnderSwarmFaults) {
    uint32_t complete = 0;
    constexpr uint64_t kSeeds = 150;
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        TestWorld world(seed, sim::swarm(seed));
        End& client = world.connect();
        constexpr uint64_t kBytes = 40'000;
        End* server = nullptr;
        world.run([&] {
            server = world.server.ends.empty() ? nullptr : &world.server.end();
            if (client.is_connected && !client.closed && !client.is_sending &&
                client.sent < kBytes) {
                client.send(1 + (seed * 977 + client.sent) % 9000);
            }
            if (server != nullptr && !server->closed && server->received > server->sent &&
                !server->is_sending) {
                server->send(server->received - server->sent);
            }
            return client.closed || (client.sent >= kBytes && client.received == client.sent);
        });
        const bool is_complete = client.received == client.sent && client.sent >= kBytes;
        complete += is_complete ? 1U : 0U;
        EXPECT_FALSE(client.is_wrong);
        EXPECT_TRUE(server == nullptr || !server->is_wrong);
        if (!client.closed) {
            client.socket->close();
        }
        EXPECT_TRUE(world.run([&] { return world.is_over(); }, 600 * kNsPerSecond));
    }
    EXPECT_GT(complete, kSeeds / 4);
    EXPECT_LT(complete, kSeeds);
}

// --- Who may connect -------------------------------------------------------------------------

TEST(TlsSocket, RefusesAWrongKey) {
    TestWorld world;
    End& client = world.connect(make_psk(2));
    EXPECT_TRUE(world.run([&] { return world.is_over() && client.closed; }, kNsPerSecond));
    EXPECT_EQ(client.closed, Errc::kPermissionDenied);
    EXPECT_EQ(world.server.end().closed, Errc::kPermissionDenied);
    EXPECT_FALSE(client.is_connected);
}

TEST(TlsSocket, RefusesAnUnknownIdentity) {
    TestWorld world;
    End& client = world.connect(make_psk(1), "NVMe0R01 somebody else");
    EXPECT_TRUE(world.run([&] { return world.is_over() && client.closed; }, kNsPerSecond));
    EXPECT_EQ(client.closed, Errc::kPermissionDenied);
    EXPECT_EQ(world.server.end().closed, Errc::kPermissionDenied);
    EXPECT_GT(world.server.keys.asked, 0U);
}

TEST(TlsSocket, RefusesAKeyOfAnotherCipherSuite) {
    TestWorld world;
    End& client = world.connect(make_psk(1, CipherSuite::kAes256GcmSha384));
    EXPECT_TRUE(world.run([&] { return world.is_over() && client.closed; }, kNsPerSecond));
    EXPECT_NE(client.closed, Errc::kCancelled);
    EXPECT_FALSE(client.is_connected);
}

TEST(TlsSocket, ANewKeyHoldsForTheNextConnectionOnly) {
    TestWorld world;
    End& first = connect(world);
    world.server.keys.keys[kIdentity] = make_psk(9);
    End& second = world.connect(make_psk(9));
    EXPECT_TRUE(world.run([&] { return second.is_connected; }));
    End& late = world.connect(make_psk(1));
    EXPECT_TRUE(world.run([&] { return late.closed.has_value(); }));
    first.send(1000);
    EXPECT_TRUE(world.run([&] { return world.server.ends.front()->received == 1000; }));
}

TEST(TlsSocket, NeverTakesClearBytesUnlessAllowed) {
    TestWorld world;
    End& client = world.connect_clear();
    client.send(128);
    EXPECT_TRUE(world.run([&] { return world.is_over() && client.closed; }, kNsPerSecond));
    EXPECT_EQ(world.server.end().received, 0U);
    EXPECT_EQ(world.server.end().closed, Errc::kProtocol);
}

TEST(TlsSocket, PassesClearBytesWhereAllowedAndSaysSo) {
    TestWorld world;
    world.server.options.allows_clear = true;
    End& client = world.connect_clear();
    client.send(100'000);
    EXPECT_TRUE(world.run(
        [&] { return !world.server.ends.empty() && world.server.end().received == 100'000; }));
    End& server = world.server.end();
    EXPECT_FALSE(server.is_wrong);
    EXPECT_FALSE(world.server.tls->is_secure());
    EXPECT_EQ(world.server.tls->identity(), "");
    server.send(50'000);
    EXPECT_TRUE(world.run([&] { return client.received == 50'000 && !server.is_sending; }));
    EXPECT_FALSE(client.is_wrong);

    End& secure = connect(world);  // On the same port.
    secure.send(1000);
    EXPECT_TRUE(world.run([&] { return world.server.end().received == 1000; }));
    server.socket->close();
    EXPECT_TRUE(world.run([&] { return client.closed && server.closed; }));
}

TEST(TlsSocket, PassesShortcutsWhereThePeerSpeaksInClear) {
    for (const bool is_clear : {true, false}) {
        TestWorld world;
        world.server.options.allows_clear = true;
        End& client = is_clear ? world.connect_clear() : connect(world);
        client.send(1000);
        ASSERT_TRUE(world.run([&] {
            return !world.server.ends.empty() && world.server.end().received == 1000 &&
                   !client.is_sending;
        }));
        End& server = world.server.end();
        server.network = &world.server_reactor.network();
        server.memory.resize(200'000);
        for (uint32_t i = 1; i <= 2; ++i) {  // The socket asks for memory behind the first ones.
            client.send(100'000);
            ASSERT_TRUE(world.run(
                [&] { return server.received == 1000 + i * 100'000U && !client.is_sending; }));
        }
        EXPECT_FALSE(server.is_wrong);
        EXPECT_EQ(server.placed > 0, is_clear);
        EXPECT_EQ(server.kept > 0, is_clear);
    }
}

// --- Time ------------------------------------------------------------------------------------

TEST(TlsSocket, AClientThatSaysNothingIsClosedInTime) {
    TestWorld world;
    const uint64_t before_ns = world.world.now_ns();
    End& client = world.connect_clear();
    EXPECT_TRUE(world.run([&] { return client.closed.has_value(); }));
    EXPECT_EQ(world.server.end().closed, Errc::kTimedOut);
    EXPECT_GE(world.world.now_ns() - before_ns, kHandshakeTimeoutNs);
    EXPECT_LT(world.world.now_ns() - before_ns, kHandshakeTimeoutNs + kNsPerSecond);
}

TEST(TlsSocket, AClientThatTricklesAHandshakeIsClosedInTime) {
    TestWorld world;
    End& client = world.connect_clear();
    // A record of 512 bytes, of which one comes each half a second.
    std::vector<std::byte> hello(517);
    hello[0] = std::byte{22};
    hello[1] = std::byte{3};
    hello[2] = std::byte{1};
    hello[3] = std::byte{2};
    hello[5] = std::byte{1};
    hello[7] = std::byte{1};
    hello[8] = std::byte{0xfc};
    for (size_t i = 0; i < hello.size() && !client.closed; ++i) {
        client.send_bytes(std::span(hello).subspan(i, 1));
        world.world.run_for(kNsPerSecond / 2);
    }
    EXPECT_TRUE(client.closed.has_value());
    EXPECT_EQ(world.server.end().closed, Errc::kTimedOut);
    EXPECT_LT(world.world.now_ns(), kHandshakeTimeoutNs + 2 * kNsPerSecond);
}

TEST(TlsSocket, AServerThatSaysNothingIsGivenUpInTime) {
    TestWorld world;
    world.add_relay();
    world.world.partition_both_ways(world.client_node, world.server_node);
    End& client = world.connect();
    EXPECT_TRUE(world.run([&] { return client.closed.has_value(); }));
    EXPECT_EQ(client.closed, Errc::kTimedOut);
}

TEST(TlsSocket, ClosingDoesNotWaitForAPeerThatTakesNothing) {
    TestWorld world;
    world.server.allowance = 0;
    End& client = connect(world);
    client.send(8U << 20U);
    world.world.run_for(kNsPerSecond / 10);
    EXPECT_TRUE(client.is_sending);
    client.socket->close();
    const uint64_t before_ns = world.world.now_ns();
    EXPECT_TRUE(world.run([&] { return client.closed.has_value(); }));
    EXPECT_LE(world.world.now_ns() - before_ns, kCloseTimeoutNs + kNsPerSecond / 10);
}

// --- Backpressure ----------------------------------------------------------------------------

TEST(TlsSocket, AUserThatTakesNothingStopsTheSender) {
    TestWorld world;
    world.server.allowance = 0;
    End& client = connect(world);
    constexpr uint64_t kBytes = 8U << 20U;
    client.send(kBytes);
    world.world.run_for(5 * kNsPerSecond);
    End& server = world.server.end();
    EXPECT_TRUE(client.is_sending);
    EXPECT_EQ(server.received, 0U);
    for (uint64_t count : {1U, 100U, 16'384U, 16'385U, 100'000U}) {
        const uint64_t before = server.received;
        server.take(count);
        EXPECT_TRUE(world.run([&] { return server.received == before + count; }));
        world.world.run_for(kNsPerSecond / 10);
        EXPECT_EQ(server.received, before + count);
    }
    server.take(UINT64_MAX);
    EXPECT_TRUE(world.run([&] { return server.received == kBytes && !client.is_sending; }));
    EXPECT_FALSE(server.is_wrong);
}

TEST(TlsSocket, WhatWasReceivedBeforeTheEndIsNotLost) {
    for (const uint64_t taken : {0U, 1U, 700U}) {
        TestWorld world;
        world.server.allowance = taken;
        End& client = connect(world);
        client.send(1000);
        EXPECT_TRUE(world.run([&] { return !client.is_sending; }));
        world.world.run_for(kNsPerSecond / 10);
        client.socket->close();
        EXPECT_TRUE(world.run([&] { return client.closed.has_value(); }));
        world.world.run_for(kNsPerSecond);
        End& server = world.server.end();
        EXPECT_FALSE(server.closed.has_value());
        EXPECT_EQ(server.received, taken);
        server.take(UINT64_MAX);
        EXPECT_TRUE(world.run([&] { return server.closed.has_value(); }));
        EXPECT_EQ(server.received, 1000U);
        EXPECT_EQ(server.closed, Errc::kConnectionClosed);
    }
}

TEST(TlsSocket, AUserThatClosesWithBytesHeldBackIsToldOnce) {
    for (const bool peer_first : {false, true}) {
        TestWorld world;
        world.server.allowance = 10;
        End& client = connect(world);
        client.send(1000);
        world.world.run_for(kNsPerSecond / 10);
        if (peer_first) {
            client.socket->close();
            world.world.run_for(kNsPerSecond);
        }
        End& server = world.server.end();
        ASSERT_FALSE(server.closed.has_value());
        server.socket->close();
        EXPECT_FALSE(server.closed.has_value());
        EXPECT_TRUE(world.run([&] { return world.is_over() || !peer_first; }));
        EXPECT_TRUE(world.run([&] { return server.closed.has_value(); }));
        EXPECT_EQ(server.closed, Errc::kCancelled);
        EXPECT_EQ(server.received, 10U);
    }
}

// --- A bad network ---------------------------------------------------------------------------

/// What passes between client and server in a short conversation, each way.
constexpr uint64_t kTalkBytes = 300;

/// A conversation over a relay; ends when one of the ends has closed or all has arrived.
void talk(TestWorld& world) {
    End& client = world.connect();
    bool has_sent = false;
    world.run([&] {
        if (client.is_connected && !client.closed && !has_sent) {
            has_sent = true;
            client.send(kTalkBytes);
        }
        if (!world.server.ends.empty()) {
            End& server = world.server.end();
            if (server.received == kTalkBytes && server.sent == 0 && !server.closed) {
                server.send(kTalkBytes);
            }
        }
        return client.closed || client.received == kTalkBytes;
    });
    if (!client.closed) {
        client.socket->close();
    }
    EXPECT_TRUE(world.run([&] { return world.is_over(); }));
    EXPECT_FALSE(client.is_wrong);
    for (const auto& end : world.server.ends) {
        EXPECT_FALSE(end->is_wrong);
    }
}

TEST(TlsSocket, AConnectionCutAtAnyByteEndsOnBothSides) {
    TestWorld whole;
    test::Relay& passed = whole.add_relay();
    talk(whole);
    ASSERT_EQ(whole.clients.front()->received, kTalkBytes);
    for (const bool is_from_client : {true, false}) {
        const uint64_t all = is_from_client ? passed.from_client.passed : passed.to_client.passed;
        ASSERT_GT(all, kTalkBytes);
        for (uint64_t at = 0; at < all; ++at) {
            SCOPED_TRACE("cut at " + std::to_string(at));
            TestWorld world(at);
            test::Relay& relay = world.add_relay();
            (is_from_client ? relay.from_client : relay.to_client).cut_at = at;
            talk(world);
            EXPECT_TRUE(world.clients.front()->closed.has_value());
        }
    }
}

TEST(TlsSocket, ABitFlippedAnywhereIsNoticed) {
    TestWorld whole;
    test::Relay& passed = whole.add_relay();
    talk(whole);
    uint32_t unnoticed = 0;
    for (const bool is_from_client : {true, false}) {
        const uint64_t all = is_from_client ? passed.from_client.passed : passed.to_client.passed;
        for (uint64_t at = 0; at < all; ++at) {
            SCOPED_TRACE("flip at " + std::to_string(at));
            TestWorld world(at);
            test::Relay& relay = world.add_relay();
            (is_from_client ? relay.from_client : relay.to_client).flip_at = at;
            talk(world);
            unnoticed += world.clients.front()->received == kTalkBytes ? 1U : 0U;
        }
    }
    // The version of a plaintext record means nothing (RFC 8446, section 5.1), and what follows the
    // last data is the alert that says goodbye.
    EXPECT_LE(unnoticed, 60U);
}

TEST(TlsSocket, RandomBytesDoNoHarm) {
    for (uint64_t seed = 0; seed < 500; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        TestWorld world(seed);
        Random random(seed);
        End& client = world.connect_clear();
        std::vector<std::byte> noise(1 + random.below(2000));
        for (std::byte& byte : noise) {
            byte = static_cast<std::byte>(random.below(256));
        }
        if (seed % 4 != 0) {
            noise[0] = std::byte{22};  // Half way plausible: a record of the right length.
            if (noise.size() > 5) {
                noise[1] = std::byte{3};
                noise[2] = std::byte{1};
                noise[3] = static_cast<std::byte>((noise.size() - 5) >> 8U);
                noise[4] = static_cast<std::byte>((noise.size() - 5) & 0xffU);
            }
            if (noise.size() > 9 && seed % 2 != 0) {
                noise[5] = std::byte{1};
                noise[6] = std::byte{0};
                noise[7] = static_cast<std::byte>((noise.size() - 9) >> 8U);
                noise[8] = static_cast<std::byte>((noise.size() - 9) & 0xffU);
            }
        }
        client.send_bytes(noise);
        EXPECT_TRUE(world.run([&] { return client.closed && world.is_over(); }));
        EXPECT_EQ(world.server.end().received, 0U);
    }
}

}  // namespace
}  // namespace basalt::tls
