#include "reactor/tls/tls_context.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "reactor/tls/tls_callbacks.h"

namespace basalt::tls {

namespace {

constexpr const char* kSuites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384";

// RFC 8446 demands P-256, and X25519 is the fastest: a reactor that shakes hands does nothing else
// meanwhile. Groups that take milliseconds are left out.
constexpr const char* kGroups = "X25519:P-256:P-384";

bool configure(SSL_CTX* ctx) {
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
    SSL_CTX_clear_options(ctx, SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    // A record's bytes and no more are taken from the stream, so that the rest can stay where it is
    // while the user takes nothing.
    SSL_CTX_set_read_ahead(ctx, 0);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_ciphersuites(ctx, kSuites) == 1 &&
           SSL_CTX_set1_groups_list(ctx, kGroups) == 1 && SSL_CTX_set_num_tickets(ctx, 0) == 1 &&
           SSL_CTX_set_max_early_data(ctx, 0) == 1;
}

}  // namespace

Result<std::unique_ptr<Context>> Context::make(Reactor& reactor, Role role) {
    const bool is_client = role == Role::kClient;
    SSL_CTX* ctx = SSL_CTX_new(is_client ? TLS_client_method() : TLS_server_method());
    BIO_METHOD* method = make_bio_method();
    std::unique_ptr<Context> made(new Context(reactor, role, ctx, method));
    if (ctx == nullptr || method == nullptr) {
        ERR_clear_error();
        return Errc::kNoMemory;
    }
    if (!configure(ctx)) {
        ERR_clear_error();
        return Errc::kNotSupported;
    }
    if (is_client) {
        set_client_callbacks(ctx);
        // With no authority to trust, a server that answers with a certificate is refused: it has
        // not proved that it knows the key.
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, nullptr);
    } else {
        set_server_callbacks(ctx);
    }
    return made;
}

Context::Context(Reactor& reactor, Role role, ssl_ctx_st* ctx, bio_method_st* method)
    : reactor_(reactor), role_(role), ctx_(ctx), method_(method) {}

Context::~Context() {
    SSL_CTX_free(ctx_);
    BIO_meth_free(method_);
    OPENSSL_cleanse(scratch_.data(), scratch_.size());
}

std::unique_ptr<Context::Buffer> Context::take_buffer() {
    if (free_.empty()) {
        return std::make_unique_for_overwrite<Buffer>();
    }
    std::unique_ptr<Buffer> buffer = std::move(free_.back());
    free_.pop_back();
    return buffer;
}

void Context::give_back(std::unique_ptr<Buffer> buffer) {
    free_.push_back(std::move(buffer));
}

}  // namespace basalt::tls
