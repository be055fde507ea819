#include "rpc/codec/rules.h"

#include <string>

#include <gtest/gtest.h>

#include "rpc/proto/app.pb.h"
#include "rpc/proto/bdev.pb.h"
#include "rpc/proto/bdev_nvme.pb.h"
#include "rpc/proto/nvmf.pb.h"

namespace basalt::rpc {
namespace {

std::string broken(const google::protobuf::Message& message) {
    const auto error = check_rules(message);
    if (!error) {
        return "";
    }
    EXPECT_EQ(error->code, -32602);
    return error->message;
}

v1::BdevMallocCreateRequest good_malloc() {
    v1::BdevMallocCreateRequest request;
    request.set_num_blocks(1);
    request.set_block_size(512);
    return request;
}

TEST(Rules, AcceptsAGoodRequest) {
    EXPECT_EQ(broken(good_malloc()), "");
    auto request = good_malloc();
    request.set_numa_id(-1);
    request.set_uuid("01234567-89ab-cdef-0123-456789ABCDEF");
    EXPECT_EQ(broken(request), "");
}

TEST(Rules, RefusesAnEmptyRequiredString) {
    EXPECT_EQ(broken(v1::BdevNullDeleteRequest()),
              "parameter 'name' is required and must not be empty");
}

TEST(Rules, RefusesNumbersOutOfRange) {
    auto request = good_malloc();
    request.set_num_blocks(0);
    EXPECT_EQ(broken(request), "parameter 'num_blocks' must be at least 1");
    request = good_malloc();
    request.set_block_size(65537);
    EXPECT_EQ(broken(request), "parameter 'block_size' must be from 512 to 65536");
    request = good_malloc();
    request.set_numa_id(-2);
    EXPECT_EQ(broken(request), "parameter 'numa_id' must be from -1 to 1023");
    v1::BdevGetBdevsRequest get;
    get.set_timeout(86400001);
    EXPECT_EQ(broken(get), "parameter 'timeout' must be at most 86400000");
}

TEST(Rules, RefusesAFeatureThatTheDaemonLacks) {
    auto request = good_malloc();
    request.set_md_size(8);
    EXPECT_NE(broken(request).find("'md_size' is not supported"), std::string::npos);
    request = good_malloc();
    request.set_md_interleave(true);
    EXPECT_NE(broken(request).find("'md_interleave' is not supported"), std::string::npos);
    request = good_malloc();
    request.set_dif_type(-1);
    EXPECT_NE(broken(request).find("'dif_type' is not supported"), std::string::npos);
    v1::NvmfCreateSubsystemRequest subsystem;
    subsystem.set_nqn("nqn.a");
    subsystem.set_passthrough(true);
    EXPECT_NE(broken(subsystem).find("'passthrough' is not supported"), std::string::npos);
}

TEST(Rules, RefusesTextOfTheWrongForm) {
    auto request = good_malloc();
    for (const char* bad : {"",
                            "x",
                            "01234567-89ab-cdef-0123-456789abcde",
                            "01234567089ab-cdef-0123-456789abcdef",
                            "g1234567-89ab-cdef-0123-456789abcdef"}) {
        request.set_uuid(bad);
        EXPECT_NE(broken(request).find("'uuid' must be a UUID"), std::string::npos) << bad;
    }
    v1::BdevNvmeAttachPassthroughRequest attach;
    attach.set_name("Nvme0");
    for (const char* bad : {"", "1", "0g"}) {
        attach.set_nguid(bad);
        EXPECT_NE(broken(attach).find("'nguid' must be an even"), std::string::npos) << bad;
    }
    attach.set_nguid("0aF1");
    EXPECT_EQ(broken(attach), "");
}

TEST(Rules, ChecksNestedMessagesAndNamesTheirPath) {
    v1::NvmfSubsystemAddListenerRequest request;
    request.set_nqn("nqn.a");
    EXPECT_EQ(broken(request), "parameter 'listen_address' is required");
    request.mutable_listen_address()->set_trtype("TCP");
    EXPECT_EQ(broken(request),
              "parameter 'listen_address.traddr' is required and must not be empty");
    v1::SavedConfig config;
    config.add_subsystems()->set_subsystem("bdev");
    config.mutable_subsystems(0)->add_config();
    EXPECT_EQ(broken(config),
              "parameter 'subsystems[0].config[0].method' is required and must not be empty");
}

TEST(Rules, RefusesAnEnumNumberWithoutAName) {
    v1::LogSetLevelRequest request;
    request.set_level(static_cast<v1::LogLevel>(77));
    EXPECT_EQ(broken(request), "parameter 'level' has a value that does not exist");
}

}  // namespace
}  // namespace basalt::rpc
