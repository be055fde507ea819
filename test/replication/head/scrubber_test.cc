// Scrubs of a head with real cores behind it: what they find, what is mended, what hosts notice.

#include "replication/head/scrubber.h"

#include <cstring>

#include <gtest/gtest.h>

#include "test/replication/head/cluster.h"

namespace basalt::replication::test {
namespace {

constexpr uint64_t kBlocks = 1024;

class ScrubberTest : public ::testing::Test {
  protected:
    static ClusterOptions options(uint32_t replicas) {
        ClusterOptions how;
        how.settings = {.replicas = replicas,
                        .write_quorum = replicas / 2 + 1,
                        .blocks = kBlocks,
                        .window_ops = 64,
                        .reads = 32,
                        .drop_timeout_us = 1'000'000,
                        .takeover_wait_us = 100'000};
        return how;
    }

    explicit ScrubberTest(uint32_t replicas = 3)
        : cluster_(options(replicas)), scrubber_(cluster_.head()) {
        cluster_.start(0);
        EXPECT_EQ(cluster_.write(0, kBlocks, 7), kOk);
    }

    void wait() {
        EXPECT_TRUE(cluster_.world.run_until([this] { return !scrubber_.state().is_running; },
                                             60 * kNsPerSecond));
        EXPECT_TRUE(cluster_.world.run_until_idle(10 * kNsPerSecond));
    }
    void scrub(uint64_t bytes_per_second = 0) {
        ASSERT_EQ(scrubber_.start(bytes_per_second), kOk);
        EXPECT_EQ(scrubber_.start(0), Errc::kBusy);
        wait();
    }
    /// Has the replica say something else, with a checksum that goes with it.
    void change(uint32_t replica, uint64_t block, uint8_t value) {
        std::memset(
            cluster_.disks[replica]->bytes.data() + block * kBlockBytes, value, kBlockBytes);
    }
    [[nodiscard]] const Findings& findings() { return cluster_.head().findings(); }

    Cluster cluster_;
    Scrubber scrubber_;
};

class ScrubberOfTwoTest : public ScrubberTest {
  protected:
    ScrubberOfTwoTest() : ScrubberTest(2) {}
};

TEST_F(ScrubberTest, FindsNothingWhereAllIsTheSame) {
    scrub();
    EXPECT_TRUE(scrubber_.state().is_finished);
    EXPECT_EQ(scrubber_.state().blocks_done, kBlocks);
    EXPECT_EQ(scrubber_.state().blocks_found, 0U);
    EXPECT_EQ(scrubber_.state().blocks_skipped, 0U);
    EXPECT_TRUE(findings().kept().empty());
}

TEST_F(ScrubberTest, WritesAnewWhatCanNotBeReadAndWhatMostHaveOtherwise) {
    // In one range, each at another replica: only block by block is there a majority.
    cluster_.disks[0]->bad.insert(70);
    change(1, 71, 9);
    cluster_.disks[2]->bad.insert(72);
    change(2, 1023, 3);
    scrub();
    EXPECT_EQ(scrubber_.state().blocks_found, 4U);
    EXPECT_EQ(scrubber_.state().blocks_skipped, 0U);
    EXPECT_EQ(findings().unreadable(), 2U);
    EXPECT_EQ(findings().different(), 2U);
    EXPECT_EQ(findings().undecided(), 0U);
    EXPECT_EQ(findings().mended(), 4U);
    ASSERT_EQ(findings().kept().size(), 4U);
    const Finding& second = findings().kept()[1];
    EXPECT_EQ(second.kind, Finding::Kind::kDifferent);
    EXPECT_EQ(second.replica, 1U);
    EXPECT_EQ(second.range, (BlockRange{71, 1}));
    EXPECT_TRUE(second.is_mended);
    EXPECT_TRUE(second.is_of_scrub);
    EXPECT_TRUE(cluster_.are_disks_alike());
    EXPECT_EQ(cluster_.read(0, kBlocks), 7U);
    scrub();
    EXPECT_EQ(scrubber_.state().blocks_found, 0U);
}

TEST_F(ScrubberOfTwoTest, LeavesAloneWhatNobodyCanDecide) {
    change(0, 5, 9);
    scrub();
    EXPECT_TRUE(scrubber_.state().is_finished);
    EXPECT_EQ(scrubber_.state().blocks_found, 1U);
    EXPECT_EQ(findings().undecided(), 2U);  // Both may be the one that is wrong.
    EXPECT_EQ(findings().mended(), 0U);
    EXPECT_FALSE(cluster_.are_disks_alike());
    // A checksum decides.
    cluster_.disks[0]->bad.insert(5);
    scrub();
    EXPECT_EQ(findings().mended(), 1U);
    EXPECT_TRUE(cluster_.are_disks_alike());
}

TEST_F(ScrubberTest, KeepsToItsRate) {
    const uint64_t began_ns = cluster_.world.now_ns();
    scrub(1024 * 1024);
    const uint64_t took_ns = cluster_.world.now_ns() - began_ns;
    EXPECT_GT(took_ns, 3900 * kNsPerMs);
    EXPECT_LT(took_ns, 5 * kNsPerSecond);
}

TEST_F(ScrubberTest, LetsHostsWriteMeanwhile) {
    ASSERT_EQ(scrubber_.start(0), kOk);
    for (uint64_t i = 0; scrubber_.state().is_running; ++i) {
        ASSERT_EQ(cluster_.write(i % kBlocks, 1, i), kOk);
    }
    wait();
    EXPECT_TRUE(scrubber_.state().is_finished);
    EXPECT_TRUE(findings().kept().empty());
    EXPECT_TRUE(cluster_.are_disks_alike());
}

TEST_F(ScrubberTest, EndsWhenItIsToldToAndWhenAnotherHeadBegins) {
    ASSERT_EQ(scrubber_.start(1024 * 1024), kOk);
    cluster_.world.run_for(kNsPerSecond);
    scrubber_.cancel();
    wait();
    EXPECT_FALSE(scrubber_.state().is_finished);
    EXPECT_GT(scrubber_.state().blocks_done, 0U);
    ASSERT_EQ(scrubber_.start(1024 * 1024), kOk);
    cluster_.world.run_for(kNsPerSecond);
    cluster_.start(1, Claim::kTakeOver);
    wait();
    EXPECT_FALSE(scrubber_.state().is_finished);
}

TEST_F(ScrubberTest, WhatAHostsReadFindsIsListedToo) {
    cluster_.disks[0]->bad.insert(3);
    cluster_.disks[1]->bad.insert(3);
    for (uint32_t i = 0; i < 4; ++i) {
        EXPECT_EQ(cluster_.read(2, 3), 7U);
    }
    EXPECT_TRUE(cluster_.world.run_until_idle(10 * kNsPerSecond));
    EXPECT_TRUE(cluster_.disks[0]->bad.empty());
    EXPECT_TRUE(cluster_.disks[1]->bad.empty());
    ASSERT_EQ(findings().kept().size(), 2U);
    for (const Finding& found : findings().kept()) {
        EXPECT_EQ(found.kind, Finding::Kind::kUnreadable);
        EXPECT_EQ(found.range, (BlockRange{3, 1}));
        EXPECT_TRUE(found.is_mended);
        EXPECT_FALSE(found.is_of_scrub);
    }
    EXPECT_FALSE(scrubber_.state().was_started);
}

TEST_F(ScrubberTest, AHostsReadOfAnUnreadableBlockDoesNotSpreadWhatAnotherHasWrong) {
    // The whole range from whoever answers: replica 1 or 2, which have block 4 and 5 wrong.
    cluster_.disks[0]->bad.insert(3);
    change(1, 4, 9);
    change(2, 5, 9);
    for (uint32_t i = 0; i < 6; ++i) {
        static_cast<void>(cluster_.read(2, 5));
        EXPECT_TRUE(cluster_.world.run_until_idle(10 * kNsPerSecond));
    }
    EXPECT_TRUE(cluster_.are_disks_alike());
    EXPECT_EQ(cluster_.read(0, kBlocks), 7U);
    EXPECT_EQ(findings().mended(), 3U);
    // And what nobody can decide stays: else one that is wrong would become two.
    cluster_.disks[0]->bad.insert(8);
    change(1, 8, 9);
    for (uint32_t i = 0; i < 6; ++i) {
        static_cast<void>(cluster_.read(8));
        EXPECT_TRUE(cluster_.world.run_until_idle(10 * kNsPerSecond));
    }
    EXPECT_EQ(cluster_.disks[0]->bad.size(), 1U);
    EXPECT_EQ(findings().mended(), 3U);
}

TEST_F(ScrubberTest, LooksAtWhatReadsFindBesideAScrubAndWithAReplicaAway) {
    ASSERT_TRUE(cluster_.has_settled());
    ASSERT_EQ(scrubber_.start(1024 * 1024), kOk);
    cluster_.disks[0]->bad = {1000, 1010};
    for (uint32_t i = 0; i < 3; ++i) {
        EXPECT_EQ(cluster_.read(1000, 16), 7U);
    }
    cluster_.world.run_for(500 * kNsPerMs);
    EXPECT_TRUE(scrubber_.state().is_running);
    EXPECT_TRUE(cluster_.disks[0]->bad.empty());
    scrubber_.cancel();
    wait();
    cluster_.crash(2);
    ASSERT_EQ(cluster_.write(0, 1, 7), kOk);
    cluster_.world.run_for(3 * kNsPerSecond);
    cluster_.disks[0]->bad = {30};
    for (uint32_t i = 0; i < 3; ++i) {
        EXPECT_EQ(cluster_.read(30, 2), 7U);
    }
    cluster_.world.run_for(kNsPerSecond);
    EXPECT_TRUE(cluster_.disks[0]->bad.empty());
    cluster_.restart(2);
    EXPECT_TRUE(cluster_.has_settled());
}

}  // namespace
}  // namespace basalt::replication::test
