#include <gtest/gtest.h>

#include "test/nvmf/target/scripted_host.h"

namespace basalt::nvmf {
namespace {

/// A good host works beside each bad one and must notice nothing.
class TargetBadInput : public testing::Test {
  protected:
    void SetUp() override {
        cntlid = good.become_admin();
        ASSERT_TRUE(bad.handshake());
    }
    void TearDown() override {
        EXPECT_TRUE(
            good.command(make_command(nvme_admin_keep_alive, CommandId(9), Nsid(0))).status().ok());
    }

    void connect_bad() { ASSERT_TRUE(bad.connect(QueueId(1), cntlid).status().ok()); }

    /// The target answers with a terminate request that says why, and closes.
    void expect_terminated(Fes fes) {
        const Bytes pdu = bad.next_pdu();
        ASSERT_FALSE(pdu.empty());
        ASSERT_EQ(ScriptedHost::type_of(pdu), PduType::kC2hTermReq);
        EXPECT_EQ(ScriptedHost::as<TermReq>(pdu).fes.get(), static_cast<uint16_t>(fes));
        EXPECT_TRUE(bad.wait_closed());
    }
    Sqe write_command(uint32_t blocks) {
        Sqe sqe = make_command(nvme_cmd_write, CommandId(40), Nsid(1));
        set_range(sqe, Lba(0), BlockCount(blocks));
        set_transport_data(sqe, blocks * TargetWorld::kBlockBytes);
        return sqe;
    }
    R2t await_r2t(uint32_t blocks) {
        bad.send(bad.capsule(write_command(blocks)));
        return ScriptedHost::as<R2t>(bad.next_pdu());
    }

    TargetWorld world{3};
    ScriptedHost good{world};
    ScriptedHost bad{world};
    ControllerId cntlid;
};

TEST_F(TargetBadInput, TerminatesOnAnUnknownPduType) {
    Bytes pdu = bad.capsule(write_command(1));
    pdu[0] = std::byte{0x0b};
    bad.send(pdu);
    expect_terminated(Fes::kInvalidHeaderField);
}

TEST_F(TargetBadInput, SaysNothingAfterATerminateRequest) {
    connect_bad();
    Sqe read = make_command(nvme_cmd_read, CommandId(50), Nsid(1));
    set_range(read, Lba(0), BlockCount(8));
    set_transport_data(read, 8 * TargetWorld::kBlockBytes);
    Bytes both = bad.capsule(read);
    Bytes wrong = bad.capsule(write_command(1));
    wrong[0] = std::byte{0x0b};
    both.insert(both.end(), wrong.begin(), wrong.end());
    bad.send(both);
    PduType last = PduType::kIcReq;
    for (Bytes pdu = bad.next_pdu(); !pdu.empty(); pdu = bad.next_pdu()) {
        last = ScriptedHost::type_of(pdu);
    }
    EXPECT_EQ(last, PduType::kC2hTermReq);
    EXPECT_TRUE(bad.wait_closed());
}

TEST_F(TargetBadInput, TerminatesOnASecondIcReq) {
    std::array<std::byte, kPduHeadBytesMax> head{};
    const size_t bytes = encode_ic_req(head, {});
    bad.send(Bytes(head.begin(), head.begin() + static_cast<std::ptrdiff_t>(bytes)));
    expect_terminated(Fes::kPduSequenceError);
}

TEST_F(TargetBadInput, TerminatesOnALengthBeyondAllBounds) {
    Bytes pdu = bad.capsule(write_command(1));
    auto header = ScriptedHost::as<CommonHeader>(pdu);
    header.pdu_bytes.set(0x7fffffff);
    std::memcpy(pdu.data(), &header, sizeof(header));
    bad.send(pdu);
    expect_terminated(Fes::kInvalidHeaderField);
}

TEST_F(TargetBadInput, TerminatesOnDataNobodyAskedFor) {
    connect_bad();
    R2t invented{};
    invented.transfer_tag.set(3);
    bad.send(bad.h2c_data(invented, 0, Bytes(512), true));
    expect_terminated(Fes::kInvalidHeaderField);
}

TEST_F(TargetBadInput, TerminatesOnATagOfAnotherCommand) {
    connect_bad();
    R2t r2t = await_r2t(16);
    r2t.command_id.set(41);
    bad.send(bad.h2c_data(r2t, 0, Bytes(512), false));
    expect_terminated(Fes::kInvalidHeaderField);
}

TEST_F(TargetBadInput, TerminatesOnDataBeyondTheTransfer) {
    connect_bad();
    const R2t r2t = await_r2t(16);
    bad.send(bad.h2c_data(r2t, 0, Bytes(8192 + 512), true));
    expect_terminated(Fes::kDataTransferOutOfRange);
}

TEST_F(TargetBadInput, TerminatesOnDataOutOfOrder) {
    connect_bad();
    const R2t r2t = await_r2t(16);
    bad.send(bad.h2c_data(r2t, 4096, Bytes(512), false));
    expect_terminated(Fes::kDataTransferOutOfRange);
}

TEST_F(TargetBadInput, LivesOnWhenAHostVanishesMidTransfer) {
    connect_bad();
    const R2t r2t = await_r2t(16);
    Bytes half = bad.h2c_data(r2t, 0, Bytes(8192), true);
    half.resize(3000);
    bad.send(half);
    bad.vanish();
    EXPECT_TRUE(bad.wait_closed());
    world.world.run_for(kNsPerSecond);
    const auto left = world.run(world.target->controllers(std::string(TargetWorld::kNqn)));
    ASSERT_EQ(left->size(), 1U);
    EXPECT_EQ(left->front().io_queues, 0U);
}

TEST_F(TargetBadInput, AnswersCommandsBeforeConnectWithASequenceError) {
    EXPECT_TRUE(bad.command(write_command(1)).status().is(status::kCommandSequenceError));
    EXPECT_TRUE(bad.command(make_property_get(CommandId(4), NVME_REG_CSTS, false))
                    .status()
                    .is(status::kCommandSequenceError));
    connect_bad();
}

TEST_F(TargetBadInput, RefusesPrpsAndOddDescriptors) {
    connect_bad();
    Sqe odd = write_command(1);
    odd.sgl1.identifier = 0x33;
    EXPECT_TRUE(bad.command(odd).status().is(status::kSglTypeInvalid));
    Sqe prp = write_command(1);
    prp.flags = 0;
    EXPECT_TRUE(bad.command(prp).status().is(status::kInvalidField));
    Sqe beyond = write_command(1);
    set_in_capsule_data(beyond, 4096);
    EXPECT_FALSE(bad.command(beyond, Bytes(512)).status().ok());
}

TEST_F(TargetBadInput, ClosesAConnectionThatNeverConnects) {
    EXPECT_TRUE(bad.wait_closed(15 * kNsPerSecond));
}

TEST_F(TargetBadInput, SurvivesAnyBitFlippedInACommand) {
    connect_bad();
    const Bytes right = bad.capsule(write_command(1));
    for (size_t bit = 0; bit < right.size() * 8; ++bit) {
        ScriptedHost flipped(world);
        ASSERT_TRUE(flipped.handshake());
        Bytes pdu = right;
        pdu[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        flipped.send(pdu);
        world.world.run_for(10 * kNsPerMs);
    }
}

TEST_F(TargetBadInput, TerminatesOnDataThatCallsItselfTheLastTooEarly) {
    connect_bad();
    const R2t r2t = await_r2t(16);
    bad.send(bad.h2c_data(r2t, 0, Bytes(4096), true));
    expect_terminated(Fes::kInvalidHeaderField);
}

TEST_F(TargetBadInput, TakesTheEndOfATransferThatDoesNotCallItselfTheLast) {
    connect_bad();
    const R2t r2t = await_r2t(16);
    bad.send(bad.h2c_data(r2t, 0, Bytes(4096), false));
    bad.send(bad.h2c_data(r2t, 4096, Bytes(4096), false));
    EXPECT_TRUE(bad.completion().status().ok());
}

}  // namespace
}  // namespace basalt::nvmf
