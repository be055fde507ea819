#pragma once

struct ssl_ctx_st;
struct bio_method_st;

namespace basalt::tls {

/// Makes OpenSSL ask TlsSocket for keys: for contexts of clients and of servers.
void set_client_callbacks(ssl_ctx_st* ctx);
void set_server_callbacks(ssl_ctx_st* ctx);

/// The BIO of a TlsSocket, whose data is the socket. Null: no memory. Free with BIO_meth_free().
[[nodiscard]] bio_method_st* make_bio_method();

}  // namespace basalt::tls
