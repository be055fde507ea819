#include <gtest/gtest.h>

#include "test/nvmf/target/scripted_host.h"

namespace basalt::nvmf {
namespace {

/// A subsystem that reports ANA, reached by two listeners: namespaces 1 (group 1), 2 and 3 (group
/// 5).
class TargetAna : public testing::Test {
  protected:
    static constexpr std::string_view kNqn = "nqn.2026-11.io.basalt:ana";
    static constexpr uint32_t kAnaNotices = 1U << 11U;

    TargetAna() {
        SubsystemOptions options;
        options.nqn = kNqn;
        options.allow_any_host = true;
        options.ana_reporting = true;
        options.namespaces_max = 8;
        world.expect_ok(world.target->create_subsystem(options));
        first = world.run(world.target->add_listener(nqn(), address(4420))).value();
        second = world.run(world.target->add_listener(nqn(), address(4421))).value();
        for (uint32_t nsid = 1; nsid <= 3; ++nsid) {
            const std::string name = "Ana" + std::to_string(nsid);
            world.add_malloc(name, 64, 512);
            NamespaceOptions space;
            space.ana_group = nsid == 1 ? 0 : 5;
            EXPECT_EQ(world.add_namespace(kNqn, name, std::move(space)), Nsid(nsid));
        }
    }

    static std::string nqn() { return std::string(kNqn); }
    [[nodiscard]] SocketAddress address(uint16_t port) const {
        return sim::World::address(world.server, port);
    }
    [[nodiscard]] Status set_state(const SocketAddress& path, AnaState state, uint32_t group = 0) {
        return world.run(world.target->set_ana_state(nqn(), path, state, group));
    }

    static Bytes log(ScriptedHost& host, bool groups_only = false, bool retain = false) {
        Sqe sqe = make_get_log_page(CommandId(30), NVME_LOG_LID_ANA, 0, 1024);
        sqe.cdw10.set(sqe.cdw10.get() | (groups_only ? 1U << 8U : 0U) | (retain ? 1U << 15U : 0U));
        Bytes data;
        EXPECT_TRUE(host.command(sqe, {}, &data).status().ok());
        return data;
    }
    struct Group {
        uint32_t id = 0;
        AnaState state{};
        uint64_t changes = 0;
        std::vector<uint32_t> nsids;
    };
    static std::vector<Group> groups(const Bytes& page) {
        std::vector<Group> found(ScriptedHost::as<nvme_ana_log>(page).ngrps);
        size_t at = sizeof(nvme_ana_log);
        for (Group& group : found) {
            nvme_ana_group_desc head{};
            std::memcpy(&head, page.data() + at, sizeof(head));
            at += sizeof(head);
            group.id = head.grpid;
            group.state = static_cast<AnaState>(head.state);
            group.changes = head.chgcnt;
            group.nsids.resize(head.nnsids);
            for (uint32_t& nsid : group.nsids) {
                std::memcpy(&nsid, page.data() + at, sizeof(nsid));
                at += sizeof(nsid);
            }
        }
        return found;
    }

    static NvmeStatus read(ScriptedHost& io, uint32_t nsid) {
        Sqe sqe = make_command(nvme_cmd_read, CommandId(40), Nsid(nsid));
        set_range(sqe, Lba(0), BlockCount(1));
        set_transport_data(sqe, 512);
        return io.command(sqe).status();
    }

    static void enable_notices(ScriptedHost& admin) {
        ASSERT_TRUE(
            admin.command(make_set_features(CommandId(50), NVME_FEAT_FID_ASYNC_EVENT, kAnaNotices))
                .status()
                .ok());
        for (uint16_t i = 0; i < 2; ++i) {
            admin.send(
                admin.capsule(make_command(nvme_admin_async_event, CommandId(100 + i), Nsid(0))));
        }
    }

    TargetWorld world{3};
    SocketAddress first;
    SocketAddress second;
};

/// An admin and an I/O queue by one listener.
struct Path {
    Path(TargetWorld& world, const SocketAddress& address, std::string_view nqn)
        : admin(world, address), io(world, address), cntlid(admin.become_admin(nqn)) {
        BASALT_ASSERT(io.handshake());
        BASALT_ASSERT(io.connect(QueueId(1), cntlid, nqn).status().ok());
    }

    ScriptedHost admin;
    ScriptedHost io;
    ControllerId cntlid;
};

TEST_F(TargetAna, SaysInIdentifyWhatLinuxInsistsOn) {
    ScriptedHost admin(world, first);
    admin.become_admin(kNqn);
    Bytes data;
    ASSERT_TRUE(
        admin.command(make_identify(CommandId(20), NVME_IDENTIFY_CNS_CTRL, Nsid(0)), {}, &data)
            .status()
            .ok());
    const auto controller = ScriptedHost::as<nvme_id_ctrl>(data);
    EXPECT_EQ(controller.cmic & 8, 8);
    EXPECT_EQ(controller.oaes & kAnaNotices, kAnaNotices);
    EXPECT_EQ(controller.anacap, 0x1f);
    EXPECT_EQ(controller.anatt, 10) << "EndsATransitionThatNobodyEnds holds it to that";
    EXPECT_EQ(controller.anagrpmax, 8U);
    EXPECT_EQ(controller.nanagrpid, 8U);
    EXPECT_GT(controller.mnan, 0U);
    EXPECT_LE(controller.mnan, controller.nn);
    ASSERT_TRUE(
        admin.command(make_identify(CommandId(21), NVME_IDENTIFY_CNS_NS, Nsid(2)), {}, &data)
            .status()
            .ok());
    EXPECT_EQ(ScriptedHost::as<nvme_id_ns>(data).anagrpid, 5U);
    EXPECT_EQ(ScriptedHost::as<nvme_id_ns>(data).nmic & 1, 1);
}

TEST_F(TargetAna, KeepsSilentAboutItWhereItIsNotReported) {
    ScriptedHost admin(world);
    admin.become_admin();
    Bytes data;
    ASSERT_TRUE(
        admin.command(make_identify(CommandId(20), NVME_IDENTIFY_CNS_CTRL, Nsid(0)), {}, &data)
            .status()
            .ok());
    EXPECT_EQ(ScriptedHost::as<nvme_id_ctrl>(data).cmic & 8, 0);
    EXPECT_EQ(ScriptedHost::as<nvme_id_ctrl>(data).nanagrpid, 0U);
    EXPECT_TRUE(admin.command(make_get_log_page(CommandId(21), NVME_LOG_LID_ANA, 0, 64))
                    .status()
                    .is(status::kInvalidLogPage));
    EXPECT_EQ(world.run(world.target->set_ana_state(
                  std::string(TargetWorld::kNqn), world.address, AnaState::kChange, 0)),
              Errc::kNotSupported);
}

TEST_F(TargetAna, ListsGroupsWithTheirNamespacesInOrder) {
    ASSERT_TRUE(set_state(second, AnaState::kNonOptimized, 5).has_value());
    ScriptedHost admin(world, first);
    admin.become_admin(kNqn);
    const auto by_first = groups(log(admin));
    ASSERT_EQ(by_first.size(), 2U);
    EXPECT_EQ(by_first[0].id, 1U);
    EXPECT_EQ(by_first[0].nsids, (std::vector<uint32_t>{1}));
    EXPECT_EQ(by_first[1].id, 5U);
    EXPECT_EQ(by_first[1].nsids, (std::vector<uint32_t>{2, 3}));
    EXPECT_EQ(by_first[1].state, AnaState::kOptimized);

    ScriptedHost other(world, second);
    other.become_admin(kNqn);
    const Bytes page = log(other, true);
    const auto by_second = groups(page);
    ASSERT_EQ(by_second.size(), 2U);
    EXPECT_EQ(by_second[0].state, AnaState::kOptimized);
    EXPECT_EQ(by_second[1].state, AnaState::kNonOptimized);
    EXPECT_TRUE(by_second[1].nsids.empty()) << "groups only";
}

TEST_F(TargetAna, AnswersIoByTheStateOfItsPathAtOnce) {
    Path by_first(world, first, kNqn);
    Path by_second(world, second, kNqn);
    constexpr std::array kStates{std::pair{AnaState::kInaccessible, status::kAnaInaccessible},
                                 std::pair{AnaState::kPersistentLoss, status::kAnaPersistentLoss},
                                 std::pair{AnaState::kChange, status::kAnaTransition},
                                 std::pair{AnaState::kNonOptimized, status::kSuccess},
                                 std::pair{AnaState::kOptimized, status::kSuccess}};
    for (const auto& [state, expected] : kStates) {
        ASSERT_TRUE(set_state(first, state, 5).has_value());
        EXPECT_EQ(read(by_first.io, 2), expected) << "and without DNR: another path may do";
        EXPECT_EQ(read(by_first.io, 3), expected);
        EXPECT_EQ(read(by_first.io, 1), status::kSuccess) << "another group";
        EXPECT_EQ(read(by_second.io, 2), status::kSuccess) << "another path";
        const Sqe flush = make_command(nvme_cmd_flush, CommandId(41), kNsidAll);
        EXPECT_EQ(by_first.io.command(flush).status(), expected);
    }
}

TEST_F(TargetAna, JudgesAWriteWhoseDataComesAfterTheChangeByTheNewState) {
    Path path(world, first, kNqn);
    Sqe write = make_command(nvme_cmd_write, CommandId(42), Nsid(1));
    set_range(write, Lba(0), BlockCount(1));
    set_transport_data(write, 512);
    path.io.send(path.io.capsule(write));
    const auto r2t = ScriptedHost::as<R2t>(path.io.next_pdu());
    ASSERT_TRUE(set_state(first, AnaState::kInaccessible).has_value());
    path.io.send(path.io.h2c_data(r2t, 0, Bytes(512), true));
    EXPECT_EQ(path.io.completion().status(), status::kAnaInaccessible);
}

TEST_F(TargetAna, ProcessesAdminCommandsThatDoNotNeedTheNamespace) {
    ASSERT_TRUE(set_state(first, AnaState::kInaccessible).has_value());
    Path path(world, first, kNqn);
    for (const uint8_t cns : {NVME_IDENTIFY_CNS_NS, NVME_IDENTIFY_CNS_NS_DESC_LIST}) {
        EXPECT_TRUE(path.admin.command(make_identify(CommandId(20), cns, Nsid(1))).status().ok());
    }
    const auto feature = [&](uint8_t opcode, uint8_t fid) {
        Sqe sqe = make_set_features(CommandId(22), fid, 0);
        sqe.opcode = opcode;
        sqe.namespace_id.set(1);
        return path.admin.command(sqe).status();
    };
    EXPECT_EQ(feature(nvme_admin_get_features, NVME_FEAT_FID_ERR_RECOVERY),
              status::kAnaInaccessible);
    EXPECT_EQ(feature(nvme_admin_set_features, NVME_FEAT_FID_ERR_RECOVERY),
              status::kAnaInaccessible);
    EXPECT_FALSE(
        feature(nvme_admin_set_features, NVME_FEAT_FID_VOLATILE_WC).is(status::kAnaInaccessible));
    ASSERT_TRUE(set_state(first, AnaState::kPersistentLoss).has_value());
    EXPECT_EQ(feature(nvme_admin_set_features, NVME_FEAT_FID_VOLATILE_WC),
              status::kAnaPersistentLoss);
}

TEST_F(TargetAna, TellsTheHostsOfThatPathOnceUntilTheLogIsRead) {
    ScriptedHost by_first(world, first);
    by_first.become_admin(kNqn);
    enable_notices(by_first);
    ScriptedHost by_second(world, second);
    by_second.become_admin(kNqn);
    enable_notices(by_second);
    const uint64_t before = ScriptedHost::as<nvme_ana_log>(log(by_first)).chgcnt;

    ASSERT_TRUE(set_state(first, AnaState::kInaccessible, 5).has_value());
    EXPECT_EQ(by_first.completion().dw0.get(),
              async_event_result(NVME_AER_NOTICE, 3, NVME_LOG_LID_ANA));
    ASSERT_TRUE(set_state(first, AnaState::kOptimized, 5).has_value());
    EXPECT_TRUE(by_first.next_pdu(kNsPerSecond).empty()) << "masked until its log is read";
    EXPECT_EQ(ScriptedHost::as<nvme_ana_log>(log(by_first, false, true)).chgcnt, before + 2);
    ASSERT_TRUE(set_state(first, AnaState::kChange, 5).has_value());
    EXPECT_TRUE(by_first.next_pdu(kNsPerSecond).empty()) << "read, but retained";
    EXPECT_EQ(groups(log(by_first))[1].state, AnaState::kChange);
    ASSERT_TRUE(set_state(first, AnaState::kChange, 5).has_value());
    EXPECT_TRUE(by_first.next_pdu(kNsPerSecond).empty()) << "nothing has changed";
    ASSERT_TRUE(set_state(first, AnaState::kOptimized).has_value());
    EXPECT_EQ(by_first.completion().dw0.get(),
              async_event_result(NVME_AER_NOTICE, 3, NVME_LOG_LID_ANA));
    EXPECT_TRUE(by_second.next_pdu(kNsPerSecond).empty()) << "its path has not changed";
}

TEST_F(TargetAna, MovesANamespaceToAnotherGroup) {
    Path path(world, first, kNqn);
    enable_notices(path.admin);
    ASSERT_TRUE(set_state(first, AnaState::kInaccessible, 7).has_value());
    EXPECT_EQ(path.admin.completion().dw0.get(),
              async_event_result(NVME_AER_NOTICE, 3, NVME_LOG_LID_ANA));
    const auto before = groups(log(path.admin));
    world.expect_ok(world.target->set_ana_group(nqn(), Nsid(3), 7));
    EXPECT_EQ(path.admin.completion().dw0.get(),
              async_event_result(NVME_AER_NOTICE, 3, NVME_LOG_LID_ANA));
    const auto after = groups(log(path.admin));
    ASSERT_EQ(after.size(), 3U);
    EXPECT_EQ(after[1].nsids, (std::vector<uint32_t>{2}));
    EXPECT_EQ(after[1].changes, before[1].changes + 1);
    EXPECT_EQ(after[2].id, 7U);
    EXPECT_EQ(after[2].nsids, (std::vector<uint32_t>{3}));
    EXPECT_EQ(read(path.io, 3), status::kAnaInaccessible);
    EXPECT_EQ(read(path.io, 2), status::kSuccess);
    Bytes data;
    ASSERT_TRUE(
        path.admin.command(make_identify(CommandId(21), NVME_IDENTIFY_CNS_NS, Nsid(3)), {}, &data)
            .status()
            .ok());
    EXPECT_EQ(ScriptedHost::as<nvme_id_ns>(data).anagrpid, 7U);
}

TEST_F(TargetAna, KeepsTheQueuesOfAControllerOnOnePath) {
    Path path(world, first, kNqn);
    ScriptedHost stray(world, second);
    ASSERT_TRUE(stray.handshake());
    EXPECT_TRUE(stray.connect(QueueId(2), path.cntlid, kNqn)
                    .status()
                    .is(status::kConnectInvalidParameters));
}

TEST_F(TargetAna, RefusesWhatCannotBe) {
    EXPECT_EQ(set_state(address(4444), AnaState::kChange), Errc::kNotFound);
    EXPECT_EQ(set_state(first, AnaState::kChange, 9), Errc::kInvalidArgument);
    const auto move = [&](uint32_t nsid, uint32_t group) {
        return world.run(world.target->set_ana_group(nqn(), Nsid(nsid), group));
    };
    EXPECT_EQ(move(4, 1), Errc::kNotFound);
    EXPECT_EQ(move(1, 0), Errc::kInvalidArgument);
    EXPECT_EQ(move(1, 9), Errc::kInvalidArgument);
    EXPECT_EQ(world
                  .run(world.target->add_listener(
                      std::string(TargetWorld::kNqn), address(4433), AnaState::kChange))
                  .error()
                  .code,
              Errc::kNotSupported);
    SubsystemOptions options;
    options.nqn = "nqn.2026-11.io.basalt:many";
    options.ana_reporting = true;
    options.namespaces_max = 1024;
    EXPECT_TRUE(world.run(world.target->create_subsystem(options)).has_value())
        << "36,880 bytes of log fit in 128 KiB";
}

TEST_F(TargetAna, AddsAPathInTheStateThatIsAskedFor) {
    const SocketAddress third =
        world.run(world.target->add_listener(nqn(), address(4422), AnaState::kInaccessible))
            .value();
    Path path(world, third, kNqn);
    EXPECT_EQ(read(path.io, 1), status::kAnaInaccessible);
}

TEST_F(TargetAna, NamesGroupsThatAreOptimizedNowhere) {
    const auto without = [&] { return groups_without_optimized_path(*world.target->find(kNqn)); };
    EXPECT_TRUE(without().empty());
    ASSERT_TRUE(set_state(first, AnaState::kInaccessible).has_value());
    EXPECT_TRUE(without().empty()) << "the second path";
    ASSERT_TRUE(set_state(second, AnaState::kNonOptimized, 5).has_value());
    EXPECT_EQ(without(), (std::vector<uint32_t>{5}));
    world.expect_ok(world.target->remove_listener(nqn(), second));
    EXPECT_EQ(without(), (std::vector<uint32_t>{1, 5}));
}

TEST_F(TargetAna, GivesTheSameLogInPiecesOfAnyLength) {
    Path path(world, first, kNqn);
    const Bytes whole = log(path.admin);
    for (const uint32_t piece : {4U, 12U, 20U, 64U}) {
        Bytes joined;
        while (joined.size() < 128) {
            Bytes part;
            const Sqe sqe =
                make_get_log_page(CommandId(30), NVME_LOG_LID_ANA, joined.size(), piece);
            // It has a header of 16 bytes, two groups of 32 and three namespaces of 4.
            const bool is_there = joined.size() <= 92;
            EXPECT_EQ(path.admin.command(sqe, {}, &part).status().ok(), is_there);
            part.resize(piece);
            joined.insert(joined.end(), part.begin(), part.end());
        }
        EXPECT_TRUE(std::equal(joined.begin(), joined.begin() + 92, whole.begin())) << piece;
    }
}

TEST_F(TargetAna, EndsATransitionThatNobodyEnds) {
    Path path(world, first, kNqn);
    enable_notices(path.admin);
    const auto run_s = [&](uint64_t seconds) { world.world.run_for(seconds * kNsPerSecond); };
    ASSERT_TRUE(set_state(first, AnaState::kChange, 5));
    EXPECT_EQ(path.admin.completion().cid(), CommandId(100));
    EXPECT_EQ(groups(log(path.admin))[1].state, AnaState::kChange);
    run_s(4);
    ASSERT_TRUE(set_state(first, AnaState::kChange, 1));
    EXPECT_EQ(path.admin.completion().cid(), CommandId(101));
    const uint64_t changes = groups(log(path.admin))[1].changes;
    run_s(5);
    EXPECT_EQ(read(path.io, 2), status::kAnaTransition);
    run_s(2);
    EXPECT_EQ(read(path.io, 2), status::kAnaInaccessible);
    EXPECT_EQ(read(path.io, 1), status::kAnaTransition) << "that one began later";
    const auto seen = groups(log(path.admin));
    EXPECT_EQ(seen[1].state, AnaState::kInaccessible);
    EXPECT_EQ(seen[1].changes, changes + 1);
    run_s(4);
    EXPECT_EQ(read(path.io, 1), status::kAnaInaccessible);
    ASSERT_TRUE(set_state(first, AnaState::kChange));
    run_s(9);
    ASSERT_TRUE(set_state(first, AnaState::kOptimized));
    run_s(20);
    EXPECT_TRUE(read(path.io, 1).ok()) << "a transition that was ended has no end to come";
    Path elsewhere(world, second, kNqn);
    EXPECT_TRUE(read(elsewhere.io, 1).ok());
}

TEST_F(TargetAna, TellsTheHostOfATransitionThatHasEndedByItself) {
    ASSERT_TRUE(set_state(first, AnaState::kChange));
    Path path(world, first, kNqn);
    enable_notices(path.admin);
    EXPECT_TRUE(path.admin.next_pdu(5 * kNsPerSecond).empty());
    EXPECT_EQ(path.admin.completion().cid(), CommandId(100));
    EXPECT_EQ(groups(log(path.admin))[0].state, AnaState::kInaccessible);
}

TEST_F(TargetAna, EndsTheTransitionOfAPathThatBeganWithIt) {
    const SocketAddress third =
        world.run(world.target->add_listener(nqn(), address(4422), AnaState::kChange)).value();
    Path path(world, third, kNqn);
    EXPECT_EQ(read(path.io, 1), status::kAnaTransition);
    world.world.run_for(11 * kNsPerSecond);
    EXPECT_EQ(read(path.io, 1), status::kAnaInaccessible);
}

}  // namespace
}  // namespace basalt::nvmf
