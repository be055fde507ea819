// Limits of hosts and devices as one connection sees them: what waits where, and who ends it.
#include <gtest/gtest.h>

#include "nvmf/target/host_rate.h"
#include "test/nvmf/target/admin_host.h"

namespace basalt::nvmf {
namespace {

constexpr uint16_t kVictim = 40;

Sqe transfer(uint8_t opcode, uint16_t cid, uint64_t count, uint32_t nsid = 1) {
    Sqe sqe = make_command(opcode, CommandId(cid), Nsid(nsid));
    set_range(sqe, Lba(0), BlockCount(count));
    set_transport_data(sqe, static_cast<uint32_t>(count) * TargetWorld::kBlockBytes);
    return sqe;
}

qos::Policy ios(uint64_t rate) {
    qos::Policy policy;
    policy.rw_ios.rate = rate;
    return policy;
}

class TargetRate : public testing::Test {
  protected:
    TargetRate() {
        admin = std::make_unique<AdminHost>(world);
        io = std::make_unique<ScriptedHost>(world);
        BASALT_ASSERT(io->handshake());
        BASALT_ASSERT(io->connect(QueueId(1), admin->cntlid).status().ok());
    }
    ~TargetRate() override { limit_device({}); }

    void limit_host(const qos::Policy& policy) {
        world.expect_ok(world.target->set_host_rate(
            std::string(TargetWorld::kNqn), std::string(ScriptedHost::kHostNqn), policy));
    }
    void limit_device(const qos::Policy& policy) {
        auto limiting =
            world.registry->find("Malloc0")->limits().set(*world.control, policy, nullptr);
        ASSERT_TRUE(world.world.run_until([&] { return limiting.is_done(); }, kNsPerSecond));
    }
    void send(uint8_t opcode, uint16_t cid, uint64_t count = 1) {
        io->send(io->capsule(transfer(opcode, cid, count)));
    }
    /// Spends the one I/O that there is at once.
    void spend() {
        send(nvme_cmd_read, 10);
        EXPECT_TRUE(io->completion().status().ok());
    }
    void abort(bool is_aborted) {
        Sqe sqe = make_command(nvme_admin_abort_cmd, admin->next_cid(), Nsid(0));
        sqe.cdw10.set(1U | (uint32_t{kVictim} << 16U));
        const Cqe cqe = admin->command(sqe);
        EXPECT_TRUE(cqe.status().ok());
        EXPECT_EQ((cqe.dw0.get() & 1U) == 0, is_aborted);
    }
    /// `victim` is kVictim, and waits until it is aborted.
    void expect_can_be_aborted(const Sqe& victim) {
        io->send(io->capsule(victim));
        expect_silence();
        abort(true);
        const Cqe cqe = io->completion();
        EXPECT_EQ(cqe.cid(), CommandId(kVictim));
        EXPECT_TRUE(cqe.status().is(status::kAbortRequested));
    }
    void expect_silence() { EXPECT_TRUE(io->next_pdu(100 * kNsPerMs).empty()); }

    TargetWorld world{3};
    std::unique_ptr<AdminHost> admin;
    std::unique_ptr<ScriptedHost> io;
};

TEST_F(TargetRate, AReadThatWaitsForItsHostsRateCanBeAborted) {
    limit_host(ios(1));
    spend();
    expect_can_be_aborted(transfer(nvme_cmd_read, kVictim, 1));
    // It has cost nothing.
    send(nvme_cmd_read, 11);
    EXPECT_TRUE(io->completion().status().ok());
}

TEST_F(TargetRate, AReadThatWaitsForItsDevicesRateCanBeAborted) {
    limit_device(ios(1));
    spend();
    expect_can_be_aborted(transfer(nvme_cmd_read, kVictim, 1));
    send(nvme_cmd_read, 11);
    EXPECT_TRUE(io->completion().status().ok());
}

TEST_F(TargetRate, AVerifyInStepsThatWaitsForTheDevicesRateCanBeAborted) {
    limit_device(ios(1));
    spend();
    Sqe verify = make_command(nvme_cmd_verify, CommandId(kVictim), Nsid(1));
    set_range(verify, Lba(0), BlockCount(2000));
    expect_can_be_aborted(verify);
}

TEST_F(TargetRate, AWriteWaitsForItsHostsRateBeforeItIsAskedForItsData) {
    limit_host(ios(1));
    spend();
    send(nvme_cmd_write, 20, 64);
    expect_silence();
    limit_host({});
    const Bytes pdu = io->next_pdu();
    ASSERT_EQ(ScriptedHost::type_of(pdu), PduType::kR2t);
    const auto r2t = ScriptedHost::as<R2t>(pdu);
    io->send(io->h2c_data(r2t, 0, Bytes(size_t{64} * 512, std::byte{1}), true));
    EXPECT_TRUE(io->completion().status().ok());
}

TEST_F(TargetRate, AWriteInACapsuleWaitsInItsStream) {
    limit_host(ios(2));
    spend();
    Sqe write = transfer(nvme_cmd_write, 20, 1);
    set_in_capsule_data(write, 512);
    for (uint16_t cid = 20; cid < 24; ++cid) {
        write.command_id.set(cid);
        io->send(io->capsule(write, Bytes(512, std::byte{2})));
    }
    // Keep alives, aborts and the other queue are not behind it.
    abort(false);
    for (uint16_t cid = 20; cid < 24; ++cid) {
        const Cqe cqe = io->completion();
        EXPECT_EQ(cqe.cid(), CommandId(cid));
        EXPECT_TRUE(cqe.status().ok());
    }
}

TEST_F(TargetRate, DataBehindWhatWaitsInTheSocketIsNotLate) {
    limit_host(ios(1));
    send(nvme_cmd_write, 20, 64);
    const auto r2t = ScriptedHost::as<R2t>(io->next_pdu());
    constexpr uint16_t kBefore = 40;  // Seconds; data is late after 30.
    Sqe write = transfer(nvme_cmd_write, 0, 1);
    set_in_capsule_data(write, 512);
    for (uint16_t i = 0; i < kBefore; ++i) {
        write.command_id.set(static_cast<uint16_t>(30 + i));
        io->send(io->capsule(write, Bytes(512, std::byte{2})));
    }
    io->send(io->h2c_data(r2t, 0, Bytes(size_t{64} * 512, std::byte{1}), true));
    world.world.run_for((kBefore + 2) * kNsPerSecond);
    for (uint16_t i = 0; i < kBefore; ++i) {
        const Cqe cqe = io->completion();
        EXPECT_EQ(cqe.cid(), CommandId(static_cast<uint16_t>(30 + i)));
        EXPECT_TRUE(cqe.status().ok());
    }
    const Cqe cqe = io->completion();
    EXPECT_EQ(cqe.cid(), CommandId(20));
    EXPECT_TRUE(cqe.status().ok());
}

TEST_F(TargetRate, FlushesAndReservationsAreFree) {
    limit_host(ios(1));
    spend();
    const Sqe flush = make_command(nvme_cmd_flush, CommandId(12), Nsid(1));
    EXPECT_TRUE(io->command(flush).status().ok());
}

TEST_F(TargetRate, AConnectionEndsWhileItsCommandsWait) {
    limit_host(ios(1));
    limit_device(ios(1));
    spend();
    for (uint16_t cid = 20; cid < 30; ++cid) {
        send(cid % 2 == 0 ? nvme_cmd_read : nvme_cmd_write, cid, 16);
    }
    Sqe write = transfer(nvme_cmd_write, 30, 1);
    set_in_capsule_data(write, 512);
    io->send(io->capsule(write, Bytes(512, std::byte{2})));
    world.world.run_for(kNsPerMs);
    io->vanish();
    EXPECT_TRUE(io->wait_closed());
    world.world.run_for(kNsPerMs);
    limit_host({});
}

TEST_F(TargetRate, ANamespaceLeavesWithoutWaitingForItsRate) {
    limit_device(ios(1));
    spend();
    for (uint16_t cid = 20; cid < 30; ++cid) {
        send(nvme_cmd_read, cid, 16);
    }
    expect_silence();
    const uint64_t before = world.world.now_ns();
    world.expect_ok(world.target->remove_namespace(std::string(TargetWorld::kNqn), Nsid(1)));
    EXPECT_LT(world.world.now_ns() - before, 100 * kNsPerMs);
    for (uint16_t cid = 20; cid < 30; ++cid) {
        EXPECT_TRUE(io->completion().status().ok());
    }
}

TEST_F(TargetRate, ASubsystemIsDeletedWhileHostsWait) {
    limit_host(ios(1));
    spend();
    for (uint16_t cid = 20; cid < 30; ++cid) {
        send(nvme_cmd_read, cid, 16);
    }
    world.expect_ok(world.target->delete_subsystem(std::string(TargetWorld::kNqn)));
    EXPECT_TRUE(io->wait_closed());
}

TEST_F(TargetRate, WhatWaitsForItsHostsRateEndsWithItsNamespace) {
    limit_host(ios(1));
    spend();
    for (uint16_t cid = 20; cid < 30; ++cid) {
        send(cid % 2 == 0 ? nvme_cmd_read : nvme_cmd_write, cid, 16);
    }
    Sqe write = transfer(nvme_cmd_write, 30, 1);
    set_in_capsule_data(write, 512);
    io->send(io->capsule(write, Bytes(512, std::byte{2})));
    expect_silence();
    const uint64_t before = world.world.now_ns();
    world.expect_ok(world.target->remove_namespace(std::string(TargetWorld::kNqn), Nsid(1)));
    for (uint16_t cid = 20; cid <= 30; ++cid) {
        const Cqe cqe = io->completion();
        EXPECT_EQ(cqe.cid(), CommandId(cid));
        EXPECT_TRUE(cqe.status().is(status::kInvalidNamespace));
    }
    EXPECT_LT(world.world.now_ns() - before, 100 * kNsPerMs);
    // They have cost nothing; another namespace has its rate.
    Sqe read = transfer(nvme_cmd_read, 31, 1, 2);
    set_transport_data(read, 4096);
    io->send(io->capsule(read));
    EXPECT_TRUE(io->completion().status().ok());
}

TEST_F(TargetRate, RefusesWhatCanNotBe) {
    const std::string nqn(TargetWorld::kNqn);
    const std::string host(ScriptedHost::kHostNqn);
    const auto code = [&](Task<Status> task) {
        const Status outcome = world.run(std::move(task));
        return outcome ? Errc::kOk : outcome.error().code;
    };
    Target& target = *world.target;
    EXPECT_EQ(code(target.set_host_rate("nqn.2026-01.io:x", host, ios(1))), Errc::kNotFound);
    EXPECT_EQ(code(target.set_host_rate(nqn, "host", ios(1))), Errc::kInvalidArgument);
    EXPECT_EQ(code(target.set_host_rate(std::string(kDiscoveryNqn), host, ios(1))),
              Errc::kInvalidArgument);
    qos::Policy policy;
    policy.min_ios = 10;
    EXPECT_EQ(code(target.set_host_rate(nqn, host, policy)), Errc::kInvalidArgument);
    EXPECT_EQ(code(target.set_capacity(nqn, ios(9))), Errc::kOk);
    EXPECT_EQ(code(target.set_host_rate(nqn, host, policy)), Errc::kNoSpace);
    EXPECT_EQ(code(target.set_capacity(nqn, ios(10))), Errc::kOk);
    EXPECT_EQ(code(target.set_host_rate(nqn, host, policy)), Errc::kOk);
    EXPECT_EQ(code(target.set_capacity(nqn, {})), Errc::kNoSpace);
}

TEST(HostCost, IsWhatACommandMoves) {
    const auto cost = [](uint8_t opcode) {
        Sqe sqe = make_command(opcode, CommandId(1), Nsid(1));
        set_range(sqe, Lba(0), BlockCount(10));
        return host_cost(sqe, 5120, 512);
    };
    EXPECT_EQ(cost(nvme_cmd_read)->bytes, 5120U);
    EXPECT_FALSE(cost(nvme_cmd_read)->is_write);
    EXPECT_TRUE(cost(nvme_cmd_write)->is_write);
    EXPECT_EQ(cost(nvme_cmd_write)->bytes, 5120U);
    EXPECT_FALSE(cost(nvme_cmd_compare)->is_write);
    EXPECT_EQ(cost(nvme_cmd_verify)->bytes, 5120U);
    EXPECT_EQ(cost(nvme_cmd_write_zeroes)->bytes, 0U);
    EXPECT_EQ(cost(nvme_cmd_dsm)->bytes, 0U);
    EXPECT_EQ(cost(nvme_cmd_copy)->bytes, 0U);
    EXPECT_FALSE(cost(nvme_cmd_flush));
    EXPECT_FALSE(cost(nvme_cmd_resv_report));
}

}  // namespace
}  // namespace basalt::nvmf
