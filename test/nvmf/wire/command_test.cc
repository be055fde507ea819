#include "nvmf/wire/command.h"

#include <cstring>

#include <gtest/gtest.h>

#include "nvmf/wire/command_build.h"
#include "nvmf/wire/sgl.h"
#include "test/nvmf/wire/wire_testing.h"

namespace basalt::nvmf {
namespace {

using testing::from_hex;
using testing::to_hex;

Sqe sqe_from_hex(const char* hex) {
    const auto bytes = from_hex(hex);
    EXPECT_EQ(bytes.size(), sizeof(Sqe));
    Sqe sqe;
    std::memcpy(&sqe, bytes.data(), sizeof(sqe));
    return sqe;
}

TEST(Command, ReadsAWriteFromItsBytes) {
    const Sqe sqe = sqe_from_hex(
        "01 41 3412 02000000 00000000 00000000 0000000000000000"
        "0000000000000000 00100000 000000 5a"
        "88776655 44332211 ff0000c2 00000000 00000000 00000000");
    EXPECT_EQ(sqe.opcode, nvme_cmd_write);
    EXPECT_EQ(sqe.cid(), CommandId(0x1234));
    EXPECT_EQ(sqe.nsid(), Nsid(2));
    EXPECT_EQ(sqe.psdt(), Psdt::kSglContiguousMetadata);
    EXPECT_EQ(sqe.fuse(), Fuse::kFirst);
    EXPECT_EQ(sqe.data_direction(), DataDirection::kHostToController);
    const RwView write(sqe);
    EXPECT_EQ(write.slba(), Lba(0x1122334455667788));
    EXPECT_EQ(write.nlb(), BlockCount(256));
    EXPECT_TRUE(write.fua());
    EXPECT_TRUE(write.limited_retry());
    EXPECT_TRUE(write.deac());
    EXPECT_EQ(write.prinfo(), 0);
}

TEST(Command, CountsBlocksAndRangesFromOne) {
    Sqe sqe = make_command(nvme_cmd_read, CommandId(1), Nsid(1));
    set_range(sqe, Lba(5), BlockCount(65536), Fua::kNo);
    EXPECT_EQ(RwView(sqe).nlb(), BlockCount(65536));
    EXPECT_FALSE(RwView(sqe).fua());
    set_range(sqe, Lba(5), BlockCount(1), Fua::kYes);
    EXPECT_EQ(RwView(sqe).nlb(), BlockCount(1));
    EXPECT_TRUE(RwView(sqe).fua());
    const Sqe dsm = make_deallocate(CommandId(1), Nsid(1), 256);
    EXPECT_EQ(DsmView(dsm).range_count(), 256U);
    EXPECT_EQ(DsmView(dsm).data_bytes(), 4096U);
    EXPECT_TRUE(DsmView(dsm).deallocate());
}

TEST(Command, WritesAndReadsConnect) {
    const Sqe sqe = make_connect(CommandId(0x42),
                                 {.qid = QueueId(3),
                                  .queue_entries = 128,
                                  .disable_sq_flow_control = true,
                                  .keep_alive_ms = 15000});
    EXPECT_EQ(to_hex(testing::bytes_of(sqe)),
              to_hex(from_hex("7f 40 4200 01000000 00000000 00000000 0000000000000000"
                              "0000000000000000 00040000 000000 01"
                              "0000 0300 7f00 04 00 983a0000 00000000 00000000 00000000")));
    const ConnectView connect(sqe);
    EXPECT_TRUE(sqe.is_fabrics());
    EXPECT_EQ(sqe.fctype(), nvme_fabrics_type_connect);
    EXPECT_EQ(sqe.data_direction(), DataDirection::kHostToController);
    EXPECT_EQ(connect.record_format(), 0);
    EXPECT_EQ(connect.qid(), QueueId(3));
    EXPECT_EQ(connect.queue_entries(), 128U);
    EXPECT_TRUE(connect.disables_sq_flow_control());
    EXPECT_EQ(connect.keep_alive_ms(), 15000U);
}

TEST(Command, WritesAndReadsProperties) {
    const Sqe get = make_property_get(CommandId(1), NVME_REG_CAP, true);
    EXPECT_TRUE(PropertyView(get).is_8_bytes());
    EXPECT_EQ(PropertyView(get).offset(), 0U);
    EXPECT_EQ(get.fctype(), nvme_fabrics_type_property_get);
    EXPECT_EQ(get.data_direction(), DataDirection::kNone);
    const Sqe set = make_property_set(CommandId(1), NVME_REG_CC, 0x00460001);
    EXPECT_FALSE(PropertyView(set).is_8_bytes());
    EXPECT_EQ(PropertyView(set).offset(), 0x14U);
    EXPECT_EQ(PropertyView(set).value(), 0x00460001U);
    Cqe cqe;
    cqe.set_result64(0x0123456789abcdef);
    EXPECT_EQ(to_hex(testing::bytes_of(cqe)).substr(0, 16), "efcdab8967452301");
    EXPECT_EQ(cqe.result64(), 0x0123456789abcdefU);
}

TEST(Command, WritesAndReadsGetLogPage) {
    const Sqe sqe = make_get_log_page(CommandId(1), 0x70, 0x100000400, 0x80000);
    const GetLogPageView log(sqe);
    EXPECT_EQ(log.lid(), 0x70);
    EXPECT_EQ(log.offset(), 0x100000400U);
    EXPECT_EQ(log.length_bytes(), 0x80000U);
    EXPECT_FALSE(log.rae());
    EXPECT_FALSE(log.is_index_offset());
    Sqe most = sqe;
    most.cdw10.set(0xffff8f02);
    most.cdw11.set(0x0005ffff);
    most.cdw14.set(1U << 23U);
    EXPECT_EQ(GetLogPageView(most).length_bytes(), uint64_t{1} << 34U);
    EXPECT_EQ(GetLogPageView(most).lsp(), 0x0f);
    EXPECT_EQ(GetLogPageView(most).lsi(), 5);
    EXPECT_TRUE(GetLogPageView(most).rae());
    EXPECT_TRUE(GetLogPageView(most).is_index_offset());
}

TEST(Command, ReadsTheOtherAdminCommands) {
    Sqe sqe = make_identify(CommandId(1), 0x06, Nsid(9));
    sqe.cdw10.set(0x00070006);
    sqe.cdw11.set(0x02000000);
    EXPECT_EQ(IdentifyView(sqe).cns(), 6);
    EXPECT_EQ(IdentifyView(sqe).cntid(), ControllerId(7));
    EXPECT_EQ(IdentifyView(sqe).csi(), 2);
    EXPECT_EQ(sqe.sgl1.length_bytes.get(), 4096U);

    Sqe features = make_set_features(CommandId(1), NVME_FEAT_FID_NUM_QUEUES, 0x00030003);
    EXPECT_EQ(FeaturesView(features).fid(), 7);
    EXPECT_EQ(FeaturesView(features).value(), 0x00030003U);
    EXPECT_FALSE(FeaturesView(features).save());
    features.cdw10.set(0x80000307);
    EXPECT_TRUE(FeaturesView(features).save());
    EXPECT_EQ(FeaturesView(features).select(), 3);

    Sqe abort = make_command(nvme_admin_abort_cmd, CommandId(1), Nsid(0));
    abort.cdw10.set(0x00420003);
    EXPECT_EQ(AbortView(abort).qid(), QueueId(3));
    EXPECT_EQ(AbortView(abort).cid_to_abort(), CommandId(0x42));

    Sqe disconnect = make_fabrics(nvme_fabrics_type_disconnect, CommandId(1));
    disconnect.cdw10.set(0xffff0001);
    EXPECT_EQ(DisconnectView(disconnect).record_format(), 1);
    EXPECT_EQ(async_event_result(2, 0, 4), 0x00040002U);
}

NvmeStatus refusal(const Sqe& sqe, uint32_t capsule_data_bytes) {
    const auto result = decode_data_pointer(sqe, capsule_data_bytes);
    return result ? status::kSuccess : to_nvme_status(result.error());
}

TEST(Sgl, FindsDataInTheCapsule) {
    Sqe sqe = make_command(nvme_cmd_write, CommandId(1), Nsid(1));
    set_in_capsule_data(sqe, 512);
    const auto whole = decode_data_pointer(sqe, 512);
    ASSERT_TRUE(whole);
    EXPECT_EQ(whole->place, DataPointer::Place::kInCapsule);
    EXPECT_EQ(whole->offset, 0U);
    EXPECT_EQ(whole->length_bytes, 512U);
    sqe.sgl1.address.set(100);
    const auto shifted = decode_data_pointer(sqe, 612);
    ASSERT_TRUE(shifted);
    EXPECT_EQ(shifted->offset, 100U);
}

TEST(Sgl, FindsDataThatPdusCarry) {
    Sqe sqe = make_command(nvme_cmd_read, CommandId(1), Nsid(1));
    set_transport_data(sqe, 1U << 20U);
    const auto data = decode_data_pointer(sqe, 0);
    ASSERT_TRUE(data);
    EXPECT_EQ(data->place, DataPointer::Place::kTransport);
    EXPECT_EQ(data->length_bytes, 1U << 20U);
}

TEST(Sgl, FindsNoDataInAnEmptyDescriptor) {
    Sqe sqe = make_command(nvme_cmd_flush, CommandId(1), Nsid(1));
    sqe.flags = 0;
    const auto data = decode_data_pointer(sqe, 0);
    ASSERT_TRUE(data);
    EXPECT_EQ(data->place, DataPointer::Place::kNone);
}

TEST(Sgl, RefusesDataOutsideTheCapsule) {
    Sqe sqe = make_command(nvme_cmd_write, CommandId(1), Nsid(1));
    set_in_capsule_data(sqe, 512);
    EXPECT_EQ(refusal(sqe, 511), status::kDataSglLengthInvalid.with_dnr());
    EXPECT_EQ(refusal(sqe, 0), status::kDataSglLengthInvalid.with_dnr());
    sqe.sgl1.address.set(513);
    EXPECT_EQ(refusal(sqe, 512), status::kSglOffsetInvalid.with_dnr());
    sqe.sgl1.address.set(UINT64_MAX);
    EXPECT_EQ(refusal(sqe, 512), status::kSglOffsetInvalid.with_dnr());
    sqe.sgl1.address.set(1);
    EXPECT_EQ(refusal(sqe, 512), status::kDataSglLengthInvalid.with_dnr());
    sqe.sgl1.address.set(0);
    sqe.sgl1.length_bytes.set(UINT32_MAX);
    EXPECT_EQ(refusal(sqe, 512), status::kDataSglLengthInvalid.with_dnr());
}

TEST(Sgl, RefusesEveryOtherDescriptorType) {
    Sqe sqe = make_command(nvme_cmd_write, CommandId(1), Nsid(1));
    set_in_capsule_data(sqe, 512);
    for (unsigned identifier = 0; identifier < 256; ++identifier) {
        sqe.sgl1.identifier = static_cast<uint8_t>(identifier);
        if (identifier == kSglTransport) {
            continue;
        }
        const bool good = identifier == kSglInCapsule;
        EXPECT_EQ(refusal(sqe, 512), good ? status::kSuccess : status::kSglTypeInvalid.with_dnr());
    }
}

TEST(Sgl, RefusesTransportDataBesideCapsuleData) {
    Sqe sqe = make_command(nvme_cmd_write, CommandId(1), Nsid(1));
    set_transport_data(sqe, 512);
    EXPECT_EQ(refusal(sqe, 0), status::kSuccess);
    EXPECT_EQ(refusal(sqe, 512), status::kInvalidField.with_dnr());
}

TEST(Sgl, RefusesPrpsAndCapsuleDataForReads) {
    Sqe write = make_command(nvme_cmd_write, CommandId(1), Nsid(1));
    set_in_capsule_data(write, 512);
    write.flags = 0;
    EXPECT_EQ(refusal(write, 512), status::kInvalidField.with_dnr());
    Sqe read = make_command(nvme_cmd_read, CommandId(1), Nsid(1));
    set_in_capsule_data(read, 512);
    EXPECT_EQ(refusal(read, 512), status::kInvalidField.with_dnr());
}

}  // namespace
}  // namespace basalt::nvmf
