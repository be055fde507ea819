// Queues that want more requests than their reactor has: nobody is refused, nobody starves, and no
// stream stands still with what others are waiting for.
#include <map>

#include <gtest/gtest.h>

#include "test/nvmf/target/admin_host.h"
#include "test/nvmf/target/late_bdev.h"

namespace basalt::nvmf {
namespace {

constexpr std::string_view kOtherNqn = "nqn.2026-11.io.basalt:other";
constexpr uint32_t kRequests = 16;
/// What one host may hold of them, and a queue has beside them.
constexpr uint32_t kHostShare = 13;
constexpr uint32_t kOwn = 1;
constexpr uint32_t kCapsuleShare = kCapsuleRequestsPerGroupMin * 4 / 5;

TransportOptions few_requests() {
    TransportOptions options;
    options.requests = kRequests;
    options.capsule_requests = kCapsuleRequestsPerGroupMin;
    return options;
}

Sqe transfer(uint8_t opcode, uint16_t cid, Nsid nsid, uint64_t blocks = 1) {
    Sqe sqe = make_command(opcode, CommandId(cid), nsid);
    set_range(sqe, Lba(0), BlockCount(blocks));
    set_transport_data(sqe, static_cast<uint32_t>(blocks) * TargetWorld::kBlockBytes);
    return sqe;
}

class TargetRequests : public testing::Test {
  protected:
    TargetRequests() { connect(io, QueueId(1)); }

    /// An I/O queue on core 0.
    void connect(ScriptedHost& queue,
                 QueueId qid,
                 ControllerId cntlid,
                 std::string_view host_nqn = ScriptedHost::kHostNqn) {
        BASALT_ASSERT(queue.handshake());
        BASALT_ASSERT(queue.connect(qid, cntlid, TargetWorld::kNqn, host_nqn, 128).status().ok());
        world.expect_ok(
            world.target->move_queue(std::string(TargetWorld::kNqn), cntlid, qid, CoreId(0)));
        world.world.run_for(kNsPerMs);
    }
    void connect(ScriptedHost& queue, QueueId qid) { connect(queue, qid, admin.cntlid); }

    /// Sends so many reads of the late device in one go, with identifiers from `first` on.
    void send_reads(ScriptedHost& queue, uint16_t count, uint16_t first = 0) {
        Bytes burst;
        for (uint16_t i = 0; i < count; ++i) {
            append(burst, queue.capsule(transfer(nvme_cmd_read, first + i, late.nsid)));
        }
        queue.send(burst);
        world.world.run_for(kNsPerMs);
    }
    static void append(Bytes& out, const Bytes& more) {
        out.insert(out.end(), more.begin(), more.end());
    }
    /// Expects the answers to `count` commands, each once.
    static void expect_answers(ScriptedHost& queue, uint16_t count, uint16_t first = 0) {
        std::map<uint16_t, uint32_t> answers;
        for (uint16_t i = 0; i < count; ++i) {
            const Cqe cqe = queue.completion();
            EXPECT_TRUE(cqe.status().ok());
            ++answers[cqe.cid().raw()];
        }
        EXPECT_EQ(answers.size(), count);
        EXPECT_EQ(answers.begin()->first, first);
        EXPECT_TRUE(queue.next_pdu(10 * kNsPerMs).empty());
    }
    void send_abort(uint16_t victim) {
        Sqe sqe = make_command(nvme_admin_abort_cmd, admin.next_cid(), Nsid(0));
        sqe.cdw10.set(1U | (uint32_t{victim} << 16U));
        admin.send(admin.capsule(sqe));
    }

    TargetWorld world{7, sim::calm(), few_requests()};
    LateBdev& late = LateBdev::add(world, "Late");
    AdminHost admin{world};
    ScriptedHost io{world};
};

TEST_F(TargetRequests, ManyCommandsWaitForFewRequestsAndEachIsAnsweredOnce) {
    send_reads(io, 127);
    EXPECT_EQ(late.held_count(), kHostShare + kOwn);
    late.release();
    expect_answers(io, 127);
}

TEST_F(TargetRequests, TheStreamGoesOnToTheDataThatOthersWaitFor) {
    // Writes that wait for their data have all requests that their host may have. Behind reads
    // that find none comes the data.
    Bytes burst;
    for (uint16_t i = 0; i < kHostShare + kOwn; ++i) {
        append(burst, io.capsule(transfer(nvme_cmd_write, i, Nsid(1), 16)));
    }
    io.send(burst);
    burst.clear();
    for (uint16_t i = 0; i < kHostShare + kOwn; ++i) {
        const Bytes pdu = io.next_pdu();
        ASSERT_EQ(ScriptedHost::type_of(pdu), PduType::kR2t);
        const auto r2t = ScriptedHost::as<R2t>(pdu);
        EXPECT_EQ(r2t.transfer_tag.get() >= kOwnTagFirst, i == kHostShare);
        append(burst, io.h2c_data(r2t, 0, Bytes(16 * TargetWorld::kBlockBytes), true));
    }
    Bytes reads;
    for (uint16_t i = 0; i < 50; ++i) {
        append(reads, io.capsule(transfer(nvme_cmd_read, 100 + i, Nsid(1))));
    }
    io.send(reads);
    EXPECT_TRUE(io.next_pdu(kNsPerMs).empty());
    io.send(burst);
    expect_answers(io, kHostShare + kOwn + 50);
}

TEST_F(TargetRequests, DataForARequestOfAnotherQueueEndsTheOneThatSendsIt) {
    ScriptedHost thief(world);
    connect(thief, QueueId(2));
    io.send(io.capsule(transfer(nvme_cmd_write, 5, Nsid(1), 16)));
    const auto r2t = ScriptedHost::as<R2t>(io.next_pdu());
    const size_t bytes = size_t{16} * TargetWorld::kBlockBytes;
    thief.send(thief.h2c_data(r2t, 0, Bytes(bytes, std::byte{1}), true));
    EXPECT_TRUE(thief.wait_closed());
    io.send(io.h2c_data(r2t, 0, Bytes(bytes, std::byte{2}), true));
    EXPECT_TRUE(io.completion().status().ok());
    Bytes data;
    EXPECT_TRUE(io.command(transfer(nvme_cmd_read, 6, Nsid(1), 16), {}, &data).status().ok());
    EXPECT_EQ(data, Bytes(bytes, std::byte{2}));
}

TEST_F(TargetRequests, OneHostLeavesSomeToOthersAndAQueueIsNeverWithout) {
    ScriptedHost second(world);
    connect(second, QueueId(2));
    ScriptedHost newcomer(world);
    send_reads(io, 127);
    // Of the same host: by the request of its own. (Other than io, which has nothing left.)
    EXPECT_TRUE(second.command(transfer(nvme_cmd_read, 5, Nsid(1))).status().ok());
    // What is new takes nothing of I/O queues, and Keep Alive waits for none.
    connect(newcomer, QueueId(3));
    EXPECT_TRUE(newcomer.command(transfer(nvme_cmd_read, 5, Nsid(1))).status().ok());
    EXPECT_TRUE(admin.command(make_command(nvme_admin_keep_alive, admin.next_cid(), Nsid(0)))
                    .status()
                    .ok());
    EXPECT_EQ(late.held_count(), kHostShare + kOwn);
    late.release();
    expect_answers(io, 127);
}

TEST_F(TargetRequests, AnotherHostFindsRequestsAndBothAreServed) {
    ScriptedHost other_admin(world);
    other_admin.host_number = 9;
    const ControllerId other_id = other_admin.become_admin(TargetWorld::kNqn, 0, kOtherNqn);
    ScriptedHost other(world);
    other.host_number = 9;
    connect(other, QueueId(1), other_id, kOtherNqn);
    send_reads(io, 127);
    // 3 are left: it may hold 4 times what is free after, so all of them.
    send_reads(other, 60);
    EXPECT_EQ(late.held_count(), kHostShare + kOwn + 3 + kOwn);
    late.release();
    expect_answers(other, 60);
    expect_answers(io, 127);
}

TEST_F(TargetRequests, DataThatComesAlongStopsTheStreamUntilThereIsARequest) {
    Bytes burst;
    for (uint16_t i = 0; i < 120; ++i) {
        Sqe sqe = transfer(nvme_cmd_write, i, late.nsid);
        set_in_capsule_data(sqe, TargetWorld::kBlockBytes);
        append(burst, io.capsule(sqe, Bytes(TargetWorld::kBlockBytes, std::byte{7})));
    }
    io.send(burst);
    world.world.run_for(kNsPerMs);
    EXPECT_EQ(late.held_count(), kCapsuleShare + kOwn);
    // Others are not in their way.
    ScriptedHost second(world);
    connect(second, QueueId(2));
    send_reads(second, 5);
    EXPECT_EQ(late.held_count(), kCapsuleShare + kOwn + 5);
    late.release();
    expect_answers(io, 120);
    expect_answers(second, 5);
    EXPECT_EQ(late.landed_writes, 120U);
}

TEST_F(TargetRequests, AnAbortedCommandThatWaitsForARequestIsTheNextToGetOne) {
    send_reads(io, 60);
    send_abort(45);
    EXPECT_TRUE(admin.next_pdu(kNsPerMs).empty()) << "there is no request for the answer";
    late.release();
    EXPECT_EQ(admin.completion().dw0.get() & 1U, 0U);
    std::map<uint16_t, NvmeStatus> answers;
    for (uint16_t i = 0; i < 60; ++i) {
        const Cqe cqe = io.completion();
        answers[cqe.cid().raw()] = cqe.status();
    }
    EXPECT_EQ(answers.size(), 60U);
    for (const auto& [cid, status] : answers) {
        EXPECT_TRUE(cid == 45 ? status.is(status::kAbortRequested) : status.ok()) << cid;
    }
}

TEST_F(TargetRequests, AnAbortThatWaitsTooLongLetsTheCommandGoItsWay) {
    send_reads(io, 60);
    send_abort(45);
    EXPECT_EQ(admin.completion().dw0.get() & 1U, 1U);
    late.release();
    expect_answers(io, 60);
}

TEST_F(TargetRequests, AQueueThatEndsGivesBackWhatItHad) {
    for (uint16_t round = 0; round < 3; ++round) {
        ScriptedHost doomed(world);
        connect(doomed, QueueId(2));
        send_reads(doomed, 60);
        EXPECT_EQ(late.held_count(), kHostShare + kOwn);
        doomed.vanish();
        ASSERT_TRUE(doomed.wait_closed());
        world.world.run_for(kNsPerMs);
        late.release();  // What the device had goes back now; the rest is forgotten.
        world.world.run_for(kNsPerMs);
        late.delay_max_ns = UINT64_MAX;
    }
    send_reads(io, 60);
    EXPECT_EQ(late.held_count(), kHostShare + kOwn);
    late.release();
    expect_answers(io, 60);
}

TEST_F(TargetRequests, AQueueThatHasGotOneOfThoseThatAreBackGetsMoreOfThem) {
    // `io` waits with nothing that could end and let it look again: only what it is given counts.
    LateBdev& elsewhere = LateBdev::add(world, "Elsewhere");
    ScriptedHost holder(world);
    connect(holder, QueueId(2));
    Bytes burst;
    for (uint16_t i = 0; i < kHostShare + kOwn; ++i) {
        append(burst, holder.capsule(transfer(nvme_cmd_read, i, elsewhere.nsid)));
    }
    holder.send(burst);
    world.world.run_for(kNsPerMs);
    EXPECT_EQ(elsewhere.held_count(), kHostShare + kOwn);
    send_reads(io, 60);
    EXPECT_EQ(late.held_count(), kOwn);
    elsewhere.release();
    expect_answers(holder, kHostShare + kOwn);
    EXPECT_EQ(late.held_count(), kHostShare + kOwn);
    late.release();
    expect_answers(io, 60);
}

TEST_F(TargetRequests, AFusedPairNeedsNoneOfWhatOthersHold) {
    ScriptedHost second(world);
    connect(second, QueueId(2));
    send_reads(second, 60);
    send_reads(io, 60);
    for (const auto& [opcode, cid, flags] :
         {std::tuple{nvme_cmd_compare, uint16_t{70}, Fuse::kFirst},
          std::tuple{nvme_cmd_write, uint16_t{71}, Fuse::kSecond}}) {
        Sqe sqe = transfer(static_cast<uint8_t>(opcode), cid, Nsid(1));
        sqe.flags = static_cast<uint8_t>(sqe.flags | static_cast<uint8_t>(flags));
        io.send(io.capsule(sqe));
    }
    for (int half = 0; half < 2; ++half) {
        const Bytes pdu = io.next_pdu();
        ASSERT_EQ(ScriptedHost::type_of(pdu), PduType::kR2t);
        const auto r2t = ScriptedHost::as<R2t>(pdu);
        io.send(io.h2c_data(r2t, 0, Bytes(TargetWorld::kBlockBytes), true));
    }
    for (const uint16_t cid : {uint16_t{70}, uint16_t{71}}) {
        const Cqe cqe = io.completion();
        EXPECT_EQ(cqe.cid(), CommandId(cid));
        EXPECT_TRUE(cqe.status().ok());
    }
    late.release();
    expect_answers(io, 60);
    expect_answers(second, 60);
}

TEST_F(TargetRequests, AQueueMovesWithWhatWaitsForRequests) {
    // `second` has all requests, so what comes by `io` waits. Both go to the other core.
    ScriptedHost second(world);
    connect(second, QueueId(2));
    send_reads(second, 60);
    late.delay_max_ns = 0;  // But what the device holds.
    Bytes burst;
    for (uint16_t i = 0; i < 100; ++i) {
        append(burst, io.capsule(transfer(nvme_cmd_read, i, Nsid(1))));
    }
    io.send(burst);
    world.expect_ok(world.target->move_queue(
        std::string(TargetWorld::kNqn), admin.cntlid, QueueId(1), CoreId(1)));
    expect_answers(io, 100);
    late.release();
    expect_answers(second, 60);
}

}  // namespace
}  // namespace basalt::nvmf
