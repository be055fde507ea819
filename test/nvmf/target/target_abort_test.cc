// Abort: what no device has yet ends, everything else ends by itself, and the answer is true.

#include <array>
#include <map>

#include <gtest/gtest.h>

#include "bdev/layer/delay_bdev.h"
#include "test/nvmf/target/admin_host.h"
#include "test/nvmf/target/late_bdev.h"

namespace basalt::nvmf {
namespace {

constexpr uint16_t kVictim = 40;

Sqe make_abort(CommandId cid, QueueId queue, CommandId victim) {
    Sqe sqe = make_command(nvme_admin_abort_cmd, cid, Nsid(0));
    sqe.cdw10.set(queue.raw() | (uint32_t{victim.raw()} << 16U));
    return sqe;
}

Sqe transfer(uint8_t opcode, uint16_t cid, uint64_t first, uint64_t count, Nsid nsid) {
    Sqe sqe = make_command(opcode, CommandId(cid), nsid);
    set_range(sqe, Lba(first), BlockCount(count));
    set_transport_data(sqe, static_cast<uint32_t>(count) * TargetWorld::kBlockBytes);
    return sqe;
}

TransportOptions few_buffers() {
    TransportOptions options;
    options.small_buffers = 16;
    options.medium_buffers = 16;
    options.large_buffers = 16;
    options.capsule_buffers = 16;
    return options;
}

class TargetAbort : public testing::Test {
  protected:
    explicit TargetAbort(TransportOptions options = {}) : world(5, sim::calm(), options) {
        world.add_malloc("Slow", TargetWorld::kBlocks, TargetWorld::kBlockBytes);
        bdev::DelayOptions delay;
        delay.name = "Delay0";
        delay.latencies = {50'000, 50'000, 50'000, 50'000};
        auto made = std::move(bdev::DelayBdev::make(delay, *world.registry->find("Slow"))).value();
        BASALT_ASSERT(world.registry->add(std::move(made)).has_value());
        slow = world.add_namespace("Delay0");
        admin = std::make_unique<AdminHost>(world);
        io = std::make_unique<ScriptedHost>(world);
        BASALT_ASSERT(io->handshake());
        BASALT_ASSERT(io->connect(QueueId(1), admin->cntlid).status().ok());
    }

    void send_abort(uint16_t victim = kVictim, QueueId queue = QueueId(1)) {
        admin->send(admin->capsule(make_abort(admin->next_cid(), queue, CommandId(victim))));
    }
    /// Bit 0 of the next answer to an Abort: true for "not aborted".
    bool is_not_aborted() {
        const Cqe cqe = admin->completion();
        EXPECT_TRUE(cqe.status().ok());
        return (cqe.dw0.get() & 1U) != 0;
    }
    Bytes read(uint64_t first, uint64_t count) {
        Bytes data;
        const Sqe sqe = transfer(nvme_cmd_read, 90, first, count, Nsid(1));
        EXPECT_TRUE(io->command(sqe, {}, &data).status().ok());
        return data;
    }

    TargetWorld world;
    Nsid slow;
    std::unique_ptr<AdminHost> admin;
    std::unique_ptr<ScriptedHost> io;
};

class TargetAbortShortOfBuffers : public TargetAbort {
  protected:
    TargetAbortShortOfBuffers() : TargetAbort(few_buffers()) {}
};

TEST_F(TargetAbortShortOfBuffers, EndsWhatWaitsForABuffer) {
    // 16 buffers are with the slow device, the 17th read waits for one.
    for (uint16_t cid = 0; cid < 16; ++cid) {
        io->send(io->capsule(transfer(nvme_cmd_read, cid, 0, 256, slow)));
    }
    io->send(io->capsule(transfer(nvme_cmd_read, kVictim, 0, 256, slow)));
    send_abort();
    EXPECT_FALSE(is_not_aborted());
    const Cqe first = io->completion();
    EXPECT_EQ(first.cid(), CommandId(kVictim));
    EXPECT_TRUE(first.status().is(status::kAbortRequested));
    EXPECT_FALSE(first.status().dnr);
    for (uint16_t cid = 0; cid < 16; ++cid) {
        const Cqe cqe = io->completion();
        EXPECT_EQ(cqe.cid(), CommandId(cid));
        EXPECT_TRUE(cqe.status().ok());
    }
}

TEST_F(TargetAbort, LeavesWhatADeviceHas) {
    io->send(io->capsule(transfer(nvme_cmd_read, kVictim, 0, 8, slow)));
    send_abort();
    EXPECT_TRUE(is_not_aborted());
    EXPECT_TRUE(io->completion().status().ok());
}

TEST_F(TargetAbort, EndsACommandOfManyRangesBetweenTwo) {
    LateBdev& late = LateBdev::add(world, "Late");
    std::array<nvme_dsm_range, 3> ranges{};
    for (uint32_t i = 0; i < ranges.size(); ++i) {
        ranges[i].slba = uint64_t{i} * 8;
        ranges[i].nlb = 8;
    }
    Sqe unmap = make_deallocate(CommandId(kVictim), late.nsid, ranges.size());
    set_in_capsule_data(unmap, sizeof(ranges));
    io->send(io->capsule(unmap, std::as_bytes(std::span(ranges))));
    send_abort();
    EXPECT_TRUE(admin->next_pdu(kNsPerMs).empty()) << "the device has the first range";
    late.release();
    EXPECT_TRUE(io->completion().status().is(status::kAbortRequested));
    EXPECT_FALSE(is_not_aborted());
    EXPECT_EQ(late.landed_writes, 1U);
}

TEST_F(TargetAbort, LeavesTheLastRangeToItsDevice) {
    LateBdev& late = LateBdev::add(world, "Late");
    const nvme_dsm_range range{.cattr = 0, .nlb = 8, .slba = 0};
    Sqe unmap = make_deallocate(CommandId(kVictim), late.nsid, 1);
    set_in_capsule_data(unmap, sizeof(range));
    io->send(io->capsule(unmap, std::as_bytes(std::span(&range, 1))));
    send_abort();
    EXPECT_TRUE(is_not_aborted());
    late.release();
    EXPECT_TRUE(io->completion().status().ok());
}

TEST_F(TargetAbort, EndsASplitCommandBetweenTwoParts) {
    LateBdev& late = LateBdev::add(world, "Late", BlockCount(4));
    Sqe write = transfer(nvme_cmd_write, kVictim, 0, 8, late.nsid);
    set_in_capsule_data(write, 4096);
    io->send(io->capsule(write, Bytes(4096)));
    send_abort();
    EXPECT_TRUE(admin->next_pdu(kNsPerMs).empty()) << "the device has the first part";
    late.release();
    EXPECT_TRUE(io->completion().status().is(status::kAbortRequested));
    EXPECT_FALSE(is_not_aborted());
    EXPECT_EQ(late.landed_writes, 1U);
}

TEST_F(TargetAbort, AnswersNotAbortedForACommandOrAQueueThatIsNotThere) {
    send_abort(kVictim);
    EXPECT_TRUE(is_not_aborted());
    send_abort(kVictim, QueueId(7));
    EXPECT_TRUE(is_not_aborted());
    send_abort(kVictim, QueueId(0xffff));
    EXPECT_TRUE(is_not_aborted());
    send_abort(kVictim, kAdminQueueId);
    EXPECT_TRUE(is_not_aborted());
}

TEST_F(TargetAbort, EndsAWriteWhenTheDataOnItsWayIsThere) {
    const Bytes old = read(0, 64);
    io->send(io->capsule(transfer(nvme_cmd_write, kVictim, 0, 64, Nsid(1))));
    const auto r2t = ScriptedHost::as<R2t>(io->next_pdu());
    send_abort();
    const Bytes data(64 * TargetWorld::kBlockBytes, std::byte{9});
    io->send(io->h2c_data(r2t, 0, std::span(data).first(4096), false));
    EXPECT_TRUE(admin->next_pdu(100 * kNsPerMs).empty()) << "the Abort waits for the rest";
    io->send(io->h2c_data(r2t, 4096, std::span(data).subspan(4096), true));
    EXPECT_TRUE(io->completion().status().is(status::kAbortRequested));
    EXPECT_FALSE(is_not_aborted());
    EXPECT_EQ(read(0, 64), old) << "nothing was written";
}

TEST_F(TargetAbort, SaysAfterASecondThatAWriteWhoseDataDoesNotComeGoesOn) {
    io->send(io->capsule(transfer(nvme_cmd_write, kVictim, 0, 64, Nsid(1))));
    const auto r2t = ScriptedHost::as<R2t>(io->next_pdu());
    const uint64_t begin_ns = world.world.now_ns();
    send_abort();
    EXPECT_TRUE(is_not_aborted());
    EXPECT_NEAR(static_cast<double>(world.world.now_ns() - begin_ns), 1e9, 1e8);
    const Bytes data(64 * TargetWorld::kBlockBytes, std::byte{9});
    io->send(io->h2c_data(r2t, 0, data, true));
    EXPECT_TRUE(io->completion().status().ok());
    EXPECT_EQ(read(0, 64), data);
}

TEST_F(TargetAbort, EndsAnEventRequestAndNoOther) {
    for (uint16_t cid = kVictim - 1; cid <= kVictim + 1; ++cid) {
        admin->send(admin->capsule(make_command(nvme_admin_async_event, CommandId(cid), Nsid(0))));
    }
    send_abort(kVictim, kAdminQueueId);
    const Cqe ended = admin->completion();
    EXPECT_EQ(ended.cid(), CommandId(kVictim));
    EXPECT_TRUE(ended.status().is(status::kAbortRequested));
    EXPECT_FALSE(is_not_aborted());
    EXPECT_TRUE(admin->next_pdu(kNsPerSecond).empty());
}

TEST_F(TargetAbort, RefusesMoreAbortsThanIdentifySays) {
    io->send(io->capsule(transfer(nvme_cmd_write, kVictim, 0, 64, Nsid(1))));
    const auto r2t = ScriptedHost::as<R2t>(io->next_pdu());
    const uint32_t limit = admin->identify<nvme_id_ctrl>(NVME_IDENTIFY_CNS_CTRL).acl + 1U;
    for (uint32_t i = 0; i < limit; ++i) {
        send_abort();
    }
    send_abort();
    EXPECT_TRUE(admin->completion().status().is(status::kAbortLimitExceeded));
    io->send(io->h2c_data(r2t, 0, Bytes(64 * TargetWorld::kBlockBytes), true));
    for (uint32_t i = 0; i < limit; ++i) {
        EXPECT_FALSE(is_not_aborted());
    }
    send_abort();
    EXPECT_TRUE(is_not_aborted()) << "and the limit is free again";
}

TEST_F(TargetAbort, IsAnsweredWhenTheQueueEnds) {
    io->send(io->capsule(transfer(nvme_cmd_write, kVictim, 0, 64, Nsid(1))));
    static_cast<void>(io->next_pdu());
    send_abort();
    EXPECT_TRUE(admin->next_pdu(100 * kNsPerMs).empty());
    io->vanish();
    EXPECT_TRUE(is_not_aborted());
}

TEST_F(TargetAbort, DoesNoHarmWhenItsOwnQueueEndsFirst) {
    io->send(io->capsule(transfer(nvme_cmd_write, kVictim, 0, 64, Nsid(1))));
    static_cast<void>(io->next_pdu());
    send_abort();
    admin->vanish();
    EXPECT_TRUE(io->wait_closed());
    world.world.run_for(3 * kNsPerSecond);
    AdminHost next(world);
    EXPECT_TRUE(
        next.command(make_command(nvme_admin_keep_alive, CommandId(1), Nsid(0))).status().ok());
}

/// Reads and writes of one queue, some of them aborted at any moment of their lives.
class AbortRace {
  public:
    explicit AbortRace(uint64_t seed) : world_(seed, sim::calm(), few_buffers()), admin_(world_) {
        BASALT_ASSERT(io_.handshake());
        BASALT_ASSERT(io_.connect(QueueId(1), admin_.cntlid).status().ok());
    }

    static constexpr uint16_t kCommands = 24;

    void run() {
        for (uint16_t cid = 0; cid < kCommands; ++cid) {
            const bool is_write = chance(2, 3);
            const uint64_t blocks = chance(1, 2) ? 256 : 8;
            io_.send(io_.capsule(
                transfer(is_write ? nvme_cmd_write : nvme_cmd_read, cid, 0, blocks, Nsid(1))));
            pump(world_.world.random().below(200) * kNsPerUs);
            if (chance(1, 2)) {
                abort(static_cast<uint16_t>(
                    cid - world_.world.random().below(std::min<uint64_t>(cid, 4) + 1)));
            }
        }
        for (uint32_t i = 0; i < 1000 && (answers < aborts || completions.size() < kCommands);
             ++i) {
            pump(kNsPerMs);
        }
    }

    std::map<uint16_t, std::vector<NvmeStatus>> completions;  // By command.
    std::map<uint16_t, uint32_t> told_aborted;                // By command.
    uint32_t answers = 0;
    uint32_t aborts = 0;
    uint32_t refused = 0;

  private:
    bool chance(uint32_t of, uint32_t all) { return world_.world.random().below(all) < of; }

    void abort(uint16_t victim) {
        const CommandId cid = admin_.next_cid();
        victims_[cid.raw()] = victim;
        ++aborts;
        admin_.send(admin_.capsule(make_abort(cid, QueueId(1), CommandId(victim))));
    }

    /// Takes what comes for a while; answers R2Ts sooner or later.
    void pump(uint64_t duration_ns) {
        const uint64_t end_ns = world_.world.now_ns() + duration_ns;
        while (world_.world.now_ns() < end_ns) {
            take_io();
            take_admin();
            if (!r2ts_.empty() && chance(1, 8)) {
                const R2t r2t = r2ts_.front();
                r2ts_.erase(r2ts_.begin());
                io_.send(io_.h2c_data(r2t, 0, Bytes(r2t.length_bytes.get()), true));
            }
            world_.world.run_for(20 * kNsPerUs);
        }
    }
    void take_io() {
        for (Bytes pdu = io_.next_pdu(0); !pdu.empty(); pdu = io_.next_pdu(0)) {
            if (ScriptedHost::type_of(pdu) == PduType::kR2t) {
                r2ts_.push_back(ScriptedHost::as<R2t>(pdu));
            } else if (ScriptedHost::type_of(pdu) == PduType::kCapsuleResp) {
                const Cqe cqe = ScriptedHost::as<CapsuleResp>(pdu).cqe;
                completions[cqe.cid().raw()].push_back(cqe.status());
            }
        }
    }
    void take_admin() {
        for (Bytes pdu = admin_.next_pdu(0); !pdu.empty(); pdu = admin_.next_pdu(0)) {
            const Cqe cqe = ScriptedHost::as<CapsuleResp>(pdu).cqe;
            ++answers;
            if (!cqe.status().ok()) {
                ++refused;
            } else if ((cqe.dw0.get() & 1U) == 0) {
                ++told_aborted[victims_[cqe.cid().raw()]];
            }
        }
    }

    TargetWorld world_;
    AdminHost admin_;
    ScriptedHost io_{world_};
    std::vector<R2t> r2ts_;
    std::map<uint16_t, uint16_t> victims_;
};

TEST(TargetAbortRace, EachCommandEndsOnceAndEachAnswerIsTrueWhateverComesFirst) {
    uint32_t aborted = 0;
    uint32_t too_late = 0;
    for (uint64_t seed = 0; seed < 60; ++seed) {
        AbortRace race(seed);
        race.run();
        ASSERT_EQ(race.answers, race.aborts) << "seed " << seed;
        too_late += race.aborts - race.refused;
        for (uint16_t cid = 0; cid < AbortRace::kCommands; ++cid) {
            ASSERT_EQ(race.completions[cid].size(), 1U) << "seed " << seed << " command " << cid;
            const NvmeStatus outcome = race.completions[cid].front();
            EXPECT_TRUE(outcome.ok() || outcome.is(status::kAbortRequested)) << "seed " << seed;
            const bool is_told = race.told_aborted[cid] > 0;
            EXPECT_EQ(is_told, !outcome.ok()) << "seed " << seed << " command " << cid;
            aborted += is_told ? 1U : 0U;
            too_late -= race.told_aborted[cid];
        }
    }
    // Both must have been tried.
    EXPECT_GT(aborted, 50U);
    EXPECT_GT(too_late, 50U);
}

}  // namespace
}  // namespace basalt::nvmf
