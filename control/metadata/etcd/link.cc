#include "control/metadata/etcd/link.h"

#include <chrono>
#include <coroutine>
#include <utility>

#include <grpcpp/client_context.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include "control/metadata/etcd/endpoint.h"
#include "reactor/base/assert.h"
#include "reactor/base/log.h"

namespace basalt::metadata::etcd {
namespace {

grpc::ChannelArguments channel_arguments() {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);  // A page or a watch's answer is as large as it is.
    arguments.SetMaxSendMessageSize(-1);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepAliveMs);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepAliveTimeoutMs);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectFirstMs);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMaxMs);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    return arguments;
}

auto credentials(const EtcdOptions& options) {
    if (!options.has_tls) {
        return grpc::InsecureChannelCredentials();
    }
    return grpc::SslCredentials({.pem_root_certs = options.tls.authority,
                                 .pem_private_key = options.tls.key,
                                 .pem_cert_chain = options.tls.certificate});
}

}  // namespace

/// A call under way: `co_await call`. In its caller's frame.
class EtcdLink::Call final : public Arrival {
  public:
    Call(EtcdLink& link, uint64_t timeout_ns) : link_(link) {
        context.set_deadline(std::chrono::system_clock::now() +
                             std::chrono::nanoseconds(timeout_ns));
        // A member without a leader refuses at once instead of waiting for one ("hasleader", etcd's
        // rpctypes.MetadataRequireLeaderKey).
        context.AddMetadata("hasleader", "true");
        link_.inbox_.expect();
    }
    void done(grpc::Status by_grpc) {
        status = std::move(by_grpc);
        link_.inbox_.push(*this);
    }
    void arrived() override {
        is_done_ = true;
        if (caller_) {
            caller_.resume();
        }
    }

    [[nodiscard]] bool await_ready() const { return is_done_; }
    void await_suspend(std::coroutine_handle<> caller) { caller_ = caller; }
    void await_resume() const {}

    grpc::ClientContext context;
    grpc::Status status;

  private:
    EtcdLink& link_;
    bool is_done_ = false;
    std::coroutine_handle<> caller_;
};

EtcdLink::EtcdLink(Reactor& here, const EtcdOptions& options) : here_(here), options_(options) {
    BASALT_ASSERT(!options_.endpoints.empty());
    for (const std::string& name : options_.endpoints) {
        endpoints_.push_back(std::make_unique<Endpoint>(
            name, grpc::CreateCustomChannel(name, credentials(options_), channel_arguments())));
    }
}

EtcdLink::~EtcdLink() {
    inbox_.drain();
}

void EtcdLink::leave(size_t index, std::string_view why) {
    if (!std::exchange(endpoints_[index]->has_failed, true)) {
        BASALT_LOG(kWarn, "metadata", "etcd at {}: {}", endpoints_[index]->name, why);
    }
    if (index == current_) {
        current_ = (current_ + 1) % endpoints_.size();
    }
}

void EtcdLink::praise(size_t index) {
    if (std::exchange(endpoints_[index]->has_failed, false)) {
        BASALT_LOG(kInfo, "metadata", "etcd at {}: answers again", endpoints_[index]->name);
    }
}

Task<Status> EtcdLink::call(const char* method,
                            const google::protobuf::MessageLite& request,
                            google::protobuf::MessageLite& response,
                            Repeat repeat) {
    const uint64_t end_ns = here_.clock().now_ns() + options_.call_timeout_ns;
    for (size_t tries = 1;; ++tries) {
        const size_t index = current_;
        Call call(*this, options_.attempt_timeout_ns);
        response.Clear();
        endpoints_[index]->calls.UnaryCall(
            &call.context, method, {}, &request, &response, [&call](grpc::Status status) {
                call.done(std::move(status));
            });
        co_await call;
        if (call.status.ok()) {
            praise(index);
            co_return kOk;
        }
        const Verdict verdict = judge(call.status.error_code(), call.status.error_message());
        if (verdict.is_elsewhere) {
            leave(index, call.status.error_message());
        }
        const bool may_repeat =
            verdict.is_elsewhere && (verdict.was_refused || repeat == Repeat::kSafe);
        if (!may_repeat || here_.clock().now_ns() >= end_ns) {
            co_return verdict.error;
        }
        if (tries % endpoints_.size() == 0) {
            sleep_for pause(here_, kRetryPauseNs);
            co_await pause;
        }
    }
}

}  // namespace basalt::metadata::etcd
