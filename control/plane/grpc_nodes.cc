#include "control/plane/grpc_nodes.h"

#include <cctype>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <coroutine>
#include <utility>

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include "control/plane/limits.h"
#include "reactor/base/assert.h"
#include "rpc/limits.h"

namespace basalt::cluster {
namespace {

using google::protobuf::MessageLite;

// Of an attempt to connect again: short, as a daemon is back within a second.
constexpr int kReconnectFirstMs = 100;
constexpr int kReconnectMaxMs = 1'000;

grpc::ChannelArguments channel_arguments() {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(static_cast<int>(rpc::kRequestBytesMax));
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectFirstMs);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kReconnectMaxMs);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMaxMs);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    return arguments;
}

}  // namespace

bool is_node_address(const std::string& text) {
    const size_t colon = text.rfind(':');
    if (colon == std::string::npos || colon == 0 || text.size() > 300) {
        return false;
    }
    const std::string host = text.substr(0, colon);
    const bool is_bracketed = host.front() == '[' && host.back() == ']' && host.size() > 2;
    for (const char c : is_bracketed ? host.substr(1, host.size() - 2) : host) {
        const bool may_be = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' ||
                            c == '-' || (is_bracketed && (c == ':' || c == '%'));
        if (!may_be) {
            return false;
        }
    }
    uint16_t port = 0;
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data() + colon + 1, end, port);
    return parsed.ec == std::errc() && parsed.ptr == end && port != 0;
}

/// A daemon, and the connection to it.
struct GrpcNodes::Channel {
    explicit Channel(const std::string& address)
        : stub(grpc::CreateCustomChannel(
              address, grpc::InsecureChannelCredentials(), channel_arguments())) {}

    grpc::TemplatedGenericStub<MessageLite, MessageLite> stub;
    uint32_t calls = 0;  // Under way.
};

/// A call under way: `co_await call`. In its caller's frame.
class GrpcNodes::Call final : public metadata::etcd::Arrival {
  public:
    Call(metadata::etcd::Inbox& inbox, uint64_t timeout_ns) : inbox_(inbox) {
        context.set_deadline(std::chrono::system_clock::now() +
                             std::chrono::nanoseconds(timeout_ns));
        inbox_.expect();
    }
    void done(grpc::Status by_grpc) {
        status = std::move(by_grpc);
        inbox_.push(*this);
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

    /// What the daemon, or gRPC, says.
    [[nodiscard]] rpc::RpcError error(const std::string& address, bool is_cancelled) const {
        const std::string who = "the daemon at " + address + ": ";
        const auto& trailer = context.GetServerTrailingMetadata();
        const auto code = trailer.find("basalt-rpc-code");
        if (code != trailer.end()) {
            int32_t number = 0;
            std::from_chars(code->second.data(), code->second.data() + code->second.size(), number);
            return {number, who + status.error_message()};
        }
        if (is_cancelled) {
            return {-ECANCELED, who + "not asked any more, as this one is about to end"};
        }
        if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
            return {-ETIMEDOUT, who + "no answer in time"};
        }
        if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
            return {-EOPNOTSUPP, who + "is of another version: " + status.error_message()};
        }
        return {-EHOSTUNREACH, who + "can't be reached: " + status.error_message()};
    }

    grpc::ClientContext context;
    grpc::Status status;

  private:
    metadata::etcd::Inbox& inbox_;
    bool is_done_ = false;
    std::coroutine_handle<> caller_;
};

GrpcNodes::GrpcNodes(const rpc::MethodTable& table) : table_(table) {}

GrpcNodes::~GrpcNodes() {
    BASALT_ASSERT(calls_.empty());
}

GrpcNodes::Channel& GrpcNodes::channel(const std::string& address) {
    if (channels_.size() >= kChannelsMax && !channels_.contains(address)) {
        std::erase_if(channels_, [](const auto& one) { return one.second->calls == 0; });
    }
    std::unique_ptr<Channel>& known = channels_[address];
    if (known == nullptr) {
        known = std::make_unique<Channel>(address);
    }
    return *known;
}

Task<std::optional<rpc::RpcError>> GrpcNodes::call(std::string address,
                                                   std::string method,
                                                   const google::protobuf::Message& request,
                                                   google::protobuf::Message& response,
                                                   uint64_t timeout_ns) {
    const auto declared = table_.methods().find(method);
    BASALT_ASSERT(declared != table_.methods().end());
    const google::protobuf::MethodDescriptor& descriptor = *declared->second.descriptor;
    BASALT_ASSERT(descriptor.input_type() == request.GetDescriptor());
    BASALT_ASSERT(descriptor.output_type() == response.GetDescriptor());
    if (is_cancelled_) {
        co_return rpc::RpcError(-ECANCELED, "this daemon is about to end");
    }
    Channel& there = channel(address);
    Call call(inbox_, timeout_ns);
    calls_.insert(&call);
    ++there.calls;
    response.Clear();
    there.stub.UnaryCall(&call.context,
                         declared->second.grpc_path,
                         {},
                         &request,
                         &response,
                         [&call](grpc::Status status) { call.done(std::move(status)); });
    co_await call;
    --there.calls;
    calls_.erase(&call);
    if (call.status.ok()) {
        co_return std::nullopt;
    }
    co_return call.error(address, is_cancelled_);
}

void GrpcNodes::cancel() {
    is_cancelled_ = true;
    for (Call* one : calls_) {
        one->context.TryCancel();
    }
}

}  // namespace basalt::cluster
