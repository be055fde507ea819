#include <gtest/gtest.h>

#include "test/nvmf/target/scripted_host.h"

namespace basalt::nvmf {
namespace {

/// Namespaces 1 and 2 are everybody's, namespace 3 is hidden until a host is shown it.
class TargetVisibility : public testing::Test {
  protected:
    static constexpr std::string_view kOtherHost = "nqn.2026-11.io.basalt:other-host";
    static constexpr uint32_t kNamespaceNotices = 1U << 8U;

    TargetVisibility() {
        world.add_malloc("Hidden", 64, 512);
        NamespaceOptions options;
        options.is_auto_visible = false;
        EXPECT_EQ(world.add_namespace(TargetWorld::kNqn, "Hidden", std::move(options)), Nsid(3));
    }

    static std::string nqn() { return std::string(TargetWorld::kNqn); }
    [[nodiscard]] Status show(std::string_view host, bool is_shown, uint32_t nsid = 3) {
        return world.run(
            world.target->show_namespace(nqn(), Nsid(nsid), std::string(host), is_shown));
    }
    static std::vector<uint32_t> active(ScriptedHost& admin) {
        Bytes data;
        EXPECT_TRUE(
            admin
                .command(make_identify(CommandId(20), NVME_IDENTIFY_CNS_NS_ACTIVE_LIST, Nsid(0)),
                         {},
                         &data)
                .status()
                .ok());
        std::vector<uint32_t> list(4);
        std::memcpy(list.data(), data.data(), 16);
        list.erase(std::find(list.begin(), list.end(), 0U), list.end());
        return list;
    }
    static NvmeStatus read(ScriptedHost& io, uint32_t nsid) {
        Sqe sqe = make_command(nvme_cmd_read, CommandId(40), Nsid(nsid));
        set_range(sqe, Lba(0), BlockCount(1));
        set_transport_data(sqe, 512);
        return io.command(sqe).status();
    }
    static void ask_for_events(ScriptedHost& admin) {
        ASSERT_TRUE(admin
                        .command(make_set_features(
                            CommandId(50), NVME_FEAT_FID_ASYNC_EVENT, kNamespaceNotices))
                        .status()
                        .ok());
        admin.send(admin.capsule(make_command(nvme_admin_async_event, CommandId(100), Nsid(0))));
    }

    TargetWorld world{5};
};

TEST_F(TargetVisibility, ShowsAHiddenNamespaceToTheHostsItIsFor) {
    ScriptedHost admin(world);
    const ControllerId cntlid = admin.become_admin();
    ScriptedHost io(world);
    ASSERT_TRUE(io.handshake());
    ASSERT_TRUE(io.connect(QueueId(1), cntlid).status().ok());
    ScriptedHost other(world);
    other.become_admin(TargetWorld::kNqn, 0, kOtherHost);
    ask_for_events(admin);
    ask_for_events(other);

    EXPECT_EQ(active(admin), (std::vector<uint32_t>{1, 2}));
    EXPECT_TRUE(read(io, 3).is(status::kInvalidNamespace));
    Sqe health = make_get_log_page(CommandId(21), NVME_LOG_LID_SMART, 0, 512);
    health.namespace_id.set(3);
    EXPECT_TRUE(admin.command(health).status().is(status::kInvalidNamespace));
    EXPECT_TRUE(admin.command(make_identify(CommandId(20), NVME_IDENTIFY_CNS_NS_DESC_LIST, Nsid(3)))
                    .status()
                    .is(status::kInvalidNamespace));
    constexpr uint8_t kIndependent = NVME_IDENTIFY_CNS_CSI_INDEPENDENT_ID_NS;
    Bytes data;
    EXPECT_TRUE(admin.command(make_identify(CommandId(20), kIndependent, Nsid(3)), {}, &data)
                    .status()
                    .ok());
    EXPECT_EQ(data, Bytes(4096)) << "as if there were none";

    ASSERT_TRUE(show(ScriptedHost::kHostNqn, true).has_value());
    EXPECT_EQ(admin.completion().dw0.get(),
              async_event_result(NVME_AER_NOTICE, 0, NVME_LOG_LID_CHANGED_NS));
    EXPECT_TRUE(other.next_pdu(kNsPerSecond).empty()) << "nothing has changed for it";
    EXPECT_EQ(active(admin), (std::vector<uint32_t>{1, 2, 3}));
    EXPECT_EQ(active(other), (std::vector<uint32_t>{1, 2}));
    EXPECT_EQ(read(io, 3), status::kSuccess);

    ASSERT_TRUE(show(ScriptedHost::kHostNqn, false).has_value());
    EXPECT_EQ(active(admin), (std::vector<uint32_t>{1, 2}));
    EXPECT_TRUE(read(io, 3).is(status::kInvalidNamespace));
    EXPECT_EQ(read(io, 1), status::kSuccess);
}

TEST_F(TargetVisibility, TellsNobodyElseOfAHiddenNamespaceThatComesAndGoes) {
    ScriptedHost other(world);
    other.become_admin(TargetWorld::kNqn, 0, kOtherHost);
    ask_for_events(other);
    world.add_malloc("Hidden2", 64, 512);
    NamespaceOptions options;
    options.is_auto_visible = false;
    EXPECT_EQ(world.add_namespace(TargetWorld::kNqn, "Hidden2", std::move(options)), Nsid(4));
    world.expect_ok(world.target->remove_namespace(nqn(), Nsid(4)));
    EXPECT_TRUE(other.next_pdu(kNsPerSecond).empty());
    ASSERT_TRUE(show(kOtherHost, true).has_value());
    EXPECT_EQ(other.completion().dw0.get(),
              async_event_result(NVME_AER_NOTICE, 0, NVME_LOG_LID_CHANGED_NS));
}

TEST_F(TargetVisibility, RefusesToHideWhatIsForAll) {
    EXPECT_EQ(show(kOtherHost, true, 1), Errc::kPermissionDenied);
    EXPECT_EQ(show(kOtherHost, true, 9), Errc::kNotFound);
    EXPECT_EQ(show("no nqn", true), Errc::kInvalidArgument);
    EXPECT_TRUE(show(kOtherHost, false).has_value()) << "it is hidden already";
}

}  // namespace
}  // namespace basalt::nvmf
