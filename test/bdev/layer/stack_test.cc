#include <gtest/gtest.h>

#include "bdev/core/registry.h"
#include "bdev/layer/delay_bdev.h"
#include "bdev/layer/error_bdev.h"
#include "bdev/layer/passthrough_bdev.h"
#include "bdev/leaf/malloc_bdev.h"
#include "bdev/leaf/null_bdev.h"
#include "test/bdev/support/manual_world.h"
#include "test/bdev/support/model_check.h"
#include "test/bdev/support/test_io.h"

namespace basalt::bdev {
namespace {

/// A stack of layers above a malloc device, the deepest that may be.
class StackTest : public testing::Test {
  protected:
    StackTest() {
        const MallocOptions malloc{
            .name = "leaf", .uuid = {}, .block_size_bytes = 512, .block_count = BlockCount(500)};
        top = *registry.add(std::move(MallocBdev::make(malloc, memory)).value());
    }

    void add_passthrough() {
        const PassthroughOptions options{"pt" + std::to_string(registry.devices().size()), {}};
        top = *registry.add(std::make_unique<PassthroughBdev>(options, *top));
    }
    ErrorBdev* add_error() {
        const ErrorOptions options{"ee" + std::to_string(registry.devices().size()), {}};
        auto layer = std::make_unique<ErrorBdev>(options, *top);
        ErrorBdev* error = layer.get();
        top = *registry.add(std::move(layer));
        return error;
    }
    void add_delay() {
        const DelayOptions options{.name = "dl" + std::to_string(registry.devices().size()),
                                   .uuid = {},
                                   .latencies = {1, 20, 2, 30}};
        top = *registry.add(std::move(DelayBdev::make(options, *top)).value());
    }

    ManualWorld world{1};
    AnonymousMemory memory;
    BdevRegistry registry{world.cores()};
    Device* top = nullptr;
};

TEST_F(StackTest, KeepsWhatWasWrittenThroughTheDeepestStack) {
    for (uint32_t i = 0; i < kLayersMax; i += 2) {
        add_delay();
        static_cast<void>(add_error());
    }
    auto channel = std::move(top->open(world.core(0))).value();
    for (uint64_t seed = 1; seed <= 3; ++seed) {
        // One history after the other on the same device: each starts by clearing it.
        TestIo clear;
        clear.prepare(IoOp::kUnmap, 0, 500, 512);
        clear.submit(*channel);
        world.pass(kNsPerMs);
        ASSERT_TRUE(clear.status());
        const ModelOptions options{.seed = seed, .operations = 1000, .range_blocks = 300};
        EXPECT_EQ(
            check_against_model(*channel, top->info(), options, [this] { world.pass(kNsPerUs); }),
            "");
    }
    EXPECT_EQ(registry.devices().front()->user(), "device dl1");
}

TEST_F(StackTest, InjectedFailuresLoseNothingElse) {
    add_passthrough();
    ErrorBdev* error = add_error();
    add_delay();
    auto channel = std::move(top->open(world.core(0))).value();
    ASSERT_TRUE(world.wait(
        error->inject(world.control(), world.cores(), {.op = {}, .count = 100, .queue_depth = 3})));
    const ModelOptions options{.seed = 7, .may_fail = true};
    EXPECT_EQ(check_against_model(*channel, top->info(), options, [this] { world.pass(kNsPerUs); }),
              "");
    EXPECT_EQ(error->remaining(IoOp::kWrite), 0U);
}

TEST_F(StackTest, ModelCheckFindsSilentCorruption) {
    ErrorBdev* error = add_error();
    auto channel = std::move(top->open(world.core(0))).value();
    ASSERT_TRUE(world.wait(error->inject(
        world.control(),
        world.cores(),
        {.op = IoOp::kRead, .error = InjectedError::kCorruptData, .corrupt_value = 1})));
    EXPECT_NE(check_against_model(*channel, top->info(), {}, [this] { world.turn(); }), "");
}

TEST_F(StackTest, PassthroughLendsTheMemoryOfItsBaseAndErrorDoesNot) {
    const NullOptions null{.name = "null", .uuid = {}, .block_count = BlockCount(10)};
    top = *registry.add(std::move(NullBdev::make(null)).value());
    add_passthrough();
    EXPECT_TRUE(top->info().supplies_read_memory);
    EXPECT_TRUE(top->info().can(IoOp::kCompare));
    {
        auto channel = std::move(top->open(world.core(0))).value();
        TestIo io;
        io.prepare(IoOp::kRead, 0, 1, 4096);
        io.request.wants_device_memory = true;
        io.submit(*channel);
        world.settle();
        EXPECT_TRUE(io.status());
        EXPECT_NE(io.request.pieces[0].iov_base, io.data);
    }
    static_cast<void>(add_error());
    EXPECT_FALSE(top->info().supplies_read_memory);
}

}  // namespace
}  // namespace basalt::bdev
