#pragma once

#include <array>
#include <cstdint>

#include "bdev/qos/bucket.h"
#include "bdev/qos/policy.h"

namespace basalt::qos {

/// All limits of a policy together: what passes must pass each of them. Pure arithmetic.
class RateGate {
  public:
    /// No limits.
    RateGate() = default;

    /// Makes the limits of `policy` valid. What has been taken stays taken.
    void set_limits(const Policy& policy, uint64_t now_ns);
    /// The same with the minimum of `policy`: passes what it may claim.
    void set_minimum(const Policy& policy, uint64_t now_ns);

    /// The first moment, `now_ns` or later, at which `cost` passes. `cost` is not negative.
    [[nodiscard]] uint64_t ready_ns(const Cost& cost, uint64_t now_ns) const;
    void take(const Cost& cost, uint64_t now_ns);
    void give_back(const Cost& cost);

  private:
    /// One limit: what comes in, and how fast a burst may take it.
    struct Line {
        Bucket sustained;
        Bucket peak;

        void set(const Limit& limit, uint32_t burst_seconds, uint64_t now_ns);
    };
    enum Kind : uint32_t { kIos, kBytes, kReadBytes, kWriteBytes, kKinds };

    [[nodiscard]] static std::array<uint64_t, kKinds> amounts(const Cost& cost);

    std::array<Line, kKinds> lines_;
};

}  // namespace basalt::qos
