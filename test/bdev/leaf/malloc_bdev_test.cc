#include "bdev/leaf/malloc_bdev.h"

#include <algorithm>
#include <thread>

#include <gtest/gtest.h>

#include "bdev/core/registry.h"
#include "bdev/leaf/shared_copy.h"
#include "bdev/limits.h"
#include "test/bdev/support/manual_world.h"
#include "test/bdev/support/model_check.h"
#include "test/bdev/support/test_io.h"

namespace basalt::bdev {
namespace {

/// Memory that counts what is given back and can refuse to take any.
class CountingMemory final : public MemorySource {
  public:
    [[nodiscard]] Result<std::span<std::byte>> allocate(uint64_t size_bytes) override {
        if (is_exhausted) {
            return Errc::kNoMemory;
        }
        return memory.allocate(size_bytes);
    }
    void release(std::span<std::byte> range) override {
        ++releases;
        memory.release(range);
    }
    [[nodiscard]] bool discard(std::span<std::byte> range) override {
        discarded_bytes += range.size();
        longest = std::max<uint64_t>(longest, range.size());
        return can_discard && memory.discard(range);
    }

    AnonymousMemory memory;
    bool is_exhausted = false;
    bool can_discard = true;
    uint64_t releases = 0;
    uint64_t discarded_bytes = 0;
    uint64_t longest = 0;
};

MallocOptions make_options(uint32_t block_bytes, uint64_t blocks) {
    MallocOptions options;
    options.name = "Malloc0";
    options.block_size_bytes = block_bytes;
    options.block_count = BlockCount(blocks);
    return options;
}

void expect_model_holds(uint32_t block_bytes, bool can_discard) {
    ManualWorld world(1);
    CountingMemory memory;
    memory.can_discard = can_discard;
    for (uint64_t seed = 1; seed <= 10; ++seed) {
        BdevRegistry registry(world.cores());
        Device& device = **registry.add(
            std::move(MallocBdev::make(make_options(block_bytes, 2000), memory)).value());
        auto channel = std::move(device.open(world.core(0))).value();
        const ModelOptions options{.seed = seed, .range_blocks = 1000, .misalign_max = 64};
        EXPECT_EQ(check_against_model(*channel, device.info(), options, [&world] { world.turn(); }),
                  "");
    }
    EXPECT_EQ(memory.releases, 10U);
    EXPECT_GT(memory.discarded_bytes, 0U);
}

TEST(MallocBdev, KeepsWhatWasWritten) {
    expect_model_holds(512, true);
    expect_model_holds(4096, true);
}

TEST(MallocBdev, KeepsWhatWasWrittenWhereMemoryCannotBeGivenBack) {
    expect_model_holds(512, false);
    expect_model_holds(4096, false);
}

TEST(MallocBdev, ModelCheckFindsADeviceThatForgets) {
    /// Drops one write in fifty.
    class Forgetful final : public BdevChannel {
      public:
        explicit Forgetful(BdevChannel& below) : below_(below) {}
        void submit(IoRequest& request) override {
            if (request.op == IoOp::kWrite && ++writes_ % 50 == 0) {
                request.op = IoOp::kFlush;
            }
            below_.submit(request);
        }

      private:
        BdevChannel& below_;
        uint32_t writes_ = 0;
    };
    ManualWorld world(1);
    AnonymousMemory memory;
    const auto malloc = std::move(MallocBdev::make(make_options(512, 200), memory)).value();
    const auto channel = std::move(malloc->open_channel(world.core(0))).value();
    Forgetful forgetful(*channel);
    EXPECT_NE(
        check_against_model(forgetful, malloc->info(), {.seed = 1}, [&world] { world.turn(); }),
        "");
}

TEST(MallocBdev, LongUnmapLetsOthersPass) {
    ManualWorld world(1);
    CountingMemory memory;
    const uint64_t blocks = 64 * 1024 * 1024 / 4096;
    const auto malloc = std::move(MallocBdev::make(make_options(4096, blocks), memory)).value();
    const auto channel = std::move(malloc->open_channel(world.core(0))).value();
    TestIo unmap;
    unmap.prepare(IoOp::kUnmap, 0, blocks, 4096);
    unmap.submit(*channel);
    TestIo read;
    read.prepare(IoOp::kRead, 0, 1, 4096);
    read.submit(*channel);
    world.turn();
    EXPECT_TRUE(read.is_done());
    EXPECT_FALSE(unmap.is_done());
    world.settle();
    EXPECT_TRUE(unmap.status());
    EXPECT_EQ(memory.discarded_bytes, blocks * 4096);
    EXPECT_EQ(memory.longest, kDiscardStepBytes);
}

TEST(MallocBdev, WriteZeroesThatMayNotDeallocateKeepsItsPages) {
    ManualWorld world(1);
    CountingMemory memory;
    const auto malloc = std::move(MallocBdev::make(make_options(4096, 100), memory)).value();
    const auto channel = std::move(malloc->open_channel(world.core(0))).value();
    TestIo io;
    io.prepare(IoOp::kWriteZeroes, 0, 100, 4096);
    io.request.may_deallocate = false;
    io.submit(*channel);
    world.settle();
    EXPECT_TRUE(io.status());
    EXPECT_EQ(memory.discarded_bytes, 0U);
}

TEST(MallocBdev, TwoThreadsMayWriteTheSameBlocks) {
    // For the thread sanitizer, which must have nothing to say.
    AnonymousMemory memory;
    const std::span<std::byte> shared = *memory.allocate(65536);
    const auto work = [shared](uint8_t value) {
        std::vector<std::byte> own(4096, std::byte{value});
        for (int i = 0; i < 2000; ++i) {
            copy_shared(shared.data(), own.data(), own.size());
            copy_shared(own.data(), shared.data(), own.size());
            static_cast<void>(equal_shared(shared.data(), own.data(), own.size()));
            zero_shared(shared.data(), 512);
        }
    };
    std::thread other(work, uint8_t{1});
    work(2);
    other.join();
    const auto is_one_of_ours = [](std::byte b) { return std::to_integer<int>(b) <= 2; };
    EXPECT_TRUE(std::all_of(shared.begin(), shared.begin() + 4096, is_one_of_ours));
    memory.release(shared);
}

TEST(MallocBdev, RefusesSizesThatMakeNoSenseAndReportsLackOfMemory) {
    CountingMemory memory;
    EXPECT_EQ(MallocBdev::make(make_options(1000, 10), memory).error().code,
              Errc::kInvalidArgument);
    EXPECT_EQ(MallocBdev::make(make_options(512, 0), memory).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(MallocBdev::make(make_options(512, UINT64_MAX / 4), memory).error().code,
              Errc::kInvalidArgument);
    memory.is_exhausted = true;
    EXPECT_EQ(MallocBdev::make(make_options(512, 10), memory).error().code, Errc::kNoMemory);
    AnonymousMemory real;
    EXPECT_EQ(MallocBdev::make(make_options(4096, uint64_t{1} << 50), real).error().code,
              Errc::kNoMemory);
}

}  // namespace
}  // namespace basalt::bdev
