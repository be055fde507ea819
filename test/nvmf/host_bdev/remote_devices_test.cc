// Devices on our own target over the simulated network: what is done by hand here, one thing at a
// time. Everything at once is in test/sim/nvmf.
#include "nvmf/host_bdev/remote_devices.h"

#include <cstring>

#include <gtest/gtest.h>

#include "nvmf/wire/nqn.h"
#include "reactor/base/log.h"
#include "test/bdev/support/model_check.h"
#include "test/bdev/support/test_io.h"
#include "test/nvmf/host_bdev/remote_world.h"
#include "test/nvmf/target/late_bdev.h"
#include "test/reactor/log_capture.h"

namespace basalt::nvmf {
namespace {

using bdev::IoOp;
using bdev::TestIo;
using Names = std::vector<std::string>;

class RemoteDevicesTest : public ::testing::Test {
  protected:
    RemoteDevicesTest() { Log::set_level(LogLevel::kError); }

    /// Submits and waits.
    static Errc execute(RemoteWorld& at, bdev::DeviceChannel& channel, TestIo& io) {
        io.submit(channel);
        EXPECT_TRUE(at.world.run_until([&] { return io.is_done(); }, 100 * kNsPerSecond));
        return io.code();
    }
    static Errc read(RemoteWorld& at, bdev::DeviceChannel& channel, uint64_t first = 0) {
        TestIo io;
        io.prepare(IoOp::kRead, first, 1, channel.info().block_size_bytes);
        return execute(at, channel, io);
    }
    static void start_discovery(RemoteWorld& at) {
        SessionOptions options;
        options.host = at.options_for(sim::World::address(at.server, kDiscoveryPort)).host;
        options.host.subsystem_nqn = std::string(kDiscoveryNqn);
        ASSERT_TRUE(at.run(at.remote->start_discovery("Disc", options, 10 * kNsPerSecond)));
    }
    static bool wait(RemoteWorld& at, const std::function<bool()>& condition, uint64_t seconds) {
        return at.world.run_until(condition, seconds * kNsPerSecond);
    }
};

TEST_F(RemoteDevicesTest, EachNamespaceIsADeviceWithItsSizeAndUuid) {
    RemoteWorld at(1);
    EXPECT_EQ(at.attach(), (Names{"Nvme0n1", "Nvme0n2"}));
    const bdev::BdevInfo& info = at.local->find("Nvme0n1")->info();
    EXPECT_EQ(info.block_size_bytes, RemoteWorld::kBlockBytes);
    EXPECT_EQ(info.block_count.raw(), RemoteWorld::kBlocks);
    EXPECT_EQ(info.uuid, at.registry->find("Malloc0")->info().uuid);
    EXPECT_TRUE(info.can(IoOp::kCompare));
    EXPECT_TRUE(info.can(IoOp::kUnmap));
    EXPECT_TRUE(info.can(IoOp::kWriteZeroes));
}

TEST_F(RemoteDevicesTest, EveryOperationDoesWhatADeviceOfMemoryDoes) {
    RemoteWorld at(2);
    at.attach();
    for (uint32_t core = 0; core < 2; ++core) {
        bdev::DeviceChannel& channel = at.open("Nvme0n1", core);
        TestIo zero;
        zero.prepare(IoOp::kWriteZeroes, 0, RemoteWorld::kBlocks, RemoteWorld::kBlockBytes);
        ASSERT_EQ(execute(at, channel, zero), Errc::kOk);
        EXPECT_EQ(bdev::check_against_model(channel,
                                            channel.info(),
                                            {.seed = core, .queue_depth = 16, .blocks_max = 300},
                                            [&] { at.world.step(); }),
                  "");
    }
}

TEST_F(RemoteDevicesTest, RequestsLongerThanTheControllerTakesGoInSteps) {
    RemoteWorld at(3, {.io_bytes_max = 8192});
    at.attach();
    bdev::DeviceChannel& channel = at.open("Nvme0n1");
    // 200 pieces of one block: more than a command has, and more bytes than it moves.
    constexpr uint64_t kCount = 200;
    TestIo write;
    write.prepare(IoOp::kWrite, 5, kCount, RemoteWorld::kBlockBytes, kCount);
    ASSERT_EQ(write.request.piece_count, kCount);
    for (uint64_t i = 0; i < write.size_bytes; ++i) {
        write.data[i] = static_cast<std::byte>(i * 7 / 13);
    }
    ASSERT_EQ(execute(at, channel, write), Errc::kOk);
    TestIo back;
    back.prepare(IoOp::kRead, 5, kCount, RemoteWorld::kBlockBytes, 3);
    ASSERT_EQ(execute(at, channel, back), Errc::kOk);
    EXPECT_EQ(std::memcmp(back.data, write.data, write.size_bytes), 0);
    TestIo zero;
    zero.prepare(IoOp::kWriteZeroes, 0, RemoteWorld::kBlocks, RemoteWorld::kBlockBytes);
    ASSERT_EQ(execute(at, channel, zero), Errc::kOk);
    EXPECT_EQ(
        bdev::check_against_model(
            channel, channel.info(), {.seed = 3, .blocks_max = 100}, [&] { at.world.step(); }),
        "");
}

TEST_F(RemoteDevicesTest, MoreRequestsThanOperationsWaitInLine) {
    RemoteWorld at(4);
    at.attach();
    bdev::DeviceChannel& channel = at.open("Nvme0n1");
    std::vector<std::unique_ptr<TestIo>> ios;
    for (uint32_t i = 0; i < 3 * kRemoteOperations; ++i) {
        ios.push_back(std::make_unique<TestIo>());
        ios.back()->prepare(IoOp::kRead, i % RemoteWorld::kBlocks, 1, RemoteWorld::kBlockBytes);
        ios.back()->submit(channel);
    }
    EXPECT_TRUE(wait(
        at, [&] { return channel.in_flight() == 0; }, 10));
    for (const auto& io : ios) {
        EXPECT_EQ(io->code(), Errc::kOk);
    }
}

TEST_F(RemoteDevicesTest, CutConnectionsDelayRequestsAndFailNone) {
    RemoteWorld at(5);
    at.attach();
    bdev::DeviceChannel& channel = at.open("Nvme0n1");
    uint64_t turns = 0;
    uint32_t cuts = 0;
    const auto turn = [&] {
        at.world.step();
        if (++turns % 2000 == 0) {
            at.world.network().cut_connections(at.node);
            ++cuts;
        }
    };
    EXPECT_EQ(bdev::check_against_model(channel, channel.info(), {.seed = 5}, turn), "");
    EXPECT_GT(cuts, 3U);
}

TEST_F(RemoteDevicesTest, APartitionIsSatOutAndCostsNoMoreThanItsTimeOuts) {
    RemoteWorld at(6);
    at.attach();
    bdev::DeviceChannel& channel = at.open("Nvme0n1");
    at.world.partition_both_ways(at.node, at.server);
    TestIo write;
    write.prepare(IoOp::kWrite, 7, 1, RemoteWorld::kBlockBytes);
    write.submit(channel);
    at.world.run_for(60 * kNsPerSecond);
    EXPECT_FALSE(write.is_done());
    at.world.heal_both_ways(at.node, at.server);
    // Attempts come every second, and an attempt of before the healing may take its ten.
    EXPECT_TRUE(wait(
        at, [&] { return write.is_done(); }, 13));
    EXPECT_EQ(write.code(), Errc::kOk);
}

/// What a host asks for, and what it then waits for at most: HostOptions, fence_time.h.
constexpr uint64_t kKeepAliveNs = 10 * kNsPerSecond;

TEST_F(RemoteDevicesTest, OnlyWhatWasLostWaitsForASilentControllerAndForNoLonger) {
    RemoteWorld at(17);
    at.attach();
    bdev::DeviceChannel& channel = at.open("Nvme0n1");
    at.world.run_for(kNsPerSecond);
    const uint64_t parted_ns = at.world.now_ns();
    at.world.partition_both_ways(at.node, at.server);
    TestIo write;
    write.prepare(IoOp::kWrite, 7, 1, RemoteWorld::kBlockBytes);
    write.submit(channel);
    EXPECT_TRUE(wait(
        at, [&] { return !at.session(0)->is_live(); }, 20));
    const uint64_t lost_ns = at.world.now_ns();
    at.world.heal_both_ways(at.node, at.server);
    // The target answers again: what is new goes on, reads that were lost would, too.
    EXPECT_TRUE(wait(
        at, [&] { return at.session(0)->is_live(); }, 1));
    EXPECT_EQ(read(at, channel), Errc::kOk);
    TestIo other;
    other.prepare(IoOp::kWrite, 9, 1, RemoteWorld::kBlockBytes);
    EXPECT_EQ(execute(at, channel, other), Errc::kOk);
    EXPECT_LT(at.world.now_ns() - lost_ns, 2 * kNsPerSecond);
    EXPECT_FALSE(write.is_done());
    EXPECT_TRUE(wait(
        at, [&] { return write.is_done(); }, 30));
    EXPECT_EQ(write.code(), Errc::kOk);
    // The last answer had come at most half a keep alive time before, and none since.
    const uint64_t waited_ns = at.world.now_ns() - parted_ns;
    EXPECT_GE(waited_ns, 2 * kKeepAliveNs - kKeepAliveNs / 2);
    EXPECT_LE(waited_ns, 2 * kKeepAliveNs + kFenceMarginNs + kNsPerSecond / 2);
}

TEST_F(RemoteDevicesTest, ALostWriteIsNotSentAgainWhileItsControllerSaysThatItIsBusy) {
    RemoteWorld at(18);
    LateBdev& late = LateBdev::add(at, "Late");
    at.attach();
    bdev::DeviceChannel& channel = at.open("Nvme0n" + std::to_string(late.nsid.raw()));
    TestIo write;
    write.prepare(IoOp::kWrite, 7, 1, RemoteWorld::kBlockBytes);
    write.submit(channel);
    EXPECT_TRUE(wait(
        at, [&] { return late.held_count() == 1; }, 1));
    auto reset = at.remote->reset("Nvme0", std::nullopt);
    // It does not become disabled within its time (CAP.TO), for its device has the write.
    EXPECT_TRUE(wait(
        at, [&] { return reset.is_done(); }, 30));
    EXPECT_EQ(late.held_count(), 1U);
    EXPECT_TRUE(at.session(0)->is_live());
    EXPECT_FALSE(write.is_done());
    EXPECT_TRUE(wait(
        at, [&] { return late.held_count() == 2; }, 2 * 10 + 2));
    late.release();
    EXPECT_TRUE(wait(
        at, [&] { return write.is_done(); }, 5));
    EXPECT_EQ(write.code(), Errc::kOk);
}

TEST_F(RemoteDevicesTest, APathThatIsMadeAnewIsNotTakenForTheOneBefore) {
    RemoteWorld at(19);
    at.attach();
    const SocketAddress second = at.add_address(4421);
    CorePaths& paths = *at.remote->find("Nvme0")->core_paths().on(*at.cores[0]);
    for (int i = 0; i < 2; ++i) {
        ASSERT_TRUE(at.attach(at.options_for(second)));
        EXPECT_FALSE(paths.is_fenced(1, paths.epoch(1))) << "it is alive";
        ASSERT_TRUE(at.run(at.remote->detach("Nvme0", {.port = 4421}, at.problem)));
        EXPECT_TRUE(paths.is_fenced(1, paths.epoch(1)));
    }
}

TEST_F(RemoteDevicesTest, RequestsFailFastWhereThatIsWanted) {
    RemoteWorld at(7);
    AttachOptions options = at.options_for(at.address);
    options.reconnect.fast_io_fail_timeout_sec = 5;
    ASSERT_TRUE(at.attach(options));
    bdev::DeviceChannel& channel = at.open("Nvme0n1");
    ASSERT_TRUE(at.run(at.target->remove_listener(std::string(RemoteWorld::kNqn), at.address)));
    EXPECT_TRUE(wait(
        at, [&] { return !at.session(0)->is_live(); }, 5));
    TestIo io;
    io.prepare(IoOp::kRead, 0, 1, RemoteWorld::kBlockBytes);
    io.submit(channel);
    at.world.run_for(3 * kNsPerSecond);
    EXPECT_FALSE(io.is_done());
    EXPECT_TRUE(wait(
        at, [&] { return io.is_done(); }, 3));
    EXPECT_EQ(io.code(), Errc::kUnreachable);
    EXPECT_EQ(read(at, channel), Errc::kUnreachable);  // From then on at once.
    at.add_address(4420);
    EXPECT_TRUE(wait(
        at, [&] { return at.session(0)->is_live(); }, 5));
    EXPECT_EQ(read(at, channel), Errc::kOk);
}

TEST_F(RemoteDevicesTest, APathThatIsGivenUpTakesItsDevicesAlong) {
    RemoteWorld at(8);
    AttachOptions options = at.options_for(at.address);
    options.reconnect.ctrlr_loss_timeout_sec = 10;
    ASSERT_TRUE(at.attach(options));
    at.open("Nvme0n1");
    bdev::Claim claim = at.local->claim(*at.local->find("Nvme0n1"), "a test").value();
    ASSERT_TRUE(at.run(at.target->remove_listener(std::string(RemoteWorld::kNqn), at.address)));
    at.world.run_for(15 * kNsPerSecond);
    EXPECT_EQ(read(at, *at.channels[0]), Errc::kDeviceGone);
    EXPECT_EQ(at.local->find("Nvme0n2"), nullptr);
    ASSERT_NE(at.local->find("Nvme0n1"), nullptr);  // As long as it is used.
    at.channels.clear();
    claim.release();
    EXPECT_TRUE(wait(
        at, [&] { return at.remote->find("Nvme0") == nullptr; }, 5));
    EXPECT_EQ(at.local->find("Nvme0n1"), nullptr);
}

TEST_F(RemoteDevicesTest, APathMoreTakesOverWhenTheFirstGoes) {
    RemoteWorld at(9);
    at.attach();
    const SocketAddress second = at.add_address(4421);
    EXPECT_EQ(at.attach(at.options_for(second)).value(), (Names{"Nvme0n1", "Nvme0n2"}));
    EXPECT_EQ(at.local->devices().size(), 2U);
    bdev::DeviceChannel& channel = at.open("Nvme0n1");
    uint64_t turns = 0;
    bool is_removed = false;
    const auto turn = [&] {
        at.world.step();
        if (++turns == 3000) {
            at.target->remove_listener(std::string(RemoteWorld::kNqn), at.address).detach();
            is_removed = true;
        }
    };
    const uint64_t started_ns = at.world.now_ns();
    EXPECT_EQ(bdev::check_against_model(channel, channel.info(), {.seed = 9}, turn), "");
    EXPECT_TRUE(is_removed);
    // Nobody has waited for a reconnect.
    EXPECT_LT(at.world.now_ns() - started_ns, 2 * kNsPerSecond);
    EXPECT_FALSE(at.session(0)->is_live());
    EXPECT_TRUE(at.session(1)->is_live());
}

TEST_F(RemoteDevicesTest, TheNameAndThePathsMustFit) {
    RemoteWorld at(10);
    at.attach();
    EXPECT_EQ(at.attach(at.options_for(at.address)).error().code, Errc::kExists);
    AttachOptions options = at.options_for(at.add_address(4421));
    options.mode = MultipathMode::kDisable;
    EXPECT_EQ(at.attach(options).error().code, Errc::kExists);
    options.mode = MultipathMode::kMultipath;
    options.host.host_nqn = "nqn.2026-11.io.basalt:other";
    EXPECT_EQ(at.attach(options).error().code, Errc::kInvalidArgument);
    options.host.subsystem_nqn = "nqn.2026-11.io.basalt:nobody";
    EXPECT_EQ(at.attach(options).error().code, Errc::kInvalidArgument);
    options.name = "Nvme1";
    EXPECT_FALSE(at.attach(options));
    EXPECT_EQ(at.remote->find("Nvme1"), nullptr);
    EXPECT_NE(at.problem.find("nobody"), std::string::npos);
}

TEST_F(RemoteDevicesTest, OnePathOrAllAreDetached) {
    RemoteWorld at(11);
    at.attach();
    const SocketAddress second = at.add_address(4421);
    ASSERT_TRUE(at.attach(at.options_for(second)));
    const auto detach = [&](const PathFilter& filter) {
        return at.run(at.remote->detach("Nvme0", filter, at.problem));
    };
    EXPECT_EQ(detach({.port = 5555}).error().code, Errc::kNotFound);
    EXPECT_TRUE(detach({.port = 4420}));
    EXPECT_EQ(read(at, at.open("Nvme0n1")), Errc::kOk);
    {
        const bdev::Claim claim = at.local->claim(*at.local->find("Nvme0n1"), "a test").value();
        EXPECT_EQ(detach({}).error().code, Errc::kBusy);
        EXPECT_NE(at.problem.find("a test"), std::string::npos);
    }
    at.channels.clear();
    EXPECT_TRUE(detach({}));
    EXPECT_TRUE(at.local->devices().empty());
    EXPECT_EQ(at.remote->find("Nvme0"), nullptr);
}

TEST_F(RemoteDevicesTest, NamespacesComeAndGoWithTheTargets) {
    RemoteWorld at(12);
    at.attach();
    at.add_null("Null1", 1000, 4096);
    const Nsid nsid = at.add_namespace("Null1");
    EXPECT_TRUE(wait(
        at, [&] { return at.local->find("Nvme0n3") != nullptr; }, 5));
    EXPECT_EQ(read(at, at.open("Nvme0n3")), Errc::kOk);
    ASSERT_TRUE(at.run(at.target->remove_namespace(std::string(RemoteWorld::kNqn), nsid)));
    EXPECT_TRUE(wait(
        at, [&] { return read(at, *at.channels[0]) == Errc::kDeviceGone; }, 5));
    at.channels.clear();
    EXPECT_TRUE(wait(
        at, [&] { return at.local->find("Nvme0n3") == nullptr; }, 5));
    EXPECT_EQ(at.local->devices().size(), 2U);
}

TEST_F(RemoteDevicesTest, AResetConnectsAnewAndFailsNothing) {
    RemoteWorld at(13);
    at.attach();
    bdev::DeviceChannel& channel = at.open("Nvme0n1");
    TestIo write;
    write.prepare(IoOp::kWrite, 7, 40, RemoteWorld::kBlockBytes);
    write.submit(channel);
    EXPECT_TRUE(at.run(at.remote->reset("Nvme0", std::nullopt)));
    EXPECT_TRUE(at.session(0)->is_live());
    EXPECT_TRUE(wait(
        at, [&] { return write.is_done(); }, 5));
    EXPECT_EQ(write.code(), Errc::kOk);
    EXPECT_EQ(at.run(at.remote->reset("Nvme1", std::nullopt)).error().code, Errc::kNotFound);
}

TEST_F(RemoteDevicesTest, DigestsAreUsedWhereTheyAreWanted) {
    RemoteWorld at(14);
    AttachOptions options = at.options_for(at.address);
    options.host.header_digest = true;
    options.host.data_digest = true;
    ASSERT_TRUE(at.attach(options));
    bdev::DeviceChannel& channel = at.open("Nvme0n1");
    EXPECT_EQ(
        bdev::check_against_model(
            channel, channel.info(), {.seed = 14, .operations = 300}, [&] { at.world.step(); }),
        "");
}

TEST_F(RemoteDevicesTest, DiscoveryAttachesWhatItFindsAndFollows) {
    RemoteWorld at(15);
    SessionOptions options;
    options.host = at.options_for(sim::World::address(at.server, kDiscoveryPort)).host;
    options.host.subsystem_nqn = std::string(kDiscoveryNqn);
    ASSERT_TRUE(at.run(at.remote->start_discovery("Disc", options, 10 * kNsPerSecond)));
    ASSERT_NE(at.remote->find("Disc0"), nullptr);
    EXPECT_NE(at.local->find("Disc0n1"), nullptr);
    EXPECT_EQ(at.remote->discoveries()[0]->subsystems().size(), 1U);
    // A listener more is a path more, and goes again with it.
    const SocketAddress second = at.add_address(4421);
    const RemoteSubsystem& subsystem = *at.remote->find("Disc0");
    EXPECT_TRUE(wait(
        at, [&] { return subsystem.sessions()[1] != nullptr; }, 10));
    ASSERT_TRUE(at.run(at.target->remove_listener(std::string(RemoteWorld::kNqn), second)));
    EXPECT_TRUE(wait(
        at, [&] { return subsystem.sessions()[1] == nullptr; }, 10));
    EXPECT_EQ(at.run(at.remote->start_discovery("Disc", options, 0)).error().code, Errc::kExists);
}

TEST_F(RemoteDevicesTest, TheEndOfDiscoveryDetachesWhatItFoundUnlessThatIsInUse) {
    RemoteWorld at(23);
    start_discovery(at);
    {
        const auto used = at.local->claim(*at.local->find("Disc0n1"), "a test");
        ASSERT_TRUE(used);
        EXPECT_EQ(at.run(at.remote->stop_discovery("Disc", at.problem)).error().code, Errc::kBusy);
        EXPECT_EQ(at.problem, "'Disc0n1', used by a test");
        EXPECT_EQ(at.remote->discoveries().size(), 1U);
        EXPECT_TRUE(at.remote->is_discovered(*at.remote->find("Disc0")));
    }
    EXPECT_TRUE(at.run(at.remote->stop_discovery("Disc", at.problem)));
    EXPECT_EQ(at.remote->find("Disc0"), nullptr);
    EXPECT_TRUE(at.local->devices().empty());
    EXPECT_EQ(at.run(at.remote->stop_discovery("Disc", at.problem)).error().code, Errc::kNotFound);
    EXPECT_EQ(at.problem, "discovery service 'Disc'");
}

TEST_F(RemoteDevicesTest, WhatIsTakenIntoUseWhileItsDiscoveryEndsIsTheOperators) {
    RemoteWorld at(24);
    start_discovery(at);
    auto stopping = at.remote->stop_discovery("Disc", at.problem);
    ASSERT_FALSE(stopping.is_done());
    auto used = at.local->claim(*at.local->find("Disc0n1"), "a test");
    ASSERT_TRUE(used);
    EXPECT_EQ(at.run(std::move(stopping)).error().code, Errc::kBusy);
    EXPECT_EQ(at.problem, "'Disc0n1', used by a test");
    ASSERT_NE(at.remote->find("Disc0"), nullptr);
    EXPECT_FALSE(at.remote->is_discovered(*at.remote->find("Disc0")));
    used->release();
    EXPECT_TRUE(at.run(at.remote->detach("Disc0", {}, at.problem)));
}

TEST_F(RemoteDevicesTest, ANamespaceWhoseUuidIsTakenIsNoDeviceAndToldOnce) {
    RemoteWorld at(25);
    bdev::MallocOptions options;
    options.name = "Mine";
    options.uuid = at.registry->find("Malloc0")->info().uuid;
    options.block_size_bytes = 512;
    options.block_count = BlockCount(8);
    ASSERT_TRUE(at.local->add(bdev::MallocBdev::make(options, at.memory).value()));
    const LogCapture log;
    EXPECT_EQ(at.attach(), Names{"Nvme0n2"});
    ASSERT_TRUE(at.attach(at.options_for(at.add_address(4421))));
    EXPECT_EQ(log.count(LogLevel::kError,
                        "nvmf",
                        {"Nvme0n1 can't be a device: its UUID, ",
                         options.uuid.to_string() + ", is that of 'Mine'"}),
              1U)
        << log;
    EXPECT_EQ(log.count(LogLevel::kError, "nvmf", {"can't be a device"}), 1U) << log;
    // It is one as soon as it can, and the news if it can't again.
    ASSERT_TRUE(at.local->remove("Mine"));
    EXPECT_TRUE(at.run(at.remote->reset("Nvme0", std::nullopt)));
    EXPECT_NE(at.local->find("Nvme0n1"), nullptr);
}

/// A second target, on the machine of the first, that the first one's discovery refers to.
class ReferredTarget {
  public:
    static constexpr uint16_t kReferredPort = 8010;

    explicit ReferredTarget(RemoteWorld& at) : at_(at) {
        start();
        at.expect_ok(at.target->add_referral(
            {std::string(kDiscoveryNqn), sim::World::address(at.server, kReferredPort)}));
    }
    ~ReferredTarget() { at_.run(target_->shut_down()); }

    void stop() {
        at_.run(target_->shut_down());
        target_.reset();
    }
    void start() {
        target_ = std::make_unique<Target>(*at_.control, TargetWorld::kReactors, at_.buffers);
        TransportOptions options;
        options.discovery_port = kReferredPort;
        at_.expect_ok(target_->create_transport(options));
        serve("nqn.2026-11.io.basalt:first", "First", 4441);
    }
    void serve(const std::string& nqn, const std::string& device, uint16_t port) {
        SubsystemOptions options;
        options.nqn = nqn;
        options.allow_any_host = true;
        at_.expect_ok(target_->create_subsystem(options));
        if (at_.registry->find(device) == nullptr) {
            at_.add_null(device, 64, 512);
        }
        NamespaceOptions space;
        space.device = at_.registry->find(device);
        BASALT_ASSERT(at_.run(target_->add_namespace(nqn, std::move(space))).has_value());
        BASALT_ASSERT(
            at_.run(target_->add_listener(nqn, sim::World::address(at_.server, port))).has_value());
    }

  private:
    RemoteWorld& at_;
    std::unique_ptr<Target> target_;
};

class RemoteReferralTest : public RemoteDevicesTest {
  protected:
    void start() { start_discovery(at); }
    [[nodiscard]] size_t found() const { return at.remote->discoveries()[0]->subsystems().size(); }

    RemoteWorld at{22};
    ReferredTarget referred{at};
};

TEST_F(RemoteReferralTest, IsFollowedAndLookedAtAgain) {
    start();
    EXPECT_EQ(found(), 2U);
    ASSERT_NE(at.remote->find("Disc1"), nullptr);
    // No event tells of what changes there.
    referred.serve("nqn.2026-11.io.basalt:second", "Second", 4442);
    at.world.run_for(kNsPerSecond);
    EXPECT_EQ(found(), 2U);
    EXPECT_TRUE(wait(
        at, [&] { return found() == 3; }, 2 * kReferralPeriodNs / kNsPerSecond));
    EXPECT_TRUE(wait(
        at, [&] { return at.remote->find("Disc2") != nullptr; }, 5));
}

TEST_F(RemoteReferralTest, ThatDoesNotAnswerTakesNothingAway) {
    start();
    referred.stop();
    at.world.run_for(2 * kReferralPeriodNs + 20 * kNsPerSecond);
    EXPECT_EQ(found(), 2U);
    EXPECT_NE(at.remote->find("Disc0"), nullptr);
    EXPECT_FALSE(at.remote->find("Disc0")->sessions()[0]->is_live());
    referred.start();
    EXPECT_TRUE(wait(
        at, [&] { return at.remote->find("Disc0")->sessions()[0]->is_live(); }, 15));
    // One that is referred to no more does.
    at.expect_ok(at.target->remove_referral(
        std::string(kDiscoveryNqn), sim::World::address(at.server, ReferredTarget::kReferredPort)));
    EXPECT_TRUE(wait(
        at, [&] { return at.remote->find("Disc0") == nullptr; }, 15));
    EXPECT_EQ(found(), 1U);
}

TEST_F(RemoteDevicesTest, ThePreferredPathIsUsed) {
    RemoteWorld at(16);
    at.attach();
    ASSERT_TRUE(at.attach(at.options_for(at.add_address(4421))));
    bdev::DeviceChannel& channel = at.open("Nvme0n1");
    const ControllerId second = at.session(1)->cntlid();
    EXPECT_TRUE(at.run(at.remote->set_preferred("Nvme0n1", second)));
    EXPECT_EQ(at.run(at.remote->set_preferred("Nvme0n1", ControllerId(999))).error().code,
              Errc::kNotFound);
    TestIo io;
    io.prepare(IoOp::kRead, 0, 1, RemoteWorld::kBlockBytes);
    io.submit(channel);
    CorePaths& paths = *at.remote->find("Nvme0")->core_paths().on(*at.cores[0]);
    EXPECT_EQ(paths.in_flight(0), 0U);
    EXPECT_EQ(paths.in_flight(1), 1U);
    EXPECT_TRUE(wait(
        at, [&] { return io.is_done(); }, 5));
    // Both in turn.
    EXPECT_TRUE(at.run(at.remote->set_rules(
        "Nvme0n1", MultipathPolicy::kActiveActive, MultipathSelector::kRoundRobin, 1)));
    std::vector<std::unique_ptr<TestIo>> ios;
    for (uint32_t i = 0; i < 10; ++i) {
        ios.push_back(std::make_unique<TestIo>());
        ios.back()->prepare(IoOp::kRead, i, 1, RemoteWorld::kBlockBytes);
        ios.back()->submit(channel);
    }
    EXPECT_EQ(paths.in_flight(0), 5U);
    EXPECT_EQ(paths.in_flight(1), 5U);
    EXPECT_TRUE(wait(
        at, [&] { return channel.in_flight() == 0; }, 5));
}

/// One namespace of a subsystem that reports ANA.
class RemoteAnaTest : public RemoteDevicesTest {
  protected:
    RemoteAnaTest() {
        SubsystemOptions options;
        options.nqn = kNqn;
        options.allow_any_host = true;
        options.ana_reporting = true;
        options.namespaces_max = 8;
        at.expect_ok(at.target->create_subsystem(options));
        at.add_malloc("Ana1", 64, 512);
        EXPECT_EQ(at.add_namespace(kNqn, "Ana1", {}), Nsid(1));
        path =
            at.run(at.target->add_listener(std::string(kNqn), sim::World::address(at.server, 4430)))
                .value();
        AttachOptions how = at.options_for(path);
        how.host.subsystem_nqn = kNqn;
        EXPECT_TRUE(at.attach(how));
        at.open("Nvme0n1");
        cntlid = at.session(0)->cntlid();
    }
    void set_state(AnaState state) {
        at.expect_ok(at.target->set_ana_state(std::string(kNqn), path, state, 0));
    }
    bool is_same_association() {
        return at.session(0)->is_live() && at.session(0)->cntlid() == cntlid;
    }

    static constexpr std::string_view kNqn = "nqn.2026-11.io.basalt:ana";
    RemoteWorld at{31};
    SocketAddress path;
    ControllerId cntlid;
};

TEST_F(RemoteAnaTest, WaitsForTheEndOfATransition) {
    set_state(AnaState::kChange);
    TestIo io;
    io.prepare(IoOp::kRead, 0, 1, 512);
    io.submit(*at.channels[0]);
    EXPECT_FALSE(wait(
        at, [&] { return io.is_done(); }, 8));
    set_state(AnaState::kOptimized);
    EXPECT_TRUE(wait(
        at, [&] { return io.is_done(); }, 1));
    EXPECT_EQ(io.code(), Errc::kOk);
    at.world.run_for(15 * kNsPerSecond);
    EXPECT_TRUE(is_same_association());
}

TEST_F(RemoteAnaTest, ATransitionThatTheTargetEndsCostsNoAssociation) {
    set_state(AnaState::kChange);
    at.world.run_for(15 * kNsPerSecond);
    EXPECT_EQ(at.session(0)->namespaces().at(1).access, PathAccess::kInaccessible);
    EXPECT_TRUE(is_same_association());
}

TEST_F(RemoteAnaTest, ATransitionThatDoesNotEndEndsItsAssociation) {
    set_state(AnaState::kChange);
    at.world.run_for(6 * kNsPerSecond);
    // The target begins another one before it would end the first; the host can't tell.
    set_state(AnaState::kInaccessible);
    set_state(AnaState::kChange);
    EXPECT_TRUE(is_same_association());
    EXPECT_TRUE(wait(
        at, [&] { return !at.session(0)->is_live(); }, 5));
    set_state(AnaState::kOptimized);
    EXPECT_EQ(read(at, *at.channels[0]), Errc::kOk);
    EXPECT_FALSE(is_same_association()) << "it has connected again";
}

}  // namespace
}  // namespace basalt::nvmf
