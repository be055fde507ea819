#pragma once

#include <coroutine>

#include "reactor/base/assert.h"
#include "reactor/base/intrusive_list.h"

namespace basalt {

/// Lets one sequence of one core at a time through; the others wait in line. For reconfigurations
/// that consist of several visits to other cores. Not a lock: it never blocks the thread.
///
/// Owner and core: the object whose changes it puts in order.
class AsyncMutex {
  public:
    AsyncMutex() = default;
    AsyncMutex(const AsyncMutex&) = delete;
    AsyncMutex& operator=(const AsyncMutex&) = delete;
    ~AsyncMutex() { BASALT_ASSERT(!is_held_); }

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
            awaiter_ = awaiter;
            mutex_.waiting_.push_back(*this);
        }
        void await_resume() const {}

      private:
        friend class AsyncMutex;
        AsyncMutex& mutex_;
        std::coroutine_handle<> awaiter_;
        ListLink link_;
    };

    [[nodiscard]] Acquire acquire() { return Acquire(*this); }

  private:
    void release() {
        BASALT_ASSERT(is_held_);
        if (Acquire* next = waiting_.pop_front()) {
            next->awaiter_.resume();  // It stays held: the next one has it.
        } else {
            is_held_ = false;
        }
    }

    bool is_held_ = false;
    IntrusiveList<Acquire, &Acquire::link_> waiting_;
};

}  // namespace basalt
