#include "bdev/store/partition.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "test/bdev/store/partition_node.h"
#include "test/reactor/may_leak.h"

namespace basalt::bdev::store {
namespace {

using basalt::test::MayLeak;
using test::PartitionNode;
using test::TestPartitionIo;

/// A partition with one node, 1, that holds nothing.
class PartitionTest : public testing::Test {
  protected:
    PartitionTest() : node_(1) {
        node_.format();
        node_.partition->set_node({.id = 1});
        EXPECT_EQ(node_.open(), Errc::kOk);
    }

    void reopen(const std::vector<NodeEntry>& nodes) {
        node_.crash();
        for (const NodeEntry& entry : nodes) {
            node_.partition->set_node(entry);
        }
        ASSERT_EQ(node_.open(), Errc::kOk);
        node_.check();
    }

    MayLeak leak_;
    PartitionNode node_;
};

TEST_F(PartitionTest, ReadsWhatWasWrittenAndZeroesElsewhere) {
    EXPECT_EQ(node_.write(1, 100, 5, 1000), Errc::kOk);
    EXPECT_EQ(node_.read(1, 99), 0U);
    for (uint64_t i = 0; i < 5; ++i) {
        EXPECT_EQ(node_.read(1, 100 + i), 1000 + i);
    }
    EXPECT_EQ(node_.read(1, 105), 0U);
    EXPECT_EQ(node_.read(1, uint64_t{1} << 40U), 0U);
    EXPECT_EQ(node_.partition->mapped_blocks(1), 5U);
    node_.check();
}

TEST_F(PartitionTest, TheLargestWriteAcrossPagesSurvivesACrash) {
    EXPECT_EQ(node_.write(1, 65536 - 100, 256, 5000), Errc::kOk);
    reopen({{.id = 1}});
    for (uint64_t i = 0; i < 256; ++i) {
        ASSERT_EQ(node_.read(1, 65536 - 100 + i), 5000 + i);
    }
    EXPECT_EQ(node_.partition->mapped_blocks(1), 256U);
}

TEST_F(PartitionTest, AnUnmapFreesAndReadsAsZeroes) {
    EXPECT_EQ(node_.write(1, 0, 256, 1), Errc::kOk);
    EXPECT_EQ(node_.write(1, 1000, 256, 1000), Errc::kOk);
    const uint64_t used = node_.partition->stats().data_blocks_used;
    EXPECT_EQ(used, 512U);
    EXPECT_EQ(node_.unmap(1, 10, uint64_t{1} << 30U), Errc::kOk);
    EXPECT_EQ(node_.partition->stats().data_blocks_used, 10U);
    EXPECT_EQ(node_.read(1, 9), 10U);
    EXPECT_EQ(node_.read(1, 10), 0U);
    EXPECT_EQ(node_.read(1, 1100), 0U);
    reopen({{.id = 1}});
    EXPECT_EQ(node_.read(1, 9), 10U);
    EXPECT_EQ(node_.read(1, 1100), 0U);
    EXPECT_EQ(node_.partition->stats().data_blocks_used, 10U);
}

TEST_F(PartitionTest, CountsWhatItCosts) {
    EXPECT_EQ(node_.write(1, 0, 30, 100), Errc::kOk);
    PartitionStats stats = node_.partition->stats();
    EXPECT_EQ(stats.writes, 1U);
    EXPECT_EQ(stats.write_pieces, 1U) << "empty space is in one piece";
    EXPECT_EQ(stats.log_records_written, 3U) << "the slab, the map's beginning, the write";
    EXPECT_GT(stats.log_depth, 0U);
    EXPECT_GT(stats.mapping_bytes, uint64_t{stats.pages_cached} * kBlockBytes);
    EXPECT_GE(stats.mapping_bytes_max, uint64_t{node_.options.cache_pages} * kBlockBytes);
    // Every other block is free: a write is put into as many pieces as it has blocks.
    for (uint64_t first = 30; node_.write(1, first, 1, first) == Errc::kOk; ++first) {
    }
    for (uint64_t block = 0; block < 2000; block += 2) {
        EXPECT_EQ(node_.unmap(1, block, 1), Errc::kOk);
    }
    const uint64_t before = node_.partition->stats().write_pieces;
    EXPECT_EQ(node_.write(1, 0, 10, 7), Errc::kOk);
    EXPECT_GT(node_.partition->stats().write_pieces, before + 5);
    EXPECT_EQ(node_.code(node_.partition->checkpoint()), Errc::kOk);
    stats = node_.partition->stats();
    EXPECT_LT(stats.log_depth, 3U);
    EXPECT_EQ(stats.pages_dirty, 0U);
    EXPECT_LT(stats.checkpoint_age_ns, kNsPerSecond);
}

TEST_F(PartitionTest, AnUnmapDoesNotOvertakeAWriteIntoAHole) {
    TestPartitionIo write(PartitionOp::kWrite, 1, 70000, 1);
    write.fill(0, 777);
    TestPartitionIo unmap(PartitionOp::kUnmap, 1, 0, uint64_t{1} << 20U);
    write.submit(*node_.partition);
    unmap.submit(*node_.partition);
    const auto are_done = [&] { return write.is_done && unmap.is_done; };
    ASSERT_TRUE(node_.world.run_until(are_done, PartitionNode::kWaitNs));
    EXPECT_EQ(node_.read(1, 70000), 0U) << "it was there before the unmap";
}

TEST_F(PartitionTest, ASnapshotKeepsWhatTheHeadWritesOver) {
    EXPECT_EQ(node_.write(1, 0, 10, 100), Errc::kOk);
    node_.snapshot(1, 0, 2);
    EXPECT_EQ(node_.read(2, 3), 103U);
    EXPECT_EQ(node_.write(2, 3, 1, 777), Errc::kOk);
    EXPECT_EQ(node_.read(2, 3), 777U);
    EXPECT_EQ(node_.read(1, 3), 103U);
    EXPECT_EQ(node_.write(1, 0, 1, 1), Errc::kReadOnly);
    EXPECT_EQ(*node_.wait(node_.partition->exclusive_blocks(1)), 1U);
    reopen({{.id = 1, .is_frozen = true}, {.id = 2, .parent = 1}});
    EXPECT_EQ(node_.read(2, 3), 777U);
    EXPECT_EQ(node_.read(1, 3), 103U);
    EXPECT_EQ(node_.read(2, 4), 104U);
}

TEST_F(PartitionTest, SweepingASnapshotFreesWhatOnlyItHeld) {
    EXPECT_EQ(node_.write(1, 0, 200, 100), Errc::kOk);
    EXPECT_EQ(node_.write(1, 70000, 200, 3000), Errc::kOk);
    node_.snapshot(1, 0, 2);
    EXPECT_EQ(node_.write(2, 0, 50, 9000), Errc::kOk);
    EXPECT_EQ(node_.unmap(2, 70000, 20), Errc::kOk);
    EXPECT_EQ(node_.partition->stats().data_blocks_used, 450U);
    node_.partition->set_node({.id = 1, .is_frozen = true, .is_hidden = true});
    EXPECT_EQ(node_.sweep(1), Errc::kOk);
    EXPECT_EQ(node_.partition->stats().data_blocks_used, 380U);
    node_.check();
    // The head owns what it shared, also before the catalogue has forgotten the snapshot.
    EXPECT_EQ(node_.write(2, 100, 1, 5), Errc::kOk);
    EXPECT_EQ(node_.partition->stats().data_blocks_used, 380U);
    node_.partition->set_node({.id = 2});
    node_.partition->remove_node(1);
    EXPECT_EQ(node_.unmap(2, 0, 100000), Errc::kOk);
    EXPECT_EQ(node_.partition->stats().data_blocks_used, 0U);
    reopen({{.id = 2}});
    EXPECT_EQ(node_.partition->stats().data_blocks_used, 0U);
}

TEST_F(PartitionTest, SweepingDoesNotNeedThePagesBelowOneThatTheHeadHasToo) {
    // Two chunks, of which the head changes the second: it shares the first's page of level 2.
    EXPECT_EQ(node_.write(1, 0, 10, 100), Errc::kOk);
    EXPECT_EQ(node_.write(1, 70000, 10, 3000), Errc::kOk);
    node_.snapshot(1, 0, 2);
    EXPECT_EQ(node_.write(2, 70000, 1, 9000), Errc::kOk);
    // Nothing is in memory afterwards.
    EXPECT_EQ(node_.code(node_.partition->close()), Errc::kOk);
    reopen({{.id = 1, .is_frozen = true, .is_hidden = true}, {.id = 2, .parent = 1}});
    EXPECT_EQ(node_.sweep(1), Errc::kOk);
    EXPECT_EQ(node_.partition->stats().data_blocks_used, 20U);
    EXPECT_EQ(node_.read(2, 5), 105U);
    EXPECT_EQ(node_.read(2, 70000), 9000U);
    node_.check();
}

TEST_F(PartitionTest, ANodeWithoutAMapTakesItsParentsWhenThatIsSwept) {
    EXPECT_EQ(node_.write(1, 0, 200, 100), Errc::kOk);
    node_.snapshot(1, 0, 2);
    node_.snapshot(2, 1, 3);
    node_.partition->set_node({.id = 1, .is_frozen = true, .is_hidden = true});
    EXPECT_EQ(node_.sweep(1), Errc::kOk);
    EXPECT_EQ(node_.read(2, 7), 107U);
    EXPECT_EQ(node_.read(3, 7), 107U);
    node_.check();
    EXPECT_EQ(node_.write(3, 7, 1, 1), Errc::kOk);
    EXPECT_EQ(node_.read(2, 7), 107U);
    reopen({{.id = 1, .is_frozen = true, .is_hidden = true},
            {.id = 2, .parent = 1, .is_frozen = true},
            {.id = 3, .parent = 2}});
    EXPECT_EQ(node_.read(2, 7), 107U);
    EXPECT_EQ(node_.read(3, 7), 1U);
}

TEST_F(PartitionTest, AFullPartitionSaysSoAndGetsEmptyAgain) {
    uint64_t first = 0;
    Errc code = Errc::kOk;
    while (code == Errc::kOk) {
        code = node_.write(1, first, 256, first + 1);
        first += code == Errc::kOk ? 256U : 0U;
    }
    EXPECT_EQ(code, Errc::kNoSpace);
    EXPECT_GT(first, 4000U);
    EXPECT_EQ(node_.read(1, 300), 301U);
    node_.check();
    EXPECT_EQ(node_.unmap(1, 0, first), Errc::kOk);
    EXPECT_EQ(node_.partition->stats().data_blocks_used, 0U);
    for (uint64_t again = 0; again < first; again += 256) {
        ASSERT_EQ(node_.write(1, again, 256, again + 5), Errc::kOk) << again << " of " << first;
    }
    node_.check();
    reopen({{.id = 1}});
    EXPECT_EQ(node_.read(1, 300), 305U);
}

TEST_F(PartitionTest, OverwritingAFullPartitionWorksForEver) {
    uint64_t first = 0;
    while (first < 4000 && node_.write(1, first, 250, first + 1) == Errc::kOk) {
        first += 250;
    }
    for (uint32_t round = 0; round < 300; ++round) {
        const uint64_t at = round * 37 % (first - 64);
        ASSERT_EQ(node_.write(1, at, 64, 100'000 + round * 64), Errc::kOk) << round;
    }
    node_.check();
    EXPECT_GT(node_.partition->stats().checkpoints, 0U);
}

TEST_F(PartitionTest, AFlippedBitIsAMediaErrorOfThatBlockAndNeverData) {
    EXPECT_EQ(node_.write(1, 0, 8, 100), Errc::kOk);
    // Find where block 5 lies.
    uint64_t place = 0;
    for (uint64_t block = node_.layout.slabs_first(); place == 0; ++block) {
        std::array<std::byte, kBlockBytes> bytes{};
        const iovec piece{bytes.data(), bytes.size()};
        ASSERT_TRUE(node_.drive.read(block * kBlockBytes, &piece, kBlockBytes).has_value());
        uint64_t tag = 0;
        std::memcpy(&tag, bytes.data(), sizeof(tag));
        place = tag == 105 ? block : 0;
    }
    node_.drive.corrupt(place * kBlockBytes + 1234);
    TestPartitionIo io(PartitionOp::kRead, 1, 0, 8);
    EXPECT_EQ(node_.run(io), Errc::kMediaError);
    const PartitionStats stats = node_.partition->stats();
    ASSERT_EQ(stats.damaged_blocks, 1U);
    EXPECT_EQ(stats.damaged[0].block, 5U);
    EXPECT_EQ(stats.damaged[0].device_block, place);
    EXPECT_EQ(node_.read(1, 4), 104U);
    const auto step = node_.wait(node_.partition->scrub(1, 0));
    ASSERT_TRUE(step.has_value());
    EXPECT_EQ(step->blocks_read, 8U);
    ASSERT_EQ(step->damaged.size(), 1U);
    EXPECT_EQ(step->damaged[0].block, 5U);
    EXPECT_EQ(step->damaged[0].device_block, place);
    EXPECT_EQ(node_.write(1, 5, 1, 55), Errc::kOk);
    EXPECT_EQ(node_.read(1, 5), 55U);
}

TEST_F(PartitionTest, SaysWhatIsDifferentBetweenTwoNodes) {
    EXPECT_EQ(node_.write(1, 0, 100, 100), Errc::kOk);
    node_.snapshot(1, 0, 2);
    EXPECT_EQ(node_.write(2, 50, 10, 500), Errc::kOk);
    EXPECT_EQ(node_.write(2, 70000, 1, 600), Errc::kOk);
    EXPECT_EQ(node_.unmap(2, 0, 2), Errc::kOk);
    const std::vector<ChangedRange> expected{{0, 2, true}, {50, 10}, {70000, 1}};
    std::vector<ChangedRange> found;
    uint64_t from = 0;
    uint32_t steps = 0;
    for (bool is_end = false; !is_end; ++steps) {
        const auto step = node_.wait(node_.partition->changed(1, 2, from));
        ASSERT_TRUE(step.has_value());
        found.insert(found.end(), step->ranges.begin(), step->ranges.end());
        from = step->next;
        is_end = step->is_end;
    }
    EXPECT_EQ(found, expected);
    EXPECT_GT(steps, 1U);  // One looks at 256 pages at most.
    const auto all = node_.wait(node_.partition->changed(0, 1, 0));
    const std::vector<ChangedRange> everything{{0, 100}};
    EXPECT_EQ(all->ranges, everything);
    EXPECT_TRUE(node_.wait(node_.partition->changed(2, 2, 0))->ranges.empty());
}

TEST_F(PartitionTest, ACheckpointSumsAPageAgainThatChangesMeanwhile) {
    EXPECT_EQ(node_.write(1, 0, 4, 100), Errc::kOk);
    TestPartitionIo late(PartitionOp::kWrite, 1, 2, 1);
    late.fill(0, 777);
    const uint64_t before = node_.channel->changes;
    late.submit(*node_.partition);
    const auto is_on_its_way = [&] { return node_.channel->changes > before; };
    ASSERT_TRUE(node_.world.run_until(is_on_its_way, PartitionNode::kWaitNs));
    ASSERT_FALSE(late.is_done);
    EXPECT_EQ(node_.code(node_.partition->checkpoint()), Errc::kOk);
    EXPECT_TRUE(late.is_done);
    reopen({{.id = 1}});
    EXPECT_EQ(node_.read(1, 1), 101U);
    EXPECT_EQ(node_.read(1, 2), 777U);
}

TEST_F(PartitionTest, ACheckpointOfManyPagesTakesManyTurns) {
    constexpr uint64_t kPages = 110;        // And as many blocks of the log.
    constexpr uint64_t kTurnPagesMax = 40;  // And what else is written in a turn.
    node_.options.cache_pages = 8192;       // No checkpoint before ours.
    reopen({{.id = 1}});
    for (uint64_t i = 0; i < kPages; ++i) {
        ASSERT_EQ(node_.write(1, i * 256, 1, 1 + i), Errc::kOk);
    }
    ASSERT_GT(node_.partition->stats().pages_dirty, kPages);

    const uint64_t start = node_.channel->blocks_changed;
    uint64_t last = start;
    uint64_t most = 0;          // Blocks in one turn.
    uint64_t turns_before = 0;  // The first of them.
    Task<Status> checkpoint = node_.partition->checkpoint();
    const auto is_over = [&] {
        const uint64_t now = node_.channel->blocks_changed;
        turns_before += now == start ? 1U : 0U;
        most = std::max(most, now - last);
        last = now;
        return checkpoint.is_done();
    };
    ASSERT_TRUE(node_.world.run_until(is_over, PartitionNode::kWaitNs));
    EXPECT_TRUE(checkpoint.result());
    EXPECT_GE(node_.partition->stats().checkpoint_pages, kPages);
    EXPECT_GT(turns_before, kPages / kTurnPagesMax) << "pages are summed in many turns";
    EXPECT_LE(most, kTurnPagesMax);
    reopen({{.id = 1}});
    EXPECT_EQ(node_.read(1, (kPages - 1) * 256), kPages);
}

TEST_F(PartitionTest, ClosesAndOpensWithoutReplay) {
    EXPECT_EQ(node_.write(1, 0, 100, 100), Errc::kOk);
    EXPECT_EQ(node_.code(node_.partition->close()), Errc::kOk);
    EXPECT_EQ(node_.partition->stats().log_depth, 0U);
    reopen({{.id = 1}});
    EXPECT_EQ(node_.read(1, 50), 150U);
}

TEST_F(PartitionTest, TheLogNeverFills) {
    // Each write waits for the one before, so each takes a block of the log.
    for (uint64_t i = 0; i < 3 * node_.layout.log_blocks; ++i) {
        ASSERT_EQ(node_.write(1, i % 50, 1, 1000 + i), Errc::kOk);
    }
    EXPECT_GE(node_.partition->stats().checkpoints, 3U);
    reopen({{.id = 1}});
    for (uint64_t i = 0; i < 50; ++i) {
        EXPECT_GT(node_.read(1, i), 1000U + 2 * node_.layout.log_blocks);
    }
}

}  // namespace
}  // namespace basalt::bdev::store
