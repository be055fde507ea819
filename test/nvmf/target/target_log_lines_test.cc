// What goes wrong with a host is a line in the daemon's log, with the ids that find it again.

#include <gtest/gtest.h>

#include "test/nvmf/target/scripted_host.h"
#include "test/reactor/log_capture.h"

namespace basalt::nvmf {
namespace {

class TargetLogLines : public testing::Test {
  protected:
    void SetUp() override {
        cntlid = admin.become_admin();
        ASSERT_TRUE(io.handshake());
        ASSERT_TRUE(io.connect(QueueId(1), cntlid).status().ok());
    }

    static Sqe transfer(uint8_t opcode, uint64_t first, uint32_t blocks) {
        Sqe sqe = make_command(opcode, CommandId(40), Nsid(1));
        set_range(sqe, Lba(first), BlockCount(blocks));
        set_transport_data(sqe, blocks * TargetWorld::kBlockBytes);
        return sqe;
    }

    TargetWorld world{3};
    ScriptedHost admin{world};
    ScriptedHost io{world};
    ControllerId cntlid;
    LogCapture log;
};

constexpr std::string_view kFromHost = " from 10.";

TEST_F(TargetLogLines, NamesTheConnectionOfAProtocolViolation) {
    Bytes pdu = io.capsule(transfer(nvme_cmd_write, 0, 1));
    pdu[0] = std::byte{0x0b};
    io.send(pdu);
    EXPECT_TRUE(io.wait_closed());
    EXPECT_EQ(
        log.count(
            LogLevel::kWarn,
            "nvmf",
            {"connection ", kFromHost, "queue 1: protocol violation, fatal error status 0x1"}),
        1U)
        << log;
}

TEST_F(TargetLogLines, NamesTheConnectionOfABadHeaderDigest) {
    ScriptedHost other(world);
    ASSERT_TRUE(other.handshake(true, true));
    ASSERT_TRUE(other.connect(QueueId(2), cntlid).status().ok());
    Bytes pdu = other.capsule(transfer(nvme_cmd_read, 0, 1));
    pdu[pdu.size() - 1] ^= std::byte{1};
    other.send(pdu);
    EXPECT_TRUE(other.wait_closed());
    EXPECT_EQ(log.count(LogLevel::kWarn, "nvmf", {kFromHost, "queue 2: protocol violation"}), 1U)
        << log;
}

TEST_F(TargetLogLines, NamesTheCommandOfABadDataDigest) {
    ScriptedHost other(world);
    ASSERT_TRUE(other.handshake(true, true));
    ASSERT_TRUE(other.connect(QueueId(2), cntlid).status().ok());
    Sqe sqe = transfer(nvme_cmd_write, 0, 1);
    set_in_capsule_data(sqe, 512);
    Bytes pdu = other.capsule(sqe, Bytes(512));
    pdu[pdu.size() - 1] ^= std::byte{1};
    other.send(pdu);
    EXPECT_FALSE(other.completion().status().ok());
    EXPECT_EQ(
        log.count(LogLevel::kWarn, "nvmf", {"queue 2: command 40 (opcode 0x01", "status 0x0/0x22"}),
        1U)
        << log;
}

TEST_F(TargetLogLines, NamesTheCommandThatIsRefused) {
    struct Case {
        Sqe sqe;
        std::string_view line;
    };
    const Case cases[] = {
        {make_command(0x70, CommandId(41), Nsid(1)), "command 41 (opcode 0x70, namespace 0x1)"},
        {transfer(nvme_cmd_read, TargetWorld::kBlocks, 1), "status 0x0/0x80"},
        {transfer(nvme_cmd_read, 0, 512), "status 0x0/0x02"},  // 256 KiB: more than MDTS.
    };
    for (const Case& one : cases) {
        world.world.run_for(kFailureLogNs);
        EXPECT_FALSE(io.command(one.sqe).status().ok());
        EXPECT_EQ(log.count(LogLevel::kWarn, "nvmf", {kFromHost, "queue 1: ", one.line}), 1U)
            << one.line << '\n'
            << log;
    }
}

TEST_F(TargetLogLines, IsNotFilledByAHostThatFailsAllTheTime) {
    const Sqe bad = transfer(nvme_cmd_read, TargetWorld::kBlocks, 1);
    for (uint32_t i = 0; i < 10; ++i) {
        io.command(bad);
    }
    EXPECT_EQ(log.count(LogLevel::kWarn, "nvmf", {"command 40"}), 1U) << log;
    world.world.run_for(kFailureLogNs);
    io.command(bad);
    EXPECT_EQ(log.count(LogLevel::kWarn, "nvmf", {"command 40", "; 9 more of them"}), 1U) << log;
}

TEST_F(TargetLogLines, NamesTheConnectionOfAHostThatVanishes) {
    io.send(io.capsule(transfer(nvme_cmd_write, 0, 16)));
    const R2t r2t = ScriptedHost::as<R2t>(io.next_pdu());
    Bytes half = io.h2c_data(r2t, 0, Bytes(8192), true);
    half.resize(3000);
    io.send(half);
    io.vanish();
    EXPECT_TRUE(io.wait_closed());
    world.world.run_for(kNsPerSecond);
    EXPECT_EQ(log.count(LogLevel::kInfo, "nvmf", {"connection ", kFromHost, "queue 1: "}), 1U)
        << log;
}

TEST_F(TargetLogLines, SaysWhyAConnectIsRefused) {
    ScriptedHost other(world);
    ASSERT_TRUE(other.handshake());
    EXPECT_FALSE(
        other.connect(kAdminQueueId, kControllerIdAny, "nqn.2026-11.io.basalt:none").status().ok());
    EXPECT_EQ(log.count(LogLevel::kWarn, "nvmf", {"connection ", kFromHost, "Connect refused: "}),
              1U)
        << log;
    EXPECT_EQ(log.count(LogLevel::kWarn, "nvmf", {"command 1 "}), 0U) << log;
}

TEST(TargetLogLinesOfMany, TellOfConnectionsThatAreRefused) {
    const LogCapture log;
    TargetWorld world(4, sim::calm(), {.opening_per_address_max = 1});
    std::vector<std::unique_ptr<ScriptedHost>> hosts;
    for (uint32_t i = 0; i < 2 * TargetWorld::kReactors; ++i) {
        hosts.push_back(std::make_unique<ScriptedHost>(world));
        world.world.run_for(10 * kNsPerMs);
    }
    EXPECT_EQ(
        log.count(LogLevel::kWarn, "nvmf", {"connections refused: too many from ", "1 refused"}),
        TargetWorld::kReactors)
        << log;
}

}  // namespace
}  // namespace basalt::nvmf
