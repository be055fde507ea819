#include "rpc/server/call.h"

#include "rpc/server/method_table.h"

namespace basalt::rpc {

Call::Call(const Method& method,
           std::unique_ptr<google::protobuf::Message> request,
           CallSink& sink,
           uint64_t tag)
    : method_(method),
      request_(std::move(request)),
      response_(method.new_response()),
      sink_(&sink),
      tag_(tag) {
    BASALT_ASSERT(request_ != nullptr);
    sink.calls_.push_back(*this);
    ++sink.outstanding_;
}

Call::~Call() {
    BASALT_ASSERT(done_);
    BASALT_ASSERT(!link_.is_linked());
}

void Call::succeed() {
    finish(nullptr);
}

void Call::fail(const RpcError& error) {
    finish(&error);
}

void Call::finish(const RpcError* error) {
    BASALT_ASSERT(!done_);
    done_ = true;
    if (sink_ == nullptr) {
        return;
    }
    CallSink& sink = *sink_;
    sink_ = nullptr;
    IntrusiveList<Call, &Call::link_>::remove(*this);
    BASALT_ASSERT(sink.outstanding_ > 0);
    --sink.outstanding_;
    sink.call_done(*this, error);
}

CallSink::~CallSink() {
    while (Call* call = calls_.pop_front()) {
        call->sink_ = nullptr;
    }
}

}  // namespace basalt::rpc
