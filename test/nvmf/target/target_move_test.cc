// I/O queues that go from core to core: their hosts notice nothing, whatever else happens.

#include <gtest/gtest.h>

#include "bdev/layer/delay_bdev.h"
#include "bdev/layer/error_bdev.h"
#include "test/nvmf/target/admin_host.h"
#include "test/nvmf/target/target_io.h"

namespace basalt::nvmf {
namespace {

constexpr QueueId kQueue(1);
constexpr uint32_t kLargeBytes = 32768;

/// A host with one I/O queue, which can be moved.
class MovingWorld {
  public:
    explicit MovingWorld(uint64_t seed = 1, bool has_idle_neighbour = false)
        : world(seed),
          admin(world),
          neighbour(has_idle_neighbour ? std::make_unique<ScriptedHost>(world) : nullptr),
          io(world) {
        BASALT_ASSERT(io.handshake());
        BASALT_ASSERT(io.connect(kQueue, admin.cntlid).status().ok());
    }

    static std::string nqn() { return std::string(TargetWorld::kNqn); }
    std::optional<CoreId> core() {
        const auto queues = world.run(world.target->queues(nqn()));
        for (const QueueInfo& queue : *queues) {
            if (queue.qid == kQueue) {
                return queue.core;
            }
        }
        return std::nullopt;
    }
    CoreId other_core() { return CoreId(1 - core()->raw()); }
    Task<Status> begin_move(CoreId to) {
        return world.target->move_queue(nqn(), admin.cntlid, kQueue, to);
    }
    void move(CoreId to) {
        world.expect_ok(begin_move(to));
        EXPECT_TRUE(world.world.run_until([&] { return core() == to; }, kNsPerSecond));
    }

    Sqe transfer(uint8_t opcode, uint64_t first, uint64_t count, Nsid nsid = Nsid(1)) {
        Sqe sqe = make_command(opcode, CommandId(next_cid++), nsid);
        set_range(sqe, Lba(first), BlockCount(count));
        set_transport_data(sqe, static_cast<uint32_t>(count) * TargetWorld::kBlockBytes);
        return sqe;
    }
    Bytes write_capsule(uint64_t first, std::span<const std::byte> data, Nsid nsid = Nsid(1)) {
        Sqe sqe = transfer(nvme_cmd_write, first, data.size() / TargetWorld::kBlockBytes, nsid);
        set_in_capsule_data(sqe, static_cast<uint32_t>(data.size()));
        return io.capsule(sqe, data);
    }
    NvmeStatus write(uint64_t first, std::span<const std::byte> data, Nsid nsid = Nsid(1)) {
        io.send(write_capsule(first, data, nsid));
        return io.completion().status();
    }
    Bytes read(uint64_t first, uint64_t count) {
        Bytes data;
        EXPECT_TRUE(io.command(transfer(nvme_cmd_read, first, count), {}, &data).status().ok());
        return data;
    }
    R2t begin_large_write(uint64_t first) {
        io.send(io.capsule(transfer(nvme_cmd_write, first, kLargeBytes / 512)));
        return ScriptedHost::as<R2t>(io.next_pdu());
    }
    /// A device that takes `us` for a write.
    Nsid add_slow_namespace(uint64_t us) {
        world.add_malloc("Slow0", TargetWorld::kBlocks, TargetWorld::kBlockBytes);
        bdev::DelayOptions options;
        options.name = "Slow";
        options.latencies.avg_write_us = us;
        options.latencies.p99_write_us = us;
        bdev::Bdev* base = world.registry->find("Slow0");
        BASALT_ASSERT(
            world.registry->add(bdev::DelayBdev::make(options, *base).value()).has_value());
        return world.add_namespace("Slow");
    }

    TargetWorld world;
    AdminHost admin;
    std::unique_ptr<ScriptedHost> neighbour;  // Takes the other reactor's turn at being accepted.
    ScriptedHost io;
    uint16_t next_cid = 10;
};

// --- What it does --------------------------------------------------------------------------------

TEST(TargetMove, AQueueIsServedOnAnotherCoreAfterAMove) {
    MovingWorld w;
    const CoreId first = *w.core();
    ASSERT_TRUE(w.write(0, pattern(4096, 1)).ok());
    for (int i = 0; i < 5; ++i) {
        w.move(w.other_core());
        EXPECT_EQ(w.read(0, 8), pattern(4096, 1));
        const uint64_t block = 8U * static_cast<uint64_t>(i + 1);
        ASSERT_TRUE(w.write(block, pattern(4096, static_cast<uint32_t>(i))).ok());
    }
    EXPECT_NE(*w.core(), first);
    const auto stats = w.world.run(w.world.target->stats());
    EXPECT_EQ(stats[first.raw()].io_queues, 0U);
    EXPECT_EQ(stats[1 - first.raw()].io_queues, 1U);
    for (uint64_t i = 0; i < 5; ++i) {
        EXPECT_EQ(w.read(8 * (i + 1), 8), pattern(4096, static_cast<uint32_t>(i)));
    }
}

TEST(TargetMove, WhatADeviceWorksOnIsAnsweredFirst) {
    MovingWorld w;
    const Nsid slow = w.add_slow_namespace(20'000);
    const CoreId from = *w.core();
    w.io.send(w.write_capsule(0, pattern(4096, 1), slow));
    w.world.world.run_for(kNsPerMs);
    w.world.expect_ok(w.begin_move(w.other_core()));
    w.world.world.run_for(5 * kNsPerMs);
    EXPECT_EQ(*w.core(), from);
    EXPECT_TRUE(w.io.completion().status().ok());
    EXPECT_TRUE(
        w.world.world.run_until([&] { return w.core() == CoreId(1 - from.raw()); }, 10 * kNsPerMs));
    EXPECT_TRUE(w.write(8, pattern(4096, 2), slow).ok());
}

TEST(TargetMove, CommandsThatComeMeanwhileTravelAlong) {
    MovingWorld w;
    const Nsid slow = w.add_slow_namespace(20'000);
    const CoreId from = *w.core();
    ASSERT_TRUE(w.write(0, pattern(4096, 1)).ok());
    w.io.send(w.write_capsule(0, pattern(4096, 1), slow));
    w.world.world.run_for(kNsPerMs);
    w.world.expect_ok(w.begin_move(w.other_core()));
    // More than there is room for in one reading, with data in the capsule and without, and the
    // last cut in its header.
    Bytes burst;
    for (uint32_t i = 0; i < 6; ++i) {
        const Bytes large = w.io.capsule(w.transfer(nvme_cmd_write, 64 * i, kLargeBytes / 512));
        const Bytes small = w.write_capsule(1024 + 8 * i, pattern(4096, 10 + i));
        const Bytes read = w.io.capsule(w.transfer(nvme_cmd_read, 0, 8));
        for (const Bytes& each : {large, small, read}) {
            burst.insert(burst.end(), each.begin(), each.end());
        }
    }
    const Bytes last = w.write_capsule(1080, pattern(4096, 99));
    burst.insert(burst.end(), last.begin(), last.begin() + 30);
    w.io.send(burst);
    w.world.world.run_for(30 * kNsPerMs);
    EXPECT_NE(*w.core(), from) << "with commands that have not begun";
    w.io.send(Bytes(last.begin() + 30, last.end()));
    uint32_t completed = 0;
    uint32_t transfers = 0;
    while (true) {
        const Bytes pdu = w.io.next_pdu(kNsPerSecond);
        if (pdu.empty()) {
            break;
        }
        if (ScriptedHost::type_of(pdu) == PduType::kR2t) {
            ++transfers;
            w.io.send(w.io.h2c_data(ScriptedHost::as<R2t>(pdu), 0, pattern(kLargeBytes, 5), true));
        } else if (ScriptedHost::type_of(pdu) == PduType::kCapsuleResp) {
            EXPECT_TRUE(ScriptedHost::as<CapsuleResp>(pdu).cqe.status().ok());
            ++completed;
        }
    }
    EXPECT_EQ(transfers, 6U);
    EXPECT_EQ(completed, 1U + 18U + 1U) << "each of them once";
    EXPECT_EQ(w.read(64 * 5, kLargeBytes / 512), pattern(kLargeBytes, 5));
    EXPECT_EQ(w.read(1024 + 40, 8), pattern(4096, 15));
    EXPECT_EQ(w.read(1080, 8), pattern(4096, 99));
}

TEST(TargetMove, AWriteWhoseDataIsOnItsWayIsWrittenFirst) {
    MovingWorld w;
    const CoreId from = *w.core();
    const R2t r2t = w.begin_large_write(0);
    const Bytes data = pattern(kLargeBytes, 3);
    w.io.send(w.io.h2c_data(r2t, 0, std::span(data).first(10'000), false));
    w.world.expect_ok(w.begin_move(w.other_core()));
    w.io.send(w.io.capsule(w.transfer(nvme_cmd_read, 1024, 8)));  // Before the rest of the data.
    w.world.world.run_for(20 * kNsPerMs);
    EXPECT_EQ(*w.core(), from);
    w.io.send(w.io.h2c_data(r2t, 10'000, std::span(data).subspan(10'000), true));
    EXPECT_TRUE(w.io.completion().status().ok());
    EXPECT_TRUE(w.io.completion().status().ok());
    EXPECT_NE(*w.core(), from);
    EXPECT_EQ(w.read(0, kLargeBytes / 512), data);
}

TEST(TargetMove, AQueueStaysIfItsCommandsDoNotEndAndTheOthersGoOn) {
    MovingWorld w;
    w.world.add_malloc("Stuck", TargetWorld::kBlocks, TargetWorld::kBlockBytes);
    auto layer = std::make_unique<bdev::ErrorBdev>(bdev::ErrorOptions{.name = "Error0", .uuid = {}},
                                                   *w.world.registry->find("Stuck"));
    bdev::ErrorBdev& error = *layer;
    BASALT_ASSERT(w.world.registry->add(std::move(layer)).has_value());
    const Nsid stuck = w.world.add_namespace("Error0");
    bdev::ErrorInjection injection;
    injection.error = bdev::InjectedError::kPending;
    w.world.expect_ok(error.inject(*w.world.control, w.world.registry->cores(), injection));
    const CoreId from = *w.core();
    w.io.send(w.io.capsule(w.transfer(nvme_cmd_read, 0, 8, stuck)));
    w.world.world.run_for(kNsPerMs);
    w.world.expect_ok(w.begin_move(w.other_core()));
    w.world.world.run_for(kNsPerMs);
    w.io.send(w.io.capsule(w.transfer(nvme_cmd_write, 0, kLargeBytes / 512)));
    EXPECT_TRUE(w.io.next_pdu(kMovePatienceNs / 2).empty()) << "it waits for the move";
    const auto r2t = ScriptedHost::as<R2t>(w.io.next_pdu(kMovePatienceNs));
    w.io.send(w.io.h2c_data(r2t, 0, pattern(kLargeBytes, 3), true));
    EXPECT_TRUE(w.io.completion().status().ok());
    EXPECT_EQ(*w.core(), from);
    auto cleared = error.clear(*w.world.control, w.world.registry->cores());
    EXPECT_TRUE(w.world.world.run_until([&] { return cleared.is_done(); }, kNsPerSecond));
    EXPECT_FALSE(w.io.completion().status().ok());
    w.move(w.other_core());
}

TEST(TargetMove, AdminQueuesStay) {
    MovingWorld w;
    for (uint32_t core = 0; core < 2; ++core) {
        const auto moved = w.world.run(w.world.target->move_queue(
            MovingWorld::nqn(), w.admin.cntlid, kAdminQueueId, CoreId(core)));
        const auto again = w.world.run(w.world.target->queues(MovingWorld::nqn()));
        EXPECT_TRUE(moved.has_value() || moved.error().code == Errc::kNotSupported);
    }
    EXPECT_EQ(w.world
                  .run(w.world.target->move_queue(
                      MovingWorld::nqn(), w.admin.cntlid, QueueId(9), CoreId(0)))
                  .error()
                  .code,
              Errc::kNotFound);
    EXPECT_EQ(w.world.run(w.begin_move(CoreId(2))).error().code, Errc::kInvalidArgument);
}

// --- What may happen meanwhile -------------------------------------------------------------------

/// Begins a move and then, after each of many times, something else; `what` gets a new world each
/// time. A move of an idle queue takes some 20 us.
template <typename What>
void at_every_moment(What what) {
    for (uint64_t delay_ns = 0; delay_ns <= 60 * kNsPerUs; delay_ns += kNsPerUs) {
        SCOPED_TRACE("after " + std::to_string(delay_ns) + " ns");
        // The controller's core is where the queue comes from, or where it goes.
        MovingWorld w(delay_ns, delay_ns / kNsPerUs % 2 == 0);
        Task<Status> moving = w.begin_move(w.other_core());
        w.world.world.run_for(delay_ns);
        what(w);
        EXPECT_TRUE(w.world.world.run_until([&] { return moving.is_done(); }, kNsPerSecond));
    }
}

TEST(TargetMove, AResetEndsAQueueThatMoves) {
    at_every_moment([](MovingWorld& w) {
        EXPECT_TRUE(
            w.admin.command(make_property_set(w.admin.next_cid(), NVME_REG_CC, 0)).status().ok());
        EXPECT_TRUE(w.io.wait_closed(kNsPerSecond));
        const auto is_disabled = [&] {
            const Cqe got =
                w.admin.command(make_property_get(w.admin.next_cid(), NVME_REG_CSTS, false));
            return (got.dw0.get() & 1U) == 0;
        };
        EXPECT_TRUE(w.world.world.run_until(is_disabled, kNsPerSecond));
        EXPECT_EQ(w.core(), std::nullopt);
    });
}

TEST(TargetMove, AHostThatIsNoLongerAllowedLosesAQueueThatMoves) {
    at_every_moment([](MovingWorld& w) {
        w.world.expect_ok(w.world.target->allow_any_host(MovingWorld::nqn(), false));
        EXPECT_TRUE(w.io.wait_closed(kNsPerSecond));
        EXPECT_TRUE(w.admin.wait_closed(kNsPerSecond));
        EXPECT_EQ(w.core(), std::nullopt);
    });
}

TEST(TargetMove, ASubsystemThatIsDeletedTakesAQueueThatMovesWithIt) {
    at_every_moment([](MovingWorld& w) {
        w.world.expect_ok(w.world.target->delete_subsystem(MovingWorld::nqn()));
        EXPECT_TRUE(w.io.wait_closed(kNsPerSecond));
        EXPECT_TRUE(w.admin.wait_closed(kNsPerSecond));
    });
}

TEST(TargetMove, ATargetThatStopsWaitsForAQueueThatMoves) {
    at_every_moment([](MovingWorld&) {});  // The world's end is what follows.
}

TEST(TargetMove, AHostThatLeavesEndsAQueueThatMoves) {
    at_every_moment([](MovingWorld& w) {
        w.io.vanish();
        w.world.world.run_for(kNsPerMs);  // A queue on its way is on no core either.
        EXPECT_TRUE(
            w.world.world.run_until([&] { return w.core() == std::nullopt; }, kNsPerSecond));
        ScriptedHost again(w.world);
        ASSERT_TRUE(again.handshake());
        EXPECT_TRUE(again.connect(kQueue, w.admin.cntlid).status().ok());
    });
}

TEST(TargetMove, WhatTheHostSetsReachesAQueueThatMoves) {
    at_every_moment([](MovingWorld& w) {
        w.world.add_malloc("Busy", TargetWorld::kBlocks, TargetWorld::kBlockBytes);
        auto layer = std::make_unique<bdev::ErrorBdev>(
            bdev::ErrorOptions{.name = "Error0", .uuid = {}}, *w.world.registry->find("Busy"));
        bdev::ErrorBdev& error = *layer;
        BASALT_ASSERT(w.world.registry->add(std::move(layer)).has_value());
        // The last of several settings counts, whichever way each of them went.
        for (const bool heeds_delays : {true, false, true}) {
            Bytes behavior(512);
            behavior[0] = std::byte{heeds_delays};
            ASSERT_TRUE(w.admin.set_feature_data(NVME_FEAT_FID_HOST_BEHAVIOR, behavior).ok());
        }
        const Nsid busy = w.world.add_namespace("Error0");
        bdev::ErrorInjection injection;
        injection.error = bdev::InjectedError::kNoMemory;
        w.world.expect_ok(error.inject(*w.world.control, w.world.registry->cores(), injection));
        const NvmeStatus answer = w.write(0, pattern(4096, 1), busy);
        EXPECT_FALSE(answer.ok());
        EXPECT_NE(answer.crd, 0U);
    });
}

TEST(TargetMove, ACommandThatWaitsForTheMoveCanBeAborted) {
    MovingWorld w;
    const CoreId from = *w.core();
    // As long as the host owes data its commands are taken, and wait without a buffer.
    const R2t r2t = w.begin_large_write(0);
    w.world.expect_ok(w.begin_move(w.other_core()));
    const auto cid = w.next_cid;
    w.io.send(w.io.capsule(w.transfer(nvme_cmd_write, 64, kLargeBytes / 512)));
    EXPECT_TRUE(w.io.next_pdu(kNsPerMs).empty()) << "no R2T";
    Sqe abort = make_command(nvme_admin_abort_cmd, w.admin.next_cid(), Nsid(0));
    abort.cdw10.set(kQueue.raw() | (uint32_t{cid} << 16U));
    EXPECT_EQ(w.admin.command(abort).dw0.get(), 0U);
    const Cqe ended = w.io.completion();
    EXPECT_EQ(ended.command_id.get(), cid);
    EXPECT_TRUE(ended.status().is(status::kAbortRequested));
    w.io.send(w.io.h2c_data(r2t, 0, pattern(kLargeBytes, 3), true));
    EXPECT_TRUE(w.io.completion().status().ok());
    EXPECT_TRUE(
        w.world.world.run_until([&] { return w.core() == CoreId(1 - from.raw()); }, kNsPerMs));
    EXPECT_TRUE(w.write(0, pattern(4096, 2)).ok());
}

TEST(TargetMove, EveryCommandIsAnsweredOnceWhenItCouldBeAborted) {
    at_every_moment([](MovingWorld& w) {
        const auto cid = w.next_cid;
        w.io.send(w.io.capsule(w.transfer(nvme_cmd_write, 0, kLargeBytes / 512)));
        Sqe abort = make_command(nvme_admin_abort_cmd, w.admin.next_cid(), Nsid(0));
        abort.cdw10.set(kQueue.raw() | (uint32_t{cid} << 16U));
        const Cqe answer = w.admin.command(abort);
        const bool was_aborted = answer.dw0.get() == 0;
        uint32_t completions = 0;
        while (true) {
            const Bytes pdu = w.io.next_pdu(10 * kNsPerMs);
            if (pdu.empty()) {
                break;
            }
            if (ScriptedHost::type_of(pdu) == PduType::kR2t) {
                w.io.send(
                    w.io.h2c_data(ScriptedHost::as<R2t>(pdu), 0, pattern(kLargeBytes, 5), true));
                continue;
            }
            ++completions;
            EXPECT_EQ(ScriptedHost::as<CapsuleResp>(pdu).cqe.status().ok(), !was_aborted);
        }
        EXPECT_EQ(completions, 1U);
    });
}

TEST(TargetMove, ANamespaceThatIsRemovedIsGoneForCommandsThatTravelAlong) {
    at_every_moment([](MovingWorld& w) {
        Task<Status> removing = w.world.target->remove_namespace(MovingWorld::nqn(), Nsid(1));
        w.io.send(w.io.capsule(w.transfer(nvme_cmd_write, 0, kLargeBytes / 512)));
        while (true) {
            const Bytes pdu = w.io.next_pdu(kNsPerSecond);
            ASSERT_FALSE(pdu.empty());
            if (ScriptedHost::type_of(pdu) != PduType::kR2t) {
                break;
            }
            w.io.send(w.io.h2c_data(ScriptedHost::as<R2t>(pdu), 0, pattern(kLargeBytes, 5), true));
        }
        EXPECT_TRUE(w.world.world.run_until([&] { return removing.is_done(); }, kNsPerSecond));
        EXPECT_TRUE(w.write(0, pattern(4096, 1)).is(status::kInvalidNamespace));
        EXPECT_FALSE(w.io.is_closed);
    });
}

TEST(TargetMove, KeepAlivesCountWhileAQueueMoves) {
    TargetWorld world(3);
    AdminHost admin(world, TargetWorld::kNqn, 1000);
    ScriptedHost io(world);
    ASSERT_TRUE(io.handshake());
    ASSERT_TRUE(io.connect(kQueue, admin.cntlid).status().ok());
    for (uint32_t i = 0; i < 40; ++i) {
        static_cast<void>(world.run(world.target->move_queue(
            std::string(TargetWorld::kNqn), admin.cntlid, kQueue, CoreId(i % 2))));
        world.world.run_for(500 * kNsPerMs);
        EXPECT_TRUE(admin.command(make_command(nvme_admin_keep_alive, admin.next_cid(), Nsid(0)))
                        .status()
                        .ok());
    }
    EXPECT_FALSE(admin.is_closed);
    EXPECT_FALSE(io.is_closed);
}

}  // namespace
}  // namespace basalt::nvmf
