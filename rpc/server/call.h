#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <google/protobuf/message.h>

#include "reactor/base/assert.h"
#include "reactor/base/intrusive_list.h"
#include "rpc/error.h"

namespace basalt::rpc {

class CallSink;
struct Method;

/// One request between its arrival and its answer.
///
/// Life: a server makes it, the handler owns it (inside a Reply) until it is answered. Owner: the
/// Reply. Thread: the control thread. The request message lives as long as the call. If the server
/// or the connection goes first, the call is orphaned and its answer dropped, so a handler never
/// has to know whether the client is still there.
class Call {
  public:
    /// `tag` is the sink's own, returned with the answer. `sink` learns the end of the call exactly
    /// once, or is destroyed first.
    Call(const Method& method,
         std::unique_ptr<google::protobuf::Message> request,
         CallSink& sink,
         uint64_t tag);
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    ~Call();

    [[nodiscard]] const Method& method() const { return method_; }
    [[nodiscard]] const google::protobuf::Message& request() const { return *request_; }
    [[nodiscard]] google::protobuf::Message& response() { return *response_; }
    [[nodiscard]] const google::protobuf::Message& response() const { return *response_; }
    [[nodiscard]] uint64_t tag() const { return tag_; }

    /// Ends the call with what response() holds. Once.
    void succeed();
    /// Ends the call with an error. Once.
    void fail(const RpcError& error);

  private:
    friend class CallSink;

    void finish(const RpcError* error);

    const Method& method_;
    std::unique_ptr<google::protobuf::Message> request_;
    std::unique_ptr<google::protobuf::Message> response_;
    CallSink* sink_;
    uint64_t tag_;
    bool done_ = false;
    ListLink link_;
};

/// Where the answers of calls go: a connection, or whoever calls a method from inside
/// (load_config).
///
/// May be destroyed with calls outstanding; those are orphaned. Thread: the control thread.
class CallSink {
  public:
    CallSink() = default;
    CallSink(const CallSink&) = delete;
    CallSink& operator=(const CallSink&) = delete;
    virtual ~CallSink();

    /// The call has ended: with `error`, or if that is null with call.response(). Runs inside the
    /// handler's send() or fail(); the call is destroyed after it.
    virtual void call_done(const Call& call, const RpcError* error) = 0;

    /// Calls of this sink not yet answered.
    [[nodiscard]] size_t outstanding() const { return outstanding_; }

  private:
    friend class Call;

    IntrusiveList<Call, &Call::link_> calls_;
    size_t outstanding_ = 0;
};

/// What a handler answers with, now or later, on the control thread. Move it to where the answer
/// will be known. A Reply that is destroyed unanswered answers with an internal error.
template <typename Response>
class Reply {
  public:
    explicit Reply(std::unique_ptr<Call> call) : call_(std::move(call)) {}
    Reply(Reply&&) noexcept = default;
    Reply& operator=(Reply&& other) noexcept {
        if (this != &other) {
            abandon();
            call_ = std::move(other.call_);
        }
        return *this;
    }
    Reply(const Reply&) = delete;
    Reply& operator=(const Reply&) = delete;
    ~Reply() { abandon(); }

    /// The message to fill in before send(). Lives until the answer is sent.
    [[nodiscard]] Response& result() {
        BASALT_ASSERT(call_ != nullptr);
        return static_cast<Response&>(call_->response());
    }

    /// Answers with result(). The request is gone after it.
    void send() {
        BASALT_ASSERT(call_ != nullptr);
        std::exchange(call_, nullptr)->succeed();
    }

    /// Answers with an error. The request is gone after it.
    void fail(const RpcError& error) {
        BASALT_ASSERT(call_ != nullptr);
        std::exchange(call_, nullptr)->fail(error);
    }

    /// Answers with the error of an operation on `what`, for example "bdev 'Malloc0'".
    void fail(Error error, std::string_view what) { fail(to_rpc_error(error, what)); }

    /// True until it is answered.
    [[nodiscard]] bool pending() const { return call_ != nullptr; }

  private:
    void abandon() {
        if (call_ != nullptr) {
            fail(RpcError(RpcCode::kInternalError, "the daemon dropped the request unanswered"));
        }
    }

    std::unique_ptr<Call> call_;
};

}  // namespace basalt::rpc
