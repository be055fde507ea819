#include "nvmf/tls/credential.h"

#include <array>

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>

#include "nvmf/wire/limits.h"

namespace basalt::nvmf {

namespace {

constexpr size_t kDigestBytesLongest = 48;
constexpr size_t kContextBytesMax = 255;  // Its length is one byte.

size_t bytes_of(PskHash hash) {
    return hash == PskHash::kSha256 ? 32 : 48;
}

const EVP_MD* function_of(PskHash hash) {
    return hash == PskHash::kSha256 ? EVP_sha256() : EVP_sha384();
}

/// The suite whose hash the identity names.
tls::CipherSuite suite_of(PskHash hash) {
    return hash == PskHash::kSha256 ? tls::CipherSuite::kAes128GcmSha256
                                    : tls::CipherSuite::kAes256GcmSha384;
}

const unsigned char* as_chars(std::span<const std::byte> bytes) {
    return reinterpret_cast<const unsigned char*>(bytes.data());
}

/// HkdfLabel of RFC 8446, section 7.1. `label` is without "tls13 ".
std::string hkdf_label(size_t out_bytes, std::string_view label, std::string_view context) {
    constexpr std::string_view kTls13 = "tls13 ";
    std::string info;
    info.push_back(static_cast<char>(out_bytes >> 8U));
    info.push_back(static_cast<char>(out_bytes & 0xffU));
    info.push_back(static_cast<char>(kTls13.size() + label.size()));
    info += kTls13;
    info += label;
    info.push_back(static_cast<char>(context.size()));
    info += context;
    return info;
}

/// HKDF-Extract with a salt of zeroes, then HKDF-Expand-Label to as many bytes as `key` has.
Result<Secret> derive(PskHash hash,
                      std::span<const std::byte> key,
                      std::string_view label,
                      std::string_view context) {
    if (context.size() > kContextBytesMax) {
        return Errc::kOutOfRange;
    }
    const std::string info = hkdf_label(key.size(), label, context);
    Secret out = Secret::zeroes(key.size());
    size_t out_bytes = key.size();
    EVP_PKEY_CTX* ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, nullptr);
    const bool is_derived =
        ctx != nullptr && EVP_PKEY_derive_init(ctx) == 1 &&
        EVP_PKEY_CTX_set_hkdf_md(ctx, function_of(hash)) == 1 &&
        EVP_PKEY_CTX_set1_hkdf_key(ctx, as_chars(key), static_cast<int>(key.size())) == 1 &&
        EVP_PKEY_CTX_add1_hkdf_info(ctx,
                                    reinterpret_cast<const unsigned char*>(info.data()),
                                    static_cast<int>(info.size())) == 1 &&
        EVP_PKEY_derive(ctx, reinterpret_cast<unsigned char*>(out.writable().data()), &out_bytes) ==
            1;
    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    if (!is_derived || out_bytes != key.size()) {
        return Errc::kNoMemory;  // What was asked for is right, so nothing else can be missing.
    }
    return out;
}

/// Base64(HMAC(key, host || " " || subsystem || " NVMe-over-Fabrics")).
Result<std::string> digest_of(PskHash hash, std::span<const std::byte> key, const TlsPair& pair) {
    const std::string text =
        fmt::format("{} {} NVMe-over-Fabrics", pair.host_nqn, pair.subsystem_nqn);
    std::array<unsigned char, kDigestBytesLongest> mac{};
    unsigned int mac_bytes = 0;
    if (HMAC(function_of(hash),
             key.data(),
             static_cast<int>(key.size()),
             reinterpret_cast<const unsigned char*>(text.data()),
             text.size(),
             mac.data(),
             &mac_bytes) == nullptr) {
        return Errc::kNoMemory;
    }
    std::array<unsigned char, kDigestBytesLongest / 3 * 4 + 1> base64{};
    const int chars = EVP_EncodeBlock(base64.data(), mac.data(), static_cast<int>(mac_bytes));
    return std::string(reinterpret_cast<const char*>(base64.data()), static_cast<size_t>(chars));
}

Status check(const TlsPair& pair) {
    for (const std::string_view nqn : {pair.host_nqn, pair.subsystem_nqn}) {
        if (nqn.empty() || nqn.size() > kNqnBytesMax) {
            return Errc::kInvalidArgument;
        }
    }
    return kOk;
}

Result<TlsCredential> derive_from_input(PskHash hash,
                                        std::span<const std::byte> input,
                                        const TlsPair& pair,
                                        IdentityVersion version,
                                        char kind) {
    TlsCredential made;
    std::string context;
    made.identity = fmt::format("NVMe{}{}{:02} {} {}",
                                static_cast<int>(version),
                                kind,
                                static_cast<int>(hash),
                                pair.host_nqn,
                                pair.subsystem_nqn);
    if (version == IdentityVersion::kPlain) {
        context = made.identity;
    } else {
        BASALT_TRY(const std::string digest, digest_of(hash, input, pair));
        made.identity += " " + digest;
        context = fmt::format("{:02} {}", static_cast<int>(hash), digest);
    }
    BASALT_TRY(const Secret key, derive(hash, input, "nvme-tls-psk", context));
    made.psk = tls::Psk(suite_of(hash), key.bytes());
    return made;
}

}  // namespace

Result<TlsCredential> derive_credential(const ConfiguredPsk& configured,
                                        const TlsPair& pair,
                                        IdentityVersion version) {
    BASALT_CHECK(check(pair));
    const std::span<const std::byte> key = configured.key();
    const PskHash hash =
        key.size() == bytes_of(PskHash::kSha256) ? PskHash::kSha256 : PskHash::kSha384;
    if (configured.hash() == PskHash::kNone) {
        return derive_from_input(hash, key, pair, version, 'R');
    }
    BASALT_TRY(const Secret retained, derive(configured.hash(), key, "HostNQN", pair.host_nqn));
    return derive_from_input(hash, retained.bytes(), pair, version, 'R');
}

Result<TlsCredential> derive_generated_credential(std::span<const std::byte> generated_psk,
                                                  const TlsPair& pair) {
    BASALT_CHECK(check(pair));
    for (const PskHash hash : {PskHash::kSha256, PskHash::kSha384}) {
        if (generated_psk.size() == bytes_of(hash)) {
            return derive_from_input(hash, generated_psk, pair, IdentityVersion::kWithDigest, 'G');
        }
    }
    return Errc::kInvalidArgument;
}

}  // namespace basalt::nvmf
