#pragma once

#include <algorithm>
#include <cstdint>

namespace basalt::qos {

/// What one I/O costs: itself, and the bytes that it moves in one direction.
struct IoCost {
    uint32_t bytes = 0;
    bool is_write = false;
};

/// A number of I/Os and bytes: tokens, or what is asked for. Negative: owed.
struct Cost {
    int64_t ios = 0;
    int64_t read_bytes = 0;
    int64_t write_bytes = 0;

    void add(const Cost& other) {
        ios += other.ios;
        read_bytes += other.read_bytes;
        write_bytes += other.write_bytes;
    }
    void add(const IoCost& io) {
        ++ios;
        (io.is_write ? write_bytes : read_bytes) += io.bytes;
    }
    void subtract(const IoCost& io) {
        --ios;
        (io.is_write ? write_bytes : read_bytes) -= io.bytes;
    }
    [[nodiscard]] bool is_zero() const { return (ios | read_bytes | write_bytes) == 0; }
    [[nodiscard]] int64_t bytes() const { return read_bytes + write_bytes; }

    bool operator==(const Cost&) const = default;
};

[[nodiscard]] inline Cost smaller(const Cost& a, const Cost& b) {
    return {.ios = std::min(a.ios, b.ios),
            .read_bytes = std::min(a.read_bytes, b.read_bytes),
            .write_bytes = std::min(a.write_bytes, b.write_bytes)};
}

[[nodiscard]] inline Cost larger(const Cost& a, const Cost& b) {
    return {.ios = std::max(a.ios, b.ios),
            .read_bytes = std::max(a.read_bytes, b.read_bytes),
            .write_bytes = std::max(a.write_bytes, b.write_bytes)};
}

}  // namespace basalt::qos
