#include "rpc/server/call.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "rpc/proto/bdev.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::rpc {
namespace {

using Request = v1::BdevMallocDeleteRequest;
using DoneReply = Reply<v1::Done>;

// Keeps replies so that a test can answer them when it likes.
class LateHandlers {
  public:
    void bdev_malloc_delete(const Request& request, DoneReply reply) {
        requests.push_back(&request);
        replies.push_back(std::move(reply));
    }
    std::vector<const Request*> requests;
    std::vector<DoneReply> replies;
};

class CountingSink : public CallSink {
  public:
    void call_done(const Call&, const RpcError* error) override {
        codes.push_back(error != nullptr ? error->code : 0);
    }
    std::vector<int32_t> codes;
};

class CallTest : public testing::Test {
  protected:
    CallTest() { table_.add("bdev_malloc_delete", handlers_, &LateHandlers::bdev_malloc_delete); }

    void start(CallSink& sink) {
        auto request = std::make_unique<Request>();
        request->set_name("Malloc0");
        MethodTable::dispatch(*table_.find("bdev_malloc_delete"), std::move(request), sink, 0);
    }

    LateHandlers handlers_;
    MethodTable table_;
};

TEST_F(CallTest, KeepsTheRequestUntilTheAnswerAndAnswersLater) {
    CountingSink sink;
    start(sink);
    start(sink);
    EXPECT_EQ(sink.outstanding(), 2U);
    EXPECT_TRUE(sink.codes.empty());
    EXPECT_EQ(handlers_.requests[1]->name(), "Malloc0");
    handlers_.replies[1].send();
    EXPECT_FALSE(handlers_.replies[1].pending());
    handlers_.replies[0].fail(Error(Errc::kNotFound), "bdev 'Malloc0'");
    EXPECT_EQ(sink.codes, (std::vector<int32_t>{0, -19}));
    EXPECT_EQ(sink.outstanding(), 0U);
}

TEST_F(CallTest, AnswersAnInternalErrorIfTheHandlerDropsTheReply) {
    CountingSink sink;
    start(sink);
    handlers_.replies.clear();
    EXPECT_EQ(sink.codes, (std::vector<int32_t>{-32603}));
}

TEST_F(CallTest, AnswersTheOldCallWhenAReplyIsOverwritten) {
    CountingSink sink;
    start(sink);
    start(sink);
    handlers_.replies[0] = std::move(handlers_.replies[1]);
    EXPECT_EQ(sink.codes, (std::vector<int32_t>{-32603}));
    handlers_.replies[0].send();
    EXPECT_EQ(sink.codes, (std::vector<int32_t>{-32603, 0}));
}

TEST_F(CallTest, DropsTheAnswerOfACallWhoseClientIsGone) {
    auto gone = std::make_unique<CountingSink>();
    start(*gone);
    start(*gone);
    gone.reset();
    handlers_.replies[0].result().Clear();
    handlers_.replies[0].send();
    handlers_.replies[1].fail(RpcError(-5, "late"));
    EXPECT_FALSE(handlers_.replies[0].pending());
}

TEST(RpcErrorTest, NamesTheObjectAndTheErrno) {
    const RpcError plain = to_rpc_error(Error(Errc::kExists), "bdev 'Malloc0'");
    EXPECT_EQ(plain.code, -17);
    EXPECT_NE(plain.message.find("bdev 'Malloc0': "), std::string::npos);
    const RpcError system = to_rpc_error(Error::from_errno(13), "file '/root/x'");
    EXPECT_EQ(system.code, -13);
    EXPECT_NE(system.message.find("Permission denied"), std::string::npos);
    EXPECT_EQ(to_rpc_error(Error(Errc::kInvalidArgument), "x").code, -32602);
}

TEST(RpcErrorTest, GivesEveryErrcACodeThatGrpcKnows) {
    for (uint16_t i = 1; i < kErrcCount; ++i) {
        const RpcError error = to_rpc_error(Error(static_cast<Errc>(i)), "x");
        EXPECT_LT(error.code, 0) << i;
        EXPECT_GT(grpc_status_code(error.code), 0) << i;
        EXPECT_LE(grpc_status_code(error.code), 16) << i;
    }
    EXPECT_EQ(grpc_status_code(-32602), 3);
    EXPECT_EQ(grpc_status_code(-19), 5);
    EXPECT_EQ(grpc_status_code(-17), 6);
    EXPECT_EQ(grpc_status_code(-32601), 12);
    EXPECT_EQ(grpc_status_code(12345), 2);
}

}  // namespace
}  // namespace basalt::rpc
