#include "reactor/msg/ring_mailbox.h"

#include <array>
#include <vector>

#include <gtest/gtest.h>

#include "test/reactor/process_memory.h"

namespace basalt {
namespace {

/// Counts its calls.
class CountingWaker final : public Waker {
  public:
    void wake() override { ++calls; }
    uint32_t calls = 0;
};

class RingMailboxTest : public testing::Test {
  protected:
    static constexpr uint32_t kSlots = 8;
    static constexpr uint32_t kCapacity = kSlots - 1;

    RingMailboxTest() {
        const std::array<int32_t, 3> nodes{0, 0, 0};
        auto made = RingMesh::create(process_memory(), nodes, kSlots);
        BASALT_ASSERT(made);
        mesh_ = std::move(*made);
        for (uint32_t i = 0; i < 3; ++i) {
            mesh_->set_waker(CoreId(i), wakers_[i]);
        }
    }

    RingMailbox& box(uint32_t core) { return mesh_->mailbox(CoreId(core)); }

    std::vector<Event*> receive(uint32_t core, size_t limit = 64) {
        std::vector<Event*> out(limit);
        out.resize(box(core).receive(out));
        return out;
    }

    std::array<CountingWaker, 3> wakers_;
    std::unique_ptr<RingMesh> mesh_;
    std::array<Event, 32> events_;
};

TEST_F(RingMailboxTest, DeliversInTheOrderOfEachSender) {
    for (uint32_t i = 0; i < 3; ++i) {
        EXPECT_TRUE(box(0).send(CoreId(2), events_[i]));
        EXPECT_TRUE(box(1).send(CoreId(2), events_[10 + i]));
    }
    EXPECT_EQ(
        receive(2),
        std::vector<Event*>(
            {&events_[0], &events_[1], &events_[2], &events_[10], &events_[11], &events_[12]}));
    EXPECT_TRUE(receive(2).empty());
    EXPECT_TRUE(receive(0).empty());
}

TEST_F(RingMailboxTest, KeepsBothDirectionsOfAPairApart) {
    EXPECT_TRUE(box(0).send(CoreId(1), events_[0]));
    EXPECT_TRUE(box(1).send(CoreId(0), events_[1]));
    EXPECT_EQ(receive(0), std::vector<Event*>({&events_[1]}));
    EXPECT_EQ(receive(1), std::vector<Event*>({&events_[0]}));
}

TEST_F(RingMailboxTest, RefusesWhatDoesNotFitAndTakesItLater) {
    for (uint32_t i = 0; i < kCapacity; ++i) {
        EXPECT_TRUE(box(0).send(CoreId(1), events_[i]));
    }
    EXPECT_FALSE(box(0).send(CoreId(1), events_[kCapacity]));
    EXPECT_TRUE(box(2).send(CoreId(1), events_[20]));
    EXPECT_EQ(receive(1, 1), std::vector<Event*>({&events_[0]}));
    EXPECT_TRUE(box(0).send(CoreId(1), events_[kCapacity]));
    EXPECT_EQ(receive(1).size(), kCapacity + 1);
}

TEST_F(RingMailboxTest, StartsWithAnotherSenderWhenABatchIsFull) {
    for (uint32_t i = 0; i < 4; ++i) {
        EXPECT_TRUE(box(0).send(CoreId(2), events_[i]));
    }
    EXPECT_TRUE(box(1).send(CoreId(2), events_[10]));
    EXPECT_EQ(receive(2, 2), std::vector<Event*>({&events_[0], &events_[1]}));
    EXPECT_EQ(receive(2, 2), std::vector<Event*>({&events_[10], &events_[2]}));
    EXPECT_EQ(receive(2, 2), std::vector<Event*>({&events_[3]}));
}

TEST_F(RingMailboxTest, WakesASleeperOnceAndNobodyElse) {
    EXPECT_TRUE(box(0).send(CoreId(1), events_[0]));
    EXPECT_EQ(wakers_[1].calls, 0U);
    receive(1);

    EXPECT_TRUE(box(1).prepare_sleep());
    EXPECT_TRUE(box(0).send(CoreId(1), events_[0]));
    EXPECT_EQ(wakers_[1].calls, 1U);
    EXPECT_TRUE(box(2).send(CoreId(1), events_[1]));
    EXPECT_EQ(wakers_[1].calls, 1U);
    EXPECT_EQ(wakers_[0].calls + wakers_[2].calls, 0U);
    box(1).awake();
    EXPECT_EQ(receive(1).size(), 2U);
}

TEST_F(RingMailboxTest, RefusesToSleepWhileAMessageWaits) {
    EXPECT_TRUE(box(0).send(CoreId(1), events_[0]));
    EXPECT_FALSE(box(1).prepare_sleep());
    EXPECT_TRUE(box(0).send(CoreId(1), events_[1]));
    EXPECT_EQ(wakers_[1].calls, 0U);  // The announcement was taken back.
    receive(1);
    EXPECT_TRUE(box(1).prepare_sleep());
    box(1).awake();
    EXPECT_TRUE(box(0).send(CoreId(1), events_[0]));
    EXPECT_EQ(wakers_[1].calls, 0U);
    receive(1);
}

TEST_F(RingMailboxTest, DiesIfDestroyedWithAMessageInside) {
    EXPECT_TRUE(box(0).send(CoreId(1), events_[0]));
    EXPECT_DEATH(mesh_.reset(), "rte_ring_empty");
    receive(1);
}

}  // namespace
}  // namespace basalt
