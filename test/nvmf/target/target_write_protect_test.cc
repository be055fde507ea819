// Namespace Write Protection: who is refused, and when Set Features is answered.
#include "bdev/leaf/file_bdev.h"
#include "test/nvmf/target/late_bdev.h"
#include "test/nvmf/target/target_io.h"

namespace basalt::nvmf {
namespace {

constexpr uint32_t kNone = 0;
constexpr uint32_t kProtected = 1;
constexpr uint32_t kUntilPowerCycle = 2;

class TargetWriteProtect : public TargetIo {
  protected:
    Sqe set_command(uint32_t state, uint32_t nsid = 1) {
        Sqe sqe = make_set_features(CommandId(600), NVME_FEAT_FID_WRITE_PROTECT, state);
        sqe.namespace_id.set(nsid);
        return sqe;
    }
    NvmeStatus protect(uint32_t state, uint32_t nsid = 1) {
        return admin.command(set_command(state, nsid)).status();
    }
    uint32_t state_of(uint32_t nsid) {
        Sqe sqe = make_set_features(CommandId(601), NVME_FEAT_FID_WRITE_PROTECT, 0);
        sqe.opcode = nvme_admin_get_features;
        sqe.namespace_id.set(nsid);
        const Cqe cqe = admin.command(sqe);
        EXPECT_TRUE(cqe.status().ok());
        return cqe.dw0.get();
    }
    uint8_t attributes_of(uint32_t nsid) {
        Bytes data;
        const Sqe sqe = make_identify(CommandId(602), NVME_IDENTIFY_CNS_NS, Nsid(nsid));
        EXPECT_TRUE(admin.command(sqe, {}, &data).status().ok());
        return ScriptedHost::as<nvme_id_ns>(data).nsattr;
    }
};

TEST_F(TargetWriteProtect, RefusesEveryCommandThatChangesBlocks) {
    connect();
    ASSERT_TRUE(write_in_capsule(0, pattern(512, 1)).status().ok());
    EXPECT_EQ(state_of(1), kNone);
    ASSERT_TRUE(protect(kProtected).ok());
    EXPECT_EQ(state_of(1), kProtected);
    EXPECT_EQ(attributes_of(1), 1);
    EXPECT_EQ(state_of(2), kNone) << "another namespace";
    EXPECT_EQ(attributes_of(2), 0);

    EXPECT_TRUE(write_in_capsule(0, pattern(512, 2)).status().is(status::kNamespaceWriteProtected));
    Sqe zeroes = make_command(nvme_cmd_write_zeroes, CommandId(700), Nsid(1));
    EXPECT_TRUE(io.command(zeroes).status().is(status::kNamespaceWriteProtected));
    Sqe unmap = make_deallocate(CommandId(701), Nsid(1), 1);
    set_in_capsule_data(unmap, sizeof(nvme_dsm_range));
    nvme_dsm_range range{};
    range.nlb = 1;
    const auto range_bytes = std::as_bytes(std::span(&range, 1));
    EXPECT_TRUE(io.command(unmap, range_bytes).status().is(status::kNamespaceWriteProtected));
    unmap.cdw11.set(1);
    EXPECT_TRUE(io.command(unmap, range_bytes).status().ok()) << "a hint about reads";
    Sqe copy = make_command(nvme_cmd_copy, CommandId(702), Nsid(1));
    copy.cdw10.set(100);
    set_in_capsule_data(copy, sizeof(nvme_copy_range));
    EXPECT_TRUE(io.command(copy, Bytes(32)).status().is(status::kNamespaceWriteProtected));
    Sqe compare = transfer(nvme_cmd_compare, 0, 1);
    compare.flags = static_cast<uint8_t>(compare.flags | 1U);
    set_in_capsule_data(compare, 512);
    io.send(io.capsule(compare, pattern(512, 1)));
    Sqe swap = transfer(nvme_cmd_write, 0, 1);
    swap.flags = static_cast<uint8_t>(swap.flags | 2U);
    set_in_capsule_data(swap, 512);
    EXPECT_TRUE(io.command(swap, pattern(512, 2)).status().is(status::kAbortedFailedFused));
    EXPECT_TRUE(io.completion().status().is(status::kNamespaceWriteProtected));

    EXPECT_EQ(read(0, 1), pattern(512, 1));
    EXPECT_TRUE(io.command(make_command(nvme_cmd_flush, CommandId(703), Nsid(1))).status().ok());
    ASSERT_TRUE(protect(kNone).ok());
    EXPECT_EQ(attributes_of(1), 0);
    EXPECT_TRUE(write_in_capsule(0, pattern(512, 2)).status().ok());
}

TEST_F(TargetWriteProtect, RefusesStatesAndNamespacesThatThereAreNot) {
    connect();
    EXPECT_TRUE(protect(3).is(status::kInvalidField)) << "permanent";
    EXPECT_TRUE(protect(7).is(status::kInvalidField));
    EXPECT_TRUE(protect(kProtected, 0).is(status::kInvalidNamespace));
    EXPECT_TRUE(protect(kProtected, 99).is(status::kInvalidNamespace));
    EXPECT_TRUE(protect(kProtected, 0xffffffff).is(status::kInvalidNamespace));
    EXPECT_EQ(state_of(1), kNone);
    ASSERT_TRUE(protect(kUntilPowerCycle).ok());
    EXPECT_TRUE(protect(kNone).is(status::kFeatureNotChangeable));
    EXPECT_TRUE(protect(kProtected).is(status::kFeatureNotChangeable));
    EXPECT_TRUE(protect(kUntilPowerCycle).ok()) << "as it is";
    EXPECT_EQ(state_of(1), kUntilPowerCycle);
}

TEST_F(TargetWriteProtect, RefusesAWriteWhoseDataComesAfterwards) {
    connect();
    io.send(io.capsule(transfer(nvme_cmd_write, 8, 16)));
    const auto r2t = ScriptedHost::as<R2t>(io.next_pdu());
    ASSERT_TRUE(protect(kProtected).ok());
    io.send(io.h2c_data(r2t, 0, pattern(8192, 3), true));
    EXPECT_TRUE(io.completion().status().is(status::kNamespaceWriteProtected));
    EXPECT_EQ(read(8, 16), Bytes(8192));
}

TEST_F(TargetWriteProtect, IsAnsweredWhenTheLastWriteIsDone) {
    constexpr uint32_t kSlow = 3;
    world.world.add_drive(world.server, "/d", {.size_bytes = 1 << 20U, .alignment_bytes = 512});
    world.world.faults().storage_jitter_ns = 400 * kNsPerUs;
    bdev::FileOptions options;
    options.name = "File0";
    options.path = "/d";
    options.block_size_bytes = 512;
    auto file = bdev::FileBdev::open(options, world.world.file_system(world.server));
    BASALT_ASSERT(world.registry->add(std::move(file).value()).has_value());
    ASSERT_EQ(world.add_namespace("File0").raw(), kSlow);
    connect();
    for (int round = 0; round < 20; ++round) {
        Bytes burst;
        constexpr uint32_t kWrites = 20;
        for (uint32_t i = 0; i < kWrites; ++i) {
            Sqe sqe = transfer(nvme_cmd_write, i, 1, kSlow);
            set_in_capsule_data(sqe, 512);
            const Bytes one = io.capsule(sqe, pattern(512, i));
            burst.insert(burst.end(), one.begin(), one.end());
        }
        io.send(burst);
        world.world.run_for(static_cast<uint64_t>(round) * 20 * kNsPerUs);
        ASSERT_TRUE(protect(kProtected, kSlow).ok());
        bdev::Device& device = *world.registry->find("File0");
        auto reading = device.read_stats(*world.control);
        EXPECT_EQ(world.run(std::move(reading)).in_flight, 0U) << "round " << round;
        uint32_t refused = 0;
        for (uint32_t i = 0; i < kWrites; ++i) {
            const NvmeStatus status = io.completion().status();
            refused += status.is(status::kNamespaceWriteProtected) ? 1U : 0U;
            EXPECT_TRUE(status.ok() || status.is(status::kNamespaceWriteProtected));
        }
        EXPECT_LE(refused, kWrites);
        ASSERT_TRUE(protect(kNone, kSlow).ok());
    }
}

TEST_F(TargetWriteProtect, TellsNobodyBeforeItIsTrue) {
    LateBdev& late = LateBdev::add(world, "Late");
    connect();
    ScriptedHost other(world);
    other.become_admin();
    admin.send(admin.capsule(set_command(kProtected, late.nsid.raw())));
    world.world.run_for(kNsPerMs);
    other.send(other.capsule(set_command(kProtected, late.nsid.raw())));
    EXPECT_TRUE(other.next_pdu(kNsPerSecond).empty()) << "the first host's flush is under way";
    EXPECT_TRUE(admin.next_pdu(kNsPerMs).empty());
    late.release();
    EXPECT_TRUE(admin.completion().status().ok());
    EXPECT_TRUE(other.completion().status().ok());
    EXPECT_EQ(state_of(late.nsid.raw()), kProtected);
}

TEST_F(TargetWriteProtect, LeavesAllAsItWasIfTheFlushFails) {
    LateBdev& late = LateBdev::add(world, "Late");
    late.delay_max_ns = kNsPerMs;
    late.flush_outcome = Errc::kMediaError;
    connect();
    EXPECT_TRUE(protect(kProtected, late.nsid.raw()).is(status::kWriteFault));
    EXPECT_EQ(state_of(late.nsid.raw()), kNone);
    late.flush_outcome = kOk;
    EXPECT_TRUE(protect(kProtected, late.nsid.raw()).ok());
    EXPECT_EQ(state_of(late.nsid.raw()), kProtected);
}

TEST_F(TargetWriteProtect, TellsOtherHosts) {
    connect();
    ScriptedHost other(world);
    other.become_admin();
    constexpr uint32_t kNamespaceNotices = 1U << 8U;
    const Sqe events =
        make_set_features(CommandId(7), NVME_FEAT_FID_ASYNC_EVENT, kNamespaceNotices);
    ASSERT_TRUE(other.command(events).status().ok());
    other.send(other.capsule(make_command(nvme_admin_async_event, CommandId(8), Nsid(0))));
    EXPECT_TRUE(other.next_pdu(kNsPerSecond / 10).empty());
    ASSERT_TRUE(protect(kProtected).ok());
    const Cqe event = other.completion();
    EXPECT_EQ(event.command_id.get(), 8);
    EXPECT_EQ(event.dw0.get() & 7U, 2U) << "a notice";
    EXPECT_EQ((event.dw0.get() >> 8U) & 0xffU, 0U) << "namespace attribute changed";
}

}  // namespace
}  // namespace basalt::nvmf
