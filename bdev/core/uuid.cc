#include "bdev/core/uuid.h"

#include <cstddef>

#include <sys/random.h>
#include <xxhash.h>

#include "reactor/base/assert.h"

namespace basalt::bdev {

namespace {

constexpr size_t kTextBytes = 36;

constexpr bool is_dash_at(size_t position) {
    return position == 8 || position == 13 || position == 18 || position == 23;
}

int hex_value(char digit) {
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    if (digit >= 'A' && digit <= 'F') {
        return digit - 'A' + 10;
    }
    return -1;
}

// RFC 9562, sections 4.1 and 4.2.
Uuid mark(const std::array<uint8_t, 16>& bytes, uint8_t version) {
    Uuid uuid{bytes};
    uuid.bytes[6] = static_cast<uint8_t>((uuid.bytes[6] & 0x0f) | (version << 4));
    uuid.bytes[8] = static_cast<uint8_t>((uuid.bytes[8] & 0x3f) | 0x80);
    return uuid;
}

}  // namespace

std::string Uuid::to_string() const {
    static constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    text.reserve(kTextBytes);
    for (const uint8_t byte : bytes) {
        if (is_dash_at(text.size())) {
            text += '-';
        }
        text += kDigits[byte >> 4];
        text += kDigits[byte & 0xf];
    }
    return text;
}

Result<Uuid> Uuid::parse(std::string_view text) {
    if (text.size() != kTextBytes) {
        return Errc::kInvalidArgument;
    }
    Uuid uuid;
    size_t nibble = 0;
    for (size_t i = 0; i < text.size(); ++i) {
        if (is_dash_at(i)) {
            if (text[i] != '-') {
                return Errc::kInvalidArgument;
            }
            continue;
        }
        const int value = hex_value(text[i]);
        if (value < 0) {
            return Errc::kInvalidArgument;
        }
        const int shift = nibble % 2 == 0 ? 4 : 0;
        uint8_t& byte = uuid.bytes[nibble / 2];
        byte = static_cast<uint8_t>(byte | (value << shift));
        ++nibble;
    }
    return uuid;
}

Uuid Uuid::from_random(const std::array<uint8_t, 16>& random_bytes) {
    return mark(random_bytes, 4);
}

Uuid Uuid::from_name(std::string_view scope, std::string_view name) {
    std::string text;
    for (const std::string_view part : {std::string_view("basalt"), scope, name}) {
        text += part;
        text += '\0';
    }
    XXH128_canonical_t canonical;  // Big-endian, on every machine.
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(text.data(), text.size()));
    return mark(std::to_array(canonical.digest), 8);
}

Uuid Uuid::make_random() {
    std::array<uint8_t, 16> random_bytes{};
    // Up to 256 bytes are never cut short (getrandom(2)).
    const ssize_t got = getrandom(random_bytes.data(), random_bytes.size(), 0);
    BASALT_ASSERT(got == static_cast<ssize_t>(random_bytes.size()));
    return from_random(random_bytes);
}

}  // namespace basalt::bdev
