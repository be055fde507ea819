#include "nvmf/tls/interchange.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <isa-l/crc.h>
#include <openssl/evp.h>

namespace basalt::nvmf {

namespace {

constexpr std::string_view kPrefix = "NVMeTLSkey-1:";
constexpr size_t kHashDigits = 2;
constexpr size_t kCrcBytes = 4;
constexpr size_t kKeyBytesMax = 48;
constexpr size_t kTextBytesMax = (kKeyBytesMax + kCrcBytes + 2) / 3 * 4;

bool fits(PskHash hash, size_t key_bytes) {
    switch (hash) {
        case PskHash::kNone: return key_bytes == 32 || key_bytes == 48;
        case PskHash::kSha256: return key_bytes == 32;
        case PskHash::kSha384: return key_bytes == 48;
    }
    return false;
}

std::array<std::byte, kCrcBytes> checksum(std::span<const std::byte> key) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(key.data());
    uint32_t crc = crc32_gzip_refl(0, bytes, key.size());
    std::array<std::byte, kCrcBytes> out{};
    for (std::byte& byte : out) {
        byte = static_cast<std::byte>(crc & 0xffU);
        crc >>= 8U;
    }
    return out;
}

bool is_base64(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/';
}

/// Strict base 64 (RFC 4648, section 4). Returns how many bytes; 0 if it is none.
size_t decode_base64(std::string_view text, std::span<std::byte> out) {
    const size_t digits = std::min(text.find('='), text.size());
    const size_t padding = text.size() - digits;
    if (text.empty() || text.size() % 4 != 0 || text.size() / 4 * 3 > out.size() || padding > 2 ||
        text.find_first_not_of('=', digits) != std::string_view::npos ||
        !std::all_of(text.begin(), text.begin() + static_cast<ptrdiff_t>(digits), is_base64)) {
        return 0;
    }
    const int bytes = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                      reinterpret_cast<const unsigned char*>(text.data()),
                                      static_cast<int>(text.size()));
    return bytes < 0 ? 0 : static_cast<size_t>(bytes) - padding;
}

}  // namespace

Result<ConfiguredPsk> ConfiguredPsk::parse(std::string_view text) {
    if (!text.starts_with(kPrefix) || text.size() < kPrefix.size() + kHashDigits + 2) {
        return Errc::kInvalidArgument;
    }
    std::string_view rest = text.substr(kPrefix.size());
    if (rest[0] != '0' || rest[1] < '0' || rest[1] > '2' || rest[2] != ':' || rest.back() != ':') {
        return Errc::kInvalidArgument;
    }
    const auto hash = static_cast<PskHash>(rest[1] - '0');
    rest = rest.substr(kHashDigits + 1);
    rest.remove_suffix(1);
    Secret decoded = Secret::zeroes(kTextBytesMax);
    const size_t bytes = decode_base64(rest, decoded.writable());
    if (bytes <= kCrcBytes || !fits(hash, bytes - kCrcBytes)) {
        return Errc::kInvalidArgument;
    }
    const std::span<const std::byte> key = decoded.bytes().first(bytes - kCrcBytes);
    const auto crc = checksum(key);
    if (std::memcmp(decoded.bytes().data() + key.size(), crc.data(), crc.size()) != 0) {
        return Errc::kDataCorrupt;
    }
    return ConfiguredPsk(hash, key);
}

Result<ConfiguredPsk> ConfiguredPsk::make(PskHash hash, std::span<const std::byte> key) {
    if (!fits(hash, key.size())) {
        return Errc::kInvalidArgument;
    }
    return ConfiguredPsk(hash, key);
}

Secret ConfiguredPsk::format() const {
    Secret raw = Secret::zeroes(key().size() + kCrcBytes);
    const auto crc = checksum(key());
    std::memcpy(raw.writable().data(), key().data(), key().size());
    std::memcpy(raw.writable().data() + key().size(), crc.data(), crc.size());
    const size_t base64_bytes = (raw.bytes().size() + 2) / 3 * 4;
    Secret out = Secret::zeroes(kPrefix.size() + kHashDigits + 1 + base64_bytes + 1);
    auto* at = reinterpret_cast<unsigned char*>(out.writable().data());
    std::memcpy(at, kPrefix.data(), kPrefix.size());
    at += kPrefix.size();
    *at++ = '0';
    *at++ = static_cast<unsigned char>('0' + static_cast<int>(hash_));
    *at++ = ':';
    // The NUL that EVP_EncodeBlock() adds is where the last colon goes.
    EVP_EncodeBlock(at,
                    reinterpret_cast<const unsigned char*>(raw.bytes().data()),
                    static_cast<int>(raw.bytes().size()));
    at[base64_bytes] = ':';
    return out;
}

}  // namespace basalt::nvmf
