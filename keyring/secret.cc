#include "keyring/secret.h"

#include <algorithm>

#include <openssl/crypto.h>

namespace basalt {

Secret::Secret(std::span<const std::byte> bytes) : Secret(zeroes(bytes.size())) {
    std::copy(bytes.begin(), bytes.end(), bytes_.get());
}

Secret::Secret(std::string_view text) : Secret(std::as_bytes(std::span(text))) {}

Secret Secret::zeroes(size_t size_bytes) {
    Secret secret;
    secret.bytes_ = std::make_unique<std::byte[]>(size_bytes);
    secret.size_ = size_bytes;
    return secret;
}

Secret& Secret::operator=(Secret&& other) noexcept {
    if (this != &other) {
        wipe();
        bytes_ = std::move(other.bytes_);
        size_ = std::exchange(other.size_, 0);
    }
    return *this;
}

std::string_view Secret::text() const {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes are text here.
    std::string_view text(reinterpret_cast<const char*>(bytes_.get()), size_);
    constexpr std::string_view kBlanks = " \t\r\n";
    const size_t first = text.find_first_not_of(kBlanks);
    if (first == std::string_view::npos) {
        return {};
    }
    return text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
}

bool Secret::equals(const Secret& other) const {
    return size_ == other.size_ && CRYPTO_memcmp(bytes_.get(), other.bytes_.get(), size_) == 0;
}

void Secret::wipe() {
    wipe_bytes(writable());
    bytes_.reset();
    size_ = 0;
}

void wipe_bytes(std::span<std::byte> bytes) {
    OPENSSL_cleanse(bytes.data(), bytes.size());
}

}  // namespace basalt
