#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "bdev/layer/passthrough_bdev.h"
#include "test/nvmf/target/admin_host.h"

namespace basalt::nvmf {
namespace {

class TargetAdmin : public testing::Test {
  protected:
    template <typename T>
    T identify(ScriptedHost& host, uint8_t cns, uint32_t nsid) {
        Bytes data;
        const Cqe cqe = host.command(make_identify(CommandId(20), cns, Nsid(nsid)), {}, &data);
        EXPECT_TRUE(cqe.status().ok());
        return ScriptedHost::as<T>(data);
    }
    Bytes log_page(ScriptedHost& host, uint8_t lid, uint64_t offset, uint32_t bytes) {
        Bytes data;
        const Cqe cqe =
            host.command(make_get_log_page(CommandId(21), lid, offset, bytes), {}, &data);
        EXPECT_TRUE(cqe.status().ok());
        return data;
    }

    TargetWorld world{2};
};

TEST_F(TargetAdmin, TellsLinuxWhatItInsistsOn) {
    ScriptedHost admin(world);
    const ControllerId cntlid = admin.become_admin();
    const auto data = identify<nvme_id_ctrl>(admin, NVME_IDENTIFY_CNS_CTRL, 0);
    EXPECT_EQ(data.cntlid, cntlid.raw());
    EXPECT_NE(data.kas, 0);
    EXPECT_GE(data.ioccsz, 4U);
    EXPECT_GE(data.iorcsz, 1U);
    EXPECT_NE(data.maxcmd, 0);
    EXPECT_EQ(data.icdoff, 0);
    EXPECT_EQ(data.ver, 0x20000U);
    EXPECT_EQ(data.ofcs, 1) << "Disconnect";
    EXPECT_NE(data.sgls, 0U);
    EXPECT_EQ(data.mdts, 5) << "128 KiB in pages of 4 KiB";
    EXPECT_STREQ(data.subnqn, std::string(TargetWorld::kNqn).c_str());
    EXPECT_EQ(std::string(data.sn, 3), "S1 ");
}

TEST_F(TargetAdmin, DescribesNamespacesWithOneIdentity) {
    ScriptedHost admin(world);
    admin.become_admin();
    const auto data = identify<nvme_id_ns>(admin, NVME_IDENTIFY_CNS_NS, 1);
    EXPECT_EQ(data.nsze, TargetWorld::kBlocks);
    EXPECT_EQ(data.lbaf[0].ds, 9);
    EXPECT_EQ(data.nuse, TargetWorld::kBlocks) << "memory is not thin";
    EXPECT_EQ(data.nsfeat, (1U << 4U) | (1U << 1U)) << "OPTPERF and NSABP";
    EXPECT_EQ(data.nacwu, 31) << "16 KiB compared and written at once";
    EXPECT_EQ(data.nawupf, 0);
    EXPECT_EQ(data.noiob, 0);
    EXPECT_EQ(data.npdg, 127) << "memory goes back in 64 KiB";
    EXPECT_EQ(data.dlfeat, 0x9) << "zeroes when deallocated, and Write Zeroes may deallocate";
    const bdev::Uuid uuid = world.registry->find("Malloc0")->info().uuid;
    EXPECT_EQ(std::memcmp(data.nguid, uuid.bytes.data(), 16), 0);
    const auto list =
        identify<std::array<uint32_t, 1024>>(admin, NVME_IDENTIFY_CNS_NS_ACTIVE_LIST, 0);
    EXPECT_EQ(list[0], 1U);
    EXPECT_EQ(list[1], 2U);
    EXPECT_EQ(list[2], 0U);
    const auto ids = identify<std::array<uint8_t, 64>>(admin, NVME_IDENTIFY_CNS_NS_DESC_LIST, 1);
    EXPECT_EQ(ids[0], NVME_NIDT_NGUID) << "the EUI64, all zero, is left out";
    EXPECT_EQ(ids[20], NVME_NIDT_UUID);
    EXPECT_EQ(std::memcmp(ids.data() + 24, uuid.bytes.data(), 16), 0);
}

TEST_F(TargetAdmin, TellsNoBoundaryThatItsFieldCannotSay) {
    const auto boundary_of = [&](const std::string& name, uint64_t boundary) {
        bdev::MallocOptions options;
        options.name = name;
        options.uuid = bdev::Uuid::from_name("target-admin", name);
        options.block_count = BlockCount(128);
        options.block_size_bytes = 512;
        options.optimal_io_boundary = BlockCount(boundary);
        auto made = bdev::MallocBdev::make(options, world.memory).value();
        BASALT_ASSERT(world.registry->add(std::move(made)).has_value());
        const Nsid nsid = world.add_namespace(name);
        ScriptedHost admin(world);
        admin.become_admin();
        return identify<nvme_id_ns>(admin, NVME_IDENTIFY_CNS_NS, nsid.raw()).noiob;
    };
    EXPECT_EQ(boundary_of("Near", 65535), 65535);
    EXPECT_EQ(boundary_of("Far", 65536), 0) << "65535 would be a boundary where there is none";
}

TEST_F(TargetAdmin, DescribesANamespaceThatIsNotActiveAsAllZero) {
    ScriptedHost admin(world);
    admin.become_admin();
    const std::array<uint8_t, 4096> zeroes{};
    for (const uint8_t cns : {NVME_IDENTIFY_CNS_NS,
                              NVME_IDENTIFY_CNS_CSI_NS,
                              NVME_IDENTIFY_CNS_CSI_INDEPENDENT_ID_NS}) {
        EXPECT_EQ((identify<std::array<uint8_t, 4096>>(admin, cns, 3)), zeroes);
        for (const uint32_t nsid : {0U, 0xffffffffU}) {
            EXPECT_TRUE(admin.command(make_identify(CommandId(20), cns, Nsid(nsid)))
                            .status()
                            .is(status::kInvalidNamespace));
        }
    }
}

TEST_F(TargetAdmin, TellsOfANewNamespaceOnceUntilTheLogIsRead) {
    ScriptedHost admin(world);
    admin.become_admin();
    constexpr uint32_t kNamespaceNotices = 1U << 8U;
    ASSERT_TRUE(
        admin.command(make_set_features(CommandId(3), NVME_FEAT_FID_ASYNC_EVENT, kNamespaceNotices))
            .status()
            .ok());
    for (uint16_t i = 0; i < 2; ++i) {
        admin.send(
            admin.capsule(make_command(nvme_admin_async_event, CommandId(100 + i), Nsid(0))));
    }
    world.add_malloc("Malloc1", 64, 512);
    EXPECT_EQ(world.add_namespace("Malloc1"), Nsid(3));
    const Cqe event = admin.completion();
    EXPECT_EQ(event.cid(), CommandId(100));
    EXPECT_EQ(event.dw0.get(), async_event_result(2, 0, NVME_LOG_LID_CHANGED_NS));
    world.expect_ok(world.target->remove_namespace(std::string(TargetWorld::kNqn), Nsid(3)));
    EXPECT_TRUE(admin.next_pdu(kNsPerSecond).empty()) << "masked until its log is read";
    const Sqe beyond = make_get_log_page(CommandId(22), NVME_LOG_LID_CHANGED_NS, 8192, 4096);
    EXPECT_TRUE(admin.command(beyond).status().is(status::kInvalidField)) << "reads nothing";
    const auto changed = ScriptedHost::as<std::array<uint32_t, 2>>(
        log_page(admin, NVME_LOG_LID_CHANGED_NS, 0, 4096));
    EXPECT_EQ(changed[0], 3U);
    EXPECT_EQ(changed[1], 0U);
    EXPECT_TRUE(admin.next_pdu(kNsPerSecond).empty()) << "the log told it all";
    EXPECT_EQ(world.add_namespace("Malloc1"), Nsid(3));
    EXPECT_EQ(admin.completion().cid(), CommandId(101));
}

TEST_F(TargetAdmin, TellsOfADeviceThatHasAnotherSize) {
    // Through a layer, which follows.
    world.add_null("Null1", 1000, 512);
    bdev::PassthroughOptions options;
    options.name = "Layer1";
    bdev::Device& below = *world.registry->find("Null1");
    ASSERT_TRUE(
        world.registry->add(std::make_unique<bdev::PassthroughBdev>(options, below)).has_value());
    const Nsid nsid = world.add_namespace("Layer1");
    ScriptedHost admin(world);
    const ControllerId cntlid = admin.become_admin();
    ScriptedHost io(world);
    ASSERT_TRUE(io.handshake());
    ASSERT_TRUE(io.connect(QueueId(1), cntlid).status().ok());
    constexpr uint32_t kNamespaceNotices = 1U << 8U;
    ASSERT_TRUE(
        admin.command(make_set_features(CommandId(3), NVME_FEAT_FID_ASYNC_EVENT, kNamespaceNotices))
            .status()
            .ok());
    admin.send(admin.capsule(make_command(nvme_admin_async_event, CommandId(100), Nsid(0))));
    const auto resize = [&](uint64_t blocks) {
        static_cast<bdev::NullBdev&>(below.inner()).resize(BlockCount(blocks));
        world.run(world.target->device_changed(below));
    };
    const auto zeroes_at = [&](uint64_t first) {
        Sqe command = make_command(nvme_cmd_write_zeroes, CommandId(9), nsid);
        command.cdw10.set(static_cast<uint32_t>(first));
        return io.command(command).status();
    };
    EXPECT_TRUE(zeroes_at(1500).is(status::kLbaOutOfRange));
    resize(2000);
    EXPECT_EQ(admin.completion().dw0.get(), async_event_result(2, 0, NVME_LOG_LID_CHANGED_NS));
    const auto changed = ScriptedHost::as<std::array<uint32_t, 2>>(
        log_page(admin, NVME_LOG_LID_CHANGED_NS, 0, 4096));
    EXPECT_EQ(changed[0], nsid.raw());
    EXPECT_EQ(changed[1], 0U);
    EXPECT_EQ(identify<nvme_id_ns>(admin, NVME_IDENTIFY_CNS_NS, nsid.raw()).nsze, 2000U);
    EXPECT_TRUE(zeroes_at(1999).ok());
    resize(100);
    EXPECT_EQ(identify<nvme_id_ns>(admin, NVME_IDENTIFY_CNS_NS, nsid.raw()).nsze, 100U);
    EXPECT_TRUE(zeroes_at(100).is(status::kLbaOutOfRange));
    EXPECT_TRUE(zeroes_at(99).ok());
}

TEST_F(TargetAdmin, RefusesMoreEventRequestsThanItSays) {
    ScriptedHost admin(world);
    admin.become_admin();
    for (uint16_t i = 0; i < 5; ++i) {
        admin.send(
            admin.capsule(make_command(nvme_admin_async_event, CommandId(100 + i), Nsid(0))));
    }
    const Cqe refused = admin.completion();
    EXPECT_EQ(refused.cid(), CommandId(104));
    EXPECT_TRUE(refused.status().is(status::kAsyncEventLimitExceeded));
}

TEST_F(TargetAdmin, DropsAHostThatFallsSilent) {
    ScriptedHost admin(world);
    const ControllerId cntlid = admin.become_admin(TargetWorld::kNqn, 2000);
    ScriptedHost io(world);
    ASSERT_TRUE(io.handshake());
    ASSERT_TRUE(io.connect(QueueId(1), cntlid).status().ok());
    world.world.run_for(1500 * kNsPerMs);
    EXPECT_TRUE(
        admin.command(make_command(nvme_admin_keep_alive, CommandId(4), Nsid(0))).status().ok());
    world.world.run_for(1500 * kNsPerMs);
    EXPECT_FALSE(admin.is_closed);
    EXPECT_TRUE(admin.wait_closed(kNsPerSecond));
    EXPECT_TRUE(io.wait_closed(kNsPerSecond)) << "its I/O queues go with it";
    EXPECT_TRUE(world.run(world.target->controllers(std::string(TargetWorld::kNqn)))->empty());
}

TEST_F(TargetAdmin, ClosesIoQueuesWhenTheControllerIsDisabled) {
    ScriptedHost admin(world);
    const ControllerId cntlid = admin.become_admin();
    ScriptedHost io(world);
    ASSERT_TRUE(io.handshake());
    ASSERT_TRUE(io.connect(QueueId(1), cntlid).status().ok());
    EXPECT_TRUE(admin.command(make_property_set(CommandId(5), NVME_REG_CC, 0)).status().ok());
    EXPECT_TRUE(io.wait_closed());
    const Cqe csts = admin.command(make_property_get(CommandId(6), NVME_REG_CSTS, false));
    EXPECT_EQ(csts.result64(), 0U);
    EXPECT_TRUE(admin.command(make_identify(CommandId(7), NVME_IDENTIFY_CNS_CTRL, Nsid(0)))
                    .status()
                    .is(status::kCommandSequenceError));
}

TEST_F(TargetAdmin, RefusesConnectsThatDoNotFit) {
    ScriptedHost admin(world);
    const ControllerId cntlid = admin.become_admin();
    const auto refusal = [&](QueueId qid,
                             ControllerId id,
                             std::string_view nqn,
                             std::string_view host,
                             uint32_t entries) {
        ScriptedHost other(world);
        EXPECT_TRUE(other.handshake());
        return other.connect(qid, id, nqn, host, entries).status();
    };
    const auto& nqn = TargetWorld::kNqn;
    const auto& host = ScriptedHost::kHostNqn;
    // A host that is told not to retry gives its controller up for good (Linux): that is for what
    // will never do.
    const NvmeStatus never = status::kConnectInvalidParameters.with_dnr();
    const NvmeStatus not_now = status::kConnectInvalidParameters;
    EXPECT_EQ(refusal(QueueId(0), kControllerIdAny, "nqn.2026-11.io.basalt:none", host, 32),
              not_now);
    EXPECT_EQ(refusal(QueueId(0), ControllerId(5), nqn, host, 32), never);
    EXPECT_EQ(refusal(QueueId(1), ControllerId(77), nqn, host, 32), not_now);
    EXPECT_EQ(refusal(QueueId(1), cntlid, nqn, host, 5000), never);
    EXPECT_EQ(refusal(QueueId(500), cntlid, nqn, host, 32), never);
    EXPECT_EQ(refusal(QueueId(1), cntlid, nqn, "nqn.2026-11.io.basalt:another-host", 32), not_now);
    EXPECT_TRUE(refusal(QueueId(1), cntlid, nqn, host, 32).ok());
    ScriptedHost first(world);
    EXPECT_TRUE(first.handshake());
    EXPECT_TRUE(first.connect(QueueId(4), cntlid).status().ok());
    EXPECT_EQ(refusal(QueueId(4), cntlid, nqn, host, 32), not_now) << "the first may be leaving";
    ScriptedHost twice(world);
    EXPECT_TRUE(twice.handshake());
    EXPECT_TRUE(twice.connect(QueueId(2), cntlid).status().ok());
    EXPECT_TRUE(twice.connect(QueueId(3), cntlid).status().is(status::kCommandSequenceError));
}

TEST_F(TargetAdmin, LetsInAllowedHostsAloneAndPutsOutTheOthers) {
    const std::string nqn(TargetWorld::kNqn);
    ScriptedHost admin(world);
    admin.become_admin();
    world.expect_ok(world.target->add_host(nqn, "nqn.2026-11.io.basalt:friend"));
    world.expect_ok(world.target->allow_any_host(nqn, false));
    EXPECT_TRUE(admin.wait_closed());
    ScriptedHost stranger(world);
    ASSERT_TRUE(stranger.handshake());
    EXPECT_TRUE(
        stranger.connect(kAdminQueueId, kControllerIdAny).status().is(status::kConnectInvalidHost));
    ScriptedHost allowed(world);
    ASSERT_TRUE(allowed.handshake());
    EXPECT_TRUE(
        allowed.connect(kAdminQueueId, kControllerIdAny, nqn, "nqn.2026-11.io.basalt:friend")
            .status()
            .ok());
    world.expect_ok(world.target->remove_host(nqn, "nqn.2026-11.io.basalt:friend"));
    EXPECT_TRUE(allowed.wait_closed());
}

TEST_F(TargetAdmin, ListsSubsystemsOnTheDiscoveryPortAndOnTheIoPort) {
    for (const uint16_t port : {kDiscoveryPort, kIoPort}) {
        ScriptedHost host(world, sim::World::address(world.server, port));
        host.become_admin(kDiscoveryNqn);
        const auto controller = identify<nvme_id_ctrl>(host, NVME_IDENTIFY_CNS_CTRL, 0);
        EXPECT_EQ(controller.cntrltype, 2);
        const Bytes page = log_page(host, NVME_LOG_LID_DISCOVER, 0, 3072);
        nvmf_discovery_log head{};
        std::memcpy(&head, page.data(), sizeof(head));
        ASSERT_EQ(head.numrec, 2U) << "this service and the subsystem";
        nvmf_disc_log_entry entry{};
        std::memcpy(&entry, page.data() + 2048, sizeof(entry));
        EXPECT_EQ(std::string(entry.subnqn), TargetWorld::kNqn);
        EXPECT_EQ(std::string(entry.trsvcid), "4420");
        EXPECT_EQ(std::string(entry.traddr), world.address.host());
        EXPECT_EQ(log_page(host, NVME_LOG_LID_DISCOVER, 1024, 2048),
                  Bytes(page.begin() + 1024, page.end()))
            << "a page read in parts is the same page";
    }
}

TEST_F(TargetAdmin, DeletesASubsystemUnderItsHosts) {
    ScriptedHost admin(world);
    const ControllerId cntlid = admin.become_admin();
    ScriptedHost io(world);
    ASSERT_TRUE(io.handshake());
    ASSERT_TRUE(io.connect(QueueId(1), cntlid).status().ok());
    world.expect_ok(world.target->delete_subsystem(std::string(TargetWorld::kNqn)));
    EXPECT_TRUE(admin.wait_closed());
    EXPECT_TRUE(io.wait_closed());
    EXPECT_TRUE(world.registry->remove("Malloc0").has_value()) << "its claim was given back";
}

TEST_F(TargetAdmin, ListsTheControllersOfAllReactors) {
    NamespaceOptions hidden;
    hidden.is_auto_visible = false;
    world.add_malloc("Malloc1", 64, 512);
    const Nsid secret = world.add_namespace(TargetWorld::kNqn, "Malloc1", std::move(hidden));
    AdminHost first(world);
    AdminHost second(world);
    const auto list = [&](uint8_t cns, uint32_t nsid, uint16_t from) {
        Sqe sqe = make_identify(first.next_cid(), cns, Nsid(nsid));
        sqe.cdw10.set(cns | uint32_t{from} << 16U);
        Bytes data;
        EXPECT_TRUE(first.command(sqe, {}, &data).status().ok());
        const auto found = ScriptedHost::as<nvme_ctrl_list>(data);
        return std::vector<uint16_t>(found.identifier, found.identifier + found.num);
    };
    const std::vector<uint16_t> all{std::min(first.cntlid, second.cntlid).raw(),
                                    std::max(first.cntlid, second.cntlid).raw()};
    EXPECT_LT(all[0], all[1]) << "on two reactors";
    EXPECT_EQ(list(NVME_IDENTIFY_CNS_CTRL_LIST, 0, 0), all);
    EXPECT_EQ(list(NVME_IDENTIFY_CNS_CTRL_LIST, 0, all[1]), std::vector{all[1]});
    EXPECT_EQ(list(NVME_IDENTIFY_CNS_NS_CTRL_LIST, 1, 0), all);
    EXPECT_TRUE(list(NVME_IDENTIFY_CNS_NS_CTRL_LIST, secret.raw(), 0).empty());
    EXPECT_TRUE(list(NVME_IDENTIFY_CNS_NS_CTRL_LIST, 9, 0).empty()) << "not there";
    const auto refused = [&](Nsid nsid) {
        return first.command(make_identify(first.next_cid(), NVME_IDENTIFY_CNS_NS_CTRL_LIST, nsid))
            .status();
    };
    EXPECT_TRUE(refused(Nsid(0)).is(status::kInvalidNamespace));
    EXPECT_TRUE(refused(Nsid(4000)).is(status::kInvalidNamespace));
    EXPECT_TRUE(refused(kNsidAll).is(status::kInvalidField));
}

TEST_F(TargetAdmin, RefusesAnIdRangeThatLeavesAReactorWithout) {
    const auto outcome = [&](uint16_t last) {
        SubsystemOptions options;
        options.nqn = "nqn.2026-11.io.basalt:narrow";
        options.cntlid_min = 7;
        options.cntlid_max = last;
        return world.run(world.target->create_subsystem(options));
    };
    EXPECT_EQ(outcome(7).error().code, Errc::kInvalidArgument);
    EXPECT_TRUE(outcome(8).has_value()) << "one id for each of two reactors";
}

TEST_F(TargetAdmin, RefusesATransferSizeThatMdtsCannotSay) {
    Target other(*world.control, TargetWorld::kReactors, world.buffers);
    TransportOptions options;
    options.io_bytes_max = 4096;  // MDTS 0 would mean: no limit.
    EXPECT_EQ(world.run(other.create_transport(options)).error().code, Errc::kInvalidArgument);
}

TEST_F(TargetAdmin, SetsFeaturesAndSaysWhatItHas) {
    ScriptedHost admin(world);
    admin.become_admin();
    const Cqe queues =
        admin.command(make_set_features(CommandId(8), NVME_FEAT_FID_NUM_QUEUES, 0x00030003));
    EXPECT_EQ(queues.dw0.get(), 0x00030003U);
    EXPECT_TRUE(admin.command(make_set_features(CommandId(8), NVME_FEAT_FID_NUM_QUEUES, 0xffff))
                    .status()
                    .is(status::kInvalidField));
    EXPECT_TRUE(
        admin.command(make_set_features(CommandId(9), 0x7e, 0)).status().is(status::kInvalidField));
    Sqe get = make_command(nvme_admin_get_features, CommandId(10), Nsid(0));
    get.cdw10.set(NVME_FEAT_FID_NUM_QUEUES);
    EXPECT_EQ(admin.command(get).dw0.get(), 0x00030003U);
}

TEST_F(TargetAdmin, TellsOfActiveNamespacesInEveryStructure) {
    AdminHost admin(world);
    const std::array<uint8_t, 4096> zeroes{};
    EXPECT_EQ((admin.identify<std::array<uint8_t, 4096>>(NVME_IDENTIFY_CNS_CSI_NS, 1)), zeroes)
        << "protection information, which there is none of";
    const auto independent =
        admin.identify<nvme_id_independent_id_ns>(NVME_IDENTIFY_CNS_CSI_INDEPENDENT_ID_NS, 1);
    EXPECT_EQ(independent.nstat, 1) << "ready";
    EXPECT_EQ(independent.nmic, 1) << "shared";
    const auto ids = [&](uint8_t cns, uint8_t csi) {
        Sqe sqe = make_identify(admin.next_cid(), cns, Nsid(0));
        sqe.cdw11.set(uint32_t{csi} << 24U);
        Bytes data;
        const NvmeStatus outcome = admin.command(sqe, {}, &data).status();
        return std::pair(outcome, data);
    };
    const auto [listed, list] = ids(NVME_IDENTIFY_CNS_CSI_NS_ACTIVE_LIST, NVME_CSI_NVM);
    ASSERT_TRUE(listed.ok());
    const auto active = ScriptedHost::as<std::array<uint32_t, 1024>>(list);
    EXPECT_EQ(active[0], 1U);
    EXPECT_EQ(active[1], 2U);
    EXPECT_EQ(active[2], 0U);
    EXPECT_FALSE(ids(NVME_IDENTIFY_CNS_CSI_NS_ACTIVE_LIST, NVME_CSI_ZNS).first.ok());
    const auto [known, sets] = ids(NVME_IDENTIFY_CNS_COMMAND_SET_STRUCTURE, 0);
    ASSERT_TRUE(known.ok());
    const auto combinations = ScriptedHost::as<std::array<uint64_t, 512>>(sets);
    EXPECT_EQ(combinations[0], 1U) << "the NVM command set";
    EXPECT_EQ(combinations[1], 0U);
}

TEST_F(TargetAdmin, TellsHowLongItTakesToBecomeReady) {
    constexpr uint32_t kCrto = 0x68;
    AdminHost admin(world);
    const Cqe crto = admin.command(make_property_get(admin.next_cid(), kCrto, false));
    ASSERT_TRUE(crto.status().ok());
    const Cqe cap = admin.command(make_property_get(admin.next_cid(), NVME_REG_CAP, true));
    EXPECT_EQ(crto.result64() & 0xffffU, (cap.result64() >> 24U) & 0xffU) << "CRWMT is CAP.TO";
    EXPECT_NE(crto.result64(), 0U);
}

TEST_F(TargetAdmin, HasNoManagementInterfaceAndOneSlotOfFirmware) {
    AdminHost admin(world);
    const auto commands =
        admin.log<std::array<uint8_t, 4096>>(NVME_LOG_LID_MI_CMD_SUPPORTED_EFFECTS);
    EXPECT_EQ(commands, (std::array<uint8_t, 4096>{}));
    const auto slots = admin.log<nvme_firmware_slot>(NVME_LOG_LID_FW_SLOT);
    EXPECT_EQ(slots.afi, 1) << "the first slot is active, and none is next";
    const auto id = admin.identify<nvme_id_ctrl>(NVME_IDENTIFY_CNS_CTRL);
    EXPECT_EQ(std::memcmp(slots.frs[0], id.fr, sizeof(id.fr)), 0);
    for (size_t slot = 1; slot < std::size(slots.frs); ++slot) {
        EXPECT_EQ(std::string(slots.frs[slot], sizeof(slots.frs[slot])),
                  std::string(sizeof(slots.frs[slot]), '\0'));
    }
    EXPECT_EQ(id.frmw, 0x03) << "one slot, which is read-only";
}

TEST_F(TargetAdmin, TellsTheHintsOfTheDevice) {
    /// Memory whose hints a test says.
    class HintedBdev final : public bdev::Bdev {
      public:
        HintedBdev(std::unique_ptr<bdev::Bdev> inner, const bdev::IoHints& hints)
            : inner_(std::move(inner)), info_(inner_->info()) {
            info_.hints = hints;
        }
        const bdev::BdevInfo& info() const override { return info_; }
        Result<std::unique_ptr<bdev::BdevChannel>> open_channel(Reactor& here) override {
            return inner_->open_channel(here);
        }

      private:
        std::unique_ptr<bdev::Bdev> inner_;
        bdev::BdevInfo info_;
    };
    bdev::MallocOptions options;
    options.name = "Hinted";
    options.uuid = bdev::Uuid::from_name("target-admin", options.name);
    options.block_count = BlockCount(1024);
    options.block_size_bytes = 512;
    const bdev::IoHints hints{.write_granularity = BlockCount(8),
                              .write_alignment = BlockCount(16),
                              .unmap_granularity = BlockCount(32),
                              .unmap_alignment = BlockCount(64),
                              .optimal_write = BlockCount(128),
                              .io_boundary = BlockCount(256)};
    auto made =
        std::make_unique<HintedBdev>(bdev::MallocBdev::make(options, world.memory).value(), hints);
    ASSERT_TRUE(world.registry->add(std::move(made)));
    const Nsid nsid = world.add_namespace(options.name);
    AdminHost admin(world);
    const auto data = admin.identify<nvme_id_ns>(NVME_IDENTIFY_CNS_NS, nsid.raw());
    EXPECT_EQ(data.npwg, 7);
    EXPECT_EQ(data.npwa, 15);
    EXPECT_EQ(data.npdg, 31);
    EXPECT_EQ(data.npda, 63);
    EXPECT_EQ(data.nows, 127);
    EXPECT_EQ(data.noiob, 256) << "the one that does not count from 0";
    EXPECT_NE(data.nsfeat & 1U << 4U, 0U) << "OPTPERF: they count";
}

TEST_F(TargetAdmin, TellsWhatACopyMayTake) {
    AdminHost admin(world);
    const auto data = admin.identify<nvme_id_ns>(NVME_IDENTIFY_CNS_NS, 1);
    EXPECT_EQ(data.mcl, (256U << 20U) / TargetWorld::kBlockBytes);
    EXPECT_EQ(data.mssrl, 0xffff) << "a range's field says no more";
    EXPECT_EQ(data.msrc, 127) << "128 ranges";
}

}  // namespace
}  // namespace basalt::nvmf
