#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nvmf/auth/crypto.h"
#include "nvmf/auth/dhchap_secret.h"
#include "nvmf/auth/response.h"

namespace basalt::nvmf {

inline std::vector<std::byte> counting_bytes(size_t count, uint8_t first = 0) {
    std::vector<std::byte> bytes(count);
    for (size_t i = 0; i < count; ++i) {
        bytes[i] = static_cast<std::byte>(first + i);
    }
    return bytes;
}

inline std::string hex(ByteView bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    for (const std::byte byte : bytes) {
        text += kDigits[std::to_integer<size_t>(byte) >> 4U];
        text += kDigits[std::to_integer<size_t>(byte) & 0xfU];
    }
    return text;
}

/// "Random" bytes that count up, so that messages are the same each time.
class CountingRandom final : public AuthRandom {
  public:
    void fill(std::span<std::byte> out) override {
        for (std::byte& byte : out) {
            byte = static_cast<std::byte>(next_++);
        }
    }

  private:
    uint8_t next_ = 1;
};

inline DhchapSecret secret_of(uint8_t first, std::optional<AuthHash> transformation = {}) {
    return {Secret(ByteView(counting_bytes(32, first))), transformation};
}

inline AuthNames test_names() {
    return {.host_nqn = "nqn.2026-01.io.basalt:host",
            .subsystem_nqn = "nqn.2026-01.io.basalt:vol1"};
}

}  // namespace basalt::nvmf
