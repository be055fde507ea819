#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "nvmf/tls/interchange.h"
#include "reactor/base/result.h"
#include "reactor/tls/psk.h"

namespace basalt::nvmf {

/// Which form an identity has. Both name host and subsystem; kWithDigest names the key, too, so
/// that two keys of one pair can be told apart while they are changed.
enum class IdentityVersion : uint8_t { kPlain = 0, kWithDigest = 1 };

/// What one side of a TLS connection between a host and a subsystem shows and proves: the identity
/// that travels in clear, and the key that never does.
struct TlsCredential {
    std::string identity;
    tls::Psk psk;
};

/// Host and subsystem of a connection. The names live as long as the call that gets them.
struct TlsPair {
    std::string_view host_nqn;
    std::string_view subsystem_nqn;
};

/// What a configured key is worth between two names: the retained key is derived from it for this
/// host (or is the key itself), the TLS key from that and the identity. NVMe TCP Transport
/// Specification, "TLS PSK and PSK Identity Derivation". Errors: kInvalidArgument: a name is empty
/// or longer than an NQN may be; kOutOfRange: the two names together are too long for a plain
/// identity, which must not exceed 255 bytes where the key is derived from it; kNoMemory.
[[nodiscard]] Result<TlsCredential> derive_credential(const ConfiguredPsk& configured,
                                                      const TlsPair& pair,
                                                      IdentityVersion version);

/// The same for a key that DH-HMAC-CHAP has generated, HMAC(session key, C1 || C2), whose length
/// says its hash: 32 or 48 bytes. Always with a digest. Errors: as above.
[[nodiscard]] Result<TlsCredential> derive_generated_credential(
    std::span<const std::byte> generated_psk, const TlsPair& pair);

/// Whether an identity is that of a key which DH-HMAC-CHAP has generated ("NVMe1G...").
[[nodiscard]] constexpr bool is_generated_identity(std::string_view identity) {
    return identity.starts_with("NVMe1G");
}

}  // namespace basalt::nvmf
