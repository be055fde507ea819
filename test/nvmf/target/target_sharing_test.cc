// What connections of one reactor share, and that none takes it from the others.
#include <gtest/gtest.h>

#include "bdev/layer/delay_bdev.h"
#include "reactor/sim/sim_network.h"
#include "test/nvmf/target/late_bdev.h"
#include "test/nvmf/target/scripted_host.h"

namespace basalt::nvmf {
namespace {

constexpr uint32_t kLargeBytes = 131072;
constexpr uint32_t kShare = 16 / kBufferShare;  // Of those, for one connection.

/// As few buffers for large transfers as a reactor may have.
TransportOptions few_large_buffers() {
    TransportOptions options;
    options.large_buffers = 16;
    return options;
}

class TargetSharing : public testing::Test {
  protected:
    /// Connections go to the two reactors in turn: with one that does nothing between them, `first`
    /// and `second` share a reactor.
    void connect() {
        cntlid = admin.become_admin();
        connect_io(first, 1);
        connect_io(between, 2);
        connect_io(second, 3);
    }
    void connect_io(ScriptedHost& io, uint16_t qid) {
        ASSERT_TRUE(io.handshake());
        ASSERT_TRUE(io.connect(QueueId(qid), cntlid).status().ok());
    }

    static Sqe write(uint16_t cid, uint32_t bytes, uint32_t nsid = 1) {
        Sqe sqe = make_command(nvme_cmd_write, CommandId(cid), Nsid(nsid));
        set_range(sqe, Lba(0), BlockCount(bytes / TargetWorld::kBlockBytes));
        set_transport_data(sqe, bytes);
        return sqe;
    }
    /// Sends `count` large writes in one go, with identifiers from 10.
    static void send_large_writes(ScriptedHost& io, uint16_t count) {
        Bytes burst;
        for (uint16_t i = 0; i < count; ++i) {
            const Bytes capsule = io.capsule(write(static_cast<uint16_t>(10 + i), kLargeBytes));
            burst.insert(burst.end(), capsule.begin(), capsule.end());
        }
        io.send(burst);
    }
    /// The R2Ts that come within a second.
    static std::vector<R2t> r2ts(ScriptedHost& io) {
        std::vector<R2t> all;
        while (true) {
            const Bytes pdu = io.next_pdu(kNsPerSecond);
            if (pdu.empty()) {
                return all;
            }
            EXPECT_EQ(ScriptedHost::type_of(pdu), PduType::kR2t);
            all.push_back(ScriptedHost::as<R2t>(pdu));
        }
    }
    size_t kept_count() {
        size_t count = 0;
        for (uint32_t core = 0; core < TargetWorld::kReactors; ++core) {
            auto& network = world.world.reactor(world.server, CoreId(core)).network();
            count += static_cast<sim::SimNetwork&>(network).kept_count();
        }
        return count;
    }
    /// A device that takes its time to write.
    Nsid add_slow_namespace() {
        world.add_malloc("Slow0", TargetWorld::kBlocks, TargetWorld::kBlockBytes);
        bdev::DelayOptions options;
        options.name = "Slow";
        options.latencies.avg_write_us = 100'000;
        options.latencies.p99_write_us = 100'000;
        bdev::Bdev* base = world.registry->find("Slow0");
        BASALT_ASSERT(
            world.registry->add(bdev::DelayBdev::make(options, *base).value()).has_value());
        return world.add_namespace("Slow");
    }

    TargetWorld world{1, sim::calm(), few_large_buffers()};
    ScriptedHost admin{world};
    ScriptedHost first{world};
    ScriptedHost between{world};
    ScriptedHost second{world};
    ControllerId cntlid;
};

TEST(TargetSends, ARequestIsFreeWhenItsResponseIsEncodedAndItHoldsNoMemory) {
    // The host reads nothing, so the first send, of two reads of a null device, never ends.
    constexpr uint32_t kReadBytes = 131072;
    constexpr uint64_t kReads = 40;
    sim::FaultOptions faults = sim::calm();
    faults.send_window_bytes = 65536;
    TargetWorld world{1, faults};
    ScriptedHost admin{world};
    ScriptedHost io{world};
    const ControllerId cntlid = admin.become_admin();
    ASSERT_TRUE(io.handshake());
    ASSERT_TRUE(io.connect(QueueId(1), cntlid, TargetWorld::kNqn, ScriptedHost::kHostNqn, 16)
                    .status()
                    .ok());
    io.stop_reading();
    Bytes burst;
    for (uint16_t i = 0; i < kReads; ++i) {
        Sqe sqe = make_command(nvme_cmd_read, CommandId(i), Nsid(2));
        set_range(sqe, Lba(0), BlockCount(kReadBytes / 4096));
        set_transport_data(sqe, kReadBytes);
        const Bytes one = io.capsule(sqe);
        burst.insert(burst.end(), one.begin(), one.end());
    }
    io.send(burst);
    world.world.run_for(kNsPerSecond);
    // 16 entries and a slack of 16: that many and no more wait in line to be sent.
    bdev::Device* device = world.registry->find("Null0");
    const bdev::IoStats stats = world.run(device->read_stats(*world.control));
    EXPECT_EQ(stats.of(bdev::IoOp::kRead).count, 16U + kRequestSlack + 2U);
    io.go_on_reading();
    for (uint64_t i = 0; i < kReads; ++i) {
        EXPECT_TRUE(io.completion().status().ok());
    }
}

TEST_F(TargetSharing, AHostThatSendsNoDataHoldsItsShareAlone) {
    connect();
    send_large_writes(first, 10);
    EXPECT_EQ(r2ts(first).size(), kShare);
    send_large_writes(second, 1);
    EXPECT_EQ(r2ts(second).size(), 1U);
}

TEST_F(TargetSharing, EveryWriteGetsItsTurnInTheShare) {
    connect();
    send_large_writes(first, 10);
    std::vector<R2t> asked = r2ts(first);
    const Bytes data(kLargeBytes, std::byte{0x5a});
    uint32_t completed = 0;
    for (size_t next = 0; next < asked.size(); ++next) {
        first.send(first.h2c_data(asked[next], 0, data, true));
        while (true) {
            const Bytes pdu = first.next_pdu(kNsPerSecond);
            if (pdu.empty()) {
                break;
            }
            if (ScriptedHost::type_of(pdu) == PduType::kR2t) {
                asked.push_back(ScriptedHost::as<R2t>(pdu));
            } else {
                EXPECT_TRUE(ScriptedHost::as<CapsuleResp>(pdu).cqe.status().ok());
                ++completed;
            }
        }
        EXPECT_LE(asked.size() - completed, kShare);
    }
    EXPECT_EQ(completed, 10U);
}

/// Another host with as many queues as it likes, on the same reactors.
struct ManyQueues {
    ManyQueues(TargetWorld& world, uint16_t count, std::string_view host_nqn) : admin(world) {
        admin.host_number = 9;
        const ControllerId cntlid = admin.become_admin(TargetWorld::kNqn, 0, host_nqn);
        for (uint16_t qid = 1; qid <= count; ++qid) {
            ScriptedHost& io = *queues.emplace_back(std::make_unique<ScriptedHost>(world));
            io.host_number = 9;
            BASALT_ASSERT(io.handshake());
            BASALT_ASSERT(
                io.connect(QueueId(qid), cntlid, TargetWorld::kNqn, host_nqn).status().ok());
        }
    }

    ScriptedHost admin;
    std::vector<std::unique_ptr<ScriptedHost>> queues;
};

TEST_F(TargetSharing, AHostWithManyConnectionsLeavesBuffersToTheOthers) {
    connect();
    ManyQueues greedy(world, 20, "nqn.2026-11.io.basalt:greedy");
    uint32_t held = 0;
    for (const auto& io : greedy.queues) {
        send_large_writes(*io, 10);
        held += static_cast<uint32_t>(r2ts(*io).size());
    }
    EXPECT_GT(held, 16U) << "most of 16 on each of two reactors";
    EXPECT_LT(held, 32U);
    // One host after the other still gets some at once.
    send_large_writes(first, 2);
    send_large_writes(second, 2);
    EXPECT_GE(r2ts(first).size() + r2ts(second).size(), 2U);
}

TEST_F(TargetSharing, AHostWithManyConnectionsLeavesCapsuleBuffersToTheOthers) {
    connect();
    LateBdev& stuck = LateBdev::add(world, "Stuck");
    ManyQueues greedy(world, 60, "nqn.2026-11.io.basalt:greedy");
    for (const auto& io : greedy.queues) {
        Bytes burst;
        for (uint16_t i = 0; i < 40; ++i) {
            Sqe sqe = write(static_cast<uint16_t>(10 + i), 4096, stuck.nsid.raw());
            set_in_capsule_data(sqe, 4096);
            const Bytes capsule = io->capsule(sqe, Bytes(4096));
            burst.insert(burst.end(), capsule.begin(), capsule.end());
        }
        io->send(burst);
    }
    // 2400 writes hang or wait for one of 1024 buffers a reactor. Another host's gets one: it
    // reaches the device.
    Sqe sqe = write(10, 4096, stuck.nsid.raw());
    set_in_capsule_data(sqe, 4096);
    world.world.run_for(10 * kNsPerMs);
    const uint64_t before = stuck.held_count();
    EXPECT_LT(before, 2048U);
    first.send(first.capsule(sqe, Bytes(4096)));
    world.world.run_for(10 * kNsPerMs);
    EXPECT_EQ(stuck.held_count(), before + 1);
    stuck.release();
    EXPECT_TRUE(first.completion().status().ok());
}

TEST_F(TargetSharing, NothingIsAskedForAfterATerminateRequest) {
    connect();
    send_large_writes(first, 10);
    EXPECT_EQ(r2ts(first).size(), kShare);
    Bytes wrong(24);
    wrong[0] = std::byte{0x5f};  // No PDU has this type.
    wrong[2] = std::byte{24};
    wrong[4] = std::byte{24};
    first.send(wrong);
    EXPECT_EQ(ScriptedHost::type_of(first.next_pdu()), PduType::kC2hTermReq);
    EXPECT_TRUE(first.next_pdu(kNsPerSecond).empty());
    EXPECT_TRUE(first.wait_closed());
    // What it held is there for others again.
    send_large_writes(second, 2);
    EXPECT_EQ(r2ts(second).size(), 2U);
}

TEST_F(TargetSharing, AHostThatOwesDataForTooLongIsClosed) {
    connect();
    send_large_writes(first, 1);
    EXPECT_EQ(r2ts(first).size(), 1U);
    EXPECT_FALSE(first.wait_closed(kDataTimeoutNs - 2 * kNsPerSecond));
    EXPECT_TRUE(first.wait_closed(3 * kNsPerSecond));
    EXPECT_FALSE(second.is_closed);
}

TEST_F(TargetSharing, AHostMayTakeItsTimeWithTheDataAsLongAsSomeComes) {
    connect();
    send_large_writes(first, 1);
    const std::vector<R2t> asked = r2ts(first);
    ASSERT_EQ(asked.size(), 1U);
    const Bytes data(kLargeBytes, std::byte{0x5a});
    constexpr uint32_t kParts = 4;
    for (uint32_t part = 0; part < kParts; ++part) {
        world.world.run_for(kDataTimeoutNs - 2 * kNsPerSecond);
        constexpr uint32_t kPartBytes = kLargeBytes / kParts;
        first.send(first.h2c_data(asked[0],
                                  part * kPartBytes,
                                  std::span(data).subspan(part * kPartBytes, kPartBytes),
                                  part + 1 == kParts));
    }
    EXPECT_TRUE(first.completion().status().ok());
    // And nobody minds a host that owes nothing.
    world.world.run_for(2 * kDataTimeoutNs);
    EXPECT_FALSE(first.is_closed);
}

TEST_F(TargetSharing, AWriteInTheCapsuleIsWrittenFromWhereItWasReceived) {
    connect();
    const Nsid slow = add_slow_namespace();
    const Bytes data(4096, std::byte{0x77});
    Sqe sqe = write(10, 4096, slow.raw());
    set_in_capsule_data(sqe, 4096);
    first.send(first.capsule(sqe, data));
    world.world.run_for(10 * kNsPerMs);
    EXPECT_EQ(kept_count(), 1U);
    EXPECT_TRUE(first.completion().status().ok());
    EXPECT_EQ(kept_count(), 0U);
    Sqe read = make_command(nvme_cmd_read, CommandId(11), slow);
    set_range(read, Lba(0), BlockCount(8));
    set_transport_data(read, 4096);
    Bytes found;
    EXPECT_TRUE(first.command(read, {}, &found).status().ok());
    EXPECT_EQ(found, data);
}

TEST_F(TargetSharing, MemoryKeptForAWriteOutlivesItsConnection) {
    connect();
    const Nsid slow = add_slow_namespace();
    const Bytes data(4096, std::byte{0x77});
    Sqe sqe = write(10, 4096, slow.raw());
    set_in_capsule_data(sqe, 4096);
    first.send(first.capsule(sqe, data));
    world.world.run_for(10 * kNsPerMs);
    first.vanish();
    EXPECT_TRUE(first.wait_closed());
    world.world.run_for(10 * kNsPerMs);
    EXPECT_EQ(kept_count(), 1U);
    world.world.run_for(200 * kNsPerMs);
    EXPECT_EQ(kept_count(), 0U);
}

}  // namespace
}  // namespace basalt::nvmf
