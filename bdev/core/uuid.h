#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "reactor/base/result.h"

namespace basalt::bdev {

/// 16 bytes in the order of their text form (RFC 9562, big-endian). A value.
struct Uuid {
    std::array<uint8_t, 16> bytes{};

    auto operator<=>(const Uuid&) const = default;  // NOLINT(*nullptr): no pointer
    [[nodiscard]] bool is_nil() const { return *this == Uuid{}; }

    /// "3f2b0d3e-…" in lower case.
    [[nodiscard]] std::string to_string() const;

    /// From the form 8-4-4-4-12 in hexadecimal digits of either case. Errors: kInvalidArgument.
    [[nodiscard]] static Result<Uuid> parse(std::string_view text);

    /// A version 4 UUID of these random bytes (RFC 9562, section 5.4).
    [[nodiscard]] static Uuid from_random(const std::array<uint8_t, 16>& random_bytes);

    /// A version 8 UUID (RFC 9562, section 5.8) that is the same whenever `scope` and `name` are:
    /// XXH3-128 of "basalt", `scope` and `name`, each ended by a zero byte. `scope` is who gives
    /// out the name, so that the same name elsewhere is another UUID.
    [[nodiscard]] static Uuid from_name(std::string_view scope, std::string_view name);

    /// A version 4 UUID from the kernel's random numbers. Control thread.
    [[nodiscard]] static Uuid make_random();
};

}  // namespace basalt::bdev
