#include "bdev/layer/error_bdev.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "bdev/core/channel_set.h"
#include "bdev/core/registry.h"
#include "bdev/leaf/malloc_bdev.h"
#include "test/bdev/support/manual_world.h"
#include "test/bdev/support/test_io.h"

namespace basalt::bdev {
namespace {

class ErrorTest : public testing::Test {
  protected:
    ErrorTest() {
        const MallocOptions malloc{
            .name = "Malloc0", .uuid = {}, .block_size_bytes = 512, .block_count = BlockCount(64)};
        base = *registry.add(std::move(MallocBdev::make(malloc, memory)).value());
        auto made = std::make_unique<ErrorBdev>(ErrorOptions{"EE_Malloc0", {}}, *base);
        error = made.get();
        device = *registry.add(std::move(made));
        for (uint32_t i = 0; i < 2; ++i) {
            channels[i] = std::move(device->open(world.core(i))).value();
        }
    }

    Status inject(const ErrorInjection& injection) {
        return world.wait(error->inject(world.control(), world.cores(), injection));
    }

    Errc run(IoOp op, uint32_t core = 0) {
        TestIo io;
        io.prepare(op, 0, 1, 512);
        io.submit(*channels[core]);
        world.settle();
        return io.code();
    }

    ManualWorld world{2};
    AnonymousMemory memory;
    BdevRegistry registry{world.cores()};
    Device* base = nullptr;
    ErrorBdev* error = nullptr;
    Device* device = nullptr;
    std::array<std::unique_ptr<DeviceChannel>, 2> channels;
};

TEST_F(ErrorTest, FailsExactlySoManyRequestsOnAllCoresTogether) {
    ASSERT_TRUE(inject({.op = IoOp::kWrite, .error = InjectedError::kFailure, .count = 3}));
    EXPECT_EQ(run(IoOp::kRead), Errc::kOk);
    EXPECT_EQ(run(IoOp::kWrite, 0), Errc::kIo);
    EXPECT_EQ(run(IoOp::kWrite, 1), Errc::kIo);
    EXPECT_EQ(error->remaining(IoOp::kWrite), 1U);
    EXPECT_EQ(run(IoOp::kWrite, 1), Errc::kIo);
    EXPECT_EQ(run(IoOp::kWrite, 0), Errc::kOk);
    const IoStats below = world.wait(base->read_stats(world.control()));
    EXPECT_EQ(below.of(IoOp::kWrite).count, 1U) << "the base never saw the others";
    const IoStats above = world.wait(device->read_stats(world.control()));
    EXPECT_EQ(above.of(IoOp::kWrite).errors, 3U);
}

TEST_F(ErrorTest, FailsWithTheErrorThatItIsGiven) {
    const Error reservation_conflict(Errc::kPermissionDenied, 0x83);
    ASSERT_TRUE(inject({.op = IoOp::kRead, .failure = reservation_conflict}));
    TestIo io;
    io.prepare(IoOp::kRead, 0, 1, 512);
    io.submit(*channels[1]);
    world.settle();
    EXPECT_EQ(io.request.status.error(), reservation_conflict);
    EXPECT_EQ(run(IoOp::kRead), Errc::kOk);
}

TEST_F(ErrorTest, AllMeansEachOperation) {
    ASSERT_TRUE(inject({.op = {}, .error = InjectedError::kNoMemory, .count = 1}));
    for (uint32_t op = 0; op < kIoOpCount; ++op) {
        EXPECT_EQ(run(static_cast<IoOp>(op)), Errc::kNoMemory) << op;
        EXPECT_EQ(error->remaining(static_cast<IoOp>(op)), 0U);
    }
    EXPECT_EQ(run(IoOp::kRead), Errc::kOk);
}

TEST_F(ErrorTest, StrikesOnlyAtTheQueueDepth) {
    ASSERT_TRUE(inject({.op = IoOp::kRead, .count = 5, .queue_depth = 3}));
    std::array<TestIo, 4> ios;
    for (TestIo& io : ios) {
        io.prepare(IoOp::kRead, 0, 1, 512);
        io.submit(*channels[0]);
    }
    world.settle();
    EXPECT_EQ(ios[0].code(), Errc::kOk);
    EXPECT_EQ(ios[1].code(), Errc::kOk);
    EXPECT_EQ(ios[2].code(), Errc::kIo);
    EXPECT_EQ(ios[3].code(), Errc::kIo);
    EXPECT_EQ(run(IoOp::kRead), Errc::kOk);
}

TEST_F(ErrorTest, PendingRequestsWaitUntilTheInjectionIsCleared) {
    ASSERT_TRUE(inject({.op = IoOp::kFlush, .error = InjectedError::kPending, .count = 10}));
    std::array<TestIo, 2> ios;
    for (uint32_t i = 0; i < 2; ++i) {
        ios[i].prepare(IoOp::kFlush, 0, 0, 512);
        ios[i].submit(*channels[i]);
    }
    world.pass(kNsPerSecond);
    EXPECT_FALSE(ios[0].is_done());
    EXPECT_EQ(channels[0]->in_flight(), 1U);
    world.wait(error->clear(world.control(), world.cores()));
    world.settle();
    EXPECT_EQ(ios[0].code(), Errc::kIo);
    EXPECT_EQ(ios[1].code(), Errc::kIo);
    EXPECT_EQ(run(IoOp::kFlush), Errc::kOk);
}

TEST_F(ErrorTest, CorruptsOneByteOfReadsAndOfWhatIsWritten) {
    TestIo write;
    write.prepare(IoOp::kWrite, 0, 4, 512, 2);
    write.fill(0x55);
    ASSERT_TRUE(inject({.op = IoOp::kWrite,
                        .error = InjectedError::kCorruptData,
                        .corrupt_offset = 1500,
                        .corrupt_value = 0xf0}));
    write.submit(*channels[0]);
    world.settle();
    EXPECT_TRUE(write.status());
    EXPECT_TRUE(std::all_of(write.data, write.data + 2048, [](std::byte b) {
        return b == std::byte{0x55};
    })) << "the maker's memory is as it was";

    const auto read_back = [this](uint64_t at) {
        TestIo read;
        read.prepare(IoOp::kRead, 0, 4, 512, 4);
        read.submit(*channels[0]);
        world.settle();
        EXPECT_EQ(read.code(), Errc::kOk);
        return std::to_integer<int>(read.data[at]);
    };
    EXPECT_EQ(read_back(1500), 0xa5);
    EXPECT_EQ(read_back(1499), 0x55);
    ASSERT_TRUE(inject({.op = IoOp::kRead,
                        .error = InjectedError::kCorruptData,
                        .corrupt_offset = 7,
                        .corrupt_value = 1}));
    EXPECT_EQ(read_back(7), 0x54);
    EXPECT_EQ(read_back(7), 0x55) << "once";
}

TEST_F(ErrorTest, RefusesCorruptionThatMakesNoSense) {
    ErrorInjection injection{.op = IoOp::kRead, .error = InjectedError::kCorruptData};
    EXPECT_EQ(inject(injection).error().code, Errc::kInvalidArgument);
    injection.corrupt_value = 1;
    injection.op = IoOp::kFlush;
    EXPECT_EQ(inject(injection).error().code, Errc::kInvalidArgument);
    injection.op = {};
    EXPECT_TRUE(inject(injection));
    EXPECT_EQ(error->remaining(IoOp::kFlush), 0U) << "all: those that have data";
    EXPECT_EQ(error->remaining(IoOp::kWrite), 1U);
}

}  // namespace
}  // namespace basalt::bdev
