#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "nvmf/auth/host_exchange.h"
#include "reactor/reactor.h"
#include "reactor/task.h"

namespace basalt::nvmf {

class HostQueue;

/// The secrets of a host and of the controllers that it connects to, as they are at this moment.
struct AuthSecrets {
    std::optional<DhchapSecret> host;        ///< None: it can't prove itself.
    std::optional<DhchapSecret> controller;  ///< None: the controller need not prove itself.
};

/// Where they are; asked at the beginning of each authentication, so that a key that is replaced
/// counts from the next one on. Core: the HostAuthenticator's.
class AuthSecretSource {
  public:
    virtual ~AuthSecretSource() = default;
    /// May block for a small file. Errors: those of reading a key, kInvalidArgument (no secret).
    [[nodiscard]] virtual Result<AuthSecrets> read_secrets() = 0;
};

/// Why a queue authenticates.
struct HostAuthWish {
    bool is_required = true;  ///< The controller wants it; if not, it is done if we want its proof.
    SecureChannel channel = SecureChannel::kNone;
};

/// One authentication of one queue, while it is under way. Owner: authenticate(). Core: the
/// queue's, and the authenticator's while that works on it.
struct HostAuthAttempt {
    AuthNames names;
    HostAuthWish wish;
    AuthSecrets secrets{};
    std::optional<HostExchange> exchange{};  ///< None: there is nothing to prove.
    std::vector<std::byte> message{};        ///< Sent, or received.
    size_t message_bytes = 0;
    Status status{};
};

/// Does the expensive part of our queues' authentications, on one core for all so that none of the
/// others stands still: up to 50 ms for each message of a controller.
///
/// Owner: who makes the queues; outlives them. Core: its reactor's, but core() is for all.
class HostAuthenticator {
  public:
    /// All outlive it.
    HostAuthenticator(Reactor& reactor,
                      AuthSecretSource& source,
                      AuthRandom& random,
                      AuthAlgorithms algorithms = {});
    HostAuthenticator(const HostAuthenticator&) = delete;
    HostAuthenticator& operator=(const HostAuthenticator&) = delete;

    [[nodiscard]] CoreId core() const { return core_; }
    /// Reads the secrets, and makes the exchange if there is one to make. Sets the status:
    /// kPermissionDenied if a secret is missing.
    void begin(HostAuthAttempt& attempt);
    /// Gives the exchange the message that has come.
    void apply(HostAuthAttempt& attempt);

  private:
    const CoreId core_;
    AuthSecretSource& source_;
    AuthRandom& random_;
    const AuthAlgorithms algorithms_;
    uint16_t transaction_ = 0;
    uint32_t sequence_ = 0;
};

/// Runs an authentication over `queue`, which is live; its other commands are not concerned.
/// Returns the key for TLS that was asked for, else nothing. Errors: kPermissionDenied (one of the
/// two has not proved itself, or can't), those of a command. `authenticator` outlives the call.
[[nodiscard]] Task<Result<Secret>> authenticate(HostQueue& queue,
                                                HostAuthenticator& authenticator,
                                                HostAuthWish wish);

}  // namespace basalt::nvmf
