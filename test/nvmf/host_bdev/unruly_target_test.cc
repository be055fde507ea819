// Our host at a target that fails, loses or does not answer what a decent one does: the real
// target, with a Meddler before it.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "nvmf/wire/command.h"
#include "reactor/base/log.h"
#include "test/bdev/support/test_io.h"
#include "test/nvmf/host_bdev/meddler.h"
#include "test/nvmf/host_bdev/remote_world.h"
#include "test/nvmf/target/late_bdev.h"

namespace basalt::nvmf {
namespace {

using bdev::IoOp;
using bdev::TestIo;
using Fate = Meddler::Fate;

// What a host asks for, and how long the fence takes then at most (fence_time.h).
constexpr uint64_t kKeepAliveNs = 10 * kNsPerSecond;
constexpr uint64_t kFenceNs = 2 * kKeepAliveNs + kFenceMarginNs;

/// No controller has it.
constexpr uint8_t kUnknownOpcode = 0x7f;

bool is_admin(const Sqe& sqe, uint8_t opcode) {
    return !sqe.is_fabrics() && sqe.opcode == opcode;
}
bool reads_log(const Sqe& sqe, uint8_t lid) {
    return is_admin(sqe, nvme_admin_get_log_page) && GetLogPageView(sqe).lid() == lid;
}

class UnrulyTargetTest : public ::testing::Test {
  protected:
    UnrulyTargetTest() { Log::set_level(LogLevel::kError); }

    bool wait(const std::function<bool()>& condition, uint64_t limit_ns) {
        return at_.world.run_until(condition, limit_ns);
    }
    void submit(TestIo& io, bdev::DeviceChannel& channel, IoOp op, uint64_t first) {
        io.prepare(op, first, 1, channel.info().block_size_bytes);
        io.submit(channel);
    }
    /// Submits and waits for at most a second.
    Errc execute(bdev::DeviceChannel& channel, IoOp op) {
        TestIo io;
        submit(io, channel, op, 3);
        EXPECT_TRUE(wait([&] { return io.is_done(); }, kNsPerSecond));
        return io.code();
    }

    RemoteWorld at_{1};
};

/// One path, with a Meddler, to a subsystem that reports ANA.
class UnrulyAna : public UnrulyTargetTest {
  protected:
    static constexpr std::string_view kNqn = "nqn.2026-11.io.basalt:ana";

    UnrulyAna() {
        SubsystemOptions options;
        options.nqn = kNqn;
        options.allow_any_host = true;
        options.ana_reporting = true;
        at_.expect_ok(at_.target->create_subsystem(options));
        at_.add_malloc("Ana", 64, 512);
        at_.add_namespace(kNqn, "Ana", {});
        EXPECT_TRUE(at_.run(at_.target->add_listener(std::string(kNqn), listener_)));
        AttachOptions attach = at_.options_for(meddler_.address());
        attach.host.subsystem_nqn = kNqn;
        EXPECT_TRUE(at_.attach(attach));
        meddler_.judge = [this](Sqe& sqe) { return judge(sqe); };
    }

    /// What it does to the next `spoiled_left_` commands of the kind that is looked at.
    Fate judge(Sqe& sqe) {
        if (!is_spoiled_(sqe)) {
            return Fate::kPasses;
        }
        seen_ns_.push_back(at_.world.now_ns());
        if (spoiled_left_ == 0) {
            return Fate::kPasses;
        }
        --spoiled_left_;
        sqe.opcode = kUnknownOpcode;
        return fate_;
    }
    void set_state(AnaState state) {
        at_.expect_ok(at_.target->set_ana_state(std::string(kNqn), listener_, state, 0));
    }
    [[nodiscard]] PathAccess access() const { return at_.session(0)->namespaces().at(1).access; }
    /// The path becomes of no use, and all know it.
    void leave() {
        set_state(AnaState::kInaccessible);
        at_.world.run_for(kNsPerSecond);
        ASSERT_EQ(access(), PathAccess::kInaccessible);
        seen_ns_.clear();
    }

    SocketAddress listener_ = sim::World::address(at_.server, 4425);
    Meddler meddler_{at_.world, listener_};
    std::function<bool(const Sqe&)> is_spoiled_ = [](const Sqe& sqe) {
        return reads_log(sqe, NVME_LOG_LID_ANA);
    };
    uint32_t spoiled_left_ = 0;
    Fate fate_ = Fate::kPasses;
    std::vector<uint64_t> seen_ns_;
};

TEST_F(UnrulyAna, ALogThatCannotBeReadIsReadAgainUntilItCan) {
    bdev::DeviceChannel& channel = at_.open("Nvme0n1");
    leave();
    TestIo write;
    submit(write, channel, IoOp::kWrite, 1);
    spoiled_left_ = 3;
    set_state(AnaState::kOptimized);
    // The target tells it once. Nothing but the host's own retry brings the path back.
    EXPECT_TRUE(wait([&] { return write.is_done(); }, 5 * kNsPerSecond));
    EXPECT_EQ(write.code(), Errc::kOk);
    ASSERT_EQ(seen_ns_.size(), 4U);
    for (size_t i = 1; i < seen_ns_.size(); ++i) {
        EXPECT_GE(seen_ns_[i] - seen_ns_[i - 1], kRefreshRetryNs) << "a target in trouble has time";
    }
    at_.world.run_for(10 * kNsPerSecond);
    EXPECT_EQ(seen_ns_.size(), 4U) << "it was read";
    EXPECT_TRUE(at_.session(0)->is_live());
}

TEST_F(UnrulyAna, ALogThatIsNotAnsweredEndsTheAssociationAndIsReadWithTheNext) {
    bdev::DeviceChannel& channel = at_.open("Nvme0n1");
    leave();
    TestIo write;
    submit(write, channel, IoOp::kWrite, 1);
    spoiled_left_ = 1;
    fate_ = Fate::kIsLost;
    set_state(AnaState::kOptimized);
    EXPECT_TRUE(
        wait([&] { return write.is_done(); }, HostOptions{}.command_timeout_ns + 2 * kNsPerSecond));
    EXPECT_EQ(write.code(), Errc::kOk);
    EXPECT_EQ(seen_ns_.size(), 2U);
}

TEST_F(UnrulyAna, NamespacesThatCannotBeListedAreListedAgain) {
    is_spoiled_ = [](const Sqe& sqe) { return is_admin(sqe, nvme_admin_identify); };
    spoiled_left_ = 2;
    at_.add_malloc("More", 64, 512);
    at_.add_namespace(kNqn, "More", {});
    EXPECT_TRUE(wait([&] { return at_.local->find("Nvme0n2") != nullptr; }, 4 * kNsPerSecond));
    EXPECT_GT(seen_ns_.size(), 2U);
}

TEST_F(UnrulyAna, ASessionThatIsStoppedDoesNotReadAgain) {
    leave();
    spoiled_left_ = 1000;
    set_state(AnaState::kOptimized);
    ASSERT_TRUE(wait([&] { return seen_ns_.size() == 2; }, 3 * kNsPerSecond));
    at_.world.run_for(kRefreshRetryNs / 2);  // It has failed: the next is a timer's.
    EXPECT_TRUE(at_.run(at_.remote->detach("Nvme0", {}, at_.problem)));
    at_.world.run_for(5 * kNsPerSecond);
    EXPECT_EQ(seen_ns_.size(), 2U);
    EXPECT_EQ(at_.remote->find("Nvme0"), nullptr);
}

/// Two paths to one subsystem: the first by a Meddler, which is detached, and a plain one. The lost
/// writes of the first wait for its fence; everything else goes on.
class UnrulyEnd : public UnrulyTargetTest {
  protected:
    void attach_both() {
        ASSERT_TRUE(at_.attach(at_.options_for(meddler_.address())));
        ASSERT_TRUE(at_.attach(at_.options_for(at_.address)));
    }
    /// Detaches the first path, with reads and writes on the other all the time. Returns how long
    /// it took.
    uint64_t detach(bdev::DeviceChannel& channel) {
        const uint64_t began_ns = at_.world.now_ns();
        auto detaching =
            at_.remote->detach("Nvme0", {.host = meddler_.address().host()}, at_.problem);
        while (!detaching.is_done() && at_.world.now_ns() - began_ns < 200 * kNsPerSecond) {
            EXPECT_EQ(execute(channel, IoOp::kRead), Errc::kOk);
            EXPECT_EQ(execute(channel, IoOp::kWrite), Errc::kOk);
            at_.world.run_for(kNsPerSecond / 4);
        }
        EXPECT_TRUE(detaching.is_done());
        return at_.world.now_ns() - began_ns;
    }
    /// Nothing of the path is left, neither here nor there, and it may be attached again.
    void expect_gone() {
        EXPECT_EQ(at_.session(0), nullptr);
        EXPECT_TRUE(at_.session(1)->is_live());
        EXPECT_TRUE(wait([&] { return meddler_.open_count() == 0; }, kFenceNs));
        meddler_.is_silent = false;
        meddler_.judge = [](Sqe&) { return Fate::kPasses; };
        EXPECT_TRUE(at_.attach(at_.options_for(meddler_.address())));
    }

    Meddler meddler_{at_.world, at_.address};
};

TEST_F(UnrulyEnd, AControllerThatDoesNotConfirmItsShutdownIsWaitedForNoLongerThanItsFence) {
    LateBdev& late = LateBdev::add(at_, "Late");
    attach_both();
    bdev::DeviceChannel& other = at_.open("Nvme0n1");
    bdev::DeviceChannel& channel = at_.open("Nvme0n" + std::to_string(late.nsid.raw()));
    // It is busy with a write, so CSTS.SHST does not become "complete".
    TestIo write;
    submit(write, channel, IoOp::kWrite, 7);
    ASSERT_TRUE(wait([&] { return late.held_count() == 1; }, kNsPerSecond));
    const uint64_t took_ns = detach(other);
    EXPECT_GT(took_ns, kShutdownTimeoutNs) << "it was told to shut down, and does not";
    EXPECT_LE(took_ns, kFenceNs + kNsPerSecond);
    // Now the lost write has gone by the other path.
    EXPECT_TRUE(wait([&] { return late.held_count() == 2; }, kNsPerSecond));
    EXPECT_FALSE(write.is_done());
    late.release();
    EXPECT_TRUE(wait([&] { return write.is_done(); }, kNsPerSecond));
    EXPECT_EQ(write.code(), Errc::kOk);
    expect_gone();
}

TEST_F(UnrulyEnd, ASilentControllerIsWaitedForNoLongerThanItsFenceWhateverCommandsMayTake) {
    at_.remote->defaults().command_timeout_ns = 0;
    attach_both();
    bdev::DeviceChannel& channel = at_.open("Nvme0n1");
    meddler_.is_silent = true;
    EXPECT_LE(detach(channel), kFenceNs + kNsPerSecond);
    expect_gone();
}

TEST_F(UnrulyEnd, AControllerThatFallsSilentInItsShutdownIsNotWaitedForEither) {
    at_.remote->defaults().command_timeout_ns = 0;
    attach_both();
    bdev::DeviceChannel& channel = at_.open("Nvme0n1");
    // CC is taken, and CSTS never told.
    uint32_t sets = 0;
    meddler_.judge = [&](Sqe& sqe) {
        if (!sqe.is_fabrics() || sqe.fctype() == nvme_fabrics_type_property_set) {
            sets += sqe.is_fabrics() ? 1U : 0U;
            return Fate::kPasses;
        }
        return Fate::kIsLost;
    };
    EXPECT_LE(detach(channel), kFenceNs + kNsPerSecond);
    EXPECT_EQ(sets, 1U);
    expect_gone();
}

TEST_F(UnrulyEnd, WhatIsAskedOfASilentControllerDoesNotHoldItsEndUp) {
    at_.remote->defaults().command_timeout_ns = 0;
    attach_both();
    bdev::DeviceChannel& channel = at_.open("Nvme0n1");
    // The host looks at its namespaces while it is stopped.
    meddler_.judge = [&](Sqe& sqe) {
        meddler_.is_silent |= reads_log(sqe, NVME_LOG_LID_CHANGED_NS);
        return Fate::kPasses;
    };
    at_.add_null("Null1", 1000, 4096);
    const Nsid nsid = at_.add_namespace("Null1");
    ASSERT_TRUE(wait([&] { return meddler_.is_silent; }, kNsPerSecond));
    EXPECT_LE(detach(channel), kFenceNs + kNsPerSecond);
    EXPECT_NE(at_.local->find("Nvme0n" + std::to_string(nsid.raw())), nullptr);
    expect_gone();
}

TEST_F(UnrulyEnd, WhatAControllerNeverAnswersDoesNotHoldItsEndUp) {
    at_.remote->defaults().command_timeout_ns = 0;
    attach_both();
    bdev::DeviceChannel& channel = at_.open("Nvme0n1");
    // All is well with it, its Keep Alive too, but for that.
    uint32_t lost = 0;
    meddler_.judge = [&](Sqe& sqe) {
        const bool is_lost = reads_log(sqe, NVME_LOG_LID_CHANGED_NS);
        lost += is_lost ? 1U : 0U;
        return is_lost ? Fate::kIsLost : Fate::kPasses;
    };
    at_.add_null("Null1", 1000, 4096);
    at_.add_namespace("Null1");
    ASSERT_TRUE(wait([&] { return lost == 1; }, kNsPerSecond));
    EXPECT_LE(detach(channel), kShutdownTimeoutNs + kFenceNs + kNsPerSecond);
    expect_gone();
}

TEST_F(UnrulyEnd, AnAttemptThatMeetsSilenceEndsWhateverCommandsMayTake) {
    at_.remote->defaults().command_timeout_ns = 0;
    attach_both();
    bdev::DeviceChannel& channel = at_.open("Nvme0n1");
    // The admin queue is there again; the first I/O queue's Connect has no answer.
    meddler_.judge = [&](Sqe& sqe) {
        const bool is_connect = sqe.is_fabrics() && sqe.fctype() == nvme_fabrics_type_connect;
        meddler_.is_silent |= is_connect && ConnectView(sqe).qid() != kAdminQueueId;
        return Fate::kPasses;
    };
    auto reset = at_.remote->reset("Nvme0", at_.session(0)->cntlid());
    ASSERT_TRUE(wait([&] { return meddler_.is_silent; }, 5 * kNsPerSecond));
    EXPECT_TRUE(wait([&] { return reset.is_done(); }, kHostAdminTimeoutNs + kFenceNs));
    EXPECT_FALSE(reset.result());
    EXPECT_LE(detach(channel), kHostAdminTimeoutNs + kFenceNs);
    expect_gone();
}

}  // namespace
}  // namespace basalt::nvmf
