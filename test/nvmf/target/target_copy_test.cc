// Commands of several steps: Copy, Verify, and what a device can't do by itself.
#include <memory>
#include <vector>

#include "bdev/leaf/file_bdev.h"
#include "nvmf/target/queue_settings.h"
#include "test/nvmf/target/late_bdev.h"
#include "test/nvmf/target/target_io.h"

namespace basalt::nvmf {
namespace {

constexpr uint64_t kBlockBytes = TargetWorld::kBlockBytes;

struct Range {
    uint64_t first = 0;
    uint64_t count = 0;
    uint32_t nsid = 0;  // Format 2 only.
    bool is_fast_only = false;
};

/// Memory that can read and write, and nothing else.
class PlainBdev final : public bdev::Bdev {
  public:
    explicit PlainBdev(std::unique_ptr<bdev::Bdev> inner)
        : inner_(std::move(inner)), info_(inner_->info()) {
        info_.name = "Plain0";
        info_.uuid = bdev::Uuid::make_random();
        info_.supports.fill(false);
        info_.supports[static_cast<uint32_t>(bdev::IoOp::kRead)] = true;
        info_.supports[static_cast<uint32_t>(bdev::IoOp::kWrite)] = true;
    }
    [[nodiscard]] const bdev::BdevInfo& info() const override { return info_; }
    [[nodiscard]] Result<std::unique_ptr<bdev::BdevChannel>> open_channel(Reactor& here) override {
        return inner_->open_channel(here);
    }

  private:
    std::unique_ptr<bdev::Bdev> inner_;
    bdev::BdevInfo info_;
};

class TargetCopy : public TargetIo {
  protected:
    Bytes copy_capsule(const ScriptedHost& host,
                       uint64_t destination,
                       const std::vector<Range>& ranges,
                       uint8_t format = 0,
                       uint32_t nsid = 1) {
        Sqe sqe = make_command(nvme_cmd_copy, CommandId(next_cid++), Nsid(nsid));
        sqe.cdw10.set(static_cast<uint32_t>(destination));
        sqe.cdw11.set(static_cast<uint32_t>(destination >> 32U));
        sqe.cdw12.set(static_cast<uint32_t>(ranges.size() - 1) | uint32_t{format} << 8U);
        Bytes data(ranges.size() * sizeof(nvme_copy_range));
        for (size_t i = 0; i < ranges.size(); ++i) {
            nvme_copy_range range{};
            range.slba = ranges[i].first;
            range.nlb = static_cast<uint16_t>(ranges[i].count - 1);
            range.rsvd18[5] = ranges[i].is_fast_only ? 0x80 : 0;
            std::memcpy(range.rsvd0, &ranges[i].nsid, sizeof(ranges[i].nsid));
            std::memcpy(&data[i * sizeof(range)], &range, sizeof(range));
        }
        set_in_capsule_data(sqe, static_cast<uint32_t>(data.size()));
        return host.capsule(sqe, data);
    }
    Cqe copy(uint64_t destination,
             const std::vector<Range>& ranges,
             uint8_t format = 0,
             uint32_t nsid = 1) {
        io.send(copy_capsule(io, destination, ranges, format, nsid));
        return io.completion();
    }
    /// Tells the target that this host knows source namespaces: format 2.
    void enable_format_2() {
        Bytes behavior(512);
        behavior[kHostBehaviorCdfe] = std::byte{kCopyFormat2};
        Sqe sqe = make_set_features(CommandId(next_cid++), NVME_FEAT_FID_HOST_BEHAVIOR, 0);
        set_in_capsule_data(sqe, static_cast<uint32_t>(behavior.size()));
        ASSERT_TRUE(admin.command(sqe, behavior).status().ok());
    }
    /// A file on a drive that takes its time, as the next namespace.
    sim::Drive& add_slow_file() {
        sim::Drive& drive = world.world.add_drive(
            world.server, "/d", {.size_bytes = 8 << 20U, .alignment_bytes = kBlockBytes});
        bdev::FileOptions options;
        options.name = "File0";
        options.path = "/d";
        options.block_size_bytes = kBlockBytes;
        auto file = bdev::FileBdev::open(options, world.world.file_system(world.server));
        BASALT_ASSERT(world.registry->add(std::move(file).value()).has_value());
        slow_nsid = world.add_namespace("File0").raw();
        return drive;
    }
    Bytes read_of(uint32_t nsid, uint64_t first, uint64_t count) {
        Bytes data;
        EXPECT_TRUE(
            io.command(transfer(nvme_cmd_read, first, count, nsid), {}, &data).status().ok());
        return data;
    }
    Sqe verify(uint64_t first, uint64_t count, uint32_t nsid = 1) {
        Sqe sqe = make_command(nvme_cmd_verify, CommandId(next_cid++), Nsid(nsid));
        set_range(sqe, Lba(first), BlockCount(count));
        return sqe;
    }

    uint32_t slow_nsid = 0;
};

TEST_F(TargetCopy, CopiesRangesOneAfterTheOther) {
    connect();
    const Bytes data = pattern(4096, 1);
    ASSERT_TRUE(write_in_capsule(0, data).status().ok());
    ASSERT_TRUE(copy(100, {{6, 2}, {0, 1}, {3, 3}}).status().ok());
    Bytes wanted(data.begin() + 3072, data.end());
    wanted.insert(wanted.end(), data.begin(), data.begin() + 512);
    wanted.insert(wanted.end(), data.begin() + 1536, data.begin() + 3072);
    EXPECT_EQ(read(100, 6), wanted);
    EXPECT_EQ(read(106, 1), Bytes(512));
    EXPECT_EQ(read(0, 8), data);
}

TEST_F(TargetCopy, CopiesMoreThanABufferHolds) {
    connect();
    const Bytes data = pattern(131072, 2);
    ASSERT_TRUE(write_by_r2t(0, data, 50000).status().ok());
    ASSERT_TRUE(write_by_r2t(256, data, 50000).status().ok());
    ASSERT_TRUE(write_by_r2t(512, data, 50000).status().ok());
    ASSERT_TRUE(copy(1000, {{1, 767}}).status().ok());
    EXPECT_EQ(read(1000, 255), read(1, 255));
    EXPECT_EQ(read(1255, 256), read(256, 256));
    EXPECT_EQ(read(1511, 256), read(512, 256));
    EXPECT_EQ(read(1767, 1), Bytes(512));
}

TEST_F(TargetCopy, CopiesFromOtherNamespaces) {
    world.add_malloc("Malloc1", 64, kBlockBytes);
    const uint32_t other = world.add_namespace("Malloc1").raw();
    connect();
    const Bytes data = pattern(4096, 3);
    ASSERT_TRUE(write_in_capsule(0, data).status().ok());
    EXPECT_TRUE(copy(60, {{0, 1, 1}}, 2, other).status().is(status::kInvalidField))
        << "the host has not said that it knows this format";
    enable_format_2();
    ASSERT_TRUE(copy(60, {{0, 1, 1}, {1, 3, 1}}, 2, other).status().ok());
    EXPECT_EQ(read_of(other, 60, 4), Bytes(data.begin(), data.begin() + 2048));
    ASSERT_TRUE(copy(0, {{61, 1, other}, {0, 1, other}, {7, 1, 1}}, 2).status().ok());
    EXPECT_EQ(read(0, 1), Bytes(data.begin() + 512, data.begin() + 1024));
    EXPECT_EQ(read(1, 1), Bytes(512));
    EXPECT_EQ(read(2, 1), Bytes(data.begin() + 3584, data.end()));
}

TEST_F(TargetCopy, RefusesWhatItCantCopy) {
    world.add_null("Null1", uint64_t{1} << 21U, kBlockBytes);
    const uint32_t large = world.add_namespace("Null1").raw();
    connect();
    enable_format_2();
    const uint64_t end = TargetWorld::kBlocks;
    EXPECT_TRUE(copy(0, {{8, 1}}, 1).status().is(status::kInvalidField)) << "format";
    EXPECT_TRUE(copy(0, {{8, 1}}, 3).status().is(status::kInvalidField)) << "format";
    EXPECT_TRUE(copy(end, {{8, 1}}).status().is(status::kLbaOutOfRange));
    EXPECT_TRUE(copy(end - 1, {{8, 2}}).status().is(status::kLbaOutOfRange));
    EXPECT_TRUE(copy(UINT64_MAX, {{8, 2}}).status().is(status::kLbaOutOfRange));
    const Cqe beyond = copy(100, {{0, 4}, {end - 1, 2}});
    EXPECT_TRUE(beyond.status().is(status::kLbaOutOfRange));
    EXPECT_EQ(beyond.dw0.get(), 1U) << "the second range";
    EXPECT_TRUE(copy(100, {{UINT64_MAX, 2}}).status().is(status::kLbaOutOfRange));
    const Cqe overlap = copy(10, {{0, 4}, {6, 5}});
    EXPECT_TRUE(overlap.status().is(status::kOverlappingRange));
    EXPECT_EQ(overlap.dw0.get(), 1U);
    EXPECT_TRUE(copy(0, {{8, 1, 99}}, 2).status().is(status::kInvalidNamespace));
    EXPECT_TRUE(copy(0, {{8, 1, 2}}, 2).status().is(status::kIncompatibleNamespace))
        << "blocks of another size";
    EXPECT_TRUE(copy(0, {{0, 65536}}, 0, large).status().is(status::kCommandSizeLimitExceeded));
    const std::vector<Range> many(9, {1'000'000, 65535});
    EXPECT_TRUE(copy(0, many, 0, large).status().is(status::kCommandSizeLimitExceeded));

    Sqe sqe = make_command(nvme_cmd_copy, CommandId(next_cid++), Nsid(1));
    sqe.cdw12.set(1);
    set_in_capsule_data(sqe, 32);
    EXPECT_TRUE(io.command(sqe, Bytes(32)).status().is(status::kDataSglLengthInvalid));
    sqe.cdw12.set(255);
    set_transport_data(sqe, 8192);
    EXPECT_TRUE(io.command(sqe).status().is(status::kCommandSizeLimitExceeded));
    sqe.cdw12.set(1U << 12U);
    set_transport_data(sqe, 32);
    EXPECT_TRUE(io.command(sqe).status().is(status::kInvalidField)) << "protection information";
    EXPECT_EQ(read(0, 200), Bytes(200 * kBlockBytes)) << "none of them wrote";
}

TEST_F(TargetCopy, RefusesACopyThatMustNotMoveData) {
    connect();
    enable_format_2();
    ASSERT_TRUE(write_in_capsule(0, pattern(1024, 4)).status().ok());
    const Cqe refused = copy(100, {{0, 1, 1}, {1, 1, 1, true}}, 2);
    EXPECT_EQ(refused.status().raw() & 0x7ffU, status::kFastCopyNotPossible.raw());
    EXPECT_EQ(refused.dw0.get(), 1U);
    EXPECT_EQ(read(100, 1), Bytes(kBlockBytes));
    EXPECT_TRUE(copy(100, {{0, 1, 0, true}}).status().ok()) << "reserved in format 0";
}

TEST_F(TargetCopy, TellsWhichRangeCouldNotBeRead) {
    sim::Drive& drive = add_slow_file();
    connect();
    enable_format_2();
    drive.damage(50 * kBlockBytes, kBlockBytes);
    const Cqe cqe = copy(0, {{40, 2, slow_nsid}, {49, 3, slow_nsid}}, 2);
    EXPECT_TRUE(cqe.status().is(status::kUnrecoveredReadError));
    EXPECT_EQ(cqe.dw0.get(), 1U);
}

TEST_F(TargetCopy, VerifyReadsAllOfIt) {
    sim::Drive& drive = add_slow_file();
    connect();
    EXPECT_TRUE(io.command(verify(0, 16384, slow_nsid)).status().ok());
    drive.damage(16383 * kBlockBytes, kBlockBytes);
    EXPECT_TRUE(io.command(verify(0, 16384, slow_nsid)).status().is(status::kUnrecoveredReadError));
    EXPECT_TRUE(io.command(verify(0, 16383, slow_nsid)).status().ok());
    EXPECT_TRUE(io.command(verify(1, 16384, slow_nsid)).status().is(status::kLbaOutOfRange));
    EXPECT_TRUE(io.command(verify(0, 1, 77)).status().is(status::kInvalidNamespace));
    Sqe checked = verify(0, 1);
    checked.cdw12.set(checked.cdw12.get() | 1U << 26U);
    EXPECT_TRUE(io.command(checked).status().is(status::kInvalidField));
}

TEST_F(TargetCopy, StandsInForWhatADeviceCantDo) {
    bdev::MallocOptions options;
    options.name = "Inner";
    options.block_count = BlockCount(1024);
    options.block_size_bytes = kBlockBytes;
    BASALT_ASSERT(world.registry
                      ->add(std::make_unique<PlainBdev>(
                          bdev::MallocBdev::make(options, world.memory).value()))
                      .has_value());
    const uint32_t plain = world.add_namespace("Plain0").raw();
    connect();
    const Bytes data = pattern(4096, 5);
    Sqe write = transfer(nvme_cmd_write, 8, 8, plain);
    set_in_capsule_data(write, 4096);
    ASSERT_TRUE(io.command(write, data).status().ok());
    Sqe compare = transfer(nvme_cmd_compare, 8, 8, plain);
    set_in_capsule_data(compare, 4096);
    EXPECT_TRUE(io.command(compare, data).status().ok());
    Bytes different = data;
    different.back() ^= std::byte{1};
    EXPECT_TRUE(io.command(compare, different).status().is(status::kCompareFailure));

    for (const bool is_right : {false, true}) {
        compare = transfer(nvme_cmd_compare, 8, 1, plain);
        compare.flags = static_cast<uint8_t>(compare.flags | 1U);
        set_in_capsule_data(compare, 512);
        io.send(
            io.capsule(compare, is_right ? Bytes(data.begin(), data.begin() + 512) : Bytes(512)));
        write = transfer(nvme_cmd_write, 8, 1, plain);
        write.flags = static_cast<uint8_t>(write.flags | 2U);
        set_in_capsule_data(write, 512);
        io.send(io.capsule(write, pattern(512, 6)));
        EXPECT_EQ(io.completion().status().ok(), is_right);
        EXPECT_EQ(io.completion().status().ok(), is_right);
    }
    EXPECT_EQ(read_of(plain, 8, 1), pattern(512, 6));

    Sqe zeroes = make_command(nvme_cmd_write_zeroes, CommandId(next_cid++), Nsid(plain));
    set_range(zeroes, Lba(9), BlockCount(1000));
    EXPECT_TRUE(io.command(zeroes).status().ok());
    EXPECT_EQ(read_of(plain, 8, 1), pattern(512, 6));
    EXPECT_EQ(read_of(plain, 9, 7), Bytes(7 * kBlockBytes));
}

TEST_F(TargetCopy, MoreCopiesThanThereAreJobsWaitInLine) {
    add_slow_file();
    connect();
    constexpr uint32_t kCopies = 2 * kStepJobs - 2;
    Bytes burst;
    for (uint32_t i = 0; i < kCopies; ++i) {
        const Bytes one = copy_capsule(io, 8000 + i, {{i, 1}}, 0, slow_nsid);
        burst.insert(burst.end(), one.begin(), one.end());
    }
    io.send(burst);
    for (uint32_t i = 0; i < kCopies; ++i) {
        ASSERT_TRUE(io.completion().status().ok()) << i;
    }
    // And nobody waits for one who has gone.
    {
        ScriptedHost other(world);
        ASSERT_TRUE(other.handshake());
        ASSERT_TRUE(other.connect(QueueId(2), cntlid).status().ok());
        ScriptedHost third(world);
        ASSERT_TRUE(third.handshake());
        ASSERT_TRUE(third.connect(QueueId(3), cntlid).status().ok());
        other.send(burst);
        third.send(burst);
        other.vanish();
        third.vanish();
    }
    EXPECT_TRUE(copy(9000, {{0, 1}}, 0, slow_nsid).status().ok());
}

TEST_F(TargetCopy, OneHostLeavesJobsToTheNext) {
    constexpr std::string_view kOtherNqn = "nqn.2026-11.io.basalt:other";
    constexpr uint32_t kCopies = 2 * kStepJobs - 2;
    constexpr uint32_t kShare = 13;  // Of 16 jobs, for one host.
    LateBdev& late = LateBdev::add(world, "Late");
    connect();
    ScriptedHost other_admin(world);
    other_admin.host_number = 9;
    const ControllerId other_id = other_admin.become_admin(TargetWorld::kNqn, 0, kOtherNqn);
    ScriptedHost other(world);
    other.host_number = 9;
    ASSERT_TRUE(other.handshake());
    ASSERT_TRUE(other.connect(QueueId(1), other_id, TargetWorld::kNqn, kOtherNqn).status().ok());
    for (const ControllerId id : {cntlid, other_id}) {
        world.expect_ok(
            world.target->move_queue(std::string(TargetWorld::kNqn), id, QueueId(1), CoreId(0)));
    }
    world.world.run_for(kNsPerMs);
    for (uint32_t i = 0; i < kCopies; ++i) {
        io.send(copy_capsule(io, 1000 + i, {{i, 1}}, 0, late.nsid.raw()));
    }
    world.world.run_for(kNsPerMs);
    EXPECT_EQ(late.held_count(), kShare);
    other.send(copy_capsule(other, 2000, {{0, 1}}, 0, late.nsid.raw()));
    world.world.run_for(kNsPerMs);
    EXPECT_EQ(late.held_count(), kShare + 1);
    late.release();
    EXPECT_TRUE(other.completion().status().ok());
    for (uint32_t i = 0; i < kCopies; ++i) {
        EXPECT_TRUE(io.completion().status().ok());
    }
}

TEST_F(TargetCopy, CanBeAborted) {
    add_slow_file();
    connect();
    io.send(copy_capsule(io, 8000, {{0, 4000}}, 0, slow_nsid));
    const uint16_t copy_cid = static_cast<uint16_t>(next_cid - 1);
    world.world.run_for(300 * kNsPerUs);
    Sqe abort = make_command(nvme_admin_abort_cmd, CommandId(500), Nsid(0));
    abort.cdw10.set(1U | uint32_t{copy_cid} << 16U);
    const Cqe answer = admin.command(abort);
    EXPECT_TRUE(answer.status().ok());
    EXPECT_EQ(answer.dw0.get() & 1U, 0U) << "it was aborted";
    EXPECT_TRUE(io.completion().status().is(status::kAbortRequested));
    EXPECT_TRUE(copy(9000, {{0, 1}}, 0, slow_nsid).status().ok());
}

TEST_F(TargetCopy, LetsOtherCommandsOfItsQueuePass) {
    add_slow_file();
    connect();
    const Bytes first = copy_capsule(io, 8192, {{0, 8000}}, 0, slow_nsid);
    const uint16_t copy_cid = static_cast<uint16_t>(next_cid - 1);
    io.send(first);
    for (uint32_t i = 0; i < 5; ++i) {
        io.send(io.capsule(transfer(nvme_cmd_read, i, 1, slow_nsid)));
        EXPECT_NE(io.completion().cid(), CommandId(copy_cid)) << i;
    }
    EXPECT_EQ(io.completion().cid(), CommandId(copy_cid));
}

TEST_F(TargetCopy, EndsBeforeItsHostLosesPatience) {
    LateBdev& late = LateBdev::add(world, "Late", BlockCount(10));
    connect();
    late.delay_max_ns = 2 * kNsPerSecond;
    const auto copy_late = [&] {
        return copy_capsule(io, 1000, {{0, 50}, {50, 900}}, 0, late.nsid.raw());
    };
    const uint64_t begun_ns = world.world.now_ns();
    // More than there are jobs: some of them have waited in line only.
    for (uint32_t i = 0; i < kStepJobs + 4; ++i) {
        io.send(copy_late());
    }
    for (uint32_t i = 0; i < kStepJobs + 4; ++i) {
        bool is_there = false;
        Cqe cqe;
        for (uint32_t seconds = 0; seconds < 3 && !is_there; ++seconds) {
            const Bytes pdu = io.next_pdu(10 * kNsPerSecond);
            is_there = !pdu.empty();
            if (is_there) {
                cqe = ScriptedHost::as<CapsuleResp>(pdu).cqe;
            }
        }
        ASSERT_TRUE(is_there);
        EXPECT_EQ(cqe.status().raw() & 0x47ffU, status::kCommandInterrupted.raw());
        EXPECT_LE(cqe.dw0.get(), 1U) << "the first range that is not whole";
    }
    EXPECT_LT(world.world.now_ns() - begun_ns, 30 * kNsPerSecond);
    late.release();
    io.send(copy_late());
    EXPECT_TRUE(io.completion().status().ok());
}

}  // namespace
}  // namespace basalt::nvmf
