#pragma once

#include <coroutine>

#include "reactor/base/assert.h"
#include "reactor/base/intrusive_list.h"
#include "reactor/reactor.h"

namespace basalt {

/// Lets one sequence of one core at a time through; the others wait in line. For reconfigurations
/// that consist of several visits to other cores. Not a lock: it never blocks the thread. The next
/// sequence goes on from the poll loop, so that a long line of short ones needs no deep stack.
///
/// Owner: the object whose changes it puts in order. Core: `here`'s.
class AsyncMutex {
  public:
    explicit AsyncMutex(Reactor& here) : here_(here) {}
    AsyncMutex(const AsyncMutex&) = delete;
    AsyncMutex& operator=(const AsyncMutex&) = delete;
    /// Nobody holds it or waits; or its machine has lost its power, and they never go on.
    ~AsyncMutex() {
        if (here_.is_abandoned()) {
            waiting_.clear();
        } else {
            BASALT_ASSERT(!is_held_);
        }
    }

    /// Held by the sequence that is through; lets the next one through when destroyed.
    class [[nodiscard]] Turn {
      public:
        explicit Turn(AsyncMutex& mutex) : mutex_(mutex) {}
        Turn(const Turn&) = delete;
        Turn& operator=(const Turn&) = delete;
        ~Turn() { mutex_.release(); }

      private:
        AsyncMutex& mutex_;
    };

    /// `co_await mutex.acquire(); const AsyncMutex::Turn turn(mutex);`
    class [[nodiscard]] Acquire {
      public:
        explicit Acquire(AsyncMutex& mutex) : mutex_(mutex) {}
        [[nodiscard]] bool await_ready() {
            if (mutex_.is_held_) {
                return false;
            }
            mutex_.is_held_ = true;
            return true;
        }
        void await_suspend(std::coroutine_handle<> awaiter) {
            turn_.awaiter = awaiter;
            turn_.set_run(
                [](Event& event, Reactor&) { static_cast<Next&>(event).awaiter.resume(); });
            mutex_.waiting_.push_back(turn_);
        }
        void await_resume() const {}

      private:
        friend class AsyncMutex;
        struct Next : Event {
            std::coroutine_handle<> awaiter;
        };

        AsyncMutex& mutex_;
        Next turn_;
    };

    [[nodiscard]] Acquire acquire() { return Acquire(*this); }

  private:
    void release() {
        BASALT_ASSERT(is_held_);
        if (Event* next = waiting_.pop_front()) {
            here_.defer(*next);  // It stays held: the next one has it.
        } else {
            is_held_ = false;
        }
    }

    Reactor& here_;
    bool is_held_ = false;
    EventList waiting_;
};

}  // namespace basalt
