#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "reactor/tls/limits.h"

namespace basalt::tls {

/// The cipher suites that are offered and taken. A pre-shared key belongs to one of them, because
/// its hash is that of the key schedule (RFC 8446, section 4.2.11).
enum class CipherSuite : uint8_t { kAes128GcmSha256, kAes256GcmSha384 };

/// A pre-shared key with its cipher suite. A value; wiped when it goes. Never logged.
class Psk {
  public:
    Psk() = default;
    /// `key` has 1 to kPskBytesMax bytes.
    Psk(CipherSuite suite, std::span<const std::byte> key);
    Psk(const Psk&) = default;
    Psk& operator=(const Psk&) = default;
    ~Psk();

    [[nodiscard]] CipherSuite suite() const { return suite_; }
    [[nodiscard]] std::span<const std::byte> key() const { return {key_.data(), size_}; }
    [[nodiscard]] bool is_empty() const { return size_ == 0; }
    /// In a time that depends on the lengths alone.
    [[nodiscard]] bool operator==(const Psk& other) const;

  private:
    std::array<std::byte, kPskBytesMax> key_{};
    uint8_t size_ = 0;
    CipherSuite suite_ = CipherSuite::kAes128GcmSha256;
};

/// Who knows the keys of a server. Asked during a handshake, on the connection's core; must answer
/// at once.
class PskSource {
  public:
    virtual ~PskSource() = default;
    /// The key of `identity`, which comes from the network and may be anything; null if there is
    /// none. The key is copied before anything else happens.
    [[nodiscard]] virtual const Psk* find(std::string_view identity) = 0;
};

}  // namespace basalt::tls
