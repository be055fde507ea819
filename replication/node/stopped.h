#pragma once

#include <coroutine>

namespace basalt::replication {

/// `co_await stopped(object)`: stops a ReplicaServer or StoreConnection and goes on when that is
/// over, on its core; the object may be destroyed then.
template <typename Object>
class [[nodiscard]] stopped {  // NOLINT(readability-identifier-naming): reads as a verb.
  public:
    explicit stopped(Object& object) : object_(object) {}

    [[nodiscard]] bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> awaiter) {
        awaiter_ = awaiter;
        object_.stop([](void* self) { static_cast<stopped*>(self)->awaiter_.resume(); }, this);
    }
    void await_resume() const {}

  private:
    Object& object_;
    std::coroutine_handle<> awaiter_;
};

}  // namespace basalt::replication
