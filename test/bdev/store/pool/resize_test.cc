// Volumes that change while they are used: size, read-only, name.
#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "bdev/layer/delay_bdev.h"
#include "bdev/layer/passthrough_bdev.h"
#include "test/bdev/store/pool/pool_node.h"

namespace basalt::bdev::store {
namespace {

using test::PoolNode;

Errc code_of(Status status) {
    return status ? Errc::kOk : status.error().code;
}

Errc write(PoolNode& node, BdevChannel& channel, uint64_t first, uint64_t count, uint8_t value) {
    TestIo io;
    io.prepare(IoOp::kWrite, first, count, kBlockBytes);
    io.fill(value);
    return node.run(channel, io);
}

TEST(VolumeInUse, GrowsAndShrinksUnderItsUsers) {
    PoolNode node(1);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v", 2000));
    auto near = node.open_channel("v", 0);
    auto far = node.open_channel("v", 1);
    EXPECT_EQ(write(node, *near, 1990, 10, 0x11), Errc::kOk);
    ASSERT_TRUE(node.wait(node.pool->resize("v", 5000)));
    EXPECT_EQ(near->info().block_count, BlockCount(5000));
    EXPECT_EQ(write(node, *far, 4990, 10, 0x22), Errc::kOk);
    EXPECT_EQ(write(node, *far, 4999, 2, 0x22), Errc::kOutOfRange);
    ASSERT_TRUE(node.wait(node.pool->resize("v", 1995)));
    EXPECT_EQ(write(node, *near, 1995, 1, 0x33), Errc::kOutOfRange);
    EXPECT_EQ(write(node, *far, 1990, 10, 0x33), Errc::kOutOfRange);
    EXPECT_TRUE(node.holds("v", 1990, 5, 0x11));
    EXPECT_EQ(node.pool->device_of("v")->allocated_blocks(), BlockCount(5));
    ASSERT_TRUE(node.wait(node.pool->resize("v", 5000)));
    EXPECT_TRUE(node.holds("v", 1995, 20, 0));  // Gone with the end, and not back with it.
    EXPECT_TRUE(node.holds("v", 4990, 10, 0));
    near.reset();
    far.reset();
    ASSERT_TRUE(node.cut_power()) << node.problem;
    EXPECT_EQ(node.pool->device_of("v")->info().block_count, BlockCount(5000));
    EXPECT_TRUE(node.holds("v", 1990, 5, 0x11));
}

TEST(VolumeInUse, BecomesReadOnlyAndGetsAnotherName) {
    PoolNode node(2);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v"));
    ASSERT_TRUE(node.add_volume("other"));
    Device& device = *node.pool->device_of("v");
    qos::Policy policy;
    policy.rw_ios.rate = 10000;
    node.wait(device.limits().set(node.control(), policy, nullptr));
    auto channel = node.open_channel("v", 1);
    EXPECT_EQ(write(node, *channel, 0, 10, 0x11), Errc::kOk);
    EXPECT_EQ(code_of(node.wait(node.pool->rename("v", "other"))), Errc::kExists);
    ASSERT_TRUE(node.wait(node.pool->rename("v", "w")));
    EXPECT_EQ(node.pool->device_of("v"), nullptr);
    EXPECT_EQ(node.pool->device_of("w"), &device);
    EXPECT_EQ(node.registry->find("p/w"), &device);
    ASSERT_TRUE(node.wait(node.pool->set_read_only("w")));
    EXPECT_TRUE(device.info().is_read_only);
    EXPECT_EQ(device.limits().policy().rw_ios.rate, 10000U);  // Limits stay.
    EXPECT_EQ(write(node, *channel, 0, 1, 0x22), Errc::kReadOnly);
    EXPECT_EQ(code_of(node.wait(node.pool->resize("w", 5))), Errc::kInvalidArgument);
    EXPECT_TRUE(node.holds("w", 0, 10, 0x11));
    channel.reset();
    node.wait(device.limits().clear(node.control()));
    ASSERT_TRUE(node.cut_power()) << node.problem;
    EXPECT_TRUE(node.pool->device_of("w")->info().is_read_only);
    EXPECT_TRUE(node.holds("w", 0, 10, 0x11));
}

TEST(VolumeInUse, LayersAboveFollow) {
    PoolNode node(3);
    ASSERT_TRUE(node.create());
    ASSERT_TRUE(node.add_volume("v", 100));
    Device& below = *node.pool->device_of("v");
    DelayOptions slow;
    slow.name = "D";
    slow.latencies.avg_write_us = slow.latencies.p99_write_us = 5000;
    Device& delay = **node.registry->add(std::move(DelayBdev::make(slow, below)).value());
    PassthroughOptions plain;
    plain.name = "P";
    Device& top = **node.registry->add(std::make_unique<PassthroughBdev>(plain, delay));
    EXPECT_TRUE(stands_on(top, below));
    EXPECT_FALSE(stands_on(below, top));
    const auto channel = std::move(top.open(node.core(1))).value();
    ASSERT_TRUE(node.wait(node.pool->resize("v", 200)));
    EXPECT_EQ(channel->info().block_count, BlockCount(200));
    EXPECT_EQ(write(node, *channel, 190, 10, 0x11), Errc::kOk);
    ASSERT_TRUE(node.wait(node.pool->resize("v", 120)));
    EXPECT_EQ(write(node, *channel, 150, 1, 0x11), Errc::kOutOfRange);
    EXPECT_EQ(top.info().block_count, BlockCount(120));
    ASSERT_TRUE(node.wait(node.pool->set_read_only("v")));
    EXPECT_TRUE(top.info().is_read_only);
    EXPECT_EQ(write(node, *channel, 0, 1, 1), Errc::kReadOnly);
}

/// Hosts that write while a volume is made smaller and larger, and what they may find: for each
/// block the values that it may have.
class ResizeRun {
  public:
    static constexpr uint64_t kBlocksMax = 2 * kChunkBlocks + 300;

    ResizeRun(uint64_t seed, uint32_t block_bytes)
        : node(seed, faults()), block_bytes_(block_bytes), may_hold_(kBlocksMax, {0}) {
        EXPECT_TRUE(node.create());
        EXPECT_TRUE(node.add_volume("v", size_, block_bytes_));
        for (uint32_t core : {0U, 1U}) {
            channels_.push_back(node.open_channel("v", core));
        }
    }

    void step() {
        for (Writer& writer : writers_) {
            if (writer.is_busy && writer.io.is_done()) {
                end_write(writer);
            }
            if (!writer.is_busy) {
                begin_write(writer);
            }
        }
        node.world.step();
    }
    /// Resizes under the writes.
    void resize(uint64_t size) {
        smallest_ = std::min(size_, size);
        if (size > size_) {
            ++growths_;
        }
        for (Writer& writer : writers_) {
            writer.smallest = std::min(writer.smallest, smallest_);
        }
        Task<Status> resizing = node.pool->resize("v", size);
        while (!resizing.is_done()) {
            step();
        }
        ASSERT_TRUE(resizing.result());
        for (uint64_t block = size; block < kBlocksMax; ++block) {
            may_hold_[block] = {0};
        }
        for (Writer& writer : writers_) {
            writer.is_doomed = writer.is_doomed || (writer.is_busy && writer.block >= size);
        }
        size_ = size;
        smallest_ = size;
    }
    void settle() {
        for (Writer& writer : writers_) {
            if (writer.is_busy) {
                node.finish(writer.io);
                end_write(writer);
            }
        }
    }
    void expect_contents(uint64_t seed) {
        constexpr uint64_t kStep = 16;  // Less than the longest transfer.
        for (uint64_t block = 0; block < size_; block += kStep) {
            const uint64_t count = std::min(kStep, size_ - block);
            TestIo io;
            io.prepare(IoOp::kRead, block * sectors(), count * sectors(), block_bytes_);
            ASSERT_EQ(node.run(*channels_[0], io), Errc::kOk);
            for (uint64_t i = 0; i < count; ++i) {
                const auto value = static_cast<uint8_t>(io.data[i * kBlockBytes]);
                ASSERT_EQ(may_hold_[block + i].count(value), 1U)
                    << "block " << block + i << ", seed " << seed << ", holds " << +value
                    << ", may hold " << ::testing::PrintToString(may_hold_[block + i]);
            }
        }
    }
    uint64_t random(uint64_t below) { return node.world.random().below(below); }
    [[nodiscard]] uint32_t refused() const { return refused_; }

    PoolNode node;

  private:
    struct Writer {
        TestIo io;
        bool is_busy = false;
        bool is_doomed = false;  ///< The volume shrank below it meanwhile.
        uint64_t block = 0;
        uint64_t smallest = 0;  ///< That the volume has been meanwhile.
        uint32_t growths = 0;
        uint8_t value = 0;
    };

    static sim::FaultOptions faults() {
        sim::FaultOptions faults;
        faults.storage_jitter_ns = 300 * kNsPerUs;
        faults.message_jitter_ns = 20 * kNsPerUs;
        return faults;
    }
    [[nodiscard]] uint64_t sectors() const { return kBlockBytes / block_bytes_; }

    void begin_write(Writer& writer) {
        const uint64_t block = random(kBlocksMax);
        for (const Writer& other : writers_) {
            if (other.is_busy && other.block == block) {
                return;
            }
        }
        writer.block = block;
        writer.value = static_cast<uint8_t>(1 + random(255));
        writer.is_busy = true;
        writer.is_doomed = false;
        writer.smallest = smallest_;
        writer.growths = growths_;
        writer.io.prepare(IoOp::kWrite, block * sectors(), 1, block_bytes_);
        writer.io.fill(writer.value);
        writer.io.submit(*channels_[random(2)]);
    }
    void end_write(Writer& writer) {
        writer.is_busy = false;
        std::set<uint8_t>& may_hold = may_hold_[writer.block];
        if (writer.io.code() != Errc::kOk) {
            EXPECT_EQ(writer.io.code(), Errc::kOutOfRange);
            EXPECT_GE(writer.block, writer.smallest);  // Nothing else fails.
            ++refused_;
            return;
        }
        const bool is_going = writer.block >= smallest_;  // A resize is under way, or was.
        if (!writer.is_doomed && !is_going) {
            may_hold = {writer.value};
        } else if (!writer.is_doomed || writer.growths != growths_) {
            may_hold.insert({0, writer.value});
        }
    }

    const uint32_t block_bytes_;
    std::vector<std::unique_ptr<DeviceChannel>> channels_;
    std::array<Writer, 12> writers_;
    std::vector<std::set<uint8_t>> may_hold_;
    uint64_t size_ = kBlocksMax;
    uint64_t smallest_ = kBlocksMax;
    uint32_t growths_ = 0;
    uint32_t refused_ = 0;
};

void expect_resizes_lose_nothing(uint32_t block_bytes) {
    uint32_t refused = 0;
    for (uint64_t seed = 1; seed <= 12; ++seed) {
        ResizeRun run(seed, block_bytes);
        for (uint32_t i = 0; i < 8; ++i) {
            for (uint64_t steps = run.random(300); steps > 0; --steps) {
                run.step();
            }
            run.resize(i == 7 ? ResizeRun::kBlocksMax : 1 + run.random(ResizeRun::kBlocksMax));
        }
        run.settle();
        run.expect_contents(seed);
        refused += run.refused();
        const Result<CheckReport> report = run.node.wait(run.node.pool->check());
        ASSERT_TRUE(report && report->is_clean());
    }
    EXPECT_GT(refused, 100U);
}

TEST(VolumeInUse, LosesNothingWhileItIsResizedUnderLoad) {
    expect_resizes_lose_nothing(4096);
}

TEST(VolumeInUse, WithSectorsOf512BytesTheSame) {
    expect_resizes_lose_nothing(512);
}

TEST(VolumeInUse, AnyMomentOfAPowerCutLeavesTheOldSizeOrTheNew) {
    sim::FaultOptions faults;
    faults.storage_jitter_ns = 300 * kNsPerUs;
    uint32_t news = 0;
    uint32_t olds = 0;
    for (uint64_t seed = 1; seed <= 40; ++seed) {
        PoolNode node(seed, faults);
        ASSERT_TRUE(node.create());
        ASSERT_TRUE(node.add_volume("v", 40));
        ASSERT_EQ(node.fill("v", 0, 25, 0x11), Errc::kOk);
        ASSERT_EQ(node.fill("v", 25, 15, 0x22), Errc::kOk);
        const uint64_t next = seed % 2 == 0 ? 30 : 60;
        Task<Status> resizing = node.pool->resize("v", next);
        node.world.run_for(node.world.random().below(2 * kNsPerMs));
        const bool is_done = resizing.is_done();
        ASSERT_TRUE(node.cut_power()) << node.problem;
        const uint64_t size = node.pool->device_of("v")->info().block_count.raw();
        EXPECT_TRUE(size == next || (!is_done && size == 40)) << seed << ' ' << size;
        EXPECT_TRUE(node.holds("v", 0, 25, 0x11));
        EXPECT_TRUE(node.holds("v", 25, 5, 0x22));
        if (size == 60) {
            EXPECT_TRUE(node.holds("v", 40, 20, 0));
        }
        (size == next ? news : olds) += 1;
        ASSERT_TRUE(node.wait(node.pool->resize("v", 25)));
        ASSERT_TRUE(node.wait(node.pool->resize("v", 60)));
        EXPECT_TRUE(node.holds("v", 25, 25, 0)) << seed;
        const Result<CheckReport> report = node.wait(node.pool->check());
        ASSERT_TRUE(report && report->is_clean());
    }
    EXPECT_GT(news, 3U);
    EXPECT_GT(olds, 3U);
}

}  // namespace
}  // namespace basalt::bdev::store
