#include "replication/core/replica_core.h"

#include <gtest/gtest.h>

namespace basalt::replication {
namespace {

const Settings kSettings{.blocks = 128, .window_ops = 4, .reads = 4};

Message message(MessageKind kind, uint64_t epoch) {
    return {.kind = kind, .epoch = Epoch(epoch), .tenure = Epoch(epoch), .session = 1};
}

Message write(uint64_t epoch, uint64_t count, BlockRange range) {
    Message out = message(MessageKind::kWrite, epoch);
    out.number = {Epoch(epoch), count};
    out.range = range;
    return out;
}

/// A replica that took part in the beginning of epoch 1.
ReplicaState member() {
    ReplicaState state(kSettings);
    state.fence = state.agreed = Epoch(1);
    return state;
}

const ReplicaAction& only(ReplicaCore::Actions actions) {
    EXPECT_EQ(actions.size(), 1U);
    return actions[0];
}

Errc answer(ReplicaCore::Actions actions) {
    EXPECT_EQ(only(actions).kind, ReplicaAction::Kind::kReply);
    return only(actions).reply.status;
}

uint32_t slot_of(ReplicaCore::Actions actions) {
    EXPECT_EQ(only(actions).kind, ReplicaAction::Kind::kStore);
    return only(actions).slot;
}

TEST(ReplicaCore, RefusesAnOlderEpochForEver) {
    ReplicaCore core(kSettings, member());
    const uint32_t slot = slot_of(core.apply(message(MessageKind::kFence, 2)));
    EXPECT_EQ(answer(core.stored(slot, Errc::kOk)), Errc::kOk);
    const ReplicaAction refused = only(core.apply(write(1, 1, {0, 1})));
    EXPECT_EQ(refused.reply.status, Errc::kStaleEpoch);
    EXPECT_EQ(refused.reply.epoch, Epoch(2));
}

TEST(ReplicaCore, TakesNoWriteBeforeItHasAgreed) {
    ReplicaState state = member();
    state.fence = Epoch(2);
    ReplicaCore core(kSettings, state);
    EXPECT_EQ(answer(core.apply(write(2, 1, {0, 1}))), Errc::kTryAgain);
}

TEST(ReplicaCore, AnswersAFenceWithWhatIsInItsWindow) {
    ReplicaCore core(kSettings, member());
    const uint32_t first = slot_of(core.apply(write(1, 1, {8, 2})));
    // The fence waits for the write that is being stored.
    EXPECT_TRUE(core.apply(message(MessageKind::kFence, 2)).empty());
    const auto actions = core.stored(first, Errc::kOk);
    ASSERT_EQ(actions.size(), 2U);
    const auto fenced = core.stored(actions[1].slot, Errc::kOk);
    ASSERT_EQ(only(fenced).reply.window.size(), 1U);
    EXPECT_EQ(fenced[0].reply.window[0].range, (BlockRange{8, 2}));
    EXPECT_EQ(fenced[0].reply.agreed, Epoch(1));
}

TEST(ReplicaCore, DrawsALineOnlyWhereNothingIsMissing) {
    ReplicaCore core(kSettings, member());
    Message line = write(1, 1, {});
    line.write = WriteKind::kBarrier;
    const auto drawn = core.apply(line);
    EXPECT_TRUE(only(drawn).draws_line);
    EXPECT_EQ(answer(core.stored(slot_of(drawn), Errc::kOk)), Errc::kOk);
    // It comes back to a head of epoch 2, and lacks blocks until it has joined.
    const uint32_t joining = slot_of(core.apply(message(MessageKind::kJoin, 2)));
    EXPECT_EQ(answer(core.stored(joining, Errc::kOk)), Errc::kOk);
    line = write(2, 1, {});
    line.write = WriteKind::kBarrier;
    const auto missed = core.apply(line);
    EXPECT_FALSE(only(missed).draws_line);
    EXPECT_EQ(answer(core.stored(slot_of(missed), Errc::kOk)), Errc::kOk);
    Message joined = message(MessageKind::kJoined, 2);
    joined.generation = line.number;
    const uint32_t whole = slot_of(core.apply(joined));
    EXPECT_EQ(answer(core.stored(whole, Errc::kOk)), Errc::kOk);
    EXPECT_EQ(core.state().history_after, line.number);
    line.number.count = 2;
    EXPECT_TRUE(only(core.apply(line)).draws_line);
}

TEST(ReplicaCore, LetsAnEarlierWriteLeaveNoTraceUnderALaterOne) {
    ReplicaCore core(kSettings, member());
    const uint32_t later = slot_of(core.apply(write(1, 2, {1, 2})));
    EXPECT_TRUE(core.apply(write(1, 1, {0, 4})).empty());  // Waits: they overlap.
    const auto actions = core.stored(later, Errc::kOk);
    ASSERT_EQ(actions.size(), 2U);
    EXPECT_EQ(actions[1].kind, ReplicaAction::Kind::kStore);
    EXPECT_EQ(actions[1].blocks, 0b1001U);
}

TEST(ReplicaCore, StoresAWriteThatIsSentTwiceOnce) {
    ReplicaCore core(kSettings, member());
    const uint32_t slot = slot_of(core.apply(write(1, 1, {0, 1})));
    EXPECT_EQ(answer(core.stored(slot, Errc::kOk)), Errc::kOk);
    EXPECT_EQ(answer(core.apply(write(1, 1, {0, 1}))), Errc::kOk);
    EXPECT_EQ(core.state().window.entries().size(), 1U);
}

TEST(ReplicaCore, ForgetsUpToTheWatermark) {
    ReplicaCore core(kSettings, member());
    for (uint64_t count = 1; count <= 3; ++count) {
        const uint32_t slot = slot_of(core.apply(write(1, count, {count, 1})));
        EXPECT_EQ(answer(core.stored(slot, Errc::kOk)), Errc::kOk);
    }
    Message trim = message(MessageKind::kTrim, 1);
    trim.watermark = {Epoch(1), 2};
    EXPECT_TRUE(core.apply(trim).empty());
    ASSERT_EQ(core.state().window.entries().size(), 1U);
    EXPECT_EQ(core.state().window.entries()[0].number.count, 3U);
    // What every replica has is not stored again, not even late.
    EXPECT_EQ(answer(core.apply(write(1, 1, {1, 1}))), Errc::kOk);
}

TEST(ReplicaCore, AnswersNoTrimNotEvenALateOne) {
    ReplicaState state = member();
    state.fence = Epoch(2);
    ReplicaCore core(kSettings, state);
    EXPECT_TRUE(core.apply(message(MessageKind::kTrim, 1)).empty());
}

TEST(ReplicaCore, KeepsTheBlocksOfItsWindowDirtyWhenItJoins) {
    ReplicaCore core(kSettings, member());
    const uint32_t slot = slot_of(core.apply(write(1, 1, {5, 2})));
    EXPECT_EQ(answer(core.stored(slot, Errc::kOk)), Errc::kOk);
    const uint32_t join = slot_of(core.apply(message(MessageKind::kJoin, 3)));
    const auto actions = core.stored(join, Errc::kOk);
    ASSERT_NE(only(actions).reply.dirty, nullptr);
    EXPECT_EQ(actions[0].reply.dirty->count(), 2U);
    EXPECT_TRUE(core.state().window.entries().empty());
    // Until it has everything, nobody may read it.
    Message read = message(MessageKind::kRead, 3);
    read.range = {0, 1};
    EXPECT_EQ(answer(core.apply(read)), Errc::kTryAgain);
}

TEST(ReplicaCore, LetsNoCopyCoverALaterWrite) {
    ReplicaState state = member();
    state.joining = Epoch(1);
    ReplicaCore core(kSettings, state);
    const uint32_t slot = slot_of(core.apply(write(1, 5, {1, 1})));
    EXPECT_EQ(answer(core.stored(slot, Errc::kOk)), Errc::kOk);
    Message copy = message(MessageKind::kCopy, 1);
    copy.range = {0, 3};
    copy.as_of = {Epoch(1), 4};
    EXPECT_EQ(only(core.apply(copy)).blocks, 0b101U);
}

TEST(ReplicaCore, MarksDirtyOnlyWhatAnAbsentReplicaMisses) {
    ReplicaCore core(kSettings, member());
    Message missed = write(1, 1, {3, 2});
    missed.is_replica_away = true;
    const uint32_t slot = slot_of(core.apply(missed));
    EXPECT_EQ(answer(core.stored(slot, Errc::kOk)), Errc::kOk);
    EXPECT_EQ(core.state().dirty.count(), 2U);
    const uint32_t other = slot_of(core.apply(write(1, 2, {9, 1})));
    EXPECT_EQ(answer(core.stored(other, Errc::kOk)), Errc::kOk);
    EXPECT_EQ(core.state().dirty.count(), 2U);
}

TEST(ReplicaCore, RefusesAnEarlierConnectionOfTheSameHead) {
    ReplicaCore core(kSettings, member());
    Message first = write(1, 1, {0, 1});
    first.session = 2;
    const uint32_t slot = slot_of(core.apply(first));
    EXPECT_EQ(answer(core.stored(slot, Errc::kOk)), Errc::kOk);
    EXPECT_EQ(answer(core.apply(write(1, 2, {0, 1}))), Errc::kStaleEpoch);
}

TEST(ReplicaCore, RefusesRangesThatAreNotThere) {
    ReplicaCore core(kSettings, member());
    EXPECT_EQ(answer(core.apply(write(1, 1, {127, 2}))), Errc::kInvalidArgument);
    EXPECT_EQ(answer(core.apply(write(1, 1, {0, 65}))), Errc::kInvalidArgument);
    EXPECT_EQ(answer(core.apply(write(1, 1, {~uint64_t{0}, 1}))), Errc::kInvalidArgument);
}

TEST(ReplicaCore, RefusesWhatItsWindowHasNoRoomFor) {
    ReplicaCore core(kSettings, member());
    for (uint64_t count = 1; count <= 4 * kWindowEntriesPerOp; ++count) {
        const uint32_t slot = slot_of(core.apply(write(1, count, {count, 1})));
        EXPECT_EQ(answer(core.stored(slot, Errc::kOk)), Errc::kOk);
    }
    EXPECT_EQ(answer(core.apply(write(1, 100, {0, 1}))), Errc::kNoMemory);
}

TEST(ReplicaCore, KeepsRoomForAllThatIsBeingStored) {
    ReplicaCore core(kSettings, member());
    for (uint64_t count = 1; count <= 12; ++count) {
        const uint32_t slot = slot_of(core.apply(write(1, count, {0, 10})));
        EXPECT_EQ(answer(core.stored(slot, Errc::kOk)), Errc::kOk);
    }
    // Either cuts all entries in two, and there is room for one of them.
    Message copy = message(MessageKind::kCopy, 1);
    copy.is_exact = true;
    copy.number = {Epoch(1), 12};
    copy.range = {2, 1};
    const uint32_t slot = slot_of(core.apply(copy));
    copy.range = {6, 1};
    EXPECT_EQ(answer(core.apply(copy)), Errc::kNoMemory);
    EXPECT_EQ(answer(core.stored(slot, Errc::kOk)), Errc::kOk);
    EXPECT_EQ(core.state().window.entries().size(), 25U);
}

TEST(Window, CutLeavesWhatIsOnBothSides) {
    Window window(8);
    window.add({{Epoch(1), 1}, {0, 10}});
    window.add({{Epoch(1), 2}, {3, 2}});
    EXPECT_EQ(window.pieces({2, 4}), 2U);
    window.cut({2, 4});
    ASSERT_EQ(window.entries().size(), 2U);
    EXPECT_EQ(window.entries()[0].range, (BlockRange{0, 2}));
    EXPECT_EQ(window.entries()[1].range, (BlockRange{6, 4}));
    EXPECT_TRUE(window.newest({2, 4}).is_none());
}

TEST(Settings, RefusesQuorumsThatCanNotBe) {
    Settings settings = kSettings;
    EXPECT_TRUE(settings.validate());
    settings.write_quorum = 4;
    EXPECT_FALSE(settings.validate());
    settings = kSettings;
    settings.replicas = 6;
    EXPECT_FALSE(settings.validate());
    settings = kSettings;
    settings.read_quorum = 0;
    EXPECT_FALSE(settings.validate());
    settings = kSettings;
    settings.blocks = 0;
    EXPECT_FALSE(settings.validate());
    settings = kSettings;
    settings.chunk_blocks = kRangeBoundaryBlocks + 1;  // Parts of requests would cross it.
    EXPECT_FALSE(settings.validate());
}

TEST(Settings, LetEachBeginningMeetEachQuorum) {
    for (uint32_t replicas = 1; replicas <= kReplicasMax; ++replicas) {
        for (uint32_t quorum = 1; quorum <= replicas; ++quorum) {
            const Settings settings{.replicas = replicas, .write_quorum = quorum, .blocks = 1};
            for (uint32_t set = quorum; set <= replicas; ++set) {
                EXPECT_GT(settings.takeover_quorum(set) + quorum, set);
                EXPECT_GE(settings.takeover_quorum(set), quorum);
            }
        }
    }
}

}  // namespace
}  // namespace basalt::replication
