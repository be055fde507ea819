#pragma once

#include <cstdint>

namespace basalt {

inline constexpr uint64_t kNsPerUs = 1'000;
inline constexpr uint64_t kNsPerMs = 1'000'000;
inline constexpr uint64_t kNsPerSecond = 1'000'000'000;

/// Monotonic time. Implementations: TscClock (real) and sim::SimClock (virtual).
class Clock {
  public:
    virtual ~Clock() = default;

    /// Nanoseconds since an arbitrary start; never goes back.
    [[nodiscard]] virtual uint64_t now_ns() = 0;
};

}  // namespace basalt
