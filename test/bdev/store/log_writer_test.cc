#include "bdev/store/log_writer.h"

#include <array>
#include <vector>

#include <gtest/gtest.h>

#include "reactor/sim/world.h"
#include "test/bdev/store/store_testing.h"

/// The log without an engine, on a device that answers when a test says so, in any order.
namespace basalt::bdev::store {
namespace {

constexpr uint64_t kFirstBlock = 1000;
constexpr uint32_t kLogBlocks = 256;
constexpr uint32_t kIncarnation = 3;

class HeldChannel final : public BdevChannel {
  public:
    void submit(IoRequest& request) override { requests.push_back(&request); }

    std::vector<IoRequest*> requests;
};

class LogWriterTest : public testing::Test, private LogObserver {
  protected:
    struct Ticket : LogTicket {
        LogWriterTest* test = nullptr;
    };

    LogWriterTest()
        : world_(1, sim::calm()),
          here_(world_.add_reactor(world_.add_node())),
          port_(channel_, info()),
          log_(here_, port_, *this, seal_, kFirstBlock, kLogBlocks) {
        log_.start(1, kIncarnation);
        for (Ticket& ticket : tickets_) {
            ticket.test = this;
            ticket.on_logged = [](LogTicket& logged) {
                static_cast<Ticket&>(logged).test->logged_.push_back(logged.sequence);
            };
        }
    }

    static BdevInfo info() {
        BdevInfo info;
        info.block_size_bytes = kBlockBytes;
        info.has_volatile_cache = true;
        return info;
    }
    void on_log_progress() override { ++progress_; }
    void on_log_failure(Error error) override { failures_.push_back(error.code); }

    /// A record in a block of its own, on its way to the device when this ends.
    Ticket& append() {
        Ticket& ticket = tickets_.at(used_++);
        EXPECT_TRUE(log_.block_for(sizeof(LogAdopt)).append(AdoptRecord{7, 8}));
        log_.attach(ticket);
        turn();
        return ticket;
    }
    void turn() {
        const size_t before = channel_.requests.size();
        for (uint32_t i = 0; i < 10 && channel_.requests.size() == before; ++i) {
            world_.step();
        }
    }
    void complete(size_t which, Status outcome = kOk) {
        channel_.requests.at(which)->complete(outcome);
    }
    /// What the header of a block says of those before it.
    [[nodiscard]] uint64_t mark_in(size_t which) const {
        const iovec& piece = channel_.requests.at(which)->pieces[0];
        const std::span block(static_cast<const std::byte*>(piece.iov_base), kBlockBytes);
        return LogBlockReader(block, seal_).durable();
    }

    sim::World world_;
    Reactor& here_;
    HeldChannel channel_;
    DevicePort port_;
    const BlockSeal seal_{test::uuid_of(1).bytes, 0};
    std::array<Ticket, 128> tickets_{};  // The log lets go of them.
    LogWriter log_;
    size_t used_ = 0;
    uint32_t progress_ = 0;
    std::vector<uint64_t> logged_;
    std::vector<Errc> failures_;
};

TEST_F(LogWriterTest, RecordsAreDurableInOrderThoughTheDeviceAnswersInAnother) {
    append();
    append();
    append();
    ASSERT_EQ(channel_.requests.size(), 3U);
    for (size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(channel_.requests[i]->first, Lba(kFirstBlock + 1 + i));
        EXPECT_EQ(channel_.requests[i]->fua, Fua::kYes);
    }
    complete(2);
    complete(1);
    EXPECT_TRUE(logged_.empty());
    complete(0);
    EXPECT_EQ(logged_, (std::vector<uint64_t>{1, 2, 3}));
}

TEST_F(LogWriterTest, RecordsOfOneTurnShareABlock) {
    for (size_t i = 0; i < 5; ++i) {
        EXPECT_TRUE(log_.block_for(sizeof(LogAdopt)).append(AdoptRecord{7, 8}));
        log_.attach(tickets_.at(used_++));
    }
    turn();
    ASSERT_EQ(channel_.requests.size(), 1U);
    complete(0);
    EXPECT_EQ(logged_, std::vector<uint64_t>(5, 1));
    EXPECT_EQ(log_.records_written, 5U);
}

TEST_F(LogWriterTest, ABlockSaysWhatWasAcknowledgedAndCountsWhenItIsDurable) {
    append();
    complete(0);
    EXPECT_FALSE(log_.is_quiet()) << "its record is not acknowledged";
    append();
    EXPECT_EQ(mark_in(1), 0U);
    log_.acknowledge(1);
    append();
    EXPECT_EQ(mark_in(2), 1U);
    complete(2);
    EXPECT_EQ(log_.mark(), 0U) << "the block before is not there yet";
    complete(1);
    EXPECT_EQ(log_.mark(), 1U);
    log_.acknowledge(3);
    EXPECT_FALSE(log_.is_quiet());
    log_.acknowledge(2);
    EXPECT_TRUE(log_.is_quiet());
}

TEST_F(LogWriterTest, ABlockWithoutRecordsTakesTheMarkAlong) {
    append();
    complete(0);
    log_.acknowledge(1);
    EXPECT_EQ(log_.mark(), 0U);
    log_.push();
    turn();
    ASSERT_EQ(channel_.requests.size(), 2U);
    EXPECT_EQ(mark_in(1), 1U);
    complete(1);
    EXPECT_EQ(log_.mark(), 1U);
    EXPECT_TRUE(log_.is_quiet());
}

TEST_F(LogWriterTest, WhileManyBlocksAreWrittenRecordsAreGathered) {
    for (uint32_t i = 0; i < LogWriter::kWritesMax + 4; ++i) {
        append();
    }
    EXPECT_EQ(channel_.requests.size(), LogWriter::kWritesMax);
    complete(0);
    turn();
    ASSERT_EQ(channel_.requests.size(), LogWriter::kWritesMax + 1);
    for (size_t i = 1; i <= LogWriter::kWritesMax; ++i) {
        complete(i);
    }
    EXPECT_EQ(logged_.size(), LogWriter::kWritesMax + 4);
    EXPECT_EQ(logged_.back(), LogWriter::kWritesMax + 1) << "four in one block";
}

TEST_F(LogWriterTest, WhatIsNotAcknowledgedBoundsTheLog) {
    for (uint32_t i = 0; i < LogWriter::kWindow; ++i) {
        ASSERT_TRUE(log_.has_room(sizeof(LogAdopt)));
        append();
        complete(i);
    }
    EXPECT_FALSE(log_.has_room(sizeof(LogAdopt)));
    log_.acknowledge(2);
    EXPECT_FALSE(log_.has_room(sizeof(LogAdopt))) << "the first one holds its place";
    log_.acknowledge(1);
    EXPECT_TRUE(log_.has_room(sizeof(LogAdopt)));
}

TEST_F(LogWriterTest, ALogThatIsFullWaitsForACheckpoint) {
    for (uint32_t i = 0; i < kLogBlocks; ++i) {
        ASSERT_TRUE(log_.has_room(sizeof(LogAdopt))) << i;
        log_.push();
        turn();
        complete(i);
    }
    EXPECT_EQ(log_.depth(), kLogBlocks);
    EXPECT_FALSE(log_.has_room(sizeof(LogAdopt)));
    log_.push();
    turn();
    EXPECT_EQ(channel_.requests.size(), kLogBlocks) << "nothing that counts is written over";
    log_.set_start(11);
    EXPECT_TRUE(log_.has_room(sizeof(LogAdopt)));
    append();
    EXPECT_EQ(channel_.requests.back()->first, Lba(kFirstBlock + 1)) << "from the beginning";
}

TEST_F(LogWriterTest, AfterAFailedWriteNothingMoreIsLogged) {
    append();
    append();
    complete(1);
    complete(0, Errc::kIo);
    EXPECT_EQ(failures_, std::vector<Errc>{Errc::kIo});
    EXPECT_TRUE(logged_.empty()) << "the second came after one that may not be there";
    EXPECT_FALSE(log_.has_room(sizeof(LogAdopt)));
}

}  // namespace
}  // namespace basalt::bdev::store
