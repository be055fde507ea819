// A host's session with its controller: reset, keep alive, and what the host sets for all queues.

#include <gtest/gtest.h>

#include "test/nvmf/target/admin_host.h"
#include "test/nvmf/target/late_bdev.h"

namespace basalt::nvmf {
namespace {

constexpr uint32_t kEnable = 1U | (6U << 16U) | (4U << 20U);

/// A malloc device that says what a drive with a cache and short transfers says, and remembers.
class WatchedBdev final : public bdev::Bdev {
  public:
    explicit WatchedBdev(std::unique_ptr<bdev::Bdev> inner)
        : inner_(std::move(inner)), info_(inner_->info()) {
        info_.transfer_max = BlockCount(64);
        info_.has_volatile_cache = true;
    }
    const bdev::BdevInfo& info() const override { return info_; }
    Result<std::unique_ptr<bdev::BdevChannel>> open_channel(Reactor& here) override {
        auto opened = inner_->open_channel(here);
        return std::unique_ptr<bdev::BdevChannel>(
            std::make_unique<Channel>(*this, std::move(*opened)));
    }

    uint32_t operations = 0;
    uint32_t durable = 0;
    Status answer = kOk;  ///< Instead of doing what it is asked.

  private:
    class Channel final : public bdev::BdevChannel {
      public:
        Channel(WatchedBdev& owner, std::unique_ptr<bdev::BdevChannel> inner)
            : owner_(owner), inner_(std::move(inner)) {}
        void submit(bdev::IoRequest& request) override {
            ++owner_.operations;
            owner_.durable += request.fua == bdev::Fua::kYes ? 1U : 0U;
            if (!owner_.answer) {
                request.push_completion(
                    [](bdev::IoRequest& done, void* self) {
                        done.complete(static_cast<Channel*>(self)->owner_.answer);
                    },
                    this);
            }
            inner_->submit(request);
        }

      private:
        WatchedBdev& owner_;
        std::unique_ptr<bdev::BdevChannel> inner_;
    };

    std::unique_ptr<bdev::Bdev> inner_;
    bdev::BdevInfo info_;
};

class TargetSession : public testing::Test {
  protected:
    static Sqe transfer(uint8_t opcode, uint16_t cid, uint64_t first, uint64_t count, Nsid nsid) {
        Sqe sqe = make_command(opcode, CommandId(cid), nsid);
        set_range(sqe, Lba(first), BlockCount(count));
        set_transport_data(sqe, static_cast<uint32_t>(count) * TargetWorld::kBlockBytes);
        return sqe;
    }
    void connect_io(ScriptedHost& io, AdminHost& admin, uint16_t qid = 1) {
        ASSERT_TRUE(io.handshake());
        ASSERT_TRUE(io.connect(QueueId(qid), admin.cntlid).status().ok());
    }
    /// Neither registered nor a namespace yet.
    void make_watched() {
        bdev::MallocOptions options;
        options.name = "Watched0";
        options.block_count = BlockCount(TargetWorld::kBlocks);
        options.block_size_bytes = TargetWorld::kBlockBytes;
        auto made =
            std::make_unique<WatchedBdev>(bdev::MallocBdev::make(options, world.memory).value());
        watched = made.get();
        BASALT_ASSERT(world.registry->add(std::move(made)).has_value());
    }
    Nsid add_watched() {
        make_watched();
        return world.add_namespace("Watched0");
    }
    static NvmeStatus write(ScriptedHost& io, Nsid nsid) {
        Sqe sqe = transfer(nvme_cmd_write, 8, 0, 8, nsid);
        set_in_capsule_data(sqe, 4096);
        return io.command(sqe, Bytes(4096)).status();
    }
    static uint32_t property(AdminHost& admin, uint32_t offset) {
        return admin.command(make_property_get(admin.next_cid(), offset, false)).dw0.get();
    }
    static void set_configuration(AdminHost& admin, uint32_t value) {
        EXPECT_TRUE(
            admin.command(make_property_set(admin.next_cid(), NVME_REG_CC, value)).status().ok());
    }

    TargetWorld world{7};
    WatchedBdev* watched = nullptr;
};

// --- What hosts read once ------------------------------------------------------------------------

TEST_F(TargetSession, TellsOfACacheThatMayComeLater) {
    AdminHost admin(world);
    const auto before = admin.identify<nvme_id_ctrl>(NVME_IDENTIFY_CNS_CTRL);
    EXPECT_EQ(before.vwc, 7) << "a host that hears of none never flushes what is added later";
    EXPECT_NE(before.oncs & NVME_CTRL_ONCS_DSM, 0);
    const Nsid nsid = add_watched();
    const auto after = admin.identify<nvme_id_ctrl>(NVME_IDENTIFY_CNS_CTRL);
    EXPECT_EQ(before.vwc, after.vwc);
    EXPECT_EQ(before.oncs, after.oncs);
    constexpr uint8_t kNoVolatileCache = 1U << 5U;
    const auto has_none = [&](Nsid space) {
        constexpr uint8_t kCns = NVME_IDENTIFY_CNS_CSI_INDEPENDENT_ID_NS;
        const auto data = admin.identify<nvme_id_independent_id_ns>(kCns, space.raw());
        return (data.nsfeat & kNoVolatileCache) != 0;
    };
    EXPECT_TRUE(has_none(Nsid(1)));
    EXPECT_FALSE(has_none(nsid));
}

TEST_F(TargetSession, TakesTransfersAsLongAsItsAnaLog) {
    constexpr std::string_view kMany = "nqn.2026-11.io.basalt:many";
    SubsystemOptions options;
    options.nqn = kMany;
    options.allow_any_host = true;
    options.ana_reporting = true;
    options.namespaces_max = 1024;
    world.expect_ok(world.target->create_subsystem(options));
    make_watched();
    world.add_namespace(kMany, "Watched0", {});
    const SocketAddress address =
        world
            .run(world.target->add_listener(std::string(kMany),
                                            sim::World::address(world.server, 4420)))
            .value();
    EXPECT_EQ(address, world.address);
    AdminHost admin(world, kMany);
    const auto data = admin.identify<nvme_id_ctrl>(NVME_IDENTIFY_CNS_CTRL);
    EXPECT_EQ(data.mdts, 4) << "the device takes 32 KiB, and the log has 36,880 bytes";
}

// --- Reset ---------------------------------------------------------------------------------------

TEST_F(TargetSession, SaysNothingAfterAResetOfWhatWasAskedBefore) {
    AdminHost admin(world);
    const uint32_t event_requests = admin.identify<nvme_id_ctrl>(NVME_IDENTIFY_CNS_CTRL).aerl + 1U;
    for (uint32_t i = 0; i < event_requests; ++i) {
        admin.send(admin.capsule(make_command(nvme_admin_async_event, admin.next_cid(), Nsid(0))));
    }
    EXPECT_TRUE(admin.set_feature(NVME_FEAT_FID_ASYNC_EVENT, 1U << 8U).ok());
    EXPECT_TRUE(admin.set_feature(NVME_FEAT_FID_ARBITRATION, 3).ok());
    set_configuration(admin, 0);
    EXPECT_EQ(property(admin, NVME_REG_CSTS) & 1U, 0U);
    static_cast<void>(add_watched());
    EXPECT_TRUE(admin.next_pdu(kNsPerSecond).empty()) << "no completion of an event request";
    set_configuration(admin, kEnable);
    EXPECT_EQ(property(admin, NVME_REG_CSTS) & 1U, 1U);
    EXPECT_EQ(admin.get_feature(NVME_FEAT_FID_ASYNC_EVENT).dw0.get(), 0U);
    EXPECT_EQ(admin.get_feature(NVME_FEAT_FID_ARBITRATION).dw0.get(), 0U);
    for (uint32_t i = 0; i < event_requests; ++i) {
        admin.send(admin.capsule(make_command(nvme_admin_async_event, admin.next_cid(), Nsid(0))));
    }
    EXPECT_TRUE(admin.next_pdu(kNsPerSecond).empty()) << "there is room for all of them again";
}

TEST_F(TargetSession, SaysNothingAfterAResetOfWhatGoesFromCoreToCore) {
    AdminHost admin(world);
    ScriptedHost first(world);
    ScriptedHost second(world);
    connect_io(first, admin, 1);
    connect_io(second, admin, 2);
    constexpr uint16_t kReset = 77;
    const Bytes reset = admin.capsule(make_property_set(CommandId(kReset), NVME_REG_CC, 0));
    Sqe protect = make_set_features(CommandId(70), NVME_FEAT_FID_WRITE_PROTECT, 1);
    protect.namespace_id.set(1);
    const std::array asked{
        make_set_features(CommandId(73), NVME_FEAT_FID_VOLATILE_WC, 0),  // While it has queues.
        make_get_log_page(CommandId(71), NVME_LOG_LID_SMART, 0, 512),
        make_identify(CommandId(72), NVME_IDENTIFY_CNS_CTRL_LIST, Nsid(0)),
        protect};
    for (const Sqe& sqe : asked) {
        Bytes burst = admin.capsule(sqe);
        burst.insert(burst.end(), reset.begin(), reset.end());
        admin.send(burst);
        EXPECT_EQ(admin.completion().cid(), CommandId(kReset)) << "of " << sqe.cid().raw();
        EXPECT_TRUE(admin.next_pdu(kNsPerSecond).empty()) << "of " << sqe.cid().raw();
        set_configuration(admin, kEnable);
    }
}

TEST_F(TargetSession, ExecutesNothingOnAQueueThatItsHostHasEnded) {
    AdminHost admin(world);
    ScriptedHost io(world);
    connect_io(io, admin);
    EXPECT_TRUE(io.command(transfer(nvme_cmd_read, 3, 0, 1, Nsid(1))).status().ok());
    EXPECT_TRUE(io.command(make_fabrics(nvme_fabrics_type_disconnect, CommandId(4))).status().ok());
    EXPECT_TRUE(io.command(transfer(nvme_cmd_read, 5, 0, 1, Nsid(1)))
                    .status()
                    .is(status::kCommandSequenceError));
}

TEST_F(TargetSession, IsReadyUntilTheLastQueueIsGoneInAReset) {
    AdminHost admin(world);
    ScriptedHost first(world);
    ScriptedHost second(world);
    connect_io(first, admin, 1);
    connect_io(second, admin, 2);
    set_configuration(admin, 0);
    while ((property(admin, NVME_REG_CSTS) & 1U) != 0) {
        world.world.run_for(kNsPerMs);
    }
    set_configuration(admin, kEnable);
    ScriptedHost again(world);
    connect_io(again, admin, 1);
    EXPECT_TRUE(first.wait_closed());
    EXPECT_TRUE(second.wait_closed());
}

// --- The end of a queue and what its device still does
// --------------------------------------------

TEST_F(TargetSession, IsNotDisabledBeforeItsDevicesAreDone) {
    LateBdev& stuck = LateBdev::add(world, "Stuck");
    AdminHost admin(world);
    ScriptedHost io(world);
    connect_io(io, admin);
    io.send(io.capsule(transfer(nvme_cmd_read, 1, 0, 8, stuck.nsid)));
    world.world.run_for(kNsPerMs);
    set_configuration(admin, 0);
    EXPECT_TRUE(io.wait_closed());
    world.world.run_for(kNsPerSecond);
    EXPECT_EQ(property(admin, NVME_REG_CSTS) & 1U, 1U) << "a write could still land";
    stuck.release();
    world.world.run_for(kNsPerMs);
    EXPECT_EQ(property(admin, NVME_REG_CSTS) & 1U, 0U);
}

TEST_F(TargetSession, IsNotShutDownBeforeItsDevicesAreDone) {
    LateBdev& stuck = LateBdev::add(world, "Stuck");
    AdminHost admin(world);
    ScriptedHost io(world);
    connect_io(io, admin);
    io.send(io.capsule(transfer(nvme_cmd_read, 1, 0, 8, stuck.nsid)));
    world.world.run_for(kNsPerMs);
    set_configuration(admin, kEnable | (NVME_CC_SHN_NORMAL << NVME_CC_SHN_SHIFT));
    const auto shutdown_status = [&] {
        return (property(admin, NVME_REG_CSTS) >> NVME_CSTS_SHST_SHIFT) & 3U;
    };
    world.world.run_for(kNsPerSecond);
    EXPECT_EQ(shutdown_status(), uint32_t{NVME_CSTS_SHST_OCCUR});
    stuck.release();
    world.world.run_for(kNsPerMs);
    EXPECT_EQ(shutdown_status(), uint32_t{NVME_CSTS_SHST_CMPLT});
}

TEST_F(TargetSession, TheAdminQueueThatWeCloseEndsAfterWhatItsIoQueuesHaveBegun) {
    LateBdev& stuck = LateBdev::add(world, "Stuck");
    AdminHost admin(world, TargetWorld::kNqn, 1000);
    ScriptedHost io(world);
    connect_io(io, admin);
    io.send(io.capsule(transfer(nvme_cmd_read, 1, 0, 8, stuck.nsid)));
    EXPECT_TRUE(io.wait_closed(2 * kNsPerSecond)) << "the keep alive has expired";
    EXPECT_FALSE(admin.wait_closed(10 * kNsPerSecond)) << "its end means that all has ended";
    stuck.release();
    EXPECT_TRUE(admin.wait_closed(kNsPerSecond));
}

TEST_F(TargetSession, AnAdminQueueWhoseHostLeavesWaitsForNobody) {
    LateBdev& stuck = LateBdev::add(world, "Stuck");
    AdminHost admin(world);
    ScriptedHost io(world);
    connect_io(io, admin);
    io.send(io.capsule(transfer(nvme_cmd_read, 1, 0, 8, stuck.nsid)));
    world.world.run_for(kNsPerMs);
    admin.vanish();
    EXPECT_TRUE(admin.wait_closed(kNsPerSecond));
    EXPECT_TRUE(io.wait_closed(kNsPerSecond));
    EXPECT_EQ(world.run(world.target->controllers(std::string(TargetWorld::kNqn)))->size(), 1U);
    stuck.release();
    world.world.run_for(kNsPerMs);
    EXPECT_EQ(world.run(world.target->controllers(std::string(TargetWorld::kNqn)))->size(), 0U);
}

// --- Keep alive ----------------------------------------------------------------------------------

TEST_F(TargetSession, EndsADiscoveryHostThatNamedNoTimeOutAndIsSilent) {
    AdminHost idle(world, kDiscoveryNqn);
    AdminHost busy(world, kDiscoveryNqn);
    for (uint32_t i = 0; i < 10; ++i) {
        world.world.run_for(50 * kNsPerSecond);
        static_cast<void>(busy.log_page(NVME_LOG_LID_DISCOVER, 1024));
    }
    EXPECT_TRUE(idle.is_closed);
    EXPECT_FALSE(busy.is_closed);
}

/// Lets a host send Keep Alive for a while; each is answered at once, and so it stays.
void expect_keep_alives_answered(TargetWorld& world, AdminHost& admin, uint32_t timeout_ms) {
    for (uint32_t i = 0; i < 30; ++i) {
        world.world.run_for(timeout_ms * kNsPerMs / 2);
        const uint64_t asked_ns = world.world.now_ns();
        EXPECT_TRUE(admin.command(make_command(nvme_admin_keep_alive, admin.next_cid(), Nsid(0)))
                        .status()
                        .ok());
        EXPECT_LT(world.world.now_ns() - asked_ns, 10 * kNsPerMs) << "it waits for nothing";
    }
    EXPECT_FALSE(admin.is_closed);
}

TEST_F(TargetSession, KeepsAHostAliveWhoseIoHangsWhileItsNamespaceIsRemoved) {
    LateBdev& stuck = LateBdev::add(world, "Stuck");
    constexpr uint32_t kTimeoutMs = 2000;
    AdminHost admin(world, TargetWorld::kNqn, kTimeoutMs);
    ScriptedHost io(world);
    connect_io(io, admin);
    for (uint16_t cid = 0; cid < 20; ++cid) {
        io.send(io.capsule(transfer(nvme_cmd_read, cid, 0, 8, stuck.nsid)));
    }
    Task<Status> removing =
        world.target->remove_namespace(std::string(TargetWorld::kNqn), stuck.nsid);
    expect_keep_alives_answered(world, admin, kTimeoutMs);
    EXPECT_FALSE(removing.is_done()) << "the removal waits for the I/O, the host does not";
    EXPECT_FALSE(io.is_closed);
    stuck.release();
    EXPECT_TRUE(world.world.run_until([&] { return removing.is_done(); }, 10 * kNsPerSecond));
}

TEST_F(TargetSession, KeepsAHostAliveWhoseQueuesAreFullOfWhatHangs) {
    LateBdev& stuck = LateBdev::add(world, "Stuck");
    constexpr uint32_t kTimeoutMs = 2000;
    AdminHost admin(world, TargetWorld::kNqn, kTimeoutMs);
    std::vector<std::unique_ptr<ScriptedHost>> queues;
    // All that the queues take, and more: what is beyond that waits in the stream.
    for (uint16_t qid = 1; qid <= 40; ++qid) {
        ScriptedHost& io = *queues.emplace_back(std::make_unique<ScriptedHost>(world));
        connect_io(io, admin, qid);
        Bytes burst;
        for (uint16_t cid = 0; cid < 60; ++cid) {
            Sqe sqe = transfer(nvme_cmd_write, cid, 0, 8, stuck.nsid);
            set_in_capsule_data(sqe, 4096);
            const Bytes capsule = io.capsule(sqe, Bytes(4096));
            burst.insert(burst.end(), capsule.begin(), capsule.end());
        }
        io.send(burst);
    }
    // In front of the Keep Alive stands a command that brings data.
    EXPECT_TRUE(admin.set_feature_data(NVME_FEAT_FID_HOST_BEHAVIOR, Bytes(512)).ok());
    static_cast<void>(admin.identify<nvme_id_ctrl>(NVME_IDENTIFY_CNS_CTRL));
    expect_keep_alives_answered(world, admin, kTimeoutMs);
    // And another host can come.
    AdminHost another(world);
    static_cast<void>(another.identify<nvme_id_ctrl>(NVME_IDENTIFY_CNS_CTRL));
    for (const auto& io : queues) {
        EXPECT_FALSE(io->is_closed);
    }
    stuck.release();
}

TEST_F(TargetSession, KeepsAHostAliveWhileAnotherAddressIsTakenAway) {
    LateBdev& stuck = LateBdev::add(world, "Stuck");
    constexpr uint32_t kTimeoutMs = 2000;
    const SocketAddress other =
        world
            .run(world.target->add_listener(std::string(TargetWorld::kNqn),
                                            sim::World::address(world.server, 4421)))
            .value();
    AdminHost admin(world, TargetWorld::kNqn, kTimeoutMs);
    ScriptedHost there(world, other);
    static_cast<void>(there.become_admin());
    ScriptedHost io(world);
    connect_io(io, admin);
    for (uint16_t cid = 0; cid < 20; ++cid) {
        io.send(io.capsule(transfer(nvme_cmd_read, cid, 0, 8, stuck.nsid)));
    }
    Task<Status> removing = world.target->remove_listener(std::string(TargetWorld::kNqn), other);
    expect_keep_alives_answered(world, admin, kTimeoutMs);
    EXPECT_TRUE(removing.is_done());
    EXPECT_TRUE(there.is_closed);
    EXPECT_FALSE(io.is_closed);
    stuck.release();
}

// --- What the host sets for all queues -----------------------------------------------------------

TEST_F(TargetSession, MakesEveryWriteDurableWhileTheCacheIsSwitchedOff) {
    AdminHost admin(world);
    const Nsid nsid = add_watched();
    ScriptedHost first(world);
    ScriptedHost second(world);
    connect_io(first, admin, 1);
    EXPECT_EQ(admin.get_feature(NVME_FEAT_FID_VOLATILE_WC).dw0.get(), 1U);
    EXPECT_TRUE(write(first, nsid).ok());
    EXPECT_EQ(watched->durable, 0U);
    EXPECT_TRUE(admin.set_feature(NVME_FEAT_FID_VOLATILE_WC, 0).ok());
    EXPECT_TRUE(write(first, nsid).ok());
    EXPECT_EQ(watched->durable, 1U);
    connect_io(second, admin, 2);
    EXPECT_TRUE(write(second, nsid).ok());
    EXPECT_EQ(watched->durable, 2U) << "a queue that comes later knows it too";
    EXPECT_TRUE(admin.set_feature(NVME_FEAT_FID_VOLATILE_WC, 1).ok());
    EXPECT_TRUE(write(first, nsid).ok());
    EXPECT_TRUE(write(second, nsid).ok());
    EXPECT_EQ(watched->durable, 2U);
}

TEST_F(TargetSession, NamesADelayOfRetriesToHostsThatHeedIt) {
    AdminHost admin(world);
    const Nsid nsid = add_watched();
    ScriptedHost io(world);
    connect_io(io, admin);
    watched->answer = Errc::kTryAgain;
    EXPECT_TRUE(write(io, nsid).is(status::kCommandInterrupted));
    EXPECT_EQ(write(io, nsid).crd, 0);
    Bytes behavior(512);
    behavior[0] = std::byte{2};
    EXPECT_TRUE(
        admin.set_feature_data(NVME_FEAT_FID_HOST_BEHAVIOR, behavior).is(status::kInvalidField));
    behavior[0] = std::byte{1};
    EXPECT_TRUE(admin.set_feature_data(NVME_FEAT_FID_HOST_BEHAVIOR, behavior).ok());
    EXPECT_EQ(write(io, nsid).crd, 1);
    watched->answer = Errc::kBusy;
    EXPECT_EQ(write(io, nsid).crd, 2);
    watched->answer = Errc::kMediaError;
    EXPECT_EQ(write(io, nsid).crd, 0) << "it is not to be tried again";
    const auto id = admin.identify<nvme_id_ctrl>(NVME_IDENTIFY_CNS_CTRL);
    EXPECT_EQ(id.crdt1, 1U);
    EXPECT_EQ(id.crdt2, 10U);
}

// --- Transfers -----------------------------------------------------------------------------------

TEST_F(TargetSession, AdvertisesTheLongestTransferThatAllDrivesTakeAndSplitsTheRest) {
    AdminHost early(world);
    EXPECT_EQ(early.identify<nvme_id_ctrl>(NVME_IDENTIFY_CNS_CTRL).mdts, 5) << "128 KiB";
    ScriptedHost io(world);
    connect_io(io, early);
    const Nsid nsid = add_watched();
    EXPECT_EQ(early.identify<nvme_id_ctrl>(NVME_IDENTIFY_CNS_CTRL).mdts, 3)
        << "64 blocks are 32 KiB";
    // This host has read 128 KiB before: it must not notice.
    Bytes data(131072);
    for (size_t i = 0; i < data.size(); ++i) {
        data[i] = static_cast<std::byte>(i / 512 + i);
    }
    io.send(io.capsule(transfer(nvme_cmd_write, 3, 0, 256, nsid)));
    const auto r2t = ScriptedHost::as<R2t>(io.next_pdu());
    io.send(io.h2c_data(r2t, 0, data, true));
    EXPECT_TRUE(io.completion().status().ok());
    EXPECT_EQ(watched->operations, 4U);
    Bytes back;
    EXPECT_TRUE(io.command(transfer(nvme_cmd_read, 4, 0, 256, nsid), {}, &back).status().ok());
    EXPECT_EQ(back, data);
    EXPECT_EQ(watched->operations, 8U);
}

// --- Effects -------------------------------------------------------------------------------------

TEST_F(TargetSession, TellsTheEffectsOfWhatItHasAndOfNothingElse) {
    AdminHost admin(world);
    const auto commands = admin.log<nvme_cmd_effects_log>(NVME_LOG_LID_CMD_EFFECTS);
    EXPECT_EQ(commands.acs[nvme_admin_abort_cmd], 1U);
    EXPECT_EQ(commands.acs[nvme_admin_format_nvm], 0U);
    EXPECT_EQ(commands.iocs[nvme_cmd_read], 1U);
    EXPECT_EQ(commands.iocs[nvme_cmd_write], 3U);
    EXPECT_EQ(commands.iocs[nvme_cmd_write_uncor], 0U);
    const auto features =
        admin.log<nvme_fid_supported_effects_log>(NVME_LOG_LID_FID_SUPPORTED_EFFECTS);
    for (uint32_t fid = 0; fid < 256; ++fid) {
        const bool is_known = (features.fid_support[fid] & 1U) != 0;
        if (fid != NVME_FEAT_FID_HOST_ID && fid < NVME_FEAT_FID_SW_PROGRESS) {
            const auto id = static_cast<uint8_t>(fid);
            const Cqe asked = admin.get_feature(id, AdminHost::Select::kCurrent, 0, 512);
            EXPECT_EQ(asked.status().ok(), is_known) << "feature " << fid;
        }
    }
    const auto pages = admin.log<nvme_supported_log_pages>(NVME_LOG_LID_SUPPORTED_LOG_PAGES);
    for (const uint32_t lid : {0x00U, 0x01U, 0x02U, 0x03U, 0x04U, 0x05U, 0x12U, 0x13U}) {
        EXPECT_EQ(pages.lid_support[lid] & 1U, 1U) << "page " << lid;
    }
}

}  // namespace
}  // namespace basalt::nvmf
