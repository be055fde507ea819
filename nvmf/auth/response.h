#pragma once

#include <string>

#include "nvmf/auth/crypto.h"
#include "nvmf/auth/dhchap_secret.h"
#include "nvmf/auth/messages.h"

namespace basalt::nvmf {

/// The two who prove themselves to each other.
struct AuthNames {
    std::string host_nqn;
    std::string subsystem_nqn;
};

/// Whose proof a response is.
enum class AuthRole : uint8_t { kHost, kController };

/// What a response answers.
struct AuthChallenge {
    AuthHash hash = AuthHash::kSha256;
    uint32_t sequence = 0;
    uint16_t transaction = 0;
    ByteView value;                                ///< hash_bytes(hash).
    const Secret* shared = nullptr;                ///< Of Diffie-Hellman; null without.
    SecureChannel channel = SecureChannel::kNone;  ///< What the host has asked for.
};

/// The response of `role`, whose secret is `secret`, to a challenge: the HMAC of NVMe Base
/// Specification 2.0, section 8.13.5.3 (host) and 8.13.5.4 (controller). hash_bytes(hash) long.
/// Errors: kIo.
[[nodiscard]] Result<Secret> auth_response(AuthRole role,
                                           const DhchapSecret& secret,
                                           const AuthNames& names,
                                           const AuthChallenge& challenge);

/// The key for TLS that an exchange gives: HMAC(Ks, C1 || C2), where the session key Ks is the hash
/// of Diffie-Hellman's shared secret, and C1 and C2 are the challenges as they were sent (section
/// 8.13.5.9, "Generated PSK for TLS"). hash_bytes(hash) long. Errors: kIo.
[[nodiscard]] Result<Secret> generate_psk(AuthHash hash,
                                          const Secret& shared,
                                          ByteView controller_challenge,
                                          ByteView host_challenge);

/// The algorithms of an exchange that shall give a key: a key has to come from Diffie-Hellman, and
/// TLS has no cipher suite with SHA-512.
[[nodiscard]] constexpr AuthAlgorithms algorithms_for_psk(AuthAlgorithms algorithms) {
    algorithms.hashes &= static_cast<uint8_t>(~AuthAlgorithms::bit(AuthHash::kSha512));
    algorithms.groups &= static_cast<uint8_t>(~AuthAlgorithms::bit(DhGroup::kNull));
    return algorithms;
}

}  // namespace basalt::nvmf
