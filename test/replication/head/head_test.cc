// A head with real cores behind it: what hosts get, what it costs, who is dropped and returns.

#include "replication/head/head.h"

#include <cstring>

#include <gtest/gtest.h>

#include "replication/head/scrubber.h"
#include "test/replication/head/cluster.h"

namespace basalt::replication::test {
namespace {

ClusterOptions options(uint32_t replicas = 3, uint32_t write_quorum = 2) {
    ClusterOptions how;
    how.settings = {.replicas = replicas,
                    .write_quorum = write_quorum,
                    .blocks = 1024,
                    .window_ops = 64,
                    .reads = 32,
                    .drop_timeout_us = 1'000'000,
                    .takeover_wait_us = 100'000};
    return how;
}

TEST(Head, DoesWhatHostsAskFor) {
    Cluster cluster(options());
    cluster.start(0);
    // Before it is open, too.
    ASSERT_EQ(cluster.write(3, 2, 11), kOk);
    EXPECT_EQ(cluster.read(3, 2), 11U);
    EXPECT_EQ(cluster.read(2), 0U);
    // Over boundaries of parts and of chunks, in odd pieces.
    ASSERT_EQ(cluster.write(201, 500, 12), kOk);
    EXPECT_EQ(cluster.read(201, 500), 12U);
    EXPECT_EQ(cluster.read(200), 0U);
    EXPECT_EQ(cluster.read(701), 0U);
    HostIo io;
    io.prepare(HeadOp::kCompare, 201, 500, 12);
    EXPECT_EQ(cluster.run(io), kOk);
    io.prepare(HeadOp::kCompare, 200, 500, 12);
    EXPECT_EQ(cluster.run(io), Errc::kCompareMismatch);
    io.prepare(HeadOp::kWriteZeroes, 202, 1);
    EXPECT_EQ(cluster.run(io), kOk);
    EXPECT_EQ(cluster.read(202), 0U);
    io.prepare(HeadOp::kUnmap, 203, 821);
    EXPECT_EQ(cluster.run(io), kOk);
    EXPECT_EQ(cluster.read(203, 821), 0U);
    EXPECT_EQ(cluster.read(201), 12U);
    EXPECT_EQ(cluster.write(1023, 2, 1), Errc::kOutOfRange);
    EXPECT_EQ(cluster.write(~uint64_t{0}, 1, 1), Errc::kOutOfRange);
    EXPECT_TRUE(cluster.has_settled());
    EXPECT_TRUE(cluster.are_disks_alike());
}

TEST(Head, TakesARequestThatFillsAllItsRoomManyTimes) {
    ClusterOptions how = options();
    how.memory = {.writes = {4, 4}, .reads = {24, 24}};
    how.settings.window_ops = 4;
    how.settings.reads = 2;
    Cluster cluster(how);
    cluster.start(0);
    std::vector<HostIo> ios(64);
    for (uint64_t i = 0; i < ios.size(); ++i) {
        ios[i].prepare(HeadOp::kWrite, i * 16, 1 + i % 16, i + 1);
        ios[i].submit(cluster.head());
    }
    EXPECT_TRUE(cluster.world.run_until(
        [&] {
            return std::all_of(ios.begin(), ios.end(), [](const HostIo& io) { return io.is_done; });
        },
        10 * kNsPerSecond));
    for (uint64_t i = 0; i < ios.size(); ++i) {
        ios[i].prepare(HeadOp::kRead, i * 16, 1 + i % 16);
        ios[i].submit(cluster.head());
    }
    EXPECT_TRUE(cluster.world.run_until(
        [&] {
            return std::all_of(ios.begin(), ios.end(), [](const HostIo& io) { return io.is_done; });
        },
        10 * kNsPerSecond));
    for (uint64_t i = 0; i < ios.size(); ++i) {
        EXPECT_EQ(ios[i].request.status, kOk);
        EXPECT_EQ(ios[i].value_of(i % 16), i + 1);
    }
}

TEST(Head, CostsNothingWhenNobodyAsks) {
    Cluster cluster(options());
    cluster.start(0);
    ASSERT_EQ(cluster.write(0, 1, 1), kOk);
    // Even the lease ends, and nobody cares.
    EXPECT_TRUE(cluster.world.run_until_idle(10 * kNsPerSecond));
    EXPECT_TRUE(cluster.head().is_at_rest());
    EXPECT_EQ(cluster.head().statistics().ops, 0U);
    cluster.world.run_for(100 * kNsPerSecond);
    EXPECT_EQ(cluster.read(0), 1U);
    EXPECT_TRUE(cluster.world.run_until_idle(10 * kNsPerSecond));
}

TEST(Head, ReadsWaitForALeaseWhenTheAuthorityIsAway) {
    Cluster cluster(options());
    cluster.start(0);
    ASSERT_EQ(cluster.write(0, 1, 5), kOk);
    EXPECT_EQ(cluster.read(0), 5U);
    cluster.world.run_for(2 * kNsPerSecond);
    cluster.seats[0].authority->set_away(true);
    HostIo io;
    io.prepare(HeadOp::kRead, 0, 1);
    io.submit(cluster.head());
    cluster.world.run_for(5 * kNsPerSecond);
    EXPECT_FALSE(io.is_done);
    // Writes need none.
    EXPECT_EQ(cluster.write(1, 1, 6), kOk);
    cluster.seats[0].authority->set_away(false);
    EXPECT_TRUE(cluster.world.run_until([&] { return io.is_done; }, kNsPerSecond));
    EXPECT_EQ(io.value_of(0), 5U);
}

TEST(Head, ReadsGoOnWhileTheLeaseIsRenewed) {
    Cluster cluster(options());
    cluster.start(0);
    ASSERT_EQ(cluster.write(0, 1, 5), kOk);
    uint64_t longest_ns = 0;
    for (uint32_t i = 0; i < 500; ++i) {
        const uint64_t start_ns = cluster.world.now_ns();
        ASSERT_EQ(cluster.read(0), 5U);
        longest_ns = std::max(longest_ns, cluster.world.now_ns() - start_ns);
        cluster.world.run_for(10 * kNsPerMs);
    }
    EXPECT_LT(longest_ns, 5 * kNsPerMs);
}

TEST(Head, DropsAReplicaThatIsSilentAndTakesItBackWithWhatItMissed) {
    Cluster cluster(options());
    cluster.start(0);
    ASSERT_EQ(cluster.write(0, 1000, 1), kOk);
    ASSERT_TRUE(cluster.has_settled());
    // The last word is on its way: what is in its window would be copied, too.
    ASSERT_TRUE(cluster.world.run_until_idle(kNsPerSecond));
    cluster.replicas[2]->set_stopped(true);
    for (uint64_t i = 0; i < 20; ++i) {
        ASSERT_EQ(cluster.write(i * 40, 2, 100 + i), kOk);
        EXPECT_EQ(cluster.read(i * 40, 2), 100 + i);
    }
    EXPECT_TRUE(cluster.world.run_until(
        [&] { return cluster.head().statistics().set == ReplicaSet(3); }, 5 * kNsPerSecond));
    EXPECT_EQ(cluster.head().statistics().drops, 1U);
    ASSERT_EQ(cluster.write(900, 4, 200), kOk);
    ASSERT_EQ(cluster.write(240, 32, 201), kOk);  // No copy may cross 1 MiB.
    const uint64_t copied = cluster.replicas[2]->blocks_copied();
    cluster.replicas[2]->set_stopped(false);
    ASSERT_TRUE(cluster.has_settled());
    EXPECT_EQ(cluster.head().statistics().returns, 1U);
    EXPECT_TRUE(cluster.are_disks_alike());
    EXPECT_LE(cluster.replicas[2]->blocks_copied() - copied, 76U);
}

TEST(Head, OutlivesTheDeathOfAReplicaWithoutAPause) {
    Cluster cluster(options());
    cluster.start(0);
    ASSERT_EQ(cluster.write(0, 64, 1), kOk);
    cluster.crash(0);
    uint64_t longest_ns = 0;
    for (uint64_t i = 0; i < 300; ++i) {
        const uint64_t start_ns = cluster.world.now_ns();
        ASSERT_EQ(cluster.write(i % 64, 1, i + 10), kOk);
        ASSERT_EQ(cluster.read(i % 64), i + 10);
        longest_ns = std::max(longest_ns, cluster.world.now_ns() - start_ns);
    }
    // What was read from it is read from another one when the time is over.
    EXPECT_LT(longest_ns, (cluster.settings().read_timeout_us + 100'000) * kNsPerUs);
    cluster.restart(0);
    ASSERT_TRUE(cluster.has_settled());
    EXPECT_TRUE(cluster.are_disks_alike());
}

/// The longest of many writes, `depth` at a time, with a replica that has just fallen silent.
uint64_t longest_write_ns(ClusterOptions how) {
    how.settings.drop_timeout_us = 5'000'000;
    Cluster cluster(how);
    cluster.start(0);
    EXPECT_EQ(cluster.write(0, 64, 1), kOk);
    cluster.replicas[2]->set_stopped(true);
    struct Writer {
        HostIo io;
        uint64_t begin_ns = 0;
    };
    std::array<Writer, 16> writers;
    const uint64_t end_ns = cluster.world.now_ns() + kNsPerSecond;
    uint64_t longest_ns = 0;
    uint64_t count = 0;
    const auto step = [&](bool is_to_go_on) {
        bool is_done = true;
        for (Writer& writer : writers) {
            if (!writer.io.is_done) {
                is_done = false;
                continue;
            }
            if (writer.begin_ns != 0) {
                longest_ns = std::max(longest_ns, cluster.world.now_ns() - writer.begin_ns);
                EXPECT_EQ(writer.io.request.status, kOk);
                writer.begin_ns = 0;
            }
            if (is_to_go_on) {
                ++count;
                writer.io.prepare(HeadOp::kWrite, count % 900, 1 + count % 8, count);
                writer.begin_ns = cluster.world.now_ns();
                writer.io.submit(cluster.head());
            }
        }
        return is_done;
    };
    while (cluster.world.now_ns() < end_ns) {
        step(true);
        cluster.world.run_for(50 * kNsPerUs);
    }
    EXPECT_TRUE(cluster.world.run_until([&] { return step(false); }, 10 * kNsPerSecond));
    EXPECT_EQ(cluster.head().statistics().drops, 1U);
    EXPECT_GT(count, 1000U);
    cluster.replicas[2]->set_stopped(false);
    EXPECT_TRUE(cluster.has_settled());
    EXPECT_TRUE(cluster.are_disks_alike());
    return longest_ns;
}

TEST(Head, HostsDoNotWaitForASilentReplicaWhenTheWindowIsFull) {
    // Silent for 50 ms, found in a tick of 25, then a word with the authority.
    EXPECT_LT(longest_write_ns(options()), 100 * kNsPerMs);
}

TEST(Head, HostsDoNotWaitForASilentReplicaWhenItsWritesHoldTheMemory) {
    ClusterOptions how = options();
    how.settings.window_ops = 1024;
    how.memory.writes = {24, 24};
    EXPECT_LT(longest_write_ns(how), 100 * kNsPerMs);
}

TEST(Head, CopiesNoFasterThanItMay) {
    ClusterOptions how = options();
    how.settings.resync_bytes_per_second = 2U << 20;
    Cluster cluster(how);
    cluster.start(0);
    ASSERT_EQ(cluster.write(0, 1024, 1), kOk);
    ASSERT_TRUE(cluster.has_settled());
    cluster.crash(1);
    // A new drive: all of the 4 MiB, across every boundary.
    *cluster.disks[1] = ReplicaDisk(cluster.settings());
    cluster.disks[1]->state.is_blank = true;
    ASSERT_EQ(cluster.write(3, 3, 2), kOk);
    ASSERT_TRUE(cluster.world.run_until([&] { return cluster.head().statistics().drops == 1; },
                                        3 * kNsPerSecond));
    cluster.restart(1);
    const uint64_t start_ns = cluster.world.now_ns();
    ASSERT_TRUE(cluster.has_settled());
    const uint64_t took_ns = cluster.world.now_ns() - start_ns;
    EXPECT_GT(took_ns, 1'800 * kNsPerMs);
    EXPECT_LT(took_ns, 3'300 * kNsPerMs);
    EXPECT_TRUE(cluster.are_disks_alike());
    EXPECT_EQ(cluster.head().statistics().copied_blocks, 1024U);
}

TEST(Head, HasABlockMendedThatCanNotBeRead) {
    Cluster cluster(options());
    const Scrubber scrubber(cluster.head());
    cluster.start(0);
    ASSERT_EQ(cluster.write(0, 8, 9), kOk);
    ASSERT_TRUE(cluster.has_settled());
    cluster.disks[0]->bad.insert(5);
    std::memset(cluster.disks[0]->bytes.data() + 5 * size_t{kBlockBytes}, 0xff, kBlockBytes);
    EXPECT_EQ(cluster.read(0, 8), 9U);
    ASSERT_TRUE(cluster.has_settled());
    EXPECT_TRUE(cluster.disks[0]->bad.empty());
    EXPECT_TRUE(cluster.are_disks_alike());
    EXPECT_EQ(cluster.head().statistics().repairs, 1U);
}

TEST(Head, DropsALineAtAllReplicasWhenTheyCount) {
    Cluster cluster(options());
    cluster.start(0);
    const auto draw = [&cluster] {
        HostIo io;
        io.prepare(HeadOp::kSnapshot, 0, 0);
        EXPECT_EQ(cluster.run(io), kOk);
        return io.request.generation;
    };
    const auto drop = [&cluster](OpNumber line, ReplicaSet who) {
        return cluster.world.run_until([&] { return cluster.head().drop_line(line) == who; },
                                       5 * kNsPerSecond);
    };
    ASSERT_EQ(cluster.write(0, 8, 9), kOk);
    const OpNumber first = draw();
    const OpNumber second = draw();
    ASSERT_TRUE(cluster.has_settled());
    cluster.crash(2);
    ASSERT_EQ(cluster.write(0, 8, 10), kOk);
    EXPECT_TRUE(drop(first, ReplicaSet(0b011)));
    cluster.restart(2);
    EXPECT_TRUE(drop(first, ReplicaSet::all(3)));
    // Another head asks again, and one that is not there is not there.
    cluster.start(1, Claim::kTakeOver);
    ASSERT_TRUE(cluster.open(1));
    EXPECT_TRUE(cluster.world.run_until(
        [&] { return cluster.head(1).drop_line(first) == ReplicaSet::all(3); }, 5 * kNsPerSecond));
    EXPECT_TRUE(cluster.head(0).drop_line(second).empty()) << "it is not the head any more";
    EXPECT_TRUE(cluster.world.run_until_idle(10 * kNsPerSecond));
    for (const auto& disk : cluster.disks) {
        ASSERT_EQ(disk->snapshots.size(), 1U);
        EXPECT_EQ(disk->snapshots.begin()->first, second);
    }
}

TEST(Head, AnotherHeadTakesOverAndGivesBack) {
    Cluster cluster(options());
    cluster.start(0);
    ASSERT_EQ(cluster.write(0, 4, 1), kOk);
    cluster.start(1);
    EXPECT_TRUE(cluster.world.run_until(
        [&] { return cluster.head(1).statistics().is_other_chosen; }, kNsPerSecond));
    EXPECT_EQ(cluster.write(0, 1, 2, 1), Errc::kStaleEpoch);
    // What is under way when it happens gets an answer, and only one.
    std::vector<HostIo> ios(200);
    for (uint64_t i = 0; i < ios.size(); ++i) {
        ios[i].prepare(i % 2 == 0 ? HeadOp::kWrite : HeadOp::kRead, 100 + i, 3, 7);
        ios[i].submit(cluster.head(0));
    }
    cluster.head(1).take_over();
    EXPECT_FALSE(cluster.head(1).statistics().is_other_chosen);
    EXPECT_TRUE(cluster.world.run_until(
        [&] {
            return std::all_of(ios.begin(), ios.end(), [](const HostIo& io) { return io.is_done; });
        },
        kNsPerSecond));
    uint64_t stale = 0;
    for (const HostIo& io : ios) {
        stale += uint64_t{io.request.status == Errc::kStaleEpoch};
    }
    EXPECT_GT(stale, 0U);
    const uint64_t start_ns = cluster.world.now_ns();
    EXPECT_EQ(cluster.read(0, 4, 1), 1U);
    // The old head gave its lease up: nobody waits for its end.
    EXPECT_LT(cluster.world.now_ns() - start_ns, 300 * kNsPerMs);
    ASSERT_EQ(cluster.write(0, 4, 2, 1), kOk);
    EXPECT_EQ(cluster.write(0, 4, 3, 0), Errc::kStaleEpoch);
    // It stops, and the other one goes on.
    cluster.head(1).stop();
    cluster.seats[1].is_started = false;
    ASSERT_TRUE(cluster.open(0));
    EXPECT_EQ(cluster.read(0, 4, 0), 2U);
    ASSERT_TRUE(cluster.has_settled(0));
    EXPECT_TRUE(cluster.are_disks_alike());
}

TEST(Head, SnapshotsAreTheSameEverywhere) {
    Cluster cluster(options());
    cluster.start(0);
    ASSERT_EQ(cluster.write(0, 8, 1), kOk);
    HostIo line;
    line.prepare(HeadOp::kSnapshot, 0, 0);
    ASSERT_EQ(cluster.run(line), kOk);
    ASSERT_EQ(cluster.write(0, 8, 2), kOk);
    ASSERT_TRUE(cluster.has_settled());
    EXPECT_EQ(cluster.head().statistics().generation, line.request.generation);
    for (const auto& disk : cluster.disks) {
        const auto found = disk->snapshots.find(line.request.generation);
        ASSERT_NE(found, disk->snapshots.end());
        uint64_t value = 0;
        std::memcpy(&value, found->second.data(), sizeof(value));
        EXPECT_EQ(value, 1U);
    }
}

}  // namespace
}  // namespace basalt::replication::test
