#pragma once

#include <cstdint>

#include "reactor/base/assert.h"

namespace basalt {

/// A one-shot timer, a member of the object that it wakes. Owner: that object. Must be stopped or
/// expired before it is destroyed.
class Timer {
  public:
    using Run = void (*)(Timer& timer, void* context);

    Timer() = default;
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;
    ~Timer() { BASALT_ASSERT(!is_running_); }

    /// What to call at expiry. May start the timer again. `context` outlives the timer's running.
    void set(Run run, void* context) {
        run_ = run;
        context_ = context;
    }

    [[nodiscard]] bool is_running() const { return is_running_; }
    [[nodiscard]] uint64_t deadline_ns() const { return deadline_ns_; }

  private:
    friend class TimerQueue;

    Run run_ = nullptr;
    void* context_ = nullptr;
    uint64_t deadline_ns_ = 0;
    uint64_t sequence_ = 0;  // Equal deadlines expire in the order of their start.
    Timer* child_ = nullptr;
    Timer* sibling_ = nullptr;
    Timer* prev_ = nullptr;  // Parent for a first child, else the sibling before.
    bool is_running_ = false;
};

/// The running timers of one reactor: an intrusive pairing heap (Fredman et al., "The pairing
/// heap", 1986): start is O(1), expiry and stop O(log n) amortised, nothing is allocated, and the
/// order is exact, which a simulation needs. Owner and core: the reactor.
class TimerQueue {
  public:
    TimerQueue() = default;
    TimerQueue(const TimerQueue&) = delete;
    TimerQueue& operator=(const TimerQueue&) = delete;
    ~TimerQueue() { BASALT_ASSERT(root_ == nullptr); }

    /// Starts `timer`, which has its function set and is not running.
    void start(Timer& timer, uint64_t deadline_ns);

    /// Stops `timer` if it runs.
    void stop(Timer& timer);

    /// The earliest deadline, or UINT64_MAX when no timer runs.
    [[nodiscard]] uint64_t next_deadline_ns() const;

    /// Runs up to `count_max` that are due at `now_ns`, none that is started meanwhile. How many?
    uint32_t expire(uint64_t now_ns, uint32_t count_max);

    /// Stops all timers.
    void clear();

  private:
    static bool is_before(const Timer& a, const Timer& b);
    static Timer* meld(Timer* a, Timer* b);
    static Timer* merge_pairs(Timer* first);
    void remove(Timer& timer);

    Timer* root_ = nullptr;
    uint64_t next_sequence_ = 0;
};

}  // namespace basalt
