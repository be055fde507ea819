#include "reactor/tls/psk.h"

#include <cstring>

#include <openssl/crypto.h>

#include "reactor/base/assert.h"

namespace basalt::tls {

Psk::Psk(CipherSuite suite, std::span<const std::byte> key)
    : size_(static_cast<uint8_t>(key.size())), suite_(suite) {
    BASALT_ASSERT(!key.empty());
    BASALT_ASSERT(key.size() <= key_.size());
    std::memcpy(key_.data(), key.data(), key.size());
}

Psk::~Psk() {
    OPENSSL_cleanse(key_.data(), key_.size());
}

bool Psk::operator==(const Psk& other) const {
    return size_ == other.size_ && suite_ == other.suite_ &&
           CRYPTO_memcmp(key_.data(), other.key_.data(), size_) == 0;
}

}  // namespace basalt::tls
