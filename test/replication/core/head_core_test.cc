#include "replication/core/head_core.h"

#include <vector>

#include <gtest/gtest.h>

namespace basalt::replication {
namespace {

constexpr uint64_t kLeaseUs = 1'000'000;

/// A head of three replicas that are answered for by hand.
class HeadCoreTest : public ::testing::Test {
  protected:
    explicit HeadCoreTest(const Settings& settings = {.blocks = 128, .window_ops = 4, .reads = 2})
        : core_(settings) {
        for (uint32_t i = 0; i < 3; ++i) {
            give({.kind = HeadEvent::Kind::kLinkUp, .replica = i});
        }
        give({.kind = HeadEvent::Kind::kGranted, .epoch = Epoch(1), .set = ReplicaSet::all(3)});
        answer_all(MessageKind::kFence);
        answer_all(MessageKind::kSettle);
        EXPECT_EQ(count(HeadAction::Kind::kAskOpen), 1U);
        give(
            {.kind = HeadEvent::Kind::kOpenAnswer, .is_granted = true, .lease_until_us = kLeaseUs});
        EXPECT_EQ(core_.state(), HeadCore::State::kOpen);
    }

    void give(HeadEvent event) {
        event.now_us = now_us_;
        const auto actions = core_.apply(event);
        last_.assign(actions.begin(), actions.end());
        for (const HeadAction& action : last_) {
            if (action.kind == HeadAction::Kind::kSend) {
                sent_.push_back(action);
            }
        }
    }

    void answer(const HeadAction& sent, Errc status = Errc::kOk, uint64_t digest = 0) {
        const BlockBitmap dirty(128);
        const Reply reply{.kind = sent.message.kind,
                          .status = status,
                          .epoch = sent.message.epoch,
                          .session = sent.message.session,
                          .id = sent.message.id,
                          .number = sent.message.number,
                          .digest = digest,
                          .dirty = &dirty};
        give({.kind = HeadEvent::Kind::kReply, .replica = sent.replica, .reply = &reply});
    }

    void answer_all(MessageKind kind) {
        const std::vector<HeadAction> sent = take(kind);
        EXPECT_EQ(sent.size(), 3U);
        for (const HeadAction& one : sent) {
            answer(one);
        }
    }

    /// What was sent of that kind since the last time.
    std::vector<HeadAction> take(MessageKind kind) {
        std::vector<HeadAction> taken;
        for (const HeadAction& action : sent_) {
            if (action.message.kind == kind) {
                taken.push_back(action);
            }
        }
        std::erase_if(sent_,
                      [kind](const HeadAction& action) { return action.message.kind == kind; });
        return taken;
    }

    /// How often the last event led to that.
    size_t count(HeadAction::Kind kind) const {
        size_t found = 0;
        for (const HeadAction& action : last_) {
            found += size_t{action.kind == kind};
        }
        return found;
    }

    /// The one of that kind that the last event led to.
    HeadAction only(HeadAction::Kind kind) const {
        EXPECT_EQ(count(kind), 1U);
        for (const HeadAction& action : last_) {
            if (action.kind == kind) {
                return action;
            }
        }
        return {};
    }

    void write(uint64_t tag, BlockRange range) {
        give({.kind = HeadEvent::Kind::kWrite, .tag = tag, .range = range});
    }

    HeadCore core_;
    uint64_t now_us_ = 0;
    std::vector<HeadAction> last_;
    std::vector<HeadAction> sent_;
};

TEST_F(HeadCoreTest, TellsTheHostWhenAQuorumHasTheWrite) {
    write(7, {0, 1});
    const auto sent = take(MessageKind::kWrite);
    ASSERT_EQ(sent.size(), 3U);
    answer(sent[2]);
    EXPECT_EQ(count(HeadAction::Kind::kAnswer), 0U);
    answer(sent[0]);
    EXPECT_EQ(count(HeadAction::Kind::kAnswer), 1U);
    EXPECT_EQ(core_.ops(), 1U);  // One replica lacks it: the watermark stays.
    answer(sent[1]);
    EXPECT_EQ(count(HeadAction::Kind::kAnswer), 0U);
    EXPECT_EQ(core_.ops(), 0U);
    EXPECT_EQ(core_.watermark(), sent[0].message.number);
}

TEST_F(HeadCoreTest, LetsHostsWaitWhenTooManyWritesAreUnderWay) {
    for (uint64_t tag = 1; tag <= 4; ++tag) {
        write(tag, {tag, 1});
    }
    write(5, {5, 1});
    EXPECT_EQ(count(HeadAction::Kind::kLater), 1U);
    const auto sent = take(MessageKind::kWrite);
    ASSERT_EQ(sent.size(), 12U);
    answer(sent[0]);
    answer(sent[1]);
    EXPECT_EQ(count(HeadAction::Kind::kRoom), 0U);
    answer(sent[2]);
    EXPECT_EQ(count(HeadAction::Kind::kRoom), 1U);
}

TEST_F(HeadCoreTest, ReadsOnlyWhereEveryAcknowledgedWriteIs) {
    write(1, {0, 1});
    const auto sent = take(MessageKind::kWrite);
    answer(sent[1]);
    answer(sent[2]);
    for (uint64_t tag = 10; tag < 12; ++tag) {
        give({.kind = HeadEvent::Kind::kRead, .tag = tag, .range = {0, 1}});
    }
    for (const HeadAction& read : take(MessageKind::kRead)) {
        EXPECT_NE(read.replica, 0U);
    }
}

TEST_F(HeadCoreTest, ComparesWhatAllReplicasHave) {
    give({.kind = HeadEvent::Kind::kRead, .tag = 1, .range = {4, 1}, .compares_all = true});
    const auto reads = take(MessageKind::kRead);
    ASSERT_EQ(reads.size(), 3U);
    answer(reads[0], Errc::kOk, 5);
    answer(reads[1], Errc::kOk, 6);
    EXPECT_EQ(count(HeadAction::Kind::kAnswer), 0U);
    answer(reads[2], Errc::kOk, 5);
    const HeadAction told = only(HeadAction::Kind::kAnswer);
    EXPECT_EQ(told.status, Errc::kOk);
    EXPECT_TRUE(told.is_compared);
    EXPECT_EQ(told.different, ReplicaSet::of(reads[1].replica));
    EXPECT_TRUE(told.unreadable.empty());
    const auto copy_read = take(MessageKind::kCopyRead);
    ASSERT_EQ(copy_read.size(), 1U);
    answer(copy_read[0]);
    const auto copy = take(MessageKind::kCopy);
    ASSERT_EQ(copy.size(), 1U);
    EXPECT_EQ(copy[0].replica, reads[1].replica);
    answer(copy[0]);
    EXPECT_EQ(only(HeadAction::Kind::kMended).range, (BlockRange{4, 1}));
}

TEST_F(HeadCoreTest, MendsNoMoreThanOneBlockThatItCompares) {
    give({.kind = HeadEvent::Kind::kRead, .tag = 1, .range = {4, 2}, .compares_all = true});
    const auto reads = take(MessageKind::kRead);
    ASSERT_EQ(reads.size(), 3U);
    // One that is wrong in the other block would be the only one to be asked.
    answer(reads[0], Errc::kDataCorrupt);
    answer(reads[1], Errc::kDataCorrupt);
    answer(reads[2]);
    const HeadAction told = only(HeadAction::Kind::kAnswer);
    EXPECT_EQ(told.unreadable, ReplicaSet::all(3) - ReplicaSet::of(reads[2].replica));
    EXPECT_TRUE(take(MessageKind::kCopyRead).empty());
}

TEST_F(HeadCoreTest, SaysThatNoMajorityAgrees) {
    give({.kind = HeadEvent::Kind::kRead, .tag = 1, .range = {4, 1}, .compares_all = true});
    const auto reads = take(MessageKind::kRead);
    ASSERT_EQ(reads.size(), 3U);
    answer(reads[0], Errc::kOk, 5);
    answer(reads[1], Errc::kOk, 6);
    answer(reads[2], Errc::kDataCorrupt);
    const HeadAction told = only(HeadAction::Kind::kAnswer);
    EXPECT_EQ(told.status, Errc::kDataCorrupt);
    EXPECT_TRUE(told.is_compared);
    EXPECT_EQ(told.unreadable, ReplicaSet::of(reads[2].replica));
    EXPECT_EQ(told.different, ReplicaSet::all(3) - told.unreadable);
    EXPECT_TRUE(take(MessageKind::kCopyRead).empty());
}

TEST_F(HeadCoreTest, DoesNotCompareWhatIsBeingWritten) {
    write(7, {4, 1});
    const auto writes = take(MessageKind::kWrite);
    give({.kind = HeadEvent::Kind::kRead, .tag = 1, .range = {4, 1}, .compares_all = true});
    for (const HeadAction& one : writes) {
        answer(one);
    }
    uint64_t digest = 0;
    for (const HeadAction& one : take(MessageKind::kRead)) {
        answer(one, Errc::kOk, ++digest);
    }
    const HeadAction told = only(HeadAction::Kind::kAnswer);
    EXPECT_EQ(told.status, Errc::kOk);
    EXPECT_FALSE(told.is_compared);
    EXPECT_TRUE(take(MessageKind::kCopyRead).empty());
}

TEST_F(HeadCoreTest, AsksAnotherReplicaAndTellsWhichCopyIsBad) {
    for (const uint32_t blocks : {1U, 2U}) {
        give({.kind = HeadEvent::Kind::kRead, .tag = blocks, .range = {4, blocks}});
        const auto first = take(MessageKind::kRead);
        ASSERT_EQ(first.size(), 1U);
        answer(first[0], Errc::kDataCorrupt);
        const auto second = take(MessageKind::kRead);
        ASSERT_EQ(second.size(), 1U);
        EXPECT_NE(second[0].replica, first[0].replica);
        answer(second[0]);
        const HeadAction told = only(HeadAction::Kind::kAnswer);
        EXPECT_EQ(told.status, Errc::kOk);
        EXPECT_EQ(told.unreadable, ReplicaSet::of(first[0].replica));
        // The other one may have something else than most: that has not been looked at.
        EXPECT_TRUE(take(MessageKind::kCopyRead).empty());
    }
}

TEST_F(HeadCoreTest, AWriteThatComesMeanwhileIsNotUndoneByTheCopyOfABadBlock) {
    const auto find_it = [this](uint64_t tag) {
        give({.kind = HeadEvent::Kind::kRead, .tag = tag, .range = {4, 1}, .compares_all = true});
        const auto reads = take(MessageKind::kRead);
        answer(reads[0], Errc::kDataCorrupt);
        answer(reads[1]);
        answer(reads[2]);
        return take(MessageKind::kCopyRead);
    };
    // What was read may be older than the write, or have a write that is lost later.
    auto copy_read = find_it(1);
    ASSERT_EQ(copy_read.size(), 1U);
    write(2, {4, 1});
    const auto during_read = take(MessageKind::kWrite);
    answer(copy_read[0]);
    EXPECT_TRUE(take(MessageKind::kCopy).empty());
    // While a write is under way none begins.
    EXPECT_TRUE(find_it(3).empty());
    for (const HeadAction& each : during_read) {
        answer(each);
    }
    // One that is on its way says as of when it is, and no replica forgets what is later.
    copy_read = find_it(4);
    ASSERT_EQ(copy_read.size(), 1U);
    answer(copy_read[0]);
    const auto copy = take(MessageKind::kCopy);
    ASSERT_EQ(copy.size(), 1U);
    write(5, {4, 1});
    const auto during_copy = take(MessageKind::kWrite);
    ASSERT_EQ(during_copy.size(), 3U);
    EXPECT_LT(copy[0].message.as_of, during_copy[0].message.number);
    for (const HeadAction& each : during_copy) {
        answer(each);
    }
    EXPECT_LT(core_.watermark(), during_copy[0].message.number);
    answer(copy[0]);
    EXPECT_EQ(core_.watermark(), during_copy[0].message.number);
}

TEST_F(HeadCoreTest, DropsALineOnlyWhenItCanBeDrawnNoMore) {
    give({.kind = HeadEvent::Kind::kSnapshot, .tag = 1});
    const auto line = take(MessageKind::kWrite);
    ASSERT_EQ(line.size(), 3U);
    const OpNumber number = line[0].message.number;
    answer(line[0]);
    answer(line[1]);
    give({.kind = HeadEvent::Kind::kDropLine, .number = number});
    EXPECT_TRUE(take(MessageKind::kDropLine).empty()) << "the third one is about to draw it";
    answer(line[2]);
    write(2, {0, 1});  // Of a later generation.
    give({.kind = HeadEvent::Kind::kDropLine, .number = number});
    const auto drops = take(MessageKind::kDropLine);
    ASSERT_EQ(drops.size(), 3U);
    answer(drops[0], Errc::kIo);
    EXPECT_EQ(count(HeadAction::Kind::kLineDropped), 0U);
    answer(drops[1]);
    const HeadAction told = only(HeadAction::Kind::kLineDropped);
    EXPECT_EQ(told.replica, drops[1].replica);
    EXPECT_EQ(told.number, number);
}

TEST_F(HeadCoreTest, AsksAnotherReplicaWhenOneIsTooSlow) {
    give({.kind = HeadEvent::Kind::kRead, .tag = 1, .range = {4, 2}});
    const auto first = take(MessageKind::kRead);
    now_us_ = kReadTimeoutUs;
    give({.kind = HeadEvent::Kind::kTick});
    const auto second = take(MessageKind::kRead);
    ASSERT_EQ(second.size(), 1U);
    EXPECT_NE(second[0].replica, first[0].replica);
}

TEST_F(HeadCoreTest, TellsNothingWhenItsLeaseIsOver) {
    give({.kind = HeadEvent::Kind::kRead, .tag = 1, .range = {0, 1}});
    now_us_ = kLeaseUs;
    answer(take(MessageKind::kRead)[0]);
    EXPECT_EQ(count(HeadAction::Kind::kAnswer), 0U);
    give({.kind = HeadEvent::Kind::kLease, .lease_until_us = kLeaseUs + 1});
    EXPECT_EQ(count(HeadAction::Kind::kAnswer), 1U);
}

TEST_F(HeadCoreTest, DropsAReplicaThatStaysAwayAndKeepsWhatItMisses) {
    give({.kind = HeadEvent::Kind::kLinkDown, .replica = 2});
    now_us_ = kDropTimeoutUs;
    give({.kind = HeadEvent::Kind::kTick});
    ASSERT_EQ(count(HeadAction::Kind::kAskSet), 1U);
    EXPECT_EQ(last_.back().set, ReplicaSet(0b011));
    give({.kind = HeadEvent::Kind::kSetAnswer, .is_granted = true});
    EXPECT_EQ(core_.epoch(), Epoch(2));
    write(1, {8, 4});
    EXPECT_EQ(core_.blocks_dirty(), 4U);
}

TEST_F(HeadCoreTest, IsOverWhenAReplicaKnowsALaterEpoch) {
    write(1, {0, 1});
    const auto sent = take(MessageKind::kWrite);
    Reply reply{.kind = MessageKind::kWrite,
                .status = Errc::kStaleEpoch,
                .epoch = Epoch(9),
                .session = sent[0].message.session,
                .id = sent[0].message.id,
                .number = sent[0].message.number};
    give({.kind = HeadEvent::Kind::kReply, .replica = 0, .reply = &reply});
    EXPECT_EQ(count(HeadAction::Kind::kSuperseded), 1U);
    EXPECT_EQ(count(HeadAction::Kind::kAnswer), 1U);
    EXPECT_EQ(core_.state(), HeadCore::State::kIdle);
}

TEST_F(HeadCoreTest, LetsTheWritesAfterALineWaitForThoseBeforeIt) {
    write(1, {0, 1});
    const auto before = take(MessageKind::kWrite);
    give({.kind = HeadEvent::Kind::kSnapshot, .tag = 2});
    write(3, {0, 1});
    EXPECT_TRUE(take(MessageKind::kWrite).empty());
    answer(before[0]);
    const auto line = take(MessageKind::kWrite);
    ASSERT_EQ(line.size(), 1U);  // At the replica that has what comes before, and there alone.
    EXPECT_EQ(line[0].message.write, WriteKind::kBarrier);
    answer(line[0]);
    const auto after = take(MessageKind::kWrite);
    ASSERT_EQ(after.size(), 1U);
    EXPECT_EQ(after[0].message.generation, line[0].message.number);
}

TEST_F(HeadCoreTest, DoesNotBelieveAReplicaThatKnowsTheFuture) {
    for (uint64_t epoch = 5; epoch < 9; ++epoch) {
        give({.kind = HeadEvent::Kind::kGranted, .epoch = Epoch(epoch), .set = ReplicaSet::all(3)});
        const auto sent = take(MessageKind::kFence);
        ASSERT_EQ(sent.size(), 3U);
        answer(sent[1]);
        answer(sent[2]);
        const BlockBitmap dirty(128);
        const WindowEntry entry{{Epoch(epoch), 1}, {0, 1}};
        Reply reply{.kind = MessageKind::kFence,
                    .epoch = Epoch(epoch),
                    .session = sent[0].message.session,
                    .id = sent[0].message.id,
                    .dirty = &dirty};
        switch (epoch) {
            case 5: reply.window = std::span(&entry, 1); break;
            case 6: reply.watermark = entry.number; break;
            case 7: reply.generation = entry.number; break;
            case 8: reply.agreed = Epoch(epoch); break;
        }
        give({.kind = HeadEvent::Kind::kReply, .replica = 0, .reply = &reply});
        EXPECT_EQ(core_.state(), HeadCore::State::kRecovering);
        now_us_ += kTakeoverWaitUs;
        give({.kind = HeadEvent::Kind::kTick});
        EXPECT_EQ(take(MessageKind::kSettle).size(), 2U) << epoch;
        give({.kind = HeadEvent::Kind::kLinkUp, .replica = 0});
    }
}

TEST_F(HeadCoreTest, BeginsAnewWithAReplicaThatFailedAndThatItNeeds) {
    give({.kind = HeadEvent::Kind::kLinkDown, .replica = 2});
    now_us_ = kDropTimeoutUs;
    give({.kind = HeadEvent::Kind::kTick});
    give({.kind = HeadEvent::Kind::kSetAnswer, .is_granted = true});
    for (const HeadAction& one : take(MessageKind::kCarryOn)) {
        answer(one);
    }
    write(1, {0, 1});
    const auto sent = take(MessageKind::kWrite);
    ASSERT_EQ(sent.size(), 2U);
    answer(sent[1]);
    answer(sent[0], Errc::kNotFound);
    give({.kind = HeadEvent::Kind::kTick});
    EXPECT_EQ(count(HeadAction::Kind::kResetLink), 1U);
    give({.kind = HeadEvent::Kind::kLinkUp, .replica = 0});
    answer(take(MessageKind::kCarryOn).at(0));
    const auto again = take(MessageKind::kWrite);
    ASSERT_EQ(again.size(), 1U);
    answer(again[0]);
    EXPECT_EQ(count(HeadAction::Kind::kAnswer), 1U);
    give({.kind = HeadEvent::Kind::kTick});
    EXPECT_EQ(count(HeadAction::Kind::kResetLink), 0U);
}

class ComparingHeadCoreTest : public HeadCoreTest {
  protected:
    ComparingHeadCoreTest()
        : HeadCoreTest({.write_quorum = 1, .read_quorum = 2, .blocks = 128, .reads = 2}) {}
};

TEST_F(ComparingHeadCoreTest, AReadDoesNotWaitForReplicasThatWereDropped) {
    give({.kind = HeadEvent::Kind::kRead, .tag = 1, .range = {4, 2}});
    const auto sent = take(MessageKind::kRead);
    ASSERT_EQ(sent.size(), 2U);
    answer(sent[0]);
    for (uint32_t i = 0; i < 3; ++i) {
        if (i != sent[0].replica) {
            give({.kind = HeadEvent::Kind::kLinkDown, .replica = i});
        }
    }
    now_us_ = kDropTimeoutUs;
    give({.kind = HeadEvent::Kind::kLease, .lease_until_us = 2 * kDropTimeoutUs});
    give({.kind = HeadEvent::Kind::kTick});
    give({.kind = HeadEvent::Kind::kSetAnswer, .is_granted = true});
    EXPECT_EQ(core_.set().count(), 1U);
    answer(take(MessageKind::kCarryOn).at(0));
    EXPECT_EQ(count(HeadAction::Kind::kAnswer), 1U);
    EXPECT_EQ(core_.reads(), 0U);
}

TEST(OpTable, KnowsWhatMayBeTouched) {
    OpTable ops(4);
    const BlockRange across{kRangeBoundaryBlocks - 1, 2};
    ops.push_back({.number = {Epoch(1), 1}, .range = across});
    ops.push_back({.number = {Epoch(1), 2}, .range = {1000, 8}});
    ops.push_back({.number = {Epoch(1), 3}, .write = WriteKind::kBarrier});
    EXPECT_TRUE(ops.may_touch({kRangeBoundaryBlocks - 1, 1}));
    EXPECT_TRUE(ops.may_touch({kRangeBoundaryBlocks, 1}));
    EXPECT_TRUE(ops.may_touch({1007, 1}));
    EXPECT_FALSE(ops.may_touch({kRangeBoundaryBlocks * 2, 64}));
    ops.pop_front();
    EXPECT_FALSE(ops.may_touch(across));
    EXPECT_TRUE(ops.may_touch({1000, 1}));
    ops.clear();
    EXPECT_FALSE(ops.may_touch({1000, 1}));
}

TEST_F(HeadCoreTest, ReadsComeAndGoInAnyOrder) {
    for (uint32_t round = 0; round < 5; ++round) {
        give({.kind = HeadEvent::Kind::kRead, .tag = 1, .range = {0, 1}});
        give({.kind = HeadEvent::Kind::kRead, .tag = 2, .range = {8, 1}});
        give({.kind = HeadEvent::Kind::kRead, .tag = 3, .range = {16, 1}});
        EXPECT_EQ(count(HeadAction::Kind::kLater), 1U);
        const auto sent = take(MessageKind::kRead);
        ASSERT_EQ(sent.size(), 2U);
        answer(sent[round % 2]);
        EXPECT_EQ(count(HeadAction::Kind::kRoom), 1U);
        answer(sent[1 - round % 2]);
        EXPECT_EQ(count(HeadAction::Kind::kAnswer), 1U);
        EXPECT_EQ(core_.reads(), 0U);
    }
}

TEST_F(HeadCoreTest, RefusesRangesThatHostsMustNotAskFor) {
    write(1, {127, 2});
    EXPECT_EQ(last_[0].status, Errc::kOutOfRange);
    write(1, {0, 0});
    EXPECT_EQ(last_[0].status, Errc::kInvalidArgument);
    write(1, {0, 65});
    EXPECT_EQ(last_[0].status, Errc::kInvalidArgument);
}

}  // namespace
}  // namespace basalt::replication
