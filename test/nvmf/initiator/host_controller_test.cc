#include "nvmf/initiator/host_controller.h"

#include <algorithm>
#include <cstring>

#include <gtest/gtest.h>

#include "test/nvmf/initiator/scripted_peer.h"

namespace basalt::nvmf::testing {
namespace {

constexpr uint16_t kPort = 4420;

/// Plays an admin queue well enough for enabling, Identify and the discovery log.
class AdminScript {
  public:
    explicit AdminScript(ScriptedPeer& peer) : peer_(peer) {
        peer.on_command = [this](const ScriptedPeer::Capsule& capsule) { answer(capsule.sqe); };
        identity.ioccsz = (64 + 8192) / 16;
        identity.mdts = 5;
        std::memcpy(identity.mn, "scripted", 8);
    }

    nvme_id_ctrl identity{};
    uint64_t cap = 63 | (uint64_t{10} << 24U);  // 64 entries, ready within 5 s.
    uint32_t turns_until_ready = 3;
    bool is_fatal = false;
    uint32_t generation = 1;
    uint32_t changes = 0;  // Of the log, while it is being read.
    uint32_t records = 10;
    uint32_t keep_alives = 0;
    bool answers_keep_alives = true;
    bool answers_in_shutdown = true;
    bool ends_shutdown = true;
    std::vector<uint32_t> namespaces{1, 7};
    std::optional<uint16_t> event_cid;

  private:
    void answer(const Sqe& sqe) {
        const uint16_t cid = sqe.command_id.get();
        if (sqe.is_fabrics()) {
            const uint32_t value = property(sqe);
            if (!is_shutting_down_ || answers_in_shutdown) {
                peer_.respond(cid, status::kSuccess, value);
            }
            return;
        }
        switch (sqe.opcode) {
            case nvme_admin_identify: identify(sqe); return;
            case nvme_admin_get_log_page: log(sqe); return;
            case nvme_admin_keep_alive:
                ++keep_alives;
                if (!answers_keep_alives) {
                    return;
                }
                break;
            case nvme_admin_async_event: event_cid = cid; return;
            case nvme_admin_set_features:
                peer_.respond(cid, status::kSuccess, 3U | (7U << 16U));
                return;
            default: peer_.respond(cid, status::kInvalidOpcode); return;
        }
        peer_.respond(cid);
    }
    uint32_t property(const Sqe& sqe) {
        const PropertyView view(sqe);
        if (sqe.fctype() == nvme_fabrics_type_property_set) {
            is_shutting_down_ = (view.value() & (1U << 14U)) != 0;
            return 0;
        }
        if (view.offset() == NVME_REG_CAP) {
            return static_cast<uint32_t>(cap);
        }
        if (is_fatal) {
            return 2;
        }
        const uint32_t shutdown = is_shutting_down_ ? (ends_shutdown ? 2U : 1U) << 2U : 0;
        return (turns_until_ready == 0 || --turns_until_ready == 0 ? 1U : 0U) | shutdown;
    }
    void data(const Sqe& sqe, std::span<const std::byte> bytes) {
        peer_.send_data({.cid = sqe.cid(), .last = true, .success = true}, bytes);
    }
    void identify(const Sqe& sqe) {
        const IdentifyView view(sqe);
        if (view.cns() == NVME_IDENTIFY_CNS_CTRL) {
            data(sqe, bytes_of(identity));
            return;
        }
        if (view.cns() == NVME_IDENTIFY_CNS_NS_ACTIVE_LIST) {
            std::vector<uint32_t> list;
            for (const uint32_t nsid : namespaces) {
                if (nsid > sqe.nsid().raw() && list.size() < 1024) {
                    list.push_back(nsid);
                }
            }
            list.resize(1024);
            data(sqe, std::as_bytes(std::span(list)));
            return;
        }
        nvme_id_ns ns{};
        ns.nsze = sqe.nsid().raw() == 7 ? 1000 : 0;
        ns.lbaf[0].ds = 12;
        data(sqe, bytes_of(ns));
    }
    void log(const Sqe& sqe) {
        const GetLogPageView view(sqe);
        ByteVector page(1024 + size_t{records} * 1024);
        const uint64_t count = records;
        const uint64_t now = generation;
        std::memcpy(page.data(), &now, 8);
        std::memcpy(page.data() + 8, &count, 8);
        for (size_t i = 0; i < records; ++i) {
            page[1024 + i * 1024 + offsetof(nvmf_disc_log_entry, portid)] =
                std::byte(i + generation);
        }
        const std::span<const std::byte> whole(page);
        data(sqe, whole.subspan(view.offset(), view.length_bytes()));
        if (view.offset() != 0 && changes > 0) {
            --changes;
            ++generation;
        }
    }

    ScriptedPeer& peer_;
    bool is_shutting_down_ = false;
};

class HostControllerTest : public ::testing::Test, private HostControllerUser {
  protected:
    HostControllerTest()
        : world_(1),
          peer_node_(world_.add_node()),
          peer_(world_.add_reactor(peer_node_), sim::World::address(peer_node_, kPort)),
          reactor_(world_.add_reactor(world_.add_node())),
          script_(peer_),
          controller_(reactor_, host_options(), this) {}
    ~HostControllerTest() override {
        Task<void> ending = controller_.end();
        EXPECT_TRUE(wait(ending));
        world_.power_off();
    }

    HostOptions host_options() const {
        return {.address = sim::World::address(peer_node_, kPort),
                .subsystem_nqn = "nqn.2024-01.io.basalt:test",
                .host_nqn = "nqn.2024-01.io.basalt:host",
                .keep_alive_ms = 1000};
    }
    template <typename T>
    bool wait(Task<T>& task) {
        return world_.run_until([&] { return task.is_done(); }, 100 * kNsPerSecond);
    }
    Status connect() {
        Task<Status> connecting = controller_.connect();
        EXPECT_TRUE(wait(connecting));
        return connecting.result();
    }
    /// Ends the controller; how long that took.
    uint64_t end_ns() {
        const uint64_t began_ns = world_.now_ns();
        Task<void> ending = controller_.end();
        EXPECT_TRUE(wait(ending));
        return world_.now_ns() - began_ns;
    }
    void on_async_event(uint32_t result) override { events_.push_back(result); }
    void on_controller_lost(Error reason) override { losses_.push_back(reason); }

    sim::World world_;
    sim::NodeId peer_node_;
    ScriptedPeer peer_;
    Reactor& reactor_;
    AdminScript script_;
    HostController controller_;
    std::vector<uint32_t> events_;
    std::vector<Error> losses_;
};

TEST_F(HostControllerTest, EnablesAndIdentifies) {
    ASSERT_TRUE(connect());
    EXPECT_EQ(controller_.id().raw(), 5U);
    EXPECT_EQ(controller_.transfer_bytes_max(), 131072U);
    EXPECT_EQ(controller_.queue_entries_max(), 64U);
    const HostQueueOptions queue = controller_.io_queue_options(QueueId(1), 1000);
    EXPECT_EQ(queue.entries, 64U);
    EXPECT_EQ(queue.capsule_data_bytes, 8192U);
    EXPECT_EQ(queue.cntlid.raw(), 5U);
}

TEST_F(HostControllerTest, GivesUpOnAControllerThatNeverBecomesReady) {
    script_.turns_until_ready = UINT32_MAX;
    EXPECT_EQ(connect().error().code, Errc::kTimedOut);
    EXPECT_TRUE(world_.run_until([&] { return peer_.is_closed; }, kNsPerSecond));
}

TEST_F(HostControllerTest, GivesUpOnAControllerWithAFatalStatus) {
    script_.is_fatal = true;
    EXPECT_EQ(connect().error().code, Errc::kDeviceGone);
}

TEST_F(HostControllerTest, TakesTheQueuesThatAreGranted) {
    ASSERT_TRUE(connect());
    Task<Result<uint32_t>> asking = controller_.set_io_queue_count(10);
    ASSERT_TRUE(wait(asking));
    EXPECT_EQ(*asking.result(), 4U) << "the smaller of submission and completion queues";
}

TEST_F(HostControllerTest, FindsNamespaces) {
    ASSERT_TRUE(connect());
    Task<Result<std::vector<Nsid>>> listing = controller_.list_namespaces();
    ASSERT_TRUE(wait(listing));
    EXPECT_EQ(*listing.result(), (std::vector<Nsid>{Nsid(1), Nsid(7)}));
    Task<Result<HostNamespace>> inactive = controller_.identify_namespace(Nsid(1));
    ASSERT_TRUE(wait(inactive));
    EXPECT_EQ(inactive.result().error().code, Errc::kNotFound);
    Task<Result<HostNamespace>> found = controller_.identify_namespace(Nsid(7));
    ASSERT_TRUE(wait(found));
    const Result<HostNamespace> ns = found.result();
    EXPECT_EQ(ns->block_bytes, 4096U);
    EXPECT_EQ(ns->block_count, 1000U);
}

TEST_F(HostControllerTest, ReadsADiscoveryLogUntilItStandsStill) {
    script_.changes = 2;
    ASSERT_TRUE(connect());
    Task<Result<std::vector<nvmf_disc_log_entry>>> reading = controller_.read_discovery_log();
    ASSERT_TRUE(wait(reading));
    const Result<std::vector<nvmf_disc_log_entry>> log = reading.result();
    ASSERT_TRUE(log.has_value());
    ASSERT_EQ(log->size(), 10U);
    for (size_t i = 0; i < 10; ++i) {
        EXPECT_EQ((*log)[i].portid, i + script_.generation) << "records of different logs mixed";
    }
}

TEST_F(HostControllerTest, RefusesADiscoveryLogOfAbsurdSize) {
    script_.records = kDiscoveryRecordsMax + 1;
    ASSERT_TRUE(connect());
    Task<Result<std::vector<nvmf_disc_log_entry>>> reading = controller_.read_discovery_log();
    ASSERT_TRUE(wait(reading));
    EXPECT_EQ(reading.result().error().code, Errc::kProtocol);
}

TEST_F(HostControllerTest, KeepsAliveTwiceInTheTimeGranted) {
    ASSERT_TRUE(connect());
    world_.run_for(10 * kNsPerSecond);
    EXPECT_GE(script_.keep_alives, 18U);
    EXPECT_LE(script_.keep_alives, 21U);
}

TEST_F(HostControllerTest, EndsAConnectionWhoseKeepAliveIsNotAnswered) {
    ASSERT_TRUE(connect());
    world_.run_for(5 * kNsPerSecond);
    script_.answers_keep_alives = false;
    const uint32_t answered = script_.keep_alives;
    ASSERT_TRUE(world_.run_until([&] { return script_.keep_alives > answered; }, kNsPerSecond));
    world_.run_for(900 * kNsPerMs);
    EXPECT_TRUE(losses_.empty()) << "it has as long as it has granted us";
    world_.run_for(200 * kNsPerMs);
    ASSERT_EQ(losses_.size(), 1U);
    EXPECT_EQ(losses_[0].code, Errc::kTimedOut);
}

TEST_F(HostControllerTest, GivesAQueueNoMoreThanTheControllerWorksAt) {
    ASSERT_TRUE(connect());
    EXPECT_EQ(controller_.io_queue_options(QueueId(1), 128).entries, 64U) << "CAP.MQES";
    EXPECT_EQ(controller_.io_queue_options(QueueId(1), 50).entries, 50U);
}

TEST_F(HostControllerTest, HeedsMaxcmd) {
    script_.identity.maxcmd = 20;
    ASSERT_TRUE(connect());
    EXPECT_EQ(controller_.io_queue_options(QueueId(1), 128).entries, 20U);
}

TEST_F(HostControllerTest, SaysThatItHeedsTheDelaysThatAControllerNames) {
    script_.identity.crdt2 = 5;
    ASSERT_TRUE(connect());
    const auto asked = std::count_if(
        peer_.commands.begin(), peer_.commands.end(), [](const ScriptedPeer::Capsule& one) {
            return !one.sqe.is_fabrics() && one.sqe.opcode == nvme_admin_set_features &&
                   FeaturesView(one.sqe).fid() == NVME_FEAT_FID_HOST_BEHAVIOR &&
                   one.data.size() == 512 && one.data[0] == std::byte{1};
        });
    EXPECT_EQ(asked, 1);
}

TEST_F(HostControllerTest, FindsMoreNamespacesThanOneListHas) {
    script_.namespaces.clear();
    for (uint32_t nsid = 3; nsid < 2100; ++nsid) {
        script_.namespaces.push_back(nsid);
    }
    ASSERT_TRUE(connect());
    const auto list = [&] {
        Task<Result<std::vector<Nsid>>> listing = controller_.list_namespaces();
        EXPECT_TRUE(wait(listing));
        return listing.result();
    };
    const auto found = list();
    ASSERT_EQ(found->size(), script_.namespaces.size());
    EXPECT_EQ(found->back(), Nsid(2099));
    script_.namespaces.resize(1024);
    EXPECT_EQ(list()->size(), 1024U) << "an empty list follows a full one";
    std::swap(script_.namespaces[5], script_.namespaces[6]);
    EXPECT_EQ(list().error().code, Errc::kProtocol);
}

TEST_F(HostControllerTest, HearsEventsAndAsksForMore) {
    ASSERT_TRUE(connect());
    world_.run_for(kNsPerSecond);
    for (uint32_t i = 1; i <= 3; ++i) {
        ASSERT_TRUE(script_.event_cid.has_value());
        const uint16_t cid = *script_.event_cid;
        script_.event_cid.reset();
        peer_.respond(cid, status::kSuccess, i);
        world_.run_for(kNsPerSecond);
    }
    EXPECT_EQ(events_, (std::vector<uint32_t>{1, 2, 3}));
}

TEST_F(HostControllerTest, TellsOnceThatTheControllerIsLost) {
    ASSERT_TRUE(connect());
    peer_.close();
    world_.run_for(10 * kNsPerSecond);
    ASSERT_EQ(losses_.size(), 1U);
    EXPECT_EQ(losses_[0].code, Errc::kConnectionClosed);
}

TEST_F(HostControllerTest, EndsWithoutALossBeingTold) {
    ASSERT_TRUE(connect());
    Task<void> ending = controller_.end();
    ASSERT_TRUE(wait(ending));
    EXPECT_TRUE(losses_.empty());
}

TEST_F(HostControllerTest, EndsInTimeIfTheControllerDoesNotConfirmItsShutdown) {
    script_.ends_shutdown = false;
    ASSERT_TRUE(connect());
    const uint64_t began_ns = world_.now_ns();
    EXPECT_LE(end_ns(), kShutdownTimeoutNs + 100 * kNsPerMs);
    EXPECT_FALSE(controller_.has_stopped());
    EXPECT_GT(controller_.last_property_ns(), began_ns + kShutdownTimeoutNs / 2) << "it was asked";
    EXPECT_TRUE(losses_.empty());
}

TEST_F(HostControllerTest, EndsInTimeIfTheControllerIsSilent) {
    script_.answers_in_shutdown = false;
    ASSERT_TRUE(connect());
    EXPECT_LE(end_ns(), kShutdownTimeoutNs + 100 * kNsPerMs);
    EXPECT_FALSE(controller_.has_stopped());
    EXPECT_TRUE(losses_.empty());
}

}  // namespace
}  // namespace basalt::nvmf::testing
