#include "bdev/leaf/null_bdev.h"

#include <gtest/gtest.h>

#include "bdev/core/registry.h"
#include "bdev/limits.h"
#include "test/bdev/support/manual_world.h"
#include "test/bdev/support/model_check.h"
#include "test/bdev/support/test_io.h"

namespace basalt::bdev {
namespace {

NullOptions make_options() {
    NullOptions options;
    options.name = "Null0";
    options.block_size_bytes = 512;
    options.block_count = BlockCount(4096);
    return options;
}

TEST(NullBdev, ReadsZeroesWhateverWasWritten) {
    ManualWorld world(1);
    BdevRegistry registry(world.cores());
    Device& device = **registry.add(std::move(NullBdev::make(make_options())).value());
    auto channel = std::move(device.open(world.core(0))).value();
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        const ModelOptions options{.seed = seed, .misalign_max = 64, .is_always_zero = true};
        EXPECT_EQ(check_against_model(*channel, device.info(), options, [&world] { world.turn(); }),
                  "");
    }
}

TEST(NullBdev, LendsZeroesOfEveryLength) {
    ManualWorld world(1);
    const auto null = std::move(NullBdev::make(make_options())).value();
    const auto channel = std::move(null->open_channel(world.core(0))).value();
    const uint64_t blocks_max = kMemoryTransferBytesMax / 512;
    ASSERT_EQ(null->info().transfer_max.raw(), blocks_max);
    for (const uint64_t count : {uint64_t{1}, uint64_t{7}, blocks_max}) {
        TestIo io;
        io.prepare(IoOp::kRead, 0, count, 512);
        io.request.wants_device_memory = true;
        io.request.pieces = nullptr;
        io.request.piece_count = 0;
        io.submit(*channel);
        world.settle();
        ASSERT_TRUE(io.status());
        ASSERT_EQ(io.request.piece_count, 1U);
        ASSERT_EQ(io.request.pieces[0].iov_len, count * 512);
        const auto* bytes = static_cast<const uint8_t*>(io.request.pieces[0].iov_base);
        EXPECT_EQ(std::count(bytes, bytes + count * 512, 0), static_cast<ptrdiff_t>(count * 512));
    }
}

TEST(NullBdev, ManyRequestsAtOnceAllComplete) {
    ManualWorld world(1);
    const auto null = std::move(NullBdev::make(make_options())).value();
    const auto channel = std::move(null->open_channel(world.core(0))).value();
    std::vector<std::unique_ptr<TestIo>> ios;
    for (int i = 0; i < 5000; ++i) {
        ios.push_back(std::make_unique<TestIo>());
        ios.back()->prepare(IoOp::kWriteZeroes, 0, 4096, 512);
        ios.back()->submit(*channel);
    }
    world.settle();
    for (const auto& io : ios) {
        EXPECT_TRUE(io->status());
    }
}

TEST(NullBdev, ComparesWithWhatAReadGives) {
    ManualWorld world(1);
    const auto null = std::move(NullBdev::make(make_options())).value();
    const auto channel = std::move(null->open_channel(world.core(0))).value();
    TestIo io;
    io.prepare(IoOp::kCompare, 3, 2, 512);
    io.fill(0);
    io.submit(*channel);
    world.settle();
    EXPECT_TRUE(io.status());
    io.data[io.size_bytes - 1] = std::byte{1};
    io.submit(*channel);
    world.settle();
    EXPECT_EQ(io.code(), Errc::kCompareMismatch);
}

TEST(NullBdev, RefusesSizesThatMakeNoSense) {
    NullOptions options = make_options();
    options.block_size_bytes = 1000;
    EXPECT_EQ(NullBdev::make(options).error().code, Errc::kInvalidArgument);
    options = make_options();
    options.physical_block_size_bytes = 256;
    EXPECT_EQ(NullBdev::make(options).error().code, Errc::kInvalidArgument);
    options = make_options();
    options.block_count = BlockCount(0);
    EXPECT_EQ(NullBdev::make(options).error().code, Errc::kInvalidArgument);
}

TEST(NullBdev, DescribesHowToMakeItAgain) {
    NullOptions options = make_options();
    options.uuid = *Uuid::parse("01234567-89ab-cdef-0123-456789abcdef");
    const BdevConfig config = std::move(NullBdev::make(options)).value()->describe();
    EXPECT_EQ(config.method, "bdev_null_create");
    ASSERT_EQ(config.parameters.size(), 5U);
    EXPECT_EQ(config.parameters[0].name, "name");
    EXPECT_EQ(std::get<std::string>(config.parameters[0].value), "Null0");
    EXPECT_EQ(std::get<uint64_t>(config.parameters[1].value), 4096U);
    EXPECT_EQ(std::get<std::string>(config.parameters[4].value), options.uuid.to_string());
}

}  // namespace
}  // namespace basalt::bdev
