#include "rpc/server/grpc_server.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/impl/rpc_method.h>
#include <gtest/gtest.h>
#include <poll.h>

#include "rpc/proto/bdev.pb.h"

namespace basalt::rpc {
namespace {

class Handlers {
  public:
    explicit Handlers(MethodTable& table) {
        table.add("bdev_malloc_create", *this, &Handlers::bdev_malloc_create);
        table.add("bdev_malloc_delete", *this, &Handlers::bdev_malloc_delete);
        table.add("bdev_get_bdevs", *this, &Handlers::bdev_get_bdevs);
    }
    void bdev_malloc_create(const v1::BdevMallocCreateRequest& request,
                            Reply<v1::BdevMallocCreateResponse> reply) {
        handler_thread = std::this_thread::get_id();
        reply.result().set_name(request.name());
        reply.send();
    }
    void bdev_malloc_delete(const v1::BdevMallocDeleteRequest&, Reply<v1::Done> reply) {
        reply.fail(Error(Errc::kNotFound), "bdev 'x'");
    }
    void bdev_get_bdevs(const v1::BdevGetBdevsRequest&, Reply<v1::BdevGetBdevsResponse> reply) {
        waiting.push_back(std::move(reply));
    }
    std::thread::id handler_thread;
    std::vector<Reply<v1::BdevGetBdevsResponse>> waiting;
};

// The test's thread is the control thread; clients run in threads of their own.
class GrpcServerTest : public testing::Test {
  protected:
    GrpcServerTest() {
        server_ = GrpcServer::start(table_, "127.0.0.1:0").value();
        channel_ = grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->port()),
                                       grpc::InsecureChannelCredentials());
    }

    template <typename Request, typename Response>
    grpc::Status call(const char* path, const Request& request, Response& response) {
        grpc::ClientContext context;
        context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
        const grpc::internal::RpcMethod method(path, grpc::internal::RpcMethod::NORMAL_RPC);
        grpc::Status status = grpc::internal::BlockingUnaryCall<Request,
                                                                Response,
                                                                google::protobuf::MessageLite,
                                                                google::protobuf::MessageLite>(
            channel_.get(), method, &context, request, &response);
        const auto& metadata = context.GetServerTrailingMetadata();
        const auto code = metadata.find("basalt-rpc-code");
        rpc_code_ =
            code == metadata.end() ? "" : std::string(code->second.data(), code->second.size());
        return status;
    }

    // Runs `work` in a client's thread and the control loop here until it is done.
    template <typename Work>
    void with_client(const Work& work) {
        std::atomic<bool> is_done = false;
        std::thread client([&] {
            work();
            is_done = true;
        });
        while (!is_done) {
            turn();
        }
        client.join();
    }

    void turn() {
        pollfd ready{server_->poll_fd(), POLLIN, 0};
        if (::poll(&ready, 1, 1) > 0) {
            server_->process_ready();
        }
    }

    static v1::BdevMallocCreateRequest good_request() {
        v1::BdevMallocCreateRequest request;
        request.set_name("Malloc0");
        request.set_num_blocks(1);
        request.set_block_size(512);
        return request;
    }

    MethodTable table_;
    Handlers handlers_{table_};
    std::unique_ptr<GrpcServer> server_;
    std::shared_ptr<grpc::Channel> channel_;
    std::string rpc_code_;
};

TEST_F(GrpcServerTest, AnswersACallOnTheControlThread) {
    with_client([&] {
        v1::BdevMallocCreateResponse response;
        const auto status = call("/basalt.v1.Bdev/BdevMallocCreate", good_request(), response);
        EXPECT_TRUE(status.ok()) << status.error_message();
        EXPECT_EQ(response.name(), "Malloc0");
    });
    EXPECT_EQ(handlers_.handler_thread, std::this_thread::get_id());
    EXPECT_EQ(server_->outstanding(), 0U);
}

TEST_F(GrpcServerTest, MapsErrorsToStatusCodesAndTellsTheCode) {
    with_client([&] {
        v1::BdevMallocDeleteRequest request;
        v1::Done done;
        auto status = call("/basalt.v1.Bdev/BdevMallocDelete", request, done);
        EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
        EXPECT_NE(status.error_message().find("'name'"), std::string::npos);
        EXPECT_EQ(rpc_code_, "-32602");
        request.set_name("x");
        status = call("/basalt.v1.Bdev/BdevMallocDelete", request, done);
        EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
        EXPECT_EQ(rpc_code_, "-19");
    });
}

TEST_F(GrpcServerTest, ChecksTheRulesOfARequest) {
    with_client([&] {
        auto request = good_request();
        request.set_block_size(7);
        v1::BdevMallocCreateResponse response;
        const auto status = call("/basalt.v1.Bdev/BdevMallocCreate", request, response);
        EXPECT_EQ(status.error_message(), "parameter 'block_size' must be from 512 to 65536");
    });
}

TEST_F(GrpcServerTest, RefusesMethodsWithoutAHandlerAndMalformedMessages) {
    with_client([&] {
        v1::Done done;
        for (const char* path :
             {"/basalt.v1.Bdev/BdevNullCreate", "/basalt.v1.Bdev/Nope", "/", "/a/b/c"}) {
            EXPECT_EQ(call(path, v1::Done(), done).error_code(), grpc::StatusCode::UNIMPLEMENTED)
                << path;
        }
        // A name that is a list of counters instead of a string: valid bytes of another message.
        v1::BdevGetHistogramResponse other;
        other.set_histogram("x");
        other.set_granularity(1);
        v1::BdevMallocCreateResponse response;
        EXPECT_EQ(call("/basalt.v1.Bdev/BdevMallocCreate", other, response).error_code(),
                  grpc::StatusCode::INVALID_ARGUMENT);
    });
}

TEST_F(GrpcServerTest, AnswersLateCallsInAnyOrder) {
    std::atomic<int> answered = 0;
    std::vector<std::thread> clients;
    clients.reserve(8);
    for (int i = 0; i < 8; ++i) {
        clients.emplace_back([&] {
            grpc::ClientContext context;
            const grpc::internal::RpcMethod method("/basalt.v1.Bdev/BdevGetBdevs",
                                                   grpc::internal::RpcMethod::NORMAL_RPC);
            v1::BdevGetBdevsResponse response;
            const auto status = grpc::internal::BlockingUnaryCall<v1::BdevGetBdevsRequest,
                                                                  v1::BdevGetBdevsResponse,
                                                                  google::protobuf::MessageLite,
                                                                  google::protobuf::MessageLite>(
                channel_.get(), method, &context, v1::BdevGetBdevsRequest(), &response);
            answered += status.ok() && response.bdevs_size() == 1 ? 1 : 0;
        });
    }
    while (handlers_.waiting.size() < 8) {
        turn();
    }
    EXPECT_EQ(server_->outstanding(), 8U);
    while (!handlers_.waiting.empty()) {
        handlers_.waiting.back().result().add_bdevs();
        handlers_.waiting.back().send();
        handlers_.waiting.pop_back();
    }
    for (auto& client : clients) {
        client.join();
    }
    EXPECT_EQ(answered, 8);
}

TEST_F(GrpcServerTest, StopsWithCallsOutstandingAndRefusesNewOnes) {
    grpc::Status late;
    std::thread client([&] {
        v1::BdevGetBdevsResponse response;
        late = call("/basalt.v1.Bdev/BdevGetBdevs", v1::BdevGetBdevsRequest(), response);
    });
    while (handlers_.waiting.empty()) {
        turn();
    }
    server_->stop_accepting();
    grpc::ClientContext context;
    const grpc::internal::RpcMethod method("/basalt.v1.Bdev/BdevMallocCreate",
                                           grpc::internal::RpcMethod::NORMAL_RPC);
    v1::BdevMallocCreateResponse response;
    const auto refused = grpc::internal::BlockingUnaryCall<v1::BdevMallocCreateRequest,
                                                           v1::BdevMallocCreateResponse,
                                                           google::protobuf::MessageLite,
                                                           google::protobuf::MessageLite>(
        channel_.get(), method, &context, good_request(), &response);
    EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(server_->outstanding(), 1U);
    server_->stop();
    client.join();
    EXPECT_EQ(late.error_code(), grpc::StatusCode::UNAVAILABLE);
    handlers_.waiting[0].send();  // Too late, and harmless.
    EXPECT_EQ(server_->outstanding(), 0U);
}

TEST_F(GrpcServerTest, RefusesAnAddressThatIsTaken) {
    const std::string taken = "127.0.0.1:" + std::to_string(server_->port());
    const auto second = GrpcServer::start(table_, taken);
    ASSERT_FALSE(second.has_value());
    EXPECT_EQ(second.error().code, Errc::kAddressInUse);
}

}  // namespace
}  // namespace basalt::rpc
