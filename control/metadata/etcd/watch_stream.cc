#include "control/metadata/etcd/watch_stream.h"

#include <utility>

namespace basalt::metadata::etcd {

WatchStream::WatchStream(EtcdLink& link,
                         size_t endpoint,
                         WatchListener& listener,
                         WatchRequest request)
    : link_(link), listener_(&listener), request_(std::move(request)) {
    // A member that has lost its leader ends the stream, instead of being silent.
    context_.AddMetadata("hasleader", "true");
    link_.endpoint(endpoint).watches.PrepareBidiStreamingCall(
        &context_, "/etcdserverpb.Watch/Watch", {}, this);
    link_.inbox().expect();  // done_
    StartWrite(&request_);
    read_next();
    AddHold();  // Reads are started by the control thread, outside of gRPC's calls.
    StartCall();
}

void WatchStream::leave() {
    listener_ = nullptr;
    context_.TryCancel();
}

void WatchStream::read_next() {
    response_.Clear();
    link_.inbox().expect();
    StartRead(&response_);
}

void WatchStream::OnReadDone(bool is_ok) {
    is_read_ = is_ok;
    link_.inbox().push(read_);
}

void WatchStream::OnDone(const grpc::Status& status) {
    status_ = status;
    link_.inbox().push(done_);
}

void WatchStream::read_done() {
    if (is_read_ && listener_ != nullptr) {
        listener_->on_response(response_);
    }
    if (is_read_ && listener_ != nullptr) {
        read_next();
    } else {
        RemoveHold();
    }
}

void WatchStream::all_done() {
    if (listener_ != nullptr) {
        listener_->on_end(status_);
    }
    delete this;
}

}  // namespace basalt::metadata::etcd
