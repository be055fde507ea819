#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "keyring/secret.h"
#include "reactor/base/result.h"

namespace basalt::nvmf {

/// A hash function as keys and identities number them (NVMe TCP Transport Specification, "PSK
/// Interchange Format" and "TLS PSK and PSK Identity Derivation").
enum class PskHash : uint8_t { kNone = 0, kSha256 = 1, kSha384 = 2 };

/// A configured pre-shared key, as people hand it around:
///
///   NVMeTLSkey-1:01:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrZ:
///
/// The second field says with which hash a retained key is made of it; 00: it is used as it is. The
/// third is the key, 32 or 48 bytes, with its CRC-32 behind it, least significant byte first, in
/// base 64. Can be moved; wiped when it goes.
class ConfiguredPsk {
  public:
    /// Reads what `nvme gen-tls-key` writes. Errors: kInvalidArgument: another format, or a length
    /// that does not go with the hash; kDataCorrupt: the checksum is wrong.
    [[nodiscard]] static Result<ConfiguredPsk> parse(std::string_view text);

    /// `key` has 32 bytes (not with kSha384) or 48 (not with kSha256).
    [[nodiscard]] static Result<ConfiguredPsk> make(PskHash hash, std::span<const std::byte> key);

    /// In the format above.
    [[nodiscard]] Secret format() const;

    /// What the retained key is to be made with.
    [[nodiscard]] PskHash hash() const { return hash_; }
    [[nodiscard]] std::span<const std::byte> key() const { return key_.bytes(); }

  private:
    ConfiguredPsk(PskHash hash, std::span<const std::byte> key) : hash_(hash), key_(key) {}

    PskHash hash_;
    Secret key_;
};

}  // namespace basalt::nvmf
