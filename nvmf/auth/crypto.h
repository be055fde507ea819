#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "keyring/secret.h"
#include "nvmf/auth/algorithms.h"
#include "reactor/base/result.h"

struct evp_pkey_st;

namespace basalt::nvmf {

/// What DH-HMAC-CHAP needs of OpenSSL, and nothing else. Every function fails with kIo if OpenSSL
/// does (out of memory, an algorithm that a policy of the machine forbids).

using ByteView = std::span<const std::byte>;

/// HMAC of the pieces, one after the other. `out` holds hash_bytes(hash).
[[nodiscard]] Status hmac(AuthHash hash,
                          ByteView key,
                          std::span<const ByteView> pieces,
                          std::span<std::byte> out);

/// The hash of `data`. `out` holds hash_bytes(hash).
[[nodiscard]] Status digest(AuthHash hash, ByteView data, std::span<std::byte> out);

/// Whether both are the same, in a time that depends on their sizes alone.
[[nodiscard]] bool is_equal(ByteView a, ByteView b);

/// Where challenges and sequence numbers come from. Owner: whoever runs exchanges.
class AuthRandom {
  public:
    virtual ~AuthRandom() = default;
    /// Fills `out` with bytes that nobody can foresee.
    virtual void fill(std::span<std::byte> out) = 0;
};

/// The cryptographic generator of OpenSSL, for production.
class SystemAuthRandom final : public AuthRandom {
  public:
    void fill(std::span<std::byte> out) override;
};

/// One side's key pair of a Diffie-Hellman exchange, used once: generating it and deriving a secret
/// cost a modular exponentiation each, up to tens of milliseconds. Can be moved. Wiped when it
/// goes.
class DhKey {
  public:
    /// `group` is not kNull.
    [[nodiscard]] static Result<DhKey> generate(DhGroup group);

    /// The public value, with leading zeroes; `out` holds dh_bytes(group).
    [[nodiscard]] Status write_public(std::span<std::byte> out) const;

    /// The secret shared with the owner of `peer_public`, with leading zeroes. Errors:
    /// kInvalidArgument: the value is of the wrong length, or one that would give the secret away
    /// (not between 2 and p - 2).
    [[nodiscard]] Result<Secret> derive(ByteView peer_public) const;

  private:
    struct Free {
        void operator()(evp_pkey_st* key) const;
    };
    DhKey(DhGroup group, evp_pkey_st* key) : group_(group), key_(key) {}

    DhGroup group_;
    std::unique_ptr<evp_pkey_st, Free> key_;
};

}  // namespace basalt::nvmf
