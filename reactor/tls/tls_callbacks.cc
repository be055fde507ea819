// What OpenSSL calls back: bytes in and out, and which key.

#include "reactor/tls/tls_callbacks.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "reactor/base/log.h"
#include "reactor/tls/tls_socket.h"

namespace basalt::tls {

namespace {

// RFC 8446, section B.4.
constexpr std::array<unsigned char, 2> kAes128GcmSha256Id{0x13, 0x01};
constexpr std::array<unsigned char, 2> kAes256GcmSha384Id{0x13, 0x02};

const unsigned char* suite_id(CipherSuite suite) {
    return suite == CipherSuite::kAes128GcmSha256 ? kAes128GcmSha256Id.data()
                                                  : kAes256GcmSha384Id.data();
}

uint32_t read_be16(std::span<const std::byte> bytes) {
    return (std::to_integer<uint32_t>(bytes[0]) << 8U) | std::to_integer<uint32_t>(bytes[1]);
}

}  // namespace

/// The functions that OpenSSL is given; each finds its socket and calls a member.
struct Callbacks {
    static TlsSocket& socket_of(SSL* ssl) {
        return *static_cast<TlsSocket*>(SSL_get_app_data(ssl));
    }

    static int read(BIO* bio, char* data, int length) {
        BIO_clear_retry_flags(bio);
        auto& socket = *static_cast<TlsSocket*>(BIO_get_data(bio));
        const auto bytes = static_cast<size_t>(length);
        const int count = socket.bio_read({reinterpret_cast<std::byte*>(data), bytes});
        if (count <= 0) {
            BIO_set_retry_read(bio);
            return -1;
        }
        return count;
    }

    static int write(BIO* bio, const char* data, int length) {
        BIO_clear_retry_flags(bio);
        auto& socket = *static_cast<TlsSocket*>(BIO_get_data(bio));
        const auto bytes = static_cast<size_t>(length);
        const int count = socket.bio_write({reinterpret_cast<const std::byte*>(data), bytes});
        if (count <= 0) {
            BIO_set_retry_write(bio);
            return -1;
        }
        return count;
    }

    static long control(BIO* /*bio*/, int command, long /*number*/, void* /*pointer*/) {
        return command == BIO_CTRL_FLUSH ? 1 : 0;
    }

    static int create(BIO* bio) {
        BIO_set_init(bio, 1);
        return 1;
    }

    /// Chooses the key before OpenSSL chooses the cipher suite, which must have the key's hash.
    static int client_hello(SSL* ssl, int* alert, void* /*context*/) {
        const unsigned char* extension = nullptr;
        size_t bytes = 0;
        if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_psk, &extension, &bytes) != 1) {
            return SSL_CLIENT_HELLO_SUCCESS;  // OpenSSL refuses it, and knows better how.
        }
        TlsSocket& socket = socket_of(ssl);
        if (!socket.choose_identity({reinterpret_cast<const std::byte*>(extension), bytes}) ||
            !offer_suite(ssl, socket.psk_.suite())) {
            *alert = SSL_AD_UNKNOWN_PSK_IDENTITY;
            return SSL_CLIENT_HELLO_ERROR;
        }
        return SSL_CLIENT_HELLO_SUCCESS;
    }

    static int find_session(SSL* ssl,
                            const unsigned char* identity,
                            size_t identity_bytes,
                            SSL_SESSION** session) {
        TlsSocket& socket = socket_of(ssl);
        const std::string_view asked(reinterpret_cast<const char*>(identity), identity_bytes);
        *session = asked == socket.identity_ ? socket.make_psk_session() : nullptr;
        return 1;
    }

    static int use_session(SSL* ssl,
                           const EVP_MD* digest,
                           const unsigned char** identity,
                           size_t* identity_bytes,
                           SSL_SESSION** session) {
        TlsSocket& socket = socket_of(ssl);
        SSL_SESSION* made = socket.make_psk_session();
        // After a HelloRetryRequest the suite is settled, and its hash must be the key's.
        if (made != nullptr && digest != nullptr &&
            SSL_CIPHER_get_handshake_digest(SSL_SESSION_get0_cipher(made)) != digest) {
            SSL_SESSION_free(made);
            made = nullptr;
        }
        *session = made;
        *identity = reinterpret_cast<const unsigned char*>(socket.identity_.data());
        *identity_bytes = socket.identity_.size();
        return made != nullptr ? 1 : 0;
    }
};

void set_client_callbacks(ssl_ctx_st* ctx) {
    SSL_CTX_set_psk_use_session_callback(ctx, &Callbacks::use_session);
}

void set_server_callbacks(ssl_ctx_st* ctx) {
    SSL_CTX_set_client_hello_cb(ctx, &Callbacks::client_hello, nullptr);
    SSL_CTX_set_psk_find_session_callback(ctx, &Callbacks::find_session);
}

bool offer_suite(ssl_st* ssl, CipherSuite suite) {
    const char* name = suite == CipherSuite::kAes128GcmSha256 ? "TLS_AES_128_GCM_SHA256"
                                                              : "TLS_AES_256_GCM_SHA384";
    return SSL_set_ciphersuites(ssl, name) == 1;
}

bio_method_st* make_bio_method() {
    BIO_METHOD* method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "basalt");
    if (method != nullptr) {
        BIO_meth_set_read(method, &Callbacks::read);
        BIO_meth_set_write(method, &Callbacks::write);
        BIO_meth_set_ctrl(method, &Callbacks::control);
        BIO_meth_set_create(method, &Callbacks::create);
    }
    return method;
}

// --- The members behind them -----------------------------------------------------------------

int TlsSocket::bio_read(std::span<std::byte> out) {
    const size_t count = std::min(out.size(), in_.size());
    if (count > 0) {
        std::memcpy(out.data(), in_.data(), count);
        in_ = in_.subspan(count);
    }
    return static_cast<int>(count);
}

int TlsSocket::bio_write(std::span<const std::byte> data) {
    if (out_ == nullptr) {
        out_ = context_.take_buffer();
    }
    const size_t count = std::min(data.size(), out_room());
    if (count > 0) {
        std::memcpy(out_->data() + out_end_, data.data(), count);
        out_end_ += count;
    }
    return static_cast<int>(count);
}

bool TlsSocket::choose_identity(std::span<const std::byte> extension) {
    // RFC 8446, section 4.2.11: a list of identities, each with its length before it and an age
    // behind it; then the binders, which OpenSSL checks.
    if (extension.size() < 2) {
        return false;
    }
    std::span<const std::byte> rest = extension.subspan(2);
    rest = rest.first(std::min<size_t>(rest.size(), read_be16(extension)));
    for (uint32_t i = 0; i < kIdentitiesPerHelloMax && rest.size() >= 2; ++i) {
        const size_t bytes = read_be16(rest);
        rest = rest.subspan(2);
        constexpr size_t kAgeBytes = 4;
        if (rest.size() < bytes + kAgeBytes) {
            return false;
        }
        const std::string_view identity(reinterpret_cast<const char*>(rest.data()), bytes);
        const Psk* found = bytes <= kIdentityBytesMax ? keys_->find(identity) : nullptr;
        if (found != nullptr) {
            psk_ = *found;
            identity_ = identity;
            return true;
        }
        BASALT_LOG(kDebug, "tls", "{}: an identity without a key", peer_.to_string());
        rest = rest.subspan(bytes + kAgeBytes);
    }
    return false;
}

ssl_session_st* TlsSocket::make_psk_session() {
    const SSL_CIPHER* cipher = SSL_CIPHER_find(ssl_, suite_id(psk_.suite()));
    SSL_SESSION* session = SSL_SESSION_new();
    const auto* key = reinterpret_cast<const unsigned char*>(psk_.key().data());
    if (session == nullptr || cipher == nullptr ||
        SSL_SESSION_set1_master_key(session, key, psk_.key().size()) != 1 ||
        SSL_SESSION_set_cipher(session, cipher) != 1 ||
        SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) != 1) {
        SSL_SESSION_free(session);
        return nullptr;
    }
    return session;
}

}  // namespace basalt::tls
