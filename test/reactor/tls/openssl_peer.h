#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "reactor/io/network.h"
#include "test/reactor/tls/tls_testing.h"

namespace basalt::tls::test {

/// OpenSSL itself as a peer, over a socket without TLS, so that tests can configure it in ways that
/// TlsSocket never would, and put bytes between its records.
class OpensslPeer final : public SocketHandler, public ListenHandler {
  public:
    explicit OpensslPeer(const SSL_METHOD* method) : ctx(SSL_CTX_new(method)) {}
    OpensslPeer(const OpensslPeer&) = delete;
    OpensslPeer& operator=(const OpensslPeer&) = delete;
    ~OpensslPeer() override {
        SSL_free(ssl);
        SSL_CTX_free(ctx);
    }

    /// Uses the key and identity of the other tests.
    void use_psk() {
        if (SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") != 1) {
            std::abort();
        }
        SSL_CTX_set_psk_use_session_callback(ctx, &OpensslPeer::use_session);
    }

    /// As a server: takes that key, whatever the identity.
    void serve_psk(const Psk& psk) {
        psk_ = psk;
        SSL_CTX_set_psk_find_session_callback(ctx, &OpensslPeer::find_session);
        SSL_CTX_set_app_data(ctx, this);
    }

    void connect(Reactor& reactor, const SocketAddress& address) {
        begin();
        SSL_set_connect_state(ssl);
        socket = reactor.network().connect(address, SocketOptions(), *this).value();
    }
    void listen(Reactor& reactor, const SocketAddress& address) {
        reactor_ = &reactor;
        listener_ = reactor.network().listen(address, *this).value();
    }

    void on_accept(AcceptedSocket accepted) override {
        begin();
        SSL_set_accept_state(ssl);
        socket = reactor_->network().adopt(accepted, SocketOptions(), *this).value();
        is_connected_ = true;
    }
    void on_connected() override {
        is_connected_ = true;
        go_on();
    }
    size_t on_receive(std::span<const std::byte> data) override {
        BIO_write(in_, data.data(), static_cast<int>(data.size()));
        go_on();
        return data.size();
    }
    void on_sent() override {
        is_sending_ = false;
        flush();
    }
    void on_closed(Error /*reason*/) override {
        socket.reset();
        is_closed = true;
    }

    /// The handshake, then whatever there is to read; sends what OpenSSL has to say.
    void go_on() {
        ERR_clear_error();
        const int shaken = SSL_do_handshake(ssl);
        has_shaken_hands = has_shaken_hands || shaken == 1;
        std::array<char, 4096> bytes{};
        int count = 0;
        while (shaken == 1 && (count = SSL_read(ssl, bytes.data(), bytes.size())) > 0) {
            received.append(bytes.data(), static_cast<size_t>(count));
        }
        if (ERR_peek_error() != 0) {
            error = ERR_GET_REASON(ERR_peek_error());
        }
        flush();
    }
    void write(const std::string& text) {
        if (SSL_write(ssl, text.data(), static_cast<int>(text.size())) <= 0) {
            std::abort();
        }
        flush();
    }
    /// Puts bytes of the test's own into the stream.
    void inject(const std::string& text) {
        BIO_write(out_, text.data(), static_cast<int>(text.size()));
        flush();
    }

    SSL_CTX* const ctx;
    SSL* ssl = nullptr;
    std::unique_ptr<Socket> socket;
    bool has_shaken_hands = false;
    bool is_closed = false;
    int error = 0;  ///< OpenSSL's reason, if it has failed.
    std::string received;

  private:
    static SSL_SESSION* make_session(SSL* ssl, const Psk& psk) {
        const std::array<unsigned char, 2> suite{
            0x13, static_cast<unsigned char>(psk.key().size() == 32 ? 1 : 2)};
        SSL_SESSION* session = SSL_SESSION_new();
        SSL_SESSION_set1_master_key(
            session, reinterpret_cast<const unsigned char*>(psk.key().data()), psk.key().size());
        SSL_SESSION_set_cipher(session, SSL_CIPHER_find(ssl, suite.data()));
        SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION);
        return session;
    }
    static int find_session(SSL* ssl,
                            const unsigned char* /*id*/,
                            size_t /*id_bytes*/,
                            SSL_SESSION** session) {
        const auto* self = static_cast<OpensslPeer*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
        *session = make_session(ssl, self->psk_);
        return 1;
    }
    static int use_session(SSL* ssl,
                           const EVP_MD* /*digest*/,
                           const unsigned char** id,
                           size_t* id_bytes,
                           SSL_SESSION** session) {
        *session = make_session(ssl, make_psk(1));
        *id = reinterpret_cast<const unsigned char*>(kIdentity);
        *id_bytes = std::string_view(kIdentity).size();
        return 1;
    }

    void begin() {
        ssl = SSL_new(ctx);
        in_ = BIO_new(BIO_s_mem());
        out_ = BIO_new(BIO_s_mem());
        SSL_set_bio(ssl, in_, out_);
    }
    void flush() {
        if (!is_connected_ || is_sending_ || !socket || BIO_pending(out_) == 0) {
            return;
        }
        sending_.resize(static_cast<size_t>(BIO_pending(out_)));
        BIO_read(out_, sending_.data(), static_cast<int>(sending_.size()));
        piece_ = iovec{sending_.data(), sending_.size()};
        is_sending_ = true;
        socket->send({&piece_, 1});
    }

    Psk psk_;
    Reactor* reactor_ = nullptr;
    std::unique_ptr<Listener> listener_;
    BIO* in_ = nullptr;
    BIO* out_ = nullptr;
    bool is_connected_ = false;
    bool is_sending_ = false;
    std::vector<std::byte> sending_;
    iovec piece_{};
};

}  // namespace basalt::tls::test
