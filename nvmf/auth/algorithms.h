#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace basalt::nvmf {

/// The hash of DH-HMAC-CHAP's responses, with the numbers of the wire (NVMe Base Specification 2.0,
/// section 8.13.5, "Hash function identifiers"). In the written form of a secret, 0 means none.
enum class AuthHash : uint8_t { kSha256 = 1, kSha384 = 2, kSha512 = 3 };

/// The Diffie-Hellman group, with the numbers of the wire: those of RFC 7919, or none.
enum class DhGroup : uint8_t {
    kNull = 0,
    kFfdhe2048 = 1,
    kFfdhe3072 = 2,
    kFfdhe4096 = 3,
    kFfdhe6144 = 4,
    kFfdhe8192 = 5,
};

/// Longest hash and longest Diffie-Hellman value.
inline constexpr size_t kHashBytesMax = 64;
inline constexpr size_t kDhBytesMax = 1024;

/// All there are, the strongest first: the order in which a controller chooses.
inline constexpr std::array<AuthHash, 3> kAuthHashes{
    AuthHash::kSha512, AuthHash::kSha384, AuthHash::kSha256};
inline constexpr std::array<DhGroup, 6> kDhGroups{DhGroup::kFfdhe8192,
                                                  DhGroup::kFfdhe6144,
                                                  DhGroup::kFfdhe4096,
                                                  DhGroup::kFfdhe3072,
                                                  DhGroup::kFfdhe2048,
                                                  DhGroup::kNull};

[[nodiscard]] size_t hash_bytes(AuthHash hash);
/// 0 for kNull.
[[nodiscard]] size_t dh_bytes(DhGroup group);

/// What a number of the wire means; nothing if it means nothing.
[[nodiscard]] std::optional<AuthHash> hash_of(uint8_t id);
[[nodiscard]] std::optional<DhGroup> group_of(uint8_t id);

/// "sha256", "ffdhe2048", "null": the names of the API, of nvme-cli and of OpenSSL.
[[nodiscard]] const char* name_of(AuthHash hash);
[[nodiscard]] const char* name_of(DhGroup group);
[[nodiscard]] std::optional<AuthHash> hash_named(std::string_view name);
[[nodiscard]] std::optional<DhGroup> group_named(std::string_view name);

/// Which algorithms one side is willing to use. By default all.
struct AuthAlgorithms {
    uint8_t hashes = 0b1110;    ///< Bit n: the hash with number n.
    uint8_t groups = 0b111111;  ///< Bit n: the group with number n.

    [[nodiscard]] constexpr bool has(AuthHash hash) const {
        return ((hashes >> static_cast<uint8_t>(hash)) & 1U) != 0;
    }
    [[nodiscard]] constexpr bool has(DhGroup group) const {
        return ((groups >> static_cast<uint8_t>(group)) & 1U) != 0;
    }
    static constexpr uint8_t bit(AuthHash hash) {
        return static_cast<uint8_t>(1U << static_cast<uint8_t>(hash));
    }
    static constexpr uint8_t bit(DhGroup group) {
        return static_cast<uint8_t>(1U << static_cast<uint8_t>(group));
    }
    constexpr bool operator==(const AuthAlgorithms&) const = default;
};

}  // namespace basalt::nvmf
