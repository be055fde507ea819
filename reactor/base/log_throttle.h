#pragma once

#include <cstdint>
#include <utility>

namespace basalt {

/// Keeps lines that a peer can provoke from filling the log: one passes in each period, the others
/// are counted, and the next one that passes says how many they were.
///
/// Owner: whatever logs. Core: the owner's.
class LogThrottle {
  public:
    explicit LogThrottle(uint64_t period_ns) : period_ns_(period_ns) {}

    /// True if a line may be written at `now_ns`, the reactor's time; else it is counted.
    [[nodiscard]] bool admit(uint64_t now_ns) {
        if (has_written_ && now_ns - written_ns_ < period_ns_) {
            ++skipped_;
            return false;
        }
        has_written_ = true;
        written_ns_ = now_ns;
        return true;
    }

    /// How many lines were not written since this was last asked.
    [[nodiscard]] uint64_t take_skipped() { return std::exchange(skipped_, 0); }

  private:
    uint64_t period_ns_;
    uint64_t written_ns_ = 0;
    uint64_t skipped_ = 0;
    bool has_written_ = false;
};

}  // namespace basalt
