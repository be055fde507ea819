#include "rpc/server/grpc_server.h"

#include <atomic>
#include <cerrno>
#include <chrono>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "reactor/base/log.h"
#include "rpc/limits.h"

namespace basalt::rpc {

namespace {

using google::protobuf::Message;

grpc::Status to_status(const RpcError& error) {
    return {static_cast<grpc::StatusCode>(grpc_status_code(error.code)), error.message};
}

grpc::Status unavailable() {
    return {grpc::StatusCode::UNAVAILABLE, "the daemon is stopping"};
}

class Reactor;

/// A parsed request on its way to the control thread.
struct Arrival {
    Reactor* reactor = nullptr;
    const Method* method = nullptr;
    std::unique_ptr<Message> request;
};

/// Where gRPC's threads leave requests for the control thread. Thread-safe.
class ArrivalQueue {
  public:
    explicit ArrivalQueue(int event_fd) : event_fd_(event_fd) {}
    ArrivalQueue(const ArrivalQueue&) = delete;
    ArrivalQueue& operator=(const ArrivalQueue&) = delete;
    ~ArrivalQueue() { ::close(event_fd_); }

    [[nodiscard]] int event_fd() const { return event_fd_; }

    /// False if it is closed or full; the caller answers then.
    [[nodiscard]] grpc::Status push(Arrival arrival) {
        const std::lock_guard lock(mutex_);
        if (is_closed_) {
            return unavailable();
        }
        if (arrivals_.size() >= kGrpcQueueMax) {
            return {grpc::StatusCode::RESOURCE_EXHAUSTED, "too many calls are waiting"};
        }
        arrivals_.push_back(std::move(arrival));
        const uint64_t one = 1;
        // Can fail only if it is readable already, which is all that is wanted.
        static_cast<void>(!::write(event_fd_, &one, sizeof(one)));
        return grpc::Status::OK;
    }

    [[nodiscard]] std::vector<Arrival> take_all() {
        const std::lock_guard lock(mutex_);
        uint64_t ignored = 0;
        static_cast<void>(!::read(event_fd_, &ignored, sizeof(ignored)));
        return std::exchange(arrivals_, {});
    }

    void close() {
        const std::lock_guard lock(mutex_);
        is_closed_ = true;
    }

  private:
    const int event_fd_;
    std::mutex mutex_;
    bool is_closed_ = false;
    std::vector<Arrival> arrivals_;
};

/// One gRPC call. Made by gRPC, destroys itself after its end. Read and queued on gRPC's threads;
/// finished exactly once, by them or by the control thread after it took the Arrival.
class Reactor final : public grpc::ServerGenericBidiReactor {
  public:
    Reactor(grpc::GenericCallbackServerContext& context,
            const MethodTable& table,
            ArrivalQueue& queue)
        : context_(context), method_(table.find_grpc(context.method())), queue_(queue) {
        if (method_ == nullptr) {
            refuse({grpc::StatusCode::UNIMPLEMENTED, "there is no method " + context.method()});
            return;
        }
        StartRead(&bytes_);
    }

    void OnReadDone(bool is_ok) override {
        if (!is_ok) {
            refuse({grpc::StatusCode::INVALID_ARGUMENT, "a call has one request message"});
            return;
        }
        auto request = method_->new_request();
        const grpc::Status parsed =
            grpc::GenericDeserialize<grpc::ProtoBufferReader, Message>(&bytes_, request.get());
        if (!parsed.ok()) {
            refuse({grpc::StatusCode::INVALID_ARGUMENT, "the request message is malformed"});
            return;
        }
        const grpc::Status queued = queue_.push({this, method_, std::move(request)});
        if (!queued.ok()) {
            refuse(queued);
        }
    }

    void OnDone() override { delete this; }

    /// Ends the call with a message, or with an error.
    void succeed(const Message& response) {
        bool own_buffer = false;
        const grpc::Status written = grpc::GenericSerialize<grpc::ProtoBufferWriter, Message>(
            response, &answer_, &own_buffer);
        if (!written.ok()) {
            Finish(written);
            return;
        }
        StartWriteAndFinish(&answer_, grpc::WriteOptions(), grpc::Status::OK);
    }

    void fail(const RpcError& error) {
        context_.AddTrailingMetadata("basalt-rpc-code", std::to_string(error.code));
        refuse(to_status(error));
    }

  private:
    void refuse(const grpc::Status& why) {
        BASALT_LOG(kInfo,
                   "rpc",
                   "gRPC from {}: {} refused: {} ({})",
                   context_.peer(),
                   context_.method(),
                   why.error_message(),
                   static_cast<int>(why.error_code()));
        Finish(why);
    }

    grpc::GenericCallbackServerContext& context_;
    const Method* method_;
    ArrivalQueue& queue_;
    grpc::ByteBuffer bytes_;
    grpc::ByteBuffer answer_;
};

/// See GrpcServer. Also the sink of its calls: the tag is the key of `reactors_`.
class Server final : public GrpcServer, public CallSink, public grpc::CallbackGenericService {
  public:
    Server(const MethodTable& table, int event_fd) : table_(table), queue_(event_fd) {}
    ~Server() override { stop_now(); }

    Status listen(const std::string& address) {
        grpc::ServerBuilder builder;
        int port = 0;
        builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
        builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
        builder.SetMaxReceiveMessageSize(static_cast<int>(kRequestBytesMax));
        builder.RegisterCallbackGenericService(this);
        server_ = builder.BuildAndStart();
        if (server_ == nullptr || port == 0) {
            return Errc::kAddressInUse;
        }
        port_ = static_cast<uint16_t>(port);
        return kOk;
    }

    [[nodiscard]] uint16_t port() const override { return port_; }
    [[nodiscard]] int poll_fd() const override { return queue_.event_fd(); }
    [[nodiscard]] size_t outstanding() const override { return reactors_.size(); }
    void stop_accepting() override { queue_.close(); }
    void stop() override { stop_now(); }

    void process_ready() override {
        for (Arrival& arrival : queue_.take_all()) {
            const uint64_t tag = next_tag_++;
            reactors_.emplace(tag, arrival.reactor);
            MethodTable::dispatch(*arrival.method, std::move(arrival.request), *this, tag);
        }
    }

    void call_done(const Call& call, const RpcError* error) override {
        const auto it = reactors_.find(call.tag());
        if (it == reactors_.end()) {
            return;  // stop() has answered it.
        }
        Reactor& reactor = *it->second;
        reactors_.erase(it);
        if (error != nullptr) {
            reactor.fail(*error);
        } else {
            reactor.succeed(call.response());
        }
    }

    grpc::ServerGenericBidiReactor* CreateReactor(
        grpc::GenericCallbackServerContext* context) override {
        return new Reactor(*context, table_, queue_);
    }

  private:
    void stop_now() {
        if (server_ == nullptr) {
            return;
        }
        queue_.close();
        for (const Arrival& arrival : queue_.take_all()) {
            arrival.reactor->Finish(unavailable());
        }
        for (const auto& [tag, reactor] : std::exchange(reactors_, {})) {
            reactor->Finish(unavailable());
        }
        // Nothing that this waits for needs the control thread any more.
        server_->Shutdown(std::chrono::system_clock::now() +
                          std::chrono::milliseconds(kGrpcShutdownMs));
        server_.reset();
    }

    const MethodTable& table_;
    ArrivalQueue queue_;
    uint16_t port_ = 0;
    uint64_t next_tag_ = 0;
    std::map<uint64_t, Reactor*> reactors_;  // Calls started and not yet answered.
    std::unique_ptr<grpc::Server> server_;
};

}  // namespace

Result<std::unique_ptr<GrpcServer>> GrpcServer::start(const MethodTable& table,
                                                      const std::string& address) {
    const int event_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event_fd < 0) {
        return Error::from_errno(errno);
    }
    auto server = std::make_unique<Server>(table, event_fd);
    BASALT_CHECK(server->listen(address));
    return std::unique_ptr<GrpcServer>(std::move(server));
}

}  // namespace basalt::rpc
