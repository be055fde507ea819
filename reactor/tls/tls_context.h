#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "reactor/reactor.h"
#include "reactor/tls/limits.h"

// OpenSSL's types, so that its headers stay out of ours.
struct ssl_ctx_st;
struct bio_method_st;

namespace basalt::tls {

enum class Role : uint8_t { kClient, kServer };

/// What the TLS sockets of one core and role share: OpenSSL's configuration (TLS 1.3, two cipher
/// suites, pre-shared keys with Diffie-Hellman, no tickets, no early data) and the buffers that a
/// socket needs only while bytes are under way, so that idle connections have none.
///
/// Owner: whoever makes the sockets; outlives them. Core: its reactor's.
class Context {
  public:
    /// Ciphertext that waits for the socket below, or plaintext that waits for the user.
    using Buffer = std::array<std::byte, kOutBytes>;

    /// Errors: kNoMemory; kNotSupported (OpenSSL is configured not to do what we need).
    [[nodiscard]] static Result<std::unique_ptr<Context>> make(Reactor& reactor, Role role);
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;
    ~Context();

    [[nodiscard]] Reactor& reactor() { return reactor_; }
    [[nodiscard]] Role role() const { return role_; }
    [[nodiscard]] ssl_ctx_st* native() { return ctx_; }
    [[nodiscard]] bio_method_st* bio_method() { return method_; }

    /// A buffer from the stack of those not in use. It grows to the most that were ever in use at
    /// once, at most two a connection, and then allocates no more.
    [[nodiscard]] std::unique_ptr<Buffer> take_buffer();
    void give_back(std::unique_ptr<Buffer> buffer);

    /// One record's plaintext, for the call that is running.
    [[nodiscard]] std::span<std::byte> scratch() { return scratch_; }

  private:
    Context(Reactor& reactor, Role role, ssl_ctx_st* ctx, bio_method_st* method);

    Reactor& reactor_;
    const Role role_;
    ssl_ctx_st* const ctx_;
    bio_method_st* const method_;
    std::vector<std::unique_ptr<Buffer>> free_;
    std::array<std::byte, kRecordPlainBytes> scratch_{};
};

}  // namespace basalt::tls
