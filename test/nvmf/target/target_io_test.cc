#include "test/nvmf/target/target_io.h"

#include <gtest/gtest.h>

namespace basalt::nvmf {
namespace {

TEST_F(TargetIo, ReadsBackWhatWasWrittenInTheCapsule) {
    connect();
    const Bytes data = pattern(4096, 1);
    EXPECT_TRUE(write_in_capsule(8, data).status().ok());
    EXPECT_EQ(read(8, 8), data);
    EXPECT_EQ(read(16, 1), Bytes(512));
}

TEST_F(TargetIo, ReadsBackWhatWasSentOnRequest) {
    connect();
    const Bytes data = pattern(131072, 2);
    EXPECT_TRUE(write_by_r2t(0, data, 50000).status().ok());
    EXPECT_EQ(read(0, 256), data);
}

TEST_F(TargetIo, KeepsDataWholeWithDigests) {
    connect(true);
    const Bytes data = pattern(20480, 3);
    EXPECT_TRUE(write_by_r2t(100, data, 4096).status().ok());
    EXPECT_TRUE(write_in_capsule(200, pattern(512, 4)).status().ok());
    EXPECT_EQ(read(100, 40), data);
    EXPECT_EQ(read(200, 1), pattern(512, 4));
}

TEST_F(TargetIo, FailsTheCommandAloneWhenItsDataDigestIsWrong) {
    connect(true);
    Sqe sqe = transfer(nvme_cmd_write, 0, 1);
    set_in_capsule_data(sqe, 512);
    Bytes pdu = io.capsule(sqe, pattern(512, 5));
    pdu.back() ^= std::byte{1};
    io.send(pdu);
    EXPECT_TRUE(io.completion().status().is(status::kTransientTransportError));
    EXPECT_EQ(read(0, 1), Bytes(512));
}

TEST_F(TargetIo, ComparesAndReportsTheDifference) {
    connect();
    const Bytes data = pattern(1024, 6);
    ASSERT_TRUE(write_in_capsule(0, data).status().ok());
    Sqe same = transfer(nvme_cmd_compare, 0, 2);
    set_in_capsule_data(same, 1024);
    EXPECT_TRUE(io.command(same, data).status().ok());
    EXPECT_TRUE(io.command(same, pattern(1024, 7)).status().is(status::kCompareFailure));
}

TEST_F(TargetIo, ZeroesByWriteZeroesAndByDeallocate) {
    connect();
    ASSERT_TRUE(write_in_capsule(0, pattern(4096, 8)).status().ok());
    Sqe zero = make_command(nvme_cmd_write_zeroes, CommandId(900), Nsid(1));
    set_range(zero, Lba(0), BlockCount(2));
    EXPECT_TRUE(io.command(zero).status().ok());
    std::array<nvme_dsm_range, 2> ranges{};
    ranges[0].slba = 4;
    ranges[0].nlb = 1;
    ranges[1].slba = 6;
    ranges[1].nlb = 2;
    Sqe dsm = make_deallocate(CommandId(901), Nsid(1), 2);
    set_in_capsule_data(dsm, sizeof(ranges));
    EXPECT_TRUE(io.command(dsm, std::as_bytes(std::span(ranges))).status().ok());
    const Bytes all = read(0, 8);
    const Bytes before = pattern(4096, 8);
    for (size_t block = 0; block < 8; ++block) {
        const bool is_zero = block < 2 || block == 4 || block >= 6;
        const auto at = static_cast<std::ptrdiff_t>(block * 512);
        const Bytes got(all.begin() + at, all.begin() + at + 512);
        EXPECT_EQ(got, is_zero ? Bytes(512) : Bytes(before.begin() + at, before.begin() + at + 512))
            << block;
    }
}

TEST_F(TargetIo, FlushesOneAndAllNamespaces) {
    connect();
    EXPECT_TRUE(io.command(make_command(nvme_cmd_flush, CommandId(5), Nsid(1))).status().ok());
    EXPECT_TRUE(io.command(make_command(nvme_cmd_flush, CommandId(6), kNsidAll)).status().ok());
    EXPECT_TRUE(io.command(make_command(nvme_cmd_flush, CommandId(7), Nsid(3)))
                    .status()
                    .is(status::kInvalidNamespace));
}

TEST_F(TargetIo, RefusesWhatDoesNotFitTheNamespace) {
    connect();
    const uint64_t end = TargetWorld::kBlocks;
    EXPECT_TRUE(
        io.command(transfer(nvme_cmd_read, end - 1, 2)).status().is(status::kLbaOutOfRange));
    EXPECT_TRUE(
        io.command(transfer(nvme_cmd_read, UINT64_MAX, 1)).status().is(status::kLbaOutOfRange));
    EXPECT_TRUE(io.command(transfer(nvme_cmd_read, 0, 257)).status().is(status::kInvalidField));
    EXPECT_TRUE(
        io.command(transfer(nvme_cmd_read, 0, 1, 9)).status().is(status::kInvalidNamespace));
    EXPECT_TRUE(
        io.command(transfer(nvme_cmd_read, 0, 1, 0)).status().is(status::kInvalidNamespace));
    EXPECT_TRUE(io.command(transfer(0x7d, 0, 1)).status().is(status::kInvalidOpcode));
    Sqe short_sgl = transfer(nvme_cmd_read, 0, 2);
    set_transport_data(short_sgl, 512);
    EXPECT_TRUE(io.command(short_sgl).status().is(status::kDataSglLengthInvalid));
    Sqe fused = transfer(nvme_cmd_read, 0, 1);
    fused.flags = static_cast<uint8_t>(fused.flags | 1U);
    EXPECT_TRUE(io.command(fused).status().is(status::kInvalidField));
    EXPECT_EQ(read(0, 1), Bytes(512)) << "and the queue goes on";
}

TEST_F(TargetIo, ReadsZeroesFromANullDevice) {
    connect();
    Sqe sqe = make_command(nvme_cmd_read, CommandId(3), Nsid(2));
    set_range(sqe, Lba(7), BlockCount(2));
    set_transport_data(sqe, 8192);
    Bytes data;
    EXPECT_TRUE(io.command(sqe, {}, &data).status().ok());
    EXPECT_EQ(data, Bytes(8192));
}

TEST_F(TargetIo, TakesMoreCommandsThanTheQueueIsDeep) {
    connect();
    Bytes burst;
    constexpr uint16_t kCommands = 200;
    for (uint16_t i = 0; i < kCommands; ++i) {
        const Bytes one = io.capsule(transfer(nvme_cmd_read, i, 1));
        burst.insert(burst.end(), one.begin(), one.end());
    }
    io.send(burst);
    for (uint16_t i = 0; i < kCommands; ++i) {
        ASSERT_TRUE(io.completion().status().ok()) << i;
    }
}

TEST_F(TargetIo, TellsTheEffectsOfTheCommandsThatThereAre) {
    connect();
    Bytes data;
    const Sqe sqe =
        make_get_log_page(CommandId(9), NVME_LOG_LID_CMD_EFFECTS, 0, sizeof(nvme_cmd_effects_log));
    ASSERT_TRUE(admin.command(sqe, {}, &data).status().ok());
    const auto log = ScriptedHost::as<nvme_cmd_effects_log>(data);
    for (uint32_t opcode = 0; opcode < nvme_admin_fabrics; ++opcode) {
        Sqe command = make_command(static_cast<uint8_t>(opcode), CommandId(10), Nsid(1));
        const bool is_known = !io.command(command).status().is(status::kInvalidOpcode);
        EXPECT_EQ((log.iocs[opcode] & 1U) != 0, is_known) << opcode;
    }
    EXPECT_EQ(log.iocs[nvme_cmd_copy], 3U) << "it changes blocks";
    EXPECT_EQ(log.iocs[nvme_cmd_verify], 1U);
}

TEST_F(TargetIo, SaysNoLimitOfWhatItTakesWithoutAny) {
    world.add_null("Null1", uint64_t{1} << 32U, TargetWorld::kBlockBytes);
    const uint32_t large = world.add_namespace("Null1").raw();
    connect();
    Sqe identify = make_identify(CommandId(5), NVME_IDENTIFY_CNS_CSI_CTRL, Nsid(0));
    Bytes data;
    ASSERT_TRUE(admin.command(identify, {}, &data).status().ok());
    EXPECT_EQ(data, Bytes(kIdentifyBytes)) << "0 is no limit, in each field";
    // The most that a Dataset Management can say, and a Write Zeroes and a Verify.
    std::vector<nvme_dsm_range> ranges(256);
    for (nvme_dsm_range& range : ranges) {
        range.nlb = UINT32_MAX;
    }
    const auto bytes = std::as_bytes(std::span(ranges));
    Sqe trim = make_deallocate(CommandId(next_cid++), Nsid(large), 256);
    set_in_capsule_data(trim, static_cast<uint32_t>(bytes.size()));
    EXPECT_TRUE(io.command(trim, bytes).status().ok());
    for (const uint8_t opcode : {nvme_cmd_write_zeroes, nvme_cmd_verify}) {
        Sqe sqe = make_command(opcode, CommandId(next_cid++), Nsid(large));
        set_range(sqe, Lba(0), BlockCount(65536));
        EXPECT_TRUE(io.command(sqe).status().ok());
    }
}

TEST_F(TargetIo, IgnoresDirectivesSinceNoneIsEnabled) {
    connect();
    // NVMe Base Specification, "Directive Use in I/O Commands": DTYPE and DSPEC are ignored then.
    Sqe write = transfer(nvme_cmd_write, 0, 1);
    write.cdw12.set(write.cdw12.get() | 1U << 20U);
    write.cdw13.set(7U << 16U);
    set_in_capsule_data(write, TargetWorld::kBlockBytes);
    EXPECT_TRUE(io.command(write, pattern(TargetWorld::kBlockBytes, 1)).status().ok());
    EXPECT_EQ(read(0, 1), pattern(TargetWorld::kBlockBytes, 1));
}

}  // namespace
}  // namespace basalt::nvmf
