// Compare and Write, fused: what the two halves answer, and what becomes of halves without partner.
#include <array>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "bdev/layer/delay_bdev.h"
#include "test/nvmf/target/target_io.h"

namespace basalt::nvmf {
namespace {

class TargetFused : public TargetIo {
  protected:
    Sqe half(Fuse fuse, uint64_t first, uint64_t count, uint32_t nsid = 1) {
        Sqe sqe =
            transfer(fuse == Fuse::kFirst ? nvme_cmd_compare : nvme_cmd_write, first, count, nsid);
        sqe.flags = static_cast<uint8_t>(sqe.flags | static_cast<uint8_t>(fuse));
        return sqe;
    }
    static Bytes in_capsule(const ScriptedHost& host, Sqe sqe, const Bytes& data) {
        set_in_capsule_data(sqe, static_cast<uint32_t>(data.size()));
        return host.capsule(sqe, data);
    }
    Bytes pair(uint64_t first, const Bytes& expected, const Bytes& wanted) {
        const uint64_t count = expected.size() / TargetWorld::kBlockBytes;
        Bytes out = in_capsule(io, half(Fuse::kFirst, first, count), expected);
        const Bytes second = in_capsule(io, half(Fuse::kSecond, first, count), wanted);
        out.insert(out.end(), second.begin(), second.end());
        return out;
    }
    /// The next two completions, compare and write.
    std::pair<NvmeStatus, NvmeStatus> outcomes() {
        const Cqe first = io.completion();
        const Cqe second = io.completion();
        EXPECT_EQ(second.command_id.get(), first.command_id.get() + 1) << "in their order";
        return {first.status(), second.status()};
    }
    void answer(const Bytes& data) {
        const auto r2t = ScriptedHost::as<R2t>(io.next_pdu());
        ASSERT_EQ(r2t.length_bytes.get(), data.size());
        io.send(io.h2c_data(r2t, 0, data, true));
    }
};

TEST_F(TargetFused, WritesIfWhatIsThereIsWhatTheHostExpects) {
    connect();
    io.send(pair(5, Bytes(512), pattern(512, 1)));
    auto [compared, written] = outcomes();
    EXPECT_TRUE(compared.ok());
    EXPECT_TRUE(written.ok());
    EXPECT_EQ(read(5, 1), pattern(512, 1));

    io.send(pair(5, Bytes(512), pattern(512, 2)));
    std::tie(compared, written) = outcomes();
    EXPECT_TRUE(compared.is(status::kCompareFailure));
    EXPECT_TRUE(written.is(status::kAbortedFailedFused));
    EXPECT_EQ(read(5, 1), pattern(512, 1)) << "not touched";
}

TEST_F(TargetFused, FetchesDataThatIsNotInTheCapsules) {
    connect();
    const Bytes expected(16384);
    const Bytes wanted = pattern(16384, 3);
    Bytes both = io.capsule(half(Fuse::kFirst, 0, 32));
    const Bytes second = io.capsule(half(Fuse::kSecond, 0, 32));
    both.insert(both.end(), second.begin(), second.end());
    io.send(both);
    answer(expected);
    answer(wanted);
    const auto [compared, written] = outcomes();
    EXPECT_TRUE(compared.ok());
    EXPECT_TRUE(written.ok());
    EXPECT_EQ(read(0, 32), wanted);
}

TEST_F(TargetFused, MixesDataInTheCapsuleAndOnRequest) {
    connect();
    Bytes both = in_capsule(io, half(Fuse::kFirst, 9, 2), Bytes(1024));
    const Bytes second = io.capsule(half(Fuse::kSecond, 9, 2));
    both.insert(both.end(), second.begin(), second.end());
    io.send(both);
    answer(pattern(1024, 4));
    auto [compared, written] = outcomes();
    EXPECT_TRUE(compared.ok() && written.ok());
    EXPECT_EQ(read(9, 2), pattern(1024, 4));

    both = io.capsule(half(Fuse::kFirst, 9, 2));
    const Bytes other = in_capsule(io, half(Fuse::kSecond, 9, 2), pattern(1024, 5));
    both.insert(both.end(), other.begin(), other.end());
    io.send(both);
    answer(pattern(1024, 4));
    std::tie(compared, written) = outcomes();
    EXPECT_TRUE(compared.ok() && written.ok());
    EXPECT_EQ(read(9, 2), pattern(1024, 5));
}

TEST_F(TargetFused, AbortsAFirstHalfThatAnotherCommandFollows) {
    connect();
    Bytes burst = in_capsule(io, half(Fuse::kFirst, 0, 1), Bytes(512));
    const Bytes next = pair(0, Bytes(512), pattern(512, 6));
    burst.insert(burst.end(), next.begin(), next.end());
    io.send(burst);
    EXPECT_TRUE(io.completion().status().is(status::kAbortedMissingFused));
    auto [compared, written] = outcomes();
    EXPECT_TRUE(compared.ok() && written.ok());

    io.send(in_capsule(io, half(Fuse::kFirst, 0, 1), Bytes(512)));
    io.send(io.capsule(make_command(nvme_cmd_flush, CommandId(900), Nsid(1))));
    EXPECT_TRUE(io.completion().status().is(status::kAbortedMissingFused));
    EXPECT_TRUE(io.completion().status().ok()) << "the flush";
}

TEST_F(TargetFused, AbortsASecondHalfWithoutAFirst) {
    connect();
    io.send(in_capsule(io, half(Fuse::kSecond, 0, 1), pattern(512, 7)));
    EXPECT_TRUE(io.completion().status().is(status::kAbortedMissingFused));
    io.send(io.capsule(half(Fuse::kSecond, 0, 1)));
    EXPECT_TRUE(io.completion().status().is(status::kAbortedMissingFused)) << "and asks no data";
    EXPECT_EQ(read(0, 1), Bytes(512));
}

TEST_F(TargetFused, GivesUpOnASecondHalfThatDoesNotCome) {
    connect();
    io.send(in_capsule(io, half(Fuse::kFirst, 0, 1), Bytes(512)));
    EXPECT_TRUE(io.next_pdu(5 * kNsPerSecond).empty());
    EXPECT_TRUE(io.completion().status().is(status::kAbortedMissingFused));
    io.send(in_capsule(io, half(Fuse::kSecond, 0, 1), pattern(512, 7)));
    EXPECT_TRUE(io.completion().status().is(status::kAbortedMissingFused));
}

TEST_F(TargetFused, OneBadHalfTakesTheOtherWithIt) {
    connect();
    // The first is beyond the end.
    Bytes both = in_capsule(io, half(Fuse::kFirst, TargetWorld::kBlocks, 1), Bytes(512));
    Bytes second = in_capsule(io, half(Fuse::kSecond, 0, 1), pattern(512, 8));
    both.insert(both.end(), second.begin(), second.end());
    io.send(both);
    auto [compared, written] = outcomes();
    EXPECT_TRUE(compared.is(status::kLbaOutOfRange));
    EXPECT_TRUE(written.is(status::kAbortedFailedFused));
    // The second is.
    both = in_capsule(io, half(Fuse::kFirst, 0, 1), Bytes(512));
    second = in_capsule(io, half(Fuse::kSecond, TargetWorld::kBlocks, 1), pattern(512, 8));
    both.insert(both.end(), second.begin(), second.end());
    io.send(both);
    std::tie(compared, written) = outcomes();
    EXPECT_TRUE(compared.is(status::kAbortedFailedFused));
    EXPECT_TRUE(written.is(status::kLbaOutOfRange));
    // They don't agree.
    both = in_capsule(io, half(Fuse::kFirst, 0, 1), Bytes(512));
    second = in_capsule(io, half(Fuse::kSecond, 1, 1), pattern(512, 8));
    both.insert(both.end(), second.begin(), second.end());
    io.send(both);
    std::tie(compared, written) = outcomes();
    EXPECT_TRUE(compared.is(status::kInvalidField));
    EXPECT_TRUE(written.is(status::kInvalidField));
    // More than is atomic.
    both = io.capsule(half(Fuse::kFirst, 0, 33));
    second = io.capsule(half(Fuse::kSecond, 0, 33));
    both.insert(both.end(), second.begin(), second.end());
    io.send(both);
    std::tie(compared, written) = outcomes();
    EXPECT_TRUE(compared.is(status::kAtomicWriteUnitExceeded));
    EXPECT_TRUE(written.is(status::kAbortedFailedFused));
    // A read in place of the write.
    both = in_capsule(io, half(Fuse::kFirst, 0, 1), Bytes(512));
    Sqe wrong = half(Fuse::kSecond, 0, 1);
    wrong.opcode = nvme_cmd_read;
    second = io.capsule(wrong);
    both.insert(both.end(), second.begin(), second.end());
    io.send(both);
    std::tie(compared, written) = outcomes();
    EXPECT_TRUE(compared.is(status::kAbortedFailedFused));
    EXPECT_TRUE(written.is(status::kInvalidField));
    EXPECT_EQ(read(0, 2), Bytes(1024)) << "nothing was written by any of them";
}

TEST_F(TargetFused, KnowsOneKindOfPairAndNoneOnTheAdminQueue) {
    connect();
    Sqe write_first = half(Fuse::kSecond, 0, 1);
    write_first.flags = static_cast<uint8_t>((write_first.flags & ~3U) | 1U);
    EXPECT_TRUE(io.command(write_first).status().is(status::kInvalidField));
    Sqe reserved = half(Fuse::kFirst, 0, 1);
    reserved.flags = static_cast<uint8_t>(reserved.flags | 3U);
    EXPECT_TRUE(io.command(reserved).status().is(status::kInvalidField));
    Sqe identify = make_identify(CommandId(77), NVME_IDENTIFY_CNS_CTRL, Nsid(0));
    identify.flags = static_cast<uint8_t>(identify.flags | 1U);
    EXPECT_TRUE(admin.command(identify).status().is(status::kInvalidField));
}

TEST_F(TargetFused, AWrongDigestOfOneHalfFailsBoth) {
    connect(true);
    Bytes both = in_capsule(io, half(Fuse::kFirst, 0, 1), Bytes(512));
    both.back() ^= std::byte{1};
    const Bytes second = in_capsule(io, half(Fuse::kSecond, 0, 1), pattern(512, 9));
    both.insert(both.end(), second.begin(), second.end());
    io.send(both);
    const auto [compared, written] = outcomes();
    EXPECT_TRUE(compared.is(status::kTransientTransportError));
    EXPECT_TRUE(written.is(status::kAbortedFailedFused));
    EXPECT_EQ(read(0, 1), Bytes(512));
}

TEST_F(TargetFused, MoreHalvesThanThereIsMemoryForWaitAndGoOn) {
    connect();
    // First halves, each on a connection of its own, and more than there are pairs on a core.
    constexpr uint32_t kHosts = TargetWorld::kReactors * kFusedPairs + 12;
    ScriptedHost other_admin(world);
    const ControllerId other_cntlid = other_admin.become_admin();
    std::vector<std::unique_ptr<ScriptedHost>> hosts;
    for (uint32_t i = 0; i < kHosts; ++i) {
        hosts.push_back(std::make_unique<ScriptedHost>(world));
        ScriptedHost& host = *hosts.back();
        ASSERT_TRUE(host.handshake());
        const QueueId qid(static_cast<uint16_t>(2 + i / 2));
        ASSERT_TRUE(host.connect(qid, i % 2 == 0 ? cntlid : other_cntlid).status().ok());
        host.send(in_capsule(host, half(Fuse::kFirst, i, 1), Bytes(512)));
    }
    EXPECT_EQ(read(0, 1), Bytes(512)) << "other commands don't wait for them";
    // They end in every way: by their partner, by vanishing, by giving up.
    for (uint32_t i = 0; i < kHosts; ++i) {
        if (i % 2 == 0) {
            hosts[i]->send(in_capsule(*hosts[i], half(Fuse::kSecond, i, 1), pattern(512, 1)));
            ASSERT_TRUE(hosts[i]->completion().status().ok()) << i;
            ASSERT_TRUE(hosts[i]->completion().status().ok()) << i;
        } else {
            hosts[i]->vanish();
        }
    }
    for (uint32_t i = 0; i < kHosts; ++i) {
        EXPECT_EQ(read(i, 1), i % 2 == 0 ? pattern(512, 1) : Bytes(512)) << i;
    }
}

TEST_F(TargetFused, IsJudgedAgainAfterItsFence) {
    // A read that takes a second holds up the fence; meanwhile another host takes the namespace.
    world.add_malloc("Slow", 64, TargetWorld::kBlockBytes);
    auto delay = bdev::DelayBdev::make(
        {.name = "Delay0", .uuid = {}, .latencies = {1'000'000, 1'000'000, 0, 0}},
        *world.registry->find("Slow"));
    ASSERT_TRUE(world.registry->add(std::move(delay).value()).has_value());
    const uint32_t nsid = world.add_namespace("Delay0").raw();
    connect();
    ScriptedHost taker_admin(world);
    ScriptedHost taker(world);
    taker_admin.host_number = taker.host_number = 8;
    const ControllerId taker_id = taker_admin.become_admin();
    ASSERT_TRUE(taker.handshake());
    ASSERT_TRUE(taker.connect(QueueId(1), taker_id).status().ok());
    const auto reserve = [&](uint8_t opcode, uint32_t action) {
        Sqe sqe = make_command(opcode, CommandId(next_cid++), Nsid(nsid));
        sqe.cdw10.set(action);
        const std::array<uint64_t, 2> keys{5, 5};  // Current and new one, or the one preempted.
        set_in_capsule_data(sqe, sizeof(keys));
        return taker.command(sqe, std::as_bytes(std::span(keys))).status();
    };
    ASSERT_TRUE(reserve(nvme_cmd_resv_register, 0).ok());

    io.send(io.capsule(transfer(nvme_cmd_read, 0, 1, nsid)));
    Bytes both = in_capsule(io, half(Fuse::kFirst, 7, 1, nsid), Bytes(512));
    const Bytes second = in_capsule(io, half(Fuse::kSecond, 7, 1, nsid), pattern(512, 9));
    both.insert(both.end(), second.begin(), second.end());
    io.send(both);
    constexpr uint32_t kWriteExclusive = uint32_t{NVME_RESERVATION_RTYPE_WE} << 8U;
    ASSERT_TRUE(reserve(nvme_cmd_resv_acquire, kWriteExclusive).ok());
    ASSERT_TRUE(io.completion().status().ok());
    const auto [compared, written] = outcomes();
    EXPECT_TRUE(compared.is(status::kAbortedFailedFused));
    EXPECT_TRUE(written.is(status::kReservationConflict));
    Bytes data;
    EXPECT_TRUE(io.command(transfer(nvme_cmd_read, 7, 1, nsid), {}, &data).status().ok());
    EXPECT_EQ(data, Bytes(512)) << "not written";
}

TEST_F(TargetFused, IsTorndownWithItsConnectionInEveryState) {
    connect();
    const Bytes first = io.capsule(half(Fuse::kFirst, 0, 8));
    const Bytes second = io.capsule(half(Fuse::kSecond, 0, 8));
    for (int state = 0; state < 5; ++state) {
        ScriptedHost other(world);
        ASSERT_TRUE(other.handshake());
        ASSERT_TRUE(other.connect(QueueId(static_cast<uint16_t>(2 + state)), cntlid).status().ok());
        if (state == 0) {  // Half a capsule.
            const Bytes whole = in_capsule(other, half(Fuse::kFirst, 0, 1), Bytes(512));
            other.send(Bytes(whole.begin(), whole.begin() + 100));
        }
        if (state >= 1) {
            other.send(first);
        }
        if (state >= 2) {
            other.send(second);
        }
        if (state >= 3) {
            const auto r2t = ScriptedHost::as<R2t>(other.next_pdu());
            other.send(other.h2c_data(r2t, 0, Bytes(4096), true));
        }
        if (state >= 4) {
            const auto r2t = ScriptedHost::as<R2t>(other.next_pdu());
            other.send(other.h2c_data(r2t, 0, pattern(4096, 1), true));
        }
    }
    io.send(pair(100, Bytes(512), pattern(512, 2)));
    const auto [compared, written] = outcomes();
    EXPECT_TRUE(compared.ok() && written.ok());
}

}  // namespace
}  // namespace basalt::nvmf
