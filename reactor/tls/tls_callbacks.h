#pragma once

#include "reactor/tls/psk.h"

struct ssl_ctx_st;
struct ssl_st;
struct bio_method_st;

namespace basalt::tls {

/// Makes OpenSSL ask TlsSocket for keys: for contexts of clients and of servers.
void set_client_callbacks(ssl_ctx_st* ctx);
void set_server_callbacks(ssl_ctx_st* ctx);

/// Takes and offers this suite only. A peer that may choose would choose one whose hash is not the
/// key's, and then ignore the key. False: OpenSSL does not have it, or no memory.
[[nodiscard]] bool offer_suite(ssl_st* ssl, CipherSuite suite);

/// The BIO of a TlsSocket, whose data is the socket. Null: no memory. Free with BIO_meth_free().
[[nodiscard]] bio_method_st* make_bio_method();

}  // namespace basalt::tls
