#pragma once

#include <string>

#include "nvmf/auth/crypto.h"
#include "nvmf/auth/dhchap_secret.h"

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
    ByteView value;                  ///< hash_bytes(hash).
    const Secret* shared = nullptr;  ///< Of Diffie-Hellman; null without.
};

/// The response of `role`, whose secret is `secret`, to a challenge: the HMAC of NVMe Base
/// Specification 2.0, section 8.13.5.3 (host) and 8.13.5.4 (controller). hash_bytes(hash) long.
/// Errors: kIo.
[[nodiscard]] Result<Secret> auth_response(AuthRole role,
                                           const DhchapSecret& secret,
                                           const AuthNames& names,
                                           const AuthChallenge& challenge);

}  // namespace basalt::nvmf
