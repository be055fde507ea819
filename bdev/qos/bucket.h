#pragma once

#include <cstdint>

namespace basalt::qos {

/// A token bucket, kept as one moment: when it will be full again. Tokens come in at `rate` a
/// second until it holds what comes in during `depth_ns`. Taking some moves the moment on by the
/// time that they take to come; fractions of a nanosecond are carried along, so that no rate
/// drifts. What is more than the bucket holds is taken from a full one, which then owes.
///
/// The same as the virtual scheduling algorithm of ITU-T I.371 ("GCRA"). Pure arithmetic; whoever
/// owns it says what time it is, which never goes back.
class Bucket {
  public:
    /// No limit.
    Bucket() = default;
    /// Full. `rate` is not 0.
    Bucket(uint64_t rate, uint64_t depth_ns) : rate_(rate), depth_ns_(depth_ns) {}

    [[nodiscard]] bool is_set() const { return rate_ != 0; }

    /// From now on another rate and depth. What has been taken stays taken, in tokens.
    void change(uint64_t rate, uint64_t depth_ns, uint64_t now_ns);

    /// The first moment, `now_ns` or later, at which `amount` may be taken.
    [[nodiscard]] uint64_t ready_ns(uint64_t amount, uint64_t now_ns) const;

    /// Takes `amount`, whether or not it is there.
    void take(uint64_t amount, uint64_t now_ns);

    /// Puts tokens back that were taken and not used.
    void give_back(uint64_t amount);

  private:
    [[nodiscard]] uint64_t time_of(uint64_t amount) const;

    uint64_t rate_ = 0;
    uint64_t depth_ns_ = 0;
    uint64_t full_ns_ = 0;
    uint64_t carry_ = 0;  // Of full_ns_, in 1 / rate of a nanosecond.
};

}  // namespace basalt::qos
