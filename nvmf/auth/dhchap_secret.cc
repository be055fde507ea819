#include "nvmf/auth/dhchap_secret.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <openssl/evp.h>

#include "nvmf/auth/crypto.h"
#include "nvmf/wire/le.h"
#include "reactor/base/assert.h"

namespace basalt::nvmf {

namespace {

constexpr std::string_view kPrefix = "DHHC-1:";
constexpr size_t kCrcBytes = 4;
constexpr std::array<size_t, 3> kSecretBytes{32, 48, 64};
constexpr size_t kTextCharsMax = 128;  // "DHHC-1:03:" and 92 characters of Base64 and ':'.

bool is_secret_size(size_t size) {
    return std::find(kSecretBytes.begin(), kSecretBytes.end(), size) != kSecretBytes.end();
}

// CRC-32 of ISO 3309, as zlib has it. Bit by bit: a secret is short, and a table would be indexed
// by what it holds.
uint32_t crc32(ByteView bytes) {
    constexpr uint32_t kPolynomial = 0xedb88320;
    uint32_t crc = 0xffffffff;
    for (const std::byte byte : bytes) {
        crc ^= std::to_integer<uint32_t>(byte);
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc >> 1U) ^ (kPolynomial & (0U - (crc & 1U)));
        }
    }
    return ~crc;
}

// The bytes of Base64 text with its padding.
Result<Secret> decode_base64(std::string_view text) {
    if (text.empty() || text.size() % 4 != 0 || text.size() > kTextCharsMax) {
        return Errc::kInvalidArgument;
    }
    const size_t first_pad = std::min(text.find('='), text.size());
    const size_t pads = text.size() - first_pad;
    if (pads > 2 || text.substr(first_pad).find_first_not_of('=') != std::string_view::npos) {
        return Errc::kInvalidArgument;
    }
    std::array<unsigned char, kTextCharsMax> decoded{};
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
    const auto* input = reinterpret_cast<const unsigned char*>(text.data());
    const int size = EVP_DecodeBlock(decoded.data(), input, static_cast<int>(text.size()));
    const std::span<std::byte> all = std::as_writable_bytes(std::span(decoded));
    if (size < 0) {
        wipe_bytes(all);
        return Errc::kInvalidArgument;
    }
    Secret bytes(ByteView(all.first(static_cast<size_t>(size) - pads)));
    wipe_bytes(all);
    return bytes;
}

ByteView bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

}  // namespace

DhchapSecret::DhchapSecret(Secret bytes, std::optional<AuthHash> transformation)
    : bytes_(std::move(bytes)), transformation_(transformation) {
    BASALT_ASSERT(is_secret_size(bytes_.bytes().size()));
}

Result<DhchapSecret> DhchapSecret::parse(std::string_view text) {
    constexpr size_t kIdChars = 2;
    if (!text.starts_with(kPrefix) || text.size() < kPrefix.size() + kIdChars + 1) {
        return Errc::kInvalidArgument;
    }
    const std::string_view id = text.substr(kPrefix.size(), kIdChars);
    std::string_view encoded = text.substr(kPrefix.size() + kIdChars);
    if (id[0] != '0' || id[1] < '0' || id[1] > '3' || encoded[0] != ':' ||
        !encoded.ends_with(':') || encoded.size() < 2) {
        return Errc::kInvalidArgument;
    }
    encoded = encoded.substr(1, encoded.size() - 2);
    BASALT_TRY(const Secret decoded, decode_base64(encoded));
    const ByteView bytes = decoded.bytes();
    if (bytes.size() <= kCrcBytes || !is_secret_size(bytes.size() - kCrcBytes)) {
        return Errc::kInvalidArgument;
    }
    const ByteView secret = bytes.first(bytes.size() - kCrcBytes);
    Le32 crc;
    std::memcpy(&crc, bytes.last(kCrcBytes).data(), kCrcBytes);
    if (crc.get() != crc32(secret)) {
        return Errc::kInvalidArgument;
    }
    return DhchapSecret(Secret(secret), hash_of(static_cast<uint8_t>(id[1] - '0')));
}

Secret DhchapSecret::format() const {
    const size_t size = bytes_.bytes().size();
    Secret with_crc = Secret::zeroes(size + kCrcBytes);
    std::copy(bytes_.bytes().begin(), bytes_.bytes().end(), with_crc.writable().begin());
    const Le32 crc(crc32(bytes_.bytes()));
    std::memcpy(with_crc.writable().last(kCrcBytes).data(), &crc, kCrcBytes);

    Secret text = Secret::zeroes(kTextCharsMax);
    const std::span<std::byte> out = text.writable();
    std::memcpy(out.data(), kPrefix.data(), kPrefix.size());
    const uint8_t id = transformation_ ? static_cast<uint8_t>(*transformation_) : uint8_t{0};
    const std::array<char, 3> middle{'0', static_cast<char>('0' + id), ':'};
    std::memcpy(&out[kPrefix.size()], middle.data(), middle.size());
    const size_t head = kPrefix.size() + middle.size();
    // NOLINTBEGIN(cppcoreguidelines-pro-type-reinterpret-cast)
    const int encoded =
        EVP_EncodeBlock(reinterpret_cast<unsigned char*>(&out[head]),
                        reinterpret_cast<const unsigned char*>(with_crc.bytes().data()),
                        static_cast<int>(with_crc.bytes().size()));
    // NOLINTEND(cppcoreguidelines-pro-type-reinterpret-cast)
    const size_t end = head + static_cast<size_t>(encoded);
    BASALT_ASSERT(end < kTextCharsMax);
    out[end] = std::byte{':'};
    return Secret(text.bytes().first(end + 1));
}

Result<Secret> DhchapSecret::transform(std::string_view nqn) const {
    if (!transformation_) {
        return Secret(bytes_.bytes());
    }
    const std::array<ByteView, 2> pieces{bytes_of(nqn), bytes_of("NVMe-over-Fabrics")};
    Secret transformed = Secret::zeroes(hash_bytes(*transformation_));
    BASALT_CHECK(hmac(*transformation_, bytes_.bytes(), pieces, transformed.writable()));
    return transformed;
}

}  // namespace basalt::nvmf
