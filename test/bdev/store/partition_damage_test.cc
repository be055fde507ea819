#include <gtest/gtest.h>

#include "test/bdev/store/partition_node.h"
#include "test/reactor/may_leak.h"

/// Drives that fail or lie: what they do is found, told, and never returned as data.
namespace basalt::bdev::store {
namespace {

using basalt::test::MayLeak;
using test::PartitionNode;
using test::TestPartitionIo;

constexpr uint32_t kAlways = 1'000'000;

class PartitionDamageTest : public testing::Test {
  protected:
    PartitionDamageTest() : node_(1) {
        node_.format();
        node_.partition->set_node({.id = 1});
        EXPECT_EQ(node_.open(), Errc::kOk);
    }

    Errc reopen() {
        node_.crash();
        node_.partition->set_node({.id = 1});
        return node_.open();
    }
    Errc read_code(uint64_t block) {
        TestPartitionIo io(PartitionOp::kRead, 1, block, 1);
        return node_.run(io);
    }

    MayLeak leak_;
    PartitionNode node_;
};

TEST_F(PartitionDamageTest, AfterAFailedWriteThereAreNoMoreButReadsGoOn) {
    EXPECT_EQ(node_.write(1, 0, 4, 100), Errc::kOk);
    node_.world.faults().write_error_ppm = kAlways;
    EXPECT_EQ(node_.write(1, 0, 4, 200), Errc::kIo);
    node_.world.faults().write_error_ppm = 0;
    EXPECT_TRUE(node_.partition->stats().is_failed);
    EXPECT_EQ(node_.write(1, 8, 1, 300), Errc::kIo);
    EXPECT_EQ(node_.unmap(1, 0, 1), Errc::kIo);
    EXPECT_EQ(node_.read(1, 2), 102U);
    EXPECT_EQ(reopen(), Errc::kOk);
    node_.check();
    // The failed write was never acknowledged: it is there wholly or not at all.
    const uint64_t base = node_.read(1, 0);
    EXPECT_TRUE(base == 100 || base == 200);
    EXPECT_EQ(node_.read(1, 3), base + 3);
    EXPECT_EQ(node_.write(1, 8, 1, 300), Errc::kOk);
}

TEST_F(PartitionDamageTest, AWriteThatTheDriveLostIsFoundByTheNextRead) {
    EXPECT_EQ(node_.write(1, 0, 4, 100), Errc::kOk);
    node_.world.faults().lost_write_ppm = kAlways;
    EXPECT_EQ(node_.write(1, 1, 1, 500), Errc::kOk);
    node_.world.faults().lost_write_ppm = 0;
    EXPECT_EQ(read_code(1), Errc::kMediaError);
    EXPECT_EQ(node_.read(1, 2), 102U);
    EXPECT_EQ(node_.partition->stats().damaged[0].block, 1U);
}

TEST_F(PartitionDamageTest, AWriteThatWentElsewhereIsFound) {
    EXPECT_EQ(node_.write(1, 0, 4, 100), Errc::kOk);
    node_.world.faults().misdirected_write_ppm = kAlways;
    EXPECT_EQ(node_.write(1, 1, 1, 500), Errc::kOk);
    node_.world.faults().misdirected_write_ppm = 0;
    EXPECT_EQ(read_code(1), Errc::kMediaError);
}

TEST_F(PartitionDamageTest, AMisdirectedReadIsNeverData) {
    EXPECT_EQ(node_.write(1, 0, 4, 100), Errc::kOk);
    node_.world.faults().misdirected_read_ppm = kAlways;
    EXPECT_EQ(read_code(1), Errc::kMediaError);
    node_.world.faults().misdirected_read_ppm = 0;
    EXPECT_EQ(node_.read(1, 1), 101U);
}

TEST_F(PartitionDamageTest, ALostBlockInTheMiddleOfTheLogIsRefused) {
    for (uint64_t i = 0; i < 20; ++i) {
        EXPECT_EQ(node_.write(1, i, 1, 100 + i), Errc::kOk);
    }
    node_.drive.corrupt(node_.layout.log_block(0, 8) * kBlockBytes + 100);
    EXPECT_EQ(reopen(), Errc::kDataCorrupt);
}

TEST_F(PartitionDamageTest, OneOfTheTwoCheckpointsIsEnough) {
    EXPECT_EQ(node_.write(1, 0, 4, 100), Errc::kOk);
    EXPECT_EQ(node_.code(node_.partition->close()), Errc::kOk);
    for (const Place place : {Place::kA, Place::kB}) {
        const uint64_t block = node_.layout.checkpoint(0, place);
        node_.drive.damage(block * kBlockBytes, kBlockBytes);
        const Errc code = reopen();
        if (code != Errc::kOk) {
            EXPECT_TRUE(code == Errc::kDataCorrupt || code == Errc::kMediaError);
            continue;
        }
        EXPECT_EQ(node_.read(1, 2), 102U);
    }
}

TEST_F(PartitionDamageTest, ARottenPageOfADeletedNodeCostsItsSpaceAndNotThePool) {
    EXPECT_EQ(node_.write(1, 0, 200, 100), Errc::kOk);
    EXPECT_EQ(node_.write(1, 70000, 10, 5000), Errc::kOk);
    node_.snapshot(1, 0, 2);
    EXPECT_EQ(node_.write(2, 0, 1, 900), Errc::kOk);
    EXPECT_EQ(node_.write(2, 70000, 1, 901), Errc::kOk);
    EXPECT_EQ(node_.code(node_.partition->checkpoint()), Errc::kOk);
    const auto open_again = [&](bool is_hidden) {
        node_.crash();
        node_.partition->set_node({.id = 1, .is_frozen = true, .is_hidden = is_hidden});
        node_.partition->set_node({.id = 2, .parent = 1});
        return node_.open();
    };
    ASSERT_EQ(open_again(false), Errc::kOk);
    node_.world.faults().corrupt_ppm = kAlways;  // The root of its map comes first.
    EXPECT_EQ(read_code(70003), Errc::kMediaError);
    node_.world.faults().corrupt_ppm = 0;
    ASSERT_TRUE(node_.partition->stats().damaged[0].is_page);
    ASSERT_EQ(open_again(true), Errc::kOk);
    EXPECT_EQ(node_.partition->stats().damaged_blocks, 1U);
    EXPECT_EQ(node_.partition->stats().damaged[0].node, 1U);
    EXPECT_EQ(node_.sweep(1), Errc::kMediaError);
    EXPECT_EQ(node_.read(2, 100), 200U);
    EXPECT_EQ(node_.read(2, 70000), 901U);
    EXPECT_EQ(node_.write(2, 100, 1, 7), Errc::kOk);
    EXPECT_EQ(node_.read(2, 100), 7U);
    const uint64_t used = node_.partition->stats().data_blocks_used;
    EXPECT_EQ(used, 213U);  // Nothing is given back that the deleted node may hold.
}

TEST_F(PartitionDamageTest, WhateverIsFlippedNothingWrongIsEverRead) {
    uint32_t refused = 0;
    uint32_t damaged = 0;
    for (uint32_t round = 0; round < 40; ++round) {
        // One bit, anywhere where something may have been written.
        PartitionNode other(round + 10);
        other.format();
        other.partition->set_node({.id = 1});
        ASSERT_EQ(other.open(), Errc::kOk);
        for (uint64_t i = 0; i < 6; ++i) {
            ASSERT_EQ(other.write(1, i * 20, 2, 1000 + i * 2), Errc::kOk);
        }
        if (round % 2 == 0) {
            ASSERT_EQ(other.code(other.partition->checkpoint()), Errc::kOk);
        }
        const uint64_t blocks = other.layout.slabs_first() + 600;
        const uint64_t block = 34 + other.world.random().below(blocks - 34);
        other.drive.corrupt(block * kBlockBytes + other.world.random().below(kBlockBytes));
        other.crash();
        other.partition->set_node({.id = 1});
        const Errc code = other.open();
        if (code != Errc::kOk) {
            EXPECT_TRUE(code == Errc::kDataCorrupt || code == Errc::kMediaError);
            ++refused;
            continue;
        }
        for (uint64_t i = 0; i < 12; ++i) {
            TestPartitionIo io(PartitionOp::kRead, 1, i / 2 * 20 + i % 2, 1);
            const Errc read = other.run(io);
            EXPECT_TRUE(read == Errc::kOk || read == Errc::kMediaError);
            damaged += read == Errc::kOk ? 0U : 1U;
            // The end of the log may be lost, if nothing after it says that it was there.
            EXPECT_TRUE(read != Errc::kOk || io.tag(0) == 1000 + i || io.tag(0) == 0);
        }
    }
    RecordProperty("refused", static_cast<int>(refused));
    RecordProperty("damaged", static_cast<int>(damaged));
}

}  // namespace
}  // namespace basalt::bdev::store
