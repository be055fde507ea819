#pragma once

#include <coroutine>

#include "replication/head/head.h"

namespace basalt::replication {

/// `co_await HeadCall(head, request)`: submits a request that is filled in but for its completion,
/// and goes on when it is done. Core: the head's.
class [[nodiscard]] HeadCall {
  public:
    HeadCall(Head& head, HeadRequest& request) : head_(head), request_(request) {}

    [[nodiscard]] bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> awaiter) {
        request_.context = awaiter.address();
        request_.complete = [](HeadRequest&, void* frame) {
            std::coroutine_handle<>::from_address(frame).resume();
        };
        head_.submit(request_);
    }
    [[nodiscard]] Status await_resume() const { return request_.status; }

  private:
    Head& head_;
    HeadRequest& request_;
};

}  // namespace basalt::replication
