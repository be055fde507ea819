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

TEST_F(IntrospectionTest, FindsHelpAndAnExampleForEveryMethodAndParameter) {
    for (const auto& [name, method] : table_.methods()) {
        const auto description = introspection_.describe(method);
        EXPECT_NE(description.help(), "") << name;
        EXPECT_EQ(description.example().substr(0, name.size()), name);
        for (const auto& param : description.params()) {
            EXPECT_NE(param.help(), "") << name << " " << param.name();
        }
    }
}

// Where two parameters claimed one flag, rpc.py could not build the subcommand.
TEST_F(IntrospectionTest, GivesEveryParameterFlagsOfItsOwn) {
    for (const auto& [name, method] : table_.methods()) {
        std::set<std::string> flags = {"-h", "--help"};
        std::set<std::string> fields;
        const auto description = introspection_.describe(method);
        for (const auto& param : description.params()) {
            const std::string leaf = param.name().substr(param.name().rfind('.') + 1);
            fields.insert(leaf);
            EXPECT_TRUE(flags.insert("--" + leaf).second) << name << " " << leaf;
            for (const auto& letter : {param.short_(), param.short_false()}) {
                EXPECT_LE(letter.size(), 1U) << name;
                EXPECT_TRUE(letter.empty() || flags.insert("-" + letter).second)
                    << name << " -" << letter;
            }
        }
        for (const auto& param : description.params()) {
            EXPECT_TRUE(param.mib_per().empty() || fields.count(param.mib_per()) == 1) << name;
        }
    }
}

TEST_F(IntrospectionTest, NumbersThePositionalParametersOfAMethodFromOne) {
    for (const auto& [name, method] : table_.methods()) {
        std::set<uint32_t> positions;
        const auto description = introspection_.describe(method);
        for (const auto& param : description.params()) {
            if (param.has_position()) {
                EXPECT_TRUE(positions.insert(param.position()).second) << name;
            }
        }
        EXPECT_TRUE(positions.empty() || *positions.rbegin() == positions.size()) << name;
    }
}

}  // namespace
}  // namespace basalt::rpc
