#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "reactor/base/assert.h"
#include "reactor/reactor.h"

namespace basalt {

/// Memory for coroutine frames: free lists by size class in blocks that are never given back, one
/// set a thread, so that a rare sequence costs no malloc once its first run is over.
class FramePool {
  public:
    [[nodiscard]] static void* allocate(size_t size_bytes);
    static void release(void* frame, size_t size_bytes);
};

template <typename T>
class Task;

namespace detail {

/// What promises of all Tasks share. A task starts at once (eager). When it ends, its awaiter is
/// resumed from there if it waits already. Resuming is an ordinary call, not a symmetric transfer,
/// which overflows the stack with GCC 12 below -O2; sequences here are short, and the I/O that they
/// await resumes them from the poll loop.
class PromiseBase {
  public:
    static void* operator new(size_t size_bytes) { return FramePool::allocate(size_bytes); }
    static void operator delete(void* frame, size_t size_bytes) {
        FramePool::release(frame, size_bytes);
    }

    [[nodiscard]] std::suspend_never initial_suspend() const noexcept { return {}; }

    /// Hands control to the awaiter, or frees the frame when nobody owns the task any more.
    struct FinalAwaiter {
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        template <typename Promise>
        void await_suspend(std::coroutine_handle<Promise> finished) const noexcept {
            PromiseBase& promise = finished.promise();
            promise.is_done_ = true;
            if (promise.is_detached_) {
                finished.destroy();
                return;
            }
            if (promise.awaiter_) {
                promise.awaiter_.resume();
            }
        }
        void await_resume() const noexcept {}
    };
    [[nodiscard]] FinalAwaiter final_suspend() const noexcept { return {}; }

    [[noreturn]] void unhandled_exception() {
        assertion_failed("no exception leaves a Task", __FILE__, __LINE__);
    }

    std::coroutine_handle<> awaiter_;
    bool is_done_ = false;
    bool is_detached_ = false;
};

template <typename T>
class Promise : public PromiseBase {
  public:
    [[nodiscard]] Task<T> get_return_object();
    void return_value(T value) { value_.emplace(std::move(value)); }
    [[nodiscard]] T take() {
        BASALT_ASSERT(value_.has_value());
        return std::move(*value_);
    }

  private:
    std::optional<T> value_;
};

template <>
class Promise<void> : public PromiseBase {
  public:
    [[nodiscard]] Task<void> get_return_object();
    void return_void() {}
    void take() {}
};

}  // namespace detail

/// A rare sequence that reads as a story: connect, reconfigure, shut down. Never on the per-I/O
/// path. Starts when called, runs on one core, and is awaited at most once; a Task that is
/// destroyed before it ends goes on by itself (detached) and must own all that it touches.
///
/// GCC 12 miscompiles some forms, so: every non-trivial argument in a co_await expression is a
/// named local first; no capturing lambda coroutines; no braced-list arguments.
template <typename T>
class [[nodiscard]] Task {
  public:
    using promise_type = detail::Promise<T>;

    explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
    Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Task& operator=(Task&&) = delete;
    Task(const Task&) = delete;
    Task& operator=(const Task&) = delete;
    ~Task() {
        if (!handle_) {
            return;
        }
        if (handle_.promise().is_done_) {
            handle_.destroy();
        } else {
            BASALT_ASSERT(!handle_.promise().awaiter_);
            handle_.promise().is_detached_ = true;
        }
    }

    [[nodiscard]] bool is_done() const { return handle_.promise().is_done_; }

    /// The value of a task that is done.
    [[nodiscard]] T result() {
        BASALT_ASSERT(is_done());
        return handle_.promise().take();
    }

    /// Lets the sequence go on without an owner.
    void detach() && { const Task moved(std::move(*this)); }

    [[nodiscard]] bool await_ready() const { return handle_.promise().is_done_; }
    void await_suspend(std::coroutine_handle<> awaiter) {
        BASALT_ASSERT(!handle_.promise().awaiter_);
        handle_.promise().awaiter_ = awaiter;
    }
    T await_resume() {
        handle_.promise().awaiter_ = nullptr;
        return handle_.promise().take();
    }

  private:
    std::coroutine_handle<promise_type> handle_;
};

namespace detail {

template <typename T>
Task<T> Promise<T>::get_return_object() {
    return Task<T>(std::coroutine_handle<Promise>::from_promise(*this));
}

inline Task<void> Promise<void>::get_return_object() {
    return Task<void>(std::coroutine_handle<Promise>::from_promise(*this));
}

}  // namespace detail

/// `co_await sleep_for(reactor, delay_ns)`: goes on after the delay, on the same core.
class [[nodiscard]] sleep_for {  // NOLINT(readability-identifier-naming): reads as a verb.
  public:
    sleep_for(Reactor& reactor, uint64_t delay_ns) : reactor_(reactor), delay_ns_(delay_ns) {}

    [[nodiscard]] bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> awaiter) {
        awaiter_ = awaiter;
        timer_.set([](Timer&, void* self) { static_cast<sleep_for*>(self)->awaiter_.resume(); },
                   this);
        reactor_.start_timer(timer_, delay_ns_);
    }
    void await_resume() const {}

  private:
    Reactor& reactor_;
    uint64_t delay_ns_;
    Timer timer_;
    std::coroutine_handle<> awaiter_;
};

/// `co_await visit(home, core, object, &run)`: runs the sequence `run(there, object)` on reactor
/// `core` and goes on here when it has ended. `object` lives until then; in between only the far
/// core touches it, and it carries the answer back.
template <typename Object>
class [[nodiscard]] visit {  // NOLINT(readability-identifier-naming): reads as a verb.
  public:
    using Run = Task<void> (*)(Reactor& there, Object& object);

    visit(Reactor& home, CoreId core, Object& object, Run run)
        : home_(home), core_(core), object_(object), run_(run) {}

    [[nodiscard]] bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> awaiter) {
        awaiter_ = awaiter;
        outward_.visit_ = homeward_.visit_ = this;
        outward_.set_run([](Event& event, Reactor& there) {
            far_side(*static_cast<Leg&>(event).visit_, there).detach();
        });
        homeward_.set_run(
            [](Event& event, Reactor&) { static_cast<Leg&>(event).visit_->awaiter_.resume(); });
        home_.post(core_, outward_);
    }
    void await_resume() const {}

  private:
    struct Leg : Event {
        visit* visit_ = nullptr;
    };

    // References are safe here: the awaiting sequence keeps the visit alive until homeward_ has
    // run.
    static Task<void> far_side(visit& self, Reactor& there) {
        co_await self.run_(there, self.object_);
        there.post(self.home_.core(), self.homeward_);
    }

    Reactor& home_;
    CoreId core_;
    Object& object_;
    Run run_;
    Leg outward_;
    Leg homeward_;
    std::coroutine_handle<> awaiter_;
};

}  // namespace basalt
