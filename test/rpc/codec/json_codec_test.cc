#include "rpc/codec/json_codec.h"

#include <limits>
#include <string>

#include <gtest/gtest.h>

#include "rpc/proto/app.pb.h"
#include "rpc/proto/bdev.pb.h"
#include "rpc/proto/nvmf.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::rpc {
namespace {

template <typename Request>
std::string fault(const std::string& json) {
    Request request;
    const auto error = decode_params(Json::parse(json), request);
    if (!error) {
        return "";
    }
    EXPECT_EQ(error->code, -32602);
    return error->message;
}

template <typename Request>
Request decode(const std::string& json) {
    Request request;
    const auto error = decode_params(Json::parse(json), request);
    EXPECT_FALSE(error.has_value()) << error->message;
    return request;
}

std::string result(const std::string& method, const google::protobuf::Message& response) {
    static const MethodTable table;
    return encode_result(*table.methods().find(method)->second.descriptor, response).dump();
}

TEST(DecodeParams, FillsEveryKindOfField) {
    const auto request = decode<v1::BdevMallocCreateRequest>(
        R"({"name":"M","num_blocks":18446744073709551615,"block_size":4096,"numa_id":-1})");
    EXPECT_EQ(request.num_blocks(), std::numeric_limits<uint64_t>::max());
    EXPECT_EQ(request.block_size(), 4096U);
    EXPECT_EQ(request.numa_id(), -1);
    EXPECT_EQ(request.name(), "M");
    EXPECT_FALSE(request.has_uuid());
    const auto iostat = decode<v1::BdevGetIostatRequest>(
        R"({"names":["a","b"],"per_channel":true,"reset_mode":"maxmin"})");
    EXPECT_EQ(iostat.names(1), "b");
    EXPECT_TRUE(iostat.per_channel());
    EXPECT_EQ(iostat.reset_mode(), v1::RESET_MODE_MAXMIN);
    const auto listener = decode<v1::NvmfSubsystemAddListenerRequest>(
        R"({"nqn":"n","listen_address":{"trtype":"tcp","traddr":"::1","trsvcid":"4420"},
            "ana_state":"non_optimized"})");
    EXPECT_EQ(listener.listen_address().traddr(), "::1");
    EXPECT_EQ(listener.ana_state(), v1::ANA_STATE_NON_OPTIMIZED);
}

TEST(DecodeParams, TellsAnAbsentParameterFromOneThatIsZero) {
    EXPECT_FALSE(decode<v1::NvmfCreateTransportRequest>(R"({"trtype":"TCP"})").has_c2h_success());
    const auto given =
        decode<v1::NvmfCreateTransportRequest>(R"({"trtype":"TCP","c2h_success":false})");
    EXPECT_TRUE(given.has_c2h_success());
    EXPECT_FALSE(given.c2h_success());
}

TEST(DecodeParams, TakesEnumWordsInAnyCase) {
    EXPECT_EQ(decode<v1::LogSetLevelRequest>(R"({"level":"DEBUG"})").level(), v1::LOG_LEVEL_DEBUG);
    EXPECT_EQ(decode<v1::LogSetLevelRequest>(R"({"level":"debug"})").level(), v1::LOG_LEVEL_DEBUG);
    EXPECT_EQ(fault<v1::LogSetLevelRequest>(R"({"level":"LOUD"})"),
              "parameter 'level' must be one of: NOTICE, DISABLED, ERROR, WARNING, INFO, DEBUG");
    EXPECT_NE(fault<v1::LogSetLevelRequest>(R"({"level":2})"), "");
}

TEST(DecodeParams, TakesNoParamsAsAnEmptyObject) {
    EXPECT_EQ(fault<v1::BdevGetBdevsRequest>("null"), "");
    EXPECT_EQ(fault<v1::BdevGetBdevsRequest>("{}"), "");
    EXPECT_EQ(fault<v1::BdevNullDeleteRequest>("null"), "parameter 'name' is required");
    for (const char* no_object : {"[]", "[\"Null0\"]", "1", "\"a\"", "true"}) {
        EXPECT_EQ(fault<v1::BdevGetBdevsRequest>(no_object),
                  "params must be an object: names with values");
    }
}

TEST(DecodeParams, NamesAnUnknownParameterAndThoseThatExist) {
    EXPECT_EQ(fault<v1::BdevNullDeleteRequest>(R"({"name":"a","nam":1})"),
              "parameter 'nam' is unknown; there are: name");
    EXPECT_EQ(fault<v1::SpdkGetVersionRequest>(R"({"x":1})"),
              "parameter 'x' is unknown: there are no parameters");
    EXPECT_EQ(
        fault<v1::NvmfSubsystemRemoveListenerRequest>(R"({"nqn":"n","listen_address":{"port":1}})"),
        "parameter 'listen_address.port' is unknown; there are: trtype, adrfam, traddr, trsvcid");
}

TEST(DecodeParams, RefusesEveryWrongTypeForEveryKindOfField) {
    const std::string all[] = {"null", "true", "1", "-1", "1.5", "\"a\"", "[]", "{}", "1e400"};
    const auto expect_only = [&](const std::string& before, const std::string& good, auto check) {
        for (const std::string& value : all) {
            if (value == "1e400") {
                continue;  // The parser refuses it.
            }
            EXPECT_EQ(check(before + value + "}").empty(),
                      good.find("|" + value + "|") != good.npos)
                << before << value;
        }
    };
    expect_only(R"({"name":)", "|\"a\"|", fault<v1::BdevNullDeleteRequest>);
    expect_only(
        R"({"nqn":"n","allow_any_host":)", "|true|", fault<v1::NvmfSubsystemAllowAnyHostRequest>);
    expect_only(R"({"nqn":"n","nsid":)", "|1|", fault<v1::NvmfSubsystemRemoveNsRequest>);
    expect_only(R"({"timeout":)", "|1|", fault<v1::BdevGetBdevsRequest>);
    expect_only(R"({"num_blocks":1,"block_size":512,"numa_id":)",
                "|1||-1|",
                fault<v1::BdevMallocCreateRequest>);
    expect_only(R"({"names":)", "|[]|", fault<v1::BdevGetIostatRequest>);
    expect_only(R"({"reset_mode":)", "", fault<v1::BdevGetIostatRequest>);
    expect_only(R"({"nqn":"n","listen_address":)", "", fault<v1::NvmfSubsystemAddListenerRequest>);
    EXPECT_EQ(fault<v1::BdevGetIostatRequest>(R"({"names":["a",1]})"),
              "parameter 'names[1]' must be a string");
}

TEST(DecodeParams, RefusesNumbersBeyondTheFieldsType) {
    const auto nsid = [](const std::string& value) {
        return fault<v1::NvmfSubsystemRemoveNsRequest>(R"({"nqn":"n","nsid":)" + value + "}");
    };
    EXPECT_EQ(nsid("4294967295"), "");
    EXPECT_EQ(nsid("4096.0"), "");
    EXPECT_EQ(nsid("4e3"), "");
    for (const char* bad : {"4294967296", "-1", "18446744073709551616", "1e10", "0.5", "-1e300"}) {
        EXPECT_EQ(nsid(bad), "parameter 'nsid' must be a whole number from 0 to 4294967295") << bad;
    }
    const auto numa = [](const std::string& value) {
        return fault<v1::BdevMallocCreateRequest>(R"({"num_blocks":1,"block_size":512,"numa_id":)" +
                                                  value + "}");
    };
    EXPECT_EQ(numa("-2147483648"), "");
    EXPECT_EQ(numa("2147483647"), "");
    EXPECT_NE(numa("2147483648"), "");
    EXPECT_NE(numa("-2147483649"), "");
    EXPECT_NE(fault<v1::BdevGetBdevsRequest>(R"({"timeout":18446744073709551616})"), "");
    EXPECT_NE(fault<v1::BdevGetBdevsRequest>(R"({"timeout":1e19})"), "");
}

TEST(DecodeParams, RefusesAMissingRequiredParameterEvenIfZeroWouldDo) {
    EXPECT_EQ(fault<v1::NvmfSubsystemAllowAnyHostRequest>(R"({"nqn":"n"})"),
              "parameter 'allow_any_host' is required");
    EXPECT_EQ(fault<v1::LogSetLevelRequest>("{}"), "parameter 'level' is required");
    EXPECT_EQ(fault<v1::NvmfSubsystemAddNsRequest>(R"({"nqn":"n","namespace":{}})"),
              "parameter 'namespace.bdev_name' is required");
}

TEST(EncodeResult, UnwrapsWhatSpdkReturnsBare) {
    v1::BdevMallocCreateResponse created;
    created.set_name("Malloc0");
    EXPECT_EQ(result("bdev_malloc_create", created), "\"Malloc0\"");
    EXPECT_EQ(result("bdev_malloc_delete", v1::Done()), "true");
    v1::NvmfSubsystemAddNsResponse nsid;
    nsid.set_nsid(3);
    EXPECT_EQ(result("nvmf_subsystem_add_ns", nsid), "3");
    EXPECT_EQ(result("bdev_get_bdevs", v1::BdevGetBdevsResponse()), "[]");
    v1::LogGetLevelResponse level;
    level.set_level(v1::LOG_LEVEL_ERROR);
    EXPECT_EQ(result("log_get_level", level), "\"ERROR\"");
}

TEST(EncodeResult, UnwrapsTheFirstFieldThatIsSetAndElseTheFirst) {
    v1::RpcGetMethodsResponse methods;
    EXPECT_EQ(result("rpc_get_methods", methods), "[]");
    methods.add_methods("a");
    EXPECT_EQ(result("rpc_get_methods", methods), "[\"a\"]");
    methods.clear_methods();
    methods.add_descriptors()->set_name("b");
    EXPECT_EQ(result("rpc_get_methods", methods).substr(0, 12), "[{\"name\":\"b\"");
}

TEST(EncodeResult, WritesIntegersOf64BitsAsNumbersAndKeysInTheFilesOrder) {
    v1::BdevGetHistogramResponse histogram;
    histogram.set_histogram("AA==");
    histogram.set_granularity(std::numeric_limits<int64_t>::min());
    histogram.set_tsc_rate(std::numeric_limits<int64_t>::max());
    EXPECT_EQ(result("bdev_get_histogram", histogram),
              "{\"histogram\":\"AA==\",\"granularity\":-9223372036854775808,\"min_range\":0,"
              "\"max_range\":0,\"tsc_rate\":9223372036854775807}");
}

TEST(EncodeResult, LeavesOutWhatIsNotSetAndOptional) {
    v1::BdevGetIostatResponse iostat;
    iostat.set_ticks(std::numeric_limits<uint64_t>::max());
    EXPECT_EQ(result("bdev_get_iostat", iostat),
              "{\"tick_rate\":0,\"ticks\":18446744073709551615,\"bdevs\":[]}");
    iostat.set_name("");
    iostat.add_channels()->set_thread_id(0);
    const std::string text = result("bdev_get_iostat", iostat);
    EXPECT_NE(text.find("\"name\":\"\",\"channels\":[{\"thread_id\":0,\"bytes_read\":0"),
              std::string::npos)
        << text;
}

TEST(EncodeResult, WritesMapsAndFreeFormJson) {
    v1::BdevInfo bdev;
    (*bdev.mutable_supported_io_types())["write"] = true;
    (*bdev.mutable_supported_io_types())["compare"] = false;
    to_struct(Json::parse(R"({"z":[1,2.5,null,"s"],"a":{"b":true},"big":9007199254740992})"),
              *bdev.mutable_driver_specific());
    const std::string text = encode_message(bdev).dump();
    EXPECT_NE(text.find("\"supported_io_types\":{\"compare\":false,\"write\":true}"),
              std::string::npos);
    EXPECT_NE(text.find("\"driver_specific\":{\"a\":{\"b\":true},\"big\":9007199254740992,"
                        "\"z\":[1,2.5,null,\"s\"]}"),
              std::string::npos)
        << text;
}

TEST(EncodeResult, EncodesEveryResponseOfTheApi) {
    const MethodTable table;
    for (const auto& [name, method] : table.methods()) {
        EXPECT_FALSE(encode_result(*method.descriptor, *method.new_response()).is_discarded());
    }
}

TEST(SavedConfigJson, SurvivesARoundTripThroughMessages) {
    const std::string text =
        R"({"subsystems":[{"subsystem":"bdev","config":[{"method":"bdev_malloc_create",)"
        R"("params":{"block_size":512,"name":"M","num_blocks":8589934592}},{"method":"x"}]}]})";
    EXPECT_EQ(encode_message(decode<v1::SavedConfig>(text)).dump(), text);
}

TEST(EnumText, DropsThePrefixUnlessTheFileGivesAWord) {
    using Inject = v1::BdevErrorInjectErrorRequest;
    EXPECT_EQ(enum_text(*Inject::ErrorType_descriptor()->FindValueByNumber(
                  Inject::ERROR_TYPE_CORRUPT_DATA)),
              "corrupt_data");
    EXPECT_EQ(enum_text(*v1::LogLevel_descriptor()->FindValueByNumber(v1::LOG_LEVEL_INFO)), "INFO");
}

}  // namespace
}  // namespace basalt::rpc
