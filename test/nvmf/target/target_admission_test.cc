// What hosts may take of a reactor: connections that begin, time to begin in, connections and
// controllers of one host.
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "nvmf/initiator/host_controller.h"
#include "test/nvmf/target/scripted_host.h"

namespace basalt::nvmf {
namespace {

constexpr std::string_view kStranger = "nqn.2026-01.io.basalt:stranger";

class TargetAdmission : public testing::Test {
  protected:
    /// Both reactors together have what `options` say for each.
    void start(const TransportOptions& options) { world.emplace(11, sim::calm(), options); }
    AdmissionStats stats() {
        AdmissionStats sum;
        for (const PollGroupStats& group : world->run(world->target->stats())) {
            sum.refused_connections += group.admission.refused_connections;
            sum.expired_connections += group.admission.expired_connections;
            sum.evicted_connections += group.admission.evicted_connections;
            sum.refused_connects += group.admission.refused_connects;
            sum.failed_authentications += group.admission.failed_authentications;
        }
        return sum;
    }
    /// A connection that says nothing.
    ScriptedHost& add_silent() {
        hosts.push_back(std::make_unique<ScriptedHost>(*world));
        return *hosts.back();
    }
    uint32_t open_count() {
        world->world.run_for(10 * kNsPerMs);
        uint32_t open = 0;
        for (const auto& host : hosts) {
            open += host->is_closed ? 0U : 1U;
        }
        return open;
    }
    /// Somebody else, from another machine, connects and is served.
    bool is_another_served() {
        if (!another) {
            another = &world->world.add_reactor(world->world.add_node());
        }
        HostOptions how{.address = world->address,
                        .subsystem_nqn = std::string(TargetWorld::kNqn),
                        .host_nqn = "nqn.2026-01.io.basalt:another"};
        HostController controller(*another, how, nullptr);
        const bool is_connected = world->run(controller.connect()).has_value();
        world->run(end(controller));
        return is_connected;
    }
    static Task<bool> end(HostController& controller) {
        co_await controller.end();
        co_return true;
    }

    std::optional<TargetWorld> world;
    Reactor* another = nullptr;
    std::vector<std::unique_ptr<ScriptedHost>> hosts;
};

TEST_F(TargetAdmission, OneAddressBeginsSoManyConnectionsAndOthersDoNotNotice) {
    start({.opening_per_address_max = 4});
    for (uint32_t i = 0; i < 20; ++i) {
        add_silent();
    }
    EXPECT_EQ(open_count(), 2 * 4U);
    EXPECT_EQ(stats().refused_connections, 12U);
    EXPECT_TRUE(is_another_served());
    // Who gets on makes room.
    for (const auto& host : hosts) {
        if (!host->is_closed) {
            EXPECT_TRUE(host->handshake());
            EXPECT_TRUE(host->connect(kAdminQueueId, kControllerIdAny).status().ok());
        }
    }
    for (uint32_t i = 0; i < 8; ++i) {
        add_silent();
    }
    EXPECT_EQ(open_count(), 2 * 8U);
    hosts.clear();
}

TEST_F(TargetAdmission, OfAllThatBeginTheOldestGoes) {
    start({.opening_max = 3});
    for (uint32_t i = 0; i < 10; ++i) {
        add_silent();
    }
    EXPECT_EQ(open_count(), 2 * 3U);
    EXPECT_TRUE(hosts[0]->is_closed);
    EXPECT_FALSE(hosts[9]->is_closed);
    EXPECT_EQ(stats().evicted_connections, 4U);
    EXPECT_TRUE(is_another_served());
    hosts.clear();
}

TEST_F(TargetAdmission, TheTimeToBeginIsForTheWholeNotForEachByte) {
    start({.handshake_timeout_ms = 500});
    ScriptedHost& slow = add_silent();
    Bytes request(128);
    const size_t bytes = encode_ic_req(request, {});
    for (size_t i = 0; i < bytes && !slow.is_closed; ++i) {
        slow.send({request[i]});
        world->world.run_for(50 * kNsPerMs);
    }
    EXPECT_TRUE(slow.is_closed);
    ScriptedHost& idle = add_silent();  // Gets as far as ICReq.
    EXPECT_TRUE(idle.handshake());
    EXPECT_TRUE(idle.wait_closed(kNsPerSecond));
    ScriptedHost& refused = add_silent();  // A refused Connect does not begin the time anew.
    EXPECT_TRUE(refused.handshake());
    for (uint32_t i = 0; i < 20 && !refused.is_closed; ++i) {
        const Cqe cqe = refused.connect(kAdminQueueId, kControllerIdAny, "nqn.2026-01.io.x:none");
        EXPECT_FALSE(cqe.status().ok());
        world->world.run_for(50 * kNsPerMs);
    }
    EXPECT_TRUE(refused.is_closed);
    EXPECT_EQ(stats().expired_connections, 3U);
    EXPECT_TRUE(is_another_served());
    hosts.clear();
}

TEST_F(TargetAdmission, OneHostHasSoManyControllersAndMayComeAgain) {
    start({.host_controllers_max = 1});
    uint32_t served = 0;
    for (uint32_t i = 0; i < 6; ++i) {
        ScriptedHost& host = add_silent();
        EXPECT_TRUE(host.handshake());
        const NvmeStatus status = host.connect(kAdminQueueId, kControllerIdAny).status();
        served += status.ok() ? 1U : 0U;
        if (!status.ok()) {
            EXPECT_EQ(status, status::kConnectControllerBusy) << "and no DNR";
        }
    }
    EXPECT_EQ(served, 2U);
    EXPECT_EQ(stats().refused_connects, 4U);
    EXPECT_TRUE(is_another_served());
    hosts.clear();
    world->world.run_for(100 * kNsPerMs);
    ScriptedHost& again = add_silent();
    EXPECT_TRUE(again.handshake());
    EXPECT_TRUE(again.connect(kAdminQueueId, kControllerIdAny).status().ok());
    hosts.clear();
}

TEST_F(TargetAdmission, OneHostHasSoManyConnections) {
    start({.host_connections_max = 2});
    ScriptedHost& admin = add_silent();
    EXPECT_TRUE(admin.handshake());
    const Cqe cqe = admin.connect(kAdminQueueId, kControllerIdAny);
    ASSERT_TRUE(cqe.status().ok());
    constexpr uint32_t kEnable = 1U | (6U << 16U) | (4U << 20U);
    ASSERT_TRUE(admin.command(make_property_set(CommandId(2), NVME_REG_CC, kEnable)).status().ok());
    const ControllerId cntlid(static_cast<uint16_t>(cqe.dw0.get()));
    uint32_t served = 1;
    for (uint16_t qid = 1; qid <= 8; ++qid) {
        ScriptedHost& queue = add_silent();
        EXPECT_TRUE(queue.handshake());
        served += queue.connect(QueueId(qid), cntlid).status().ok() ? 1U : 0U;
    }
    EXPECT_EQ(served, 2 * 2U);
    EXPECT_TRUE(is_another_served());
    ScriptedHost& stranger = add_silent();  // Another host from the same address.
    EXPECT_TRUE(stranger.handshake());
    EXPECT_TRUE(stranger.connect(kAdminQueueId, kControllerIdAny, TargetWorld::kNqn, kStranger)
                    .status()
                    .ok());
    hosts.clear();
}

}  // namespace
}  // namespace basalt::nvmf
