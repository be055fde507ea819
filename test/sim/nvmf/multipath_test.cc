// Two targets serve one subsystem. A host has a path to each, believes the ANA logs, and switches
// between them while their states change under its I/O and one of them ends.
#include <gtest/gtest.h>

#include "reactor/io/random.h"
#include "test/nvmf/target/scripted_host.h"

namespace basalt::nvmf {
namespace {

constexpr std::string_view kNqn = "nqn.2026-11.io.basalt:shared";
constexpr uint32_t kAnaNotices = 1U << 11U;
constexpr uint32_t kBlockBytes = 512;

/// Reactors that lag behind each other, so that a change is long under way.
sim::FaultOptions slow_reactors() {
    sim::FaultOptions faults;
    faults.message_jitter_ns = 500 * kNsPerUs;
    faults.reactor_pause_ppm = 20'000;
    faults.reactor_pause_ns_max = 2 * kNsPerMs;
    return faults;
}

/// A second target beside that of TargetWorld, on the same reactors, with the same volume.
class TwoTargets {
  public:
    explicit TwoTargets(uint64_t seed) : world(seed, slow_reactors()) {
        second = std::make_unique<Target>(*world.control, TargetWorld::kReactors, world.buffers);
        TransportOptions options;
        options.discovery_port = 0;
        world.expect_ok(second->create_transport(options));
        world.add_malloc("Shared", 64, kBlockBytes);
        serve(*world.target, 1, 0x7fff);
        serve(*second, 0x8000, 0xffef);
    }
    ~TwoTargets() { world.run(second->shut_down()); }

    Target& target(uint32_t index) { return index == 0 ? *world.target : *second; }
    [[nodiscard]] SocketAddress address(uint32_t index) const {
        return sim::World::address(world.server, static_cast<uint16_t>(4431 + index));
    }
    [[nodiscard]] Task<Status> set_state(uint32_t index, AnaState state) {
        return target(index).set_ana_state(std::string(kNqn), address(index), state, 1);
    }

    TargetWorld world;
    std::unique_ptr<Target> second;

  private:
    void serve(Target& target, uint16_t cntlid_min, uint16_t cntlid_max) {
        SubsystemOptions options;
        options.nqn = kNqn;
        options.allow_any_host = true;
        options.ana_reporting = true;
        options.cntlid_min = cntlid_min;
        options.cntlid_max = cntlid_max;
        world.expect_ok(target.create_subsystem(options));
        NamespaceOptions space;
        space.device = world.registry->find("Shared");
        BASALT_ASSERT(
            world.run(target.add_namespace(std::string(kNqn), std::move(space))).has_value());
        const uint32_t index = &target == second.get() ? 1 : 0;
        BASALT_ASSERT(
            world.run(target.add_listener(std::string(kNqn), address(index))).has_value());
    }
};

/// The host's end of one path.
class Path {
  public:
    Path(TwoTargets& targets, uint32_t index)
        : admin(targets.world, targets.address(index)),
          io(targets.world, targets.address(index)),
          cntlid(admin.become_admin(kNqn)) {
        BASALT_ASSERT(io.handshake());
        BASALT_ASSERT(io.connect(QueueId(1), cntlid, kNqn).status().ok());
        BASALT_ASSERT(
            admin.command(make_set_features(CommandId(3), NVME_FEAT_FID_ASYNC_EVENT, kAnaNotices))
                .status()
                .ok());
        ask_for_event();
        read_log();
    }

    [[nodiscard]] bool is_usable() const { return !io.is_closed && is_accessible(state); }

    void ask_for_event() {
        admin.send(admin.capsule(make_command(nvme_admin_async_event, CommandId(9), Nsid(0))));
    }
    /// What a host does when it hears of a change, or guesses it from an error.
    void read_log() {
        constexpr size_t kOneGroup = sizeof(nvme_ana_log) + sizeof(nvme_ana_group_desc) + 4;
        Bytes page;
        admin.send(admin.capsule(make_get_log_page(CommandId(4), NVME_LOG_LID_ANA, 0, kOneGroup)));
        for (Cqe cqe = admin.completion(&page); cqe.cid() != CommandId(4);
             cqe = admin.completion(&page)) {
            EXPECT_EQ(cqe.dw0.get(), async_event_result(NVME_AER_NOTICE, 3, NVME_LOG_LID_ANA));
            ++events;
            ask_for_event();
        }
        state = static_cast<AnaState>(page[sizeof(nvme_ana_log) + 16]);
    }
    /// Moves `data` by this path.
    [[nodiscard]] NvmeStatus transfer(uint8_t opcode, uint64_t block, Bytes& data) {
        Sqe sqe = make_command(opcode, CommandId(5), Nsid(1));
        set_range(sqe, Lba(block), BlockCount(1));
        if (opcode == nvme_cmd_write) {
            set_in_capsule_data(sqe, kBlockBytes);
            return io.command(sqe, data).status();
        }
        set_transport_data(sqe, kBlockBytes);
        return io.command(sqe, {}, &data).status();
    }

    ScriptedHost admin;
    ScriptedHost io;
    ControllerId cntlid;
    AnaState state{};
    uint32_t events = 0;
};

class Multipath : public testing::TestWithParam<uint64_t> {
  protected:
    /// By the best path; where that one refuses, by the other. Fails only if neither will do.
    [[nodiscard]] bool transfer(uint8_t opcode, uint64_t block, Bytes& data) {
        for (int tries = 0; tries < 100; ++tries) {
            Path* best = nullptr;
            for (const auto& path : paths) {
                if (path->is_usable() && (best == nullptr || path->state < best->state)) {
                    best = path.get();
                }
            }
            if (best != nullptr) {
                const NvmeStatus outcome = best->transfer(opcode, block, data);
                if (outcome.ok()) {
                    return true;
                }
                EXPECT_EQ(outcome.sct, status::kAnaInaccessible.sct) << "path related, or nothing";
                EXPECT_FALSE(outcome.dnr);
            }
            for (const auto& path : paths) {
                if (!path->admin.is_closed) {
                    path->read_log();
                }
            }
        }
        return false;
    }

    TwoTargets targets{GetParam()};
    std::array<std::unique_ptr<Path>, 2> paths{std::make_unique<Path>(targets, 0),
                                               std::make_unique<Path>(targets, 1)};
};

TEST_P(Multipath, FollowsTheStatesAndOutlivesATarget) {
    Random random(GetParam());
    EXPECT_LT(paths[0]->cntlid, ControllerId(0x8000));
    EXPECT_GE(paths[1]->cntlid, ControllerId(0x8000)) << "no id is given twice";
    uint8_t token = 0;
    const auto write_and_read_back = [&] {
        const uint64_t block = random.below(64);
        Bytes written(kBlockBytes, static_cast<std::byte>(++token));
        ASSERT_TRUE(transfer(nvme_cmd_write, block, written));
        Bytes read;
        ASSERT_TRUE(transfer(nvme_cmd_read, block, read));
        EXPECT_EQ(read, written);
    };
    for (int round = 0; round < 20; ++round) {
        const auto from = static_cast<uint32_t>(random.below(2));
        const uint32_t to = 1 - from;
        constexpr std::array kUnusable{
            AnaState::kInaccessible, AnaState::kChange, AnaState::kPersistentLoss};
        const AnaState unusable = kUnusable[random.below(3)];
        targets.world.expect_ok(targets.set_state(to, AnaState::kOptimized));
        auto changing = targets.set_state(from, unusable);
        write_and_read_back();
        ASSERT_TRUE(
            targets.world.world.run_until([&] { return changing.is_done(); }, kNsPerSecond));
        // From here on nothing passes by the old path, whatever the host believes.
        Bytes data(kBlockBytes);
        EXPECT_EQ(paths[from]->transfer(nvme_cmd_write, 0, data), ana_status(unusable));
        write_and_read_back();
    }
    EXPECT_GT(paths[0]->events + paths[1]->events, 5U);

    targets.world.expect_ok(targets.set_state(0, AnaState::kOptimized));
    targets.world.expect_ok(targets.set_state(1, AnaState::kNonOptimized));
    paths[0]->read_log();
    paths[1]->read_log();
    targets.world.run(targets.second->shut_down());
    ASSERT_TRUE(paths[1]->io.wait_closed());
    write_and_read_back();
}

INSTANTIATE_TEST_SUITE_P(Seeds, Multipath, testing::Range<uint64_t>(1, 9));

}  // namespace
}  // namespace basalt::nvmf
