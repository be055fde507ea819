// Peers that are configured otherwise than TlsSocket is, or break the rules.

#include <string>

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "test/reactor/tls/openssl_peer.h"
#include "test/reactor/tls/tls_testing.h"

namespace basalt::tls {
namespace {

using test::End;
using test::OpensslPeer;
using test::TestWorld;

/// The alert that the peer has got, as OpenSSL names it.
constexpr int alert(int number) {
    return SSL_AD_REASON_OFFSET + number;
}

TEST(TlsPeers, AClientOfTls12IsToldTheVersion) {
    TestWorld world;
    OpensslPeer client(TLS_client_method());
    SSL_CTX_set_max_proto_version(client.ctx, TLS1_2_VERSION);
    client.connect(world.client_reactor, world.target());
    EXPECT_TRUE(world.run([&] { return client.is_closed && world.is_over(); }));
    EXPECT_EQ(client.error, alert(SSL_AD_PROTOCOL_VERSION));
    EXPECT_EQ(world.server.end().closed, Errc::kProtocol);
}

TEST(TlsPeers, AClientWithoutAKeyIsRefused) {
    TestWorld world;
    OpensslPeer client(TLS_client_method());
    client.connect(world.client_reactor, world.target());
    EXPECT_TRUE(world.run([&] { return client.is_closed && world.is_over(); }));
    EXPECT_FALSE(client.has_shaken_hands);
    EXPECT_EQ(client.error, alert(SSL_AD_HANDSHAKE_FAILURE));
}

TEST(TlsPeers, AClientThatWantsNoDiffieHellmanIsRefused) {
    TestWorld world;
    OpensslPeer client(TLS_client_method());
    client.use_psk();
    SSL_CTX_set_options(client.ctx, SSL_OP_ALLOW_NO_DHE_KEX);
    // A group that the server does not have, so that only psk_ke would be left.
    ASSERT_EQ(SSL_CTX_set1_groups_list(client.ctx, "X448"), 1);
    client.connect(world.client_reactor, world.target());
    EXPECT_TRUE(world.run([&] { return client.is_closed && world.is_over(); }));
    EXPECT_FALSE(client.has_shaken_hands);
}

TEST(TlsPeers, AClientIsAskedAgainForAnotherGroup) {
    TestWorld world;
    OpensslPeer client(TLS_client_method());
    client.use_psk();
    // The key share that comes first is of a group that the server does not have.
    ASSERT_EQ(SSL_CTX_set1_groups_list(client.ctx, "X448:P-384"), 1);
    client.connect(world.client_reactor, world.target());
    EXPECT_TRUE(world.run([&] { return client.has_shaken_hands; }));
    client.write("hello");
    EXPECT_TRUE(world.run([&] { return world.server.end().received == 5; }));
    client.socket->close();
    EXPECT_TRUE(world.run([&] { return client.is_closed && world.is_over(); }));
}

TEST(TlsPeers, AServerThatPrefersAnotherSuiteStillTakesTheKey) {
    for (const CipherSuite suite : {CipherSuite::kAes128GcmSha256, CipherSuite::kAes256GcmSha384}) {
        TestWorld world;
        OpensslPeer server(TLS_server_method());
        const Psk psk = test::make_psk(1, suite);
        server.serve_psk(psk);
        SSL_CTX_set_ciphersuites(server.ctx,
                                 suite == CipherSuite::kAes128GcmSha256
                                     ? "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"
                                     : "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384");
        SSL_CTX_set_options(server.ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
        const SocketAddress address = sim::World::address(world.server_node, test::kPort + 1);
        server.listen(world.server_reactor, address);
        End client;
        ClientOptions options;
        options.identity = test::kIdentity;
        options.psk = psk;
        client.socket =
            TlsSocket::connect(*world.context, address, SocketOptions(), options, client).value();
        EXPECT_TRUE(world.run([&] { return client.is_connected && server.has_shaken_hands; }));
        client.send(10);
        EXPECT_TRUE(world.run([&] { return server.received.size() == 10; }));
        client.socket->close();
        EXPECT_TRUE(world.run([&] { return client.closed && server.is_closed; }));
    }
}

/// A certificate that anybody can make.
void use_certificate(SSL_CTX* ctx) {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509* certificate = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    ASSERT_GT(X509_sign(certificate, key, EVP_sha256()), 0);
    ASSERT_EQ(SSL_CTX_use_certificate(ctx, certificate), 1);
    ASSERT_EQ(SSL_CTX_use_PrivateKey(ctx, key), 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

TEST(TlsPeers, AServerThatShowsACertificateInsteadOfTheKeyIsRefused) {
    TestWorld world;
    OpensslPeer server(TLS_server_method());
    use_certificate(server.ctx);
    const SocketAddress address = sim::World::address(world.server_node, test::kPort + 1);
    server.listen(world.server_reactor, address);
    End client;
    ClientOptions options;
    options.identity = test::kIdentity;
    options.psk = test::make_psk(1);
    client.socket =
        TlsSocket::connect(*world.context, address, SocketOptions(), options, client).value();
    EXPECT_TRUE(world.run([&] { return client.closed && server.is_closed; }));
    EXPECT_EQ(client.closed, Errc::kPermissionDenied);
    EXPECT_FALSE(client.is_connected);
}

/// A client that has shaken hands, ready to misbehave.
struct Established {
    Established() : client(TLS_client_method()) {
        client.use_psk();
        client.connect(world.client_reactor, world.target());
        EXPECT_TRUE(world.run([&] {
            return client.has_shaken_hands && world.server.tls != nullptr &&
                   world.server.tls->is_secure();
        }));
    }
    ~Established() { world.world.power_off(); }

    TestWorld world;
    OpensslPeer client;
};

TEST(TlsPeers, AKeyUpdateChangesNothingForTheUser) {
    Established it;
    End& server = it.world.server.end();
    server.keeps_bytes = true;
    for (int round = 0; round < 5; ++round) {
        ASSERT_EQ(SSL_key_update(it.client.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        it.client.write("ping");
        const auto rounds = static_cast<size_t>(round) + 1;
        EXPECT_TRUE(it.world.run([&] { return server.received == 4 * rounds; }));
        server.send(4);
        EXPECT_TRUE(it.world.run([&] { return it.client.received.size() == 4 * rounds; }));
    }
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(server.bytes.data()), 8), "pingping");
}

TEST(TlsPeers, AFloodOfKeyUpdatesIsBounded) {
    Established it;
    for (int i = 0; i < 5000 && !it.client.is_closed; ++i) {
        if (SSL_key_update(it.client.ssl, SSL_KEY_UPDATE_REQUESTED) != 1 ||
            SSL_do_handshake(it.client.ssl) != 1) {
            break;
        }
    }
    it.client.write("still there");
    EXPECT_TRUE(it.world.run([&] { return it.world.server.end().received == 11; }));
    it.world.server.end().send(100);
    EXPECT_TRUE(it.world.run([&] { return it.client.received.size() == 100; }));
}

TEST(TlsPeers, ASecondHandshakeIsRefused) {
    Established it;
    // Neither in clear ...
    it.client.inject(std::string("\x16\x03\x03\x00\x04\x01\x00\x00\x00", 9));
    EXPECT_TRUE(it.world.run([&] { return it.world.is_over(); }));
    EXPECT_EQ(it.world.server.end().closed, Errc::kProtocol);
    // ... nor the alerts of old.
    Established other;
    other.client.inject(std::string("\x15\x03\x03\x00\x02\x01\x64", 7));
    EXPECT_TRUE(other.world.run([&] { return other.world.is_over(); }));
    EXPECT_EQ(other.world.server.end().closed, Errc::kProtocol);
}

TEST(TlsPeers, ARecordThatIsTooLongIsRefused) {
    Established it;
    it.client.inject(std::string("\x17\x03\x03\xff\xff", 5) + std::string(70'000, 'x'));
    EXPECT_TRUE(it.world.run([&] { return it.world.is_over(); }));
    EXPECT_EQ(it.world.server.end().received, 0U);
    EXPECT_EQ(it.world.server.end().closed, Errc::kProtocol);
}

TEST(TlsPeers, ARecordCutByTheEndIsNotDelivered) {
    Established it;
    it.client.inject(std::string("\x17\x03\x03\x01\x00", 5) + std::string(200, 'x'));
    it.world.world.run_for(kNsPerSecond / 10);
    it.client.socket->close();
    EXPECT_TRUE(it.world.run([&] { return it.world.is_over(); }));
    EXPECT_EQ(it.world.server.end().received, 0U);
    EXPECT_EQ(it.world.server.end().closed, Errc::kConnectionClosed);
}

}  // namespace
}  // namespace basalt::tls
