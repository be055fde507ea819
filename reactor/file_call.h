#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <span>

#include "reactor/io/storage.h"

namespace basalt {

/// One request to a file in a sequence: `FileCall call(storage, op, file); call.set_memory(…);
/// const Status outcome = co_await call;`. Core: the storage's. Lives until it has been awaited.
class [[nodiscard]] FileCall {
  public:
    FileCall(Storage& storage, FileRequest::Op op, FileHandle file) : storage_(storage) {
        request_.op = op;
        request_.file = file;
    }

    /// What is read or written, which lives until the request is done.
    void set_memory(uint64_t offset_bytes, std::span<std::byte> memory) {
        piece_ = {memory.data(), memory.size()};
        request_.offset_bytes = offset_bytes;
        request_.length_bytes = memory.size();
        request_.pieces = &piece_;
        request_.piece_count = 1;
    }

    [[nodiscard]] bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> awaiter) {
        request_.awaiter = awaiter;
        request_.done.set_run([](Event& event, Reactor&) {
            static_cast<Request&>(DoneEvent<FileRequest>::request_of(event)).awaiter.resume();
        });
        storage_.submit(request_);
    }
    /// Errors: those of the file.
    Status await_resume() const { return request_.status; }

    [[nodiscard]] const FileRequest& request() const { return request_; }

  private:
    struct Request : FileRequest {
        std::coroutine_handle<> awaiter;
    };

    Storage& storage_;
    Request request_;
    iovec piece_{};
};

}  // namespace basalt
