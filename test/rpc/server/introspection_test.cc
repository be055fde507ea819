#include "rpc/server/introspection.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

#include "rpc/server/invoke.h"

namespace basalt::rpc {
namespace {

class LastAnswer : public CallSink {
  public:
    void call_done(const Call& call, const RpcError* error) override {
        ASSERT_EQ(error, nullptr);
        result = encode_result(*call.method().descriptor, call.response());
    }
    OrderedJson result;
};

// Offers every method, and answers none.
class Silent final : public Handler {
  public:
    void call(std::unique_ptr<Call> call) override {
        call->fail(RpcError(RpcCode::kInternalError, "silent"));
    }
};

class IntrospectionTest : public testing::Test {
  protected:
    OrderedJson ask(const Json& params) {
        LastAnswer sink;
        const auto error = invoke(table_, "rpc_get_methods", params, sink, 0);
        EXPECT_FALSE(error.has_value());
        return sink.result;
    }

    MethodTable table_;
    Introspection introspection_{table_};
};

TEST_F(IntrospectionTest, ListsOnlyMethodsThatCanBeCalled) {
    EXPECT_EQ(ask(nullptr).dump(), R"(["rpc_get_methods"])");
    EXPECT_EQ(ask(Json{{"current", true}, {"include_aliases", false}}).dump(),
              R"(["rpc_get_methods"])");
}

TEST_F(IntrospectionTest, DescribesAMethodWithTheCommentsOfItsFile) {
    const OrderedJson all = ask(Json{{"include_descriptors", true}});
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(all[0]["name"], "rpc_get_methods");
    EXPECT_EQ(all[0]["help"], "Lists the methods that can be called.");
    EXPECT_EQ(all[0]["grpc"], "/basalt.v1.App/RpcGetMethods");
    ASSERT_EQ(all[0]["params"].size(), 3U);
    EXPECT_EQ(all[0]["params"][0]["name"], "current");
    EXPECT_EQ(all[0]["params"][0]["type"], "bool");
    EXPECT_EQ(all[0]["params"][0]["short"], "c");
    EXPECT_NE(all[0]["params"][2]["help"].get<std::string>().find("descriptions"),
              std::string::npos);
}

}  // namespace
}  // namespace basalt::rpc
