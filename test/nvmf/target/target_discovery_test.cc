#include <gtest/gtest.h>

#include "test/nvmf/target/scripted_host.h"

namespace basalt::nvmf {
namespace {

class TargetDiscovery : public testing::Test {
  protected:
    static constexpr std::string_view kOtherHost = "nqn.2026-11.io.basalt:other-host";
    static constexpr uint32_t kChanged =
        async_event_result(NVME_AER_NOTICE, 0xf0, NVME_LOG_LID_DISCOVER);

    static std::string nqn() { return std::string(TargetWorld::kNqn); }
    [[nodiscard]] SocketAddress address(uint16_t port) const {
        return sim::World::address(world.server, port);
    }

    struct Log {
        uint64_t generation = 0;
        std::vector<nvmf_disc_log_entry> entries;
    };
    static Log read(ScriptedHost& host) {
        Bytes page;
        host.send(host.capsule(make_get_log_page(CommandId(30), NVME_LOG_LID_DISCOVER, 0, 16384)));
        while (host.completion(&page).cid() != CommandId(30)) {
            ask_for_event(host);  // One came in between.
        }
        nvmf_discovery_log head{};
        std::memcpy(&head, page.data(), sizeof(head));
        Log log{head.genctr, std::vector<nvmf_disc_log_entry>(head.numrec)};
        std::memcpy(log.entries.data(), page.data() + 1024, head.numrec * 1024);
        return log;
    }
    static size_t count_of(const Log& log, std::string_view subsystem_nqn) {
        return static_cast<size_t>(std::count_if(
            log.entries.begin(), log.entries.end(), [&](const nvmf_disc_log_entry& entry) {
                return std::string_view(entry.subnqn) == subsystem_nqn;
            }));
    }
    static void ask_for_event(ScriptedHost& host) {
        host.send(host.capsule(make_command(nvme_admin_async_event, CommandId(100), Nsid(0))));
    }
    static bool is_told(ScriptedHost& host) {
        const Bytes pdu = host.next_pdu(kNsPerSecond);
        if (pdu.empty() || ScriptedHost::as<CapsuleResp>(pdu).cqe.dw0.get() != kChanged) {
            return false;
        }
        ask_for_event(host);
        return true;
    }

    TargetWorld world{4};
};

TEST_F(TargetDiscovery, TellsOfTheServiceItselfWithItsFlags) {
    ScriptedHost host(world, address(kDiscoveryPort));
    host.become_admin(kDiscoveryNqn);
    const Log log = read(host);
    ASSERT_EQ(log.entries.size(), 2U);
    const nvmf_disc_log_entry& here = log.entries[0];
    EXPECT_EQ(here.subtype, NVME_NQN_CURR);
    EXPECT_EQ(here.eflags, NVMF_DISC_EFLAGS_DUPRETINFO | NVMF_DISC_EFLAGS_EPCSD);
    EXPECT_EQ(std::string(here.subnqn), kDiscoveryNqn);
    EXPECT_EQ(std::string(here.trsvcid), "8009");
    EXPECT_EQ(log.entries[1].subtype, NVME_NQN_NVME);
    EXPECT_EQ(log.entries[1].eflags, 0);
    EXPECT_NE(log.entries[1].portid, here.portid) << "another address, another port";
}

TEST_F(TargetDiscovery, RefersToOtherServices) {
    ScriptedHost host(world, address(kDiscoveryPort));
    host.become_admin(kDiscoveryNqn, 60'000);
    ask_for_event(host);
    const Log before = read(host);
    const Referral elsewhere{std::string(kDiscoveryNqn), sim::World::address(world.client, 8009)};
    world.expect_ok(world.target->add_referral(elsewhere));
    EXPECT_TRUE(is_told(host));
    const Referral there{"nqn.2026-11.io.basalt:there", address(4499), true};
    world.expect_ok(world.target->add_referral(there));
    const Log log = read(host);
    EXPECT_EQ(log.generation, before.generation + 2);
    ASSERT_EQ(log.entries.size(), before.entries.size() + 2);
    const nvmf_disc_log_entry& first = log.entries[before.entries.size()];
    EXPECT_EQ(first.subtype, NVME_NQN_DISC);
    EXPECT_EQ(first.treq & 3, NVMF_TREQ_NOT_REQUIRED);
    EXPECT_EQ(std::string(first.traddr), elsewhere.address.host());
    EXPECT_EQ(std::string(first.trsvcid), "8009");
    EXPECT_EQ(log.entries.back().subtype, NVME_NQN_NVME);
    EXPECT_EQ(log.entries.back().treq & 3, NVMF_TREQ_REQUIRED);

    world.expect_ok(world.target->add_referral(elsewhere));
    EXPECT_EQ(read(host).generation, log.generation) << "it was there already";
    world.expect_ok(world.target->remove_referral(elsewhere.subsystem_nqn, elsewhere.address));
    EXPECT_TRUE(is_told(host));
    EXPECT_EQ(count_of(read(host), kDiscoveryNqn), 1U);
    EXPECT_EQ(world.run(world.target->remove_referral(elsewhere.subsystem_nqn, elsewhere.address)),
              Errc::kNotFound);
    EXPECT_EQ(world.run(world.target->add_referral({"no nqn", address(1)})),
              Errc::kInvalidArgument);
}

TEST_F(TargetDiscovery, TellsAHostOfWhatChangesForItAndOfNothingElse) {
    const std::string host_nqn(ScriptedHost::kHostNqn);
    world.expect_ok(world.target->allow_any_host(nqn(), false));
    world.expect_ok(world.target->add_host(nqn(), std::string(kOtherHost)));
    ScriptedHost host(world, address(kDiscoveryPort));
    host.become_admin(kDiscoveryNqn, 60'000);
    ScriptedHost other(world, address(kDiscoveryPort));
    other.become_admin(kDiscoveryNqn, 60'000, kOtherHost);
    ask_for_event(host);
    ask_for_event(other);
    EXPECT_EQ(count_of(read(host), nqn()), 0U);
    EXPECT_EQ(count_of(read(other), nqn()), 1U);

    const auto expect_told = [&](bool is_host, bool is_other) {
        EXPECT_EQ(is_told(host), is_host);
        EXPECT_EQ(is_told(other), is_other);
        read(host);
        read(other);
    };
    ASSERT_TRUE(world.run(world.target->add_listener(nqn(), address(4421))).has_value());
    expect_told(false, true);
    world.expect_ok(world.target->add_host(nqn(), host_nqn));
    expect_told(true, false);
    EXPECT_EQ(count_of(read(host), nqn()), 2U);
    world.expect_ok(world.target->remove_listener(nqn(), address(4421)));
    expect_told(true, true);
    world.expect_ok(world.target->remove_host(nqn(), host_nqn));
    expect_told(true, false);
    world.expect_ok(world.target->allow_any_host(nqn(), true));
    EXPECT_TRUE(is_told(host));
    read(host);
    read(other);
    world.add_malloc("Malloc9", 64, 512);
    world.add_namespace("Malloc9");
    SubsystemOptions options;
    options.nqn = "nqn.2026-11.io.basalt:new";
    world.expect_ok(world.target->create_subsystem(options));
    EXPECT_FALSE(is_told(host)) << "neither namespaces nor a subsystem without an address";
    world.expect_ok(world.target->delete_subsystem(nqn()));
    EXPECT_TRUE(is_told(host));
    EXPECT_EQ(count_of(read(host), nqn()), 0U);
}

TEST_F(TargetDiscovery, ShowsWhatIsLikeTheAddressOfTheHostIfToldSo) {
    ASSERT_TRUE(world.run(world.target->add_listener(nqn(), address(4421))).has_value());
    ScriptedHost host(world, address(4421));
    host.become_admin(kDiscoveryNqn);
    EXPECT_EQ(count_of(read(host), nqn()), 2U);
    world.expect_ok(world.target->set_discovery_filter({.same_address = true, .same_port = true}));
    const Log log = read(host);
    EXPECT_EQ(count_of(log, nqn()), 1U);
    EXPECT_EQ(std::string(log.entries.back().trsvcid), "4421");
    EXPECT_EQ(log.entries.front().eflags, NVMF_DISC_EFLAGS_EPCSD) << "another port tells others";
    world.expect_ok(world.target->set_discovery_filter({.same_address = true}));
    EXPECT_EQ(count_of(read(host), nqn()), 2U);
}

TEST_F(TargetDiscovery, EndsSessionsThatAskedForNoKeepAliveAndKeepsTheOthers) {
    ScriptedHost fleeting(world, address(kDiscoveryPort));
    fleeting.become_admin(kDiscoveryNqn, 0);
    ScriptedHost lasting(world, address(kDiscoveryPort));
    lasting.become_admin(kDiscoveryNqn, 200'000);
    EXPECT_TRUE(fleeting.wait_closed(130 * kNsPerSecond));
    EXPECT_FALSE(lasting.is_closed);
}

TEST_F(TargetDiscovery, MakesNothingAfterItsEnd) {
    auto ended = world.target->shut_down();
    ASSERT_TRUE(world.world.run_until([&] { return ended.is_done(); }, 600 * kNsPerSecond));
    EXPECT_EQ(world.run(world.target->add_listener(nqn(), address(4430))).error().code,
              Errc::kNotFound);
    SubsystemOptions options;
    options.nqn = "nqn.2026-11.io.basalt:late";
    EXPECT_EQ(world.run(world.target->create_subsystem(options)), Errc::kCancelled);
    EXPECT_EQ(world.run(world.target->create_transport({})), Errc::kCancelled);
    EXPECT_EQ(world.run(world.target->add_referral({std::string(kDiscoveryNqn), address(1)})),
              Errc::kNotFound);
    EXPECT_TRUE(world.target->subsystems().empty());
}

}  // namespace
}  // namespace basalt::nvmf
