#include "bdev/leaf/file_bdev.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>

#include <gtest/gtest.h>

#include "bdev/core/registry.h"
#include "bdev/limits.h"
#include "test/bdev/support/manual_world.h"
#include "test/bdev/support/model_check.h"
#include "test/bdev/support/plain_files.h"
#include "test/bdev/support/sim_node.h"
#include "test/bdev/support/test_io.h"

namespace basalt::bdev {
namespace {

constexpr uint64_t kDriveBytes = 4 * 1024 * 1024;

FileOptions make_options(uint32_t block_bytes = 4096) {
    FileOptions options;
    options.name = "File0";
    options.path = "/d";
    options.uuid.bytes[0] = 1;
    options.block_size_bytes = block_bytes;
    return options;
}

/// A file device on a simulated drive.
class FileNode : public SimNode {
  public:
    explicit FileNode(uint64_t seed,
                      uint32_t block_bytes = 4096,
                      const sim::FaultOptions& faults = sim::calm())
        : SimNode(seed, faults),
          block_bytes_(block_bytes),
          drive(world.add_drive(
              node, "/d", {.size_bytes = kDriveBytes, .alignment_bytes = block_bytes})) {
        attach();
    }

    void attach() {
        registry = std::make_unique<BdevRegistry>(cores());
        device =
            *registry->add(std::move(FileBdev::open(make_options(block_bytes_), files())).value());
        for (uint32_t i = 0; i < 2; ++i) {
            channels[i] = std::move(device->open(core(i))).value();
        }
    }

    /// Ends the process' objects, as a crash does: in any state.
    void detach() {
        channels = {};
        registry.reset();
    }

    ~FileNode() { detach(); }

    Errc run(TestIo& io) {
        io.submit(*channels[0]);
        finish(io);
        return io.code();
    }

  private:
    uint32_t block_bytes_;

  public:
    sim::Drive& drive;
    std::unique_ptr<BdevRegistry> registry;
    Device* device = nullptr;
    std::array<std::unique_ptr<DeviceChannel>, 2> channels;
};

void expect_model_holds(uint32_t block_bytes, uint32_t misalign_max) {
    for (uint64_t seed = 1; seed <= 12; ++seed) {
        sim::FaultOptions faults;
        faults.storage_jitter_ns = 300 * kNsPerUs;
        faults.storage_stall_ppm = 2000;
        faults.storage_stall_ns = 5 * kNsPerMs;
        FileNode node(seed, block_bytes, faults);
        const ModelOptions options{.seed = seed,
                                   .operations = 600,
                                   .queue_depth = 24,
                                   .range_blocks = 200,
                                   .misalign_max = misalign_max};
        EXPECT_EQ(
            check_against_model(
                *node.channels[0], node.device->info(), options, [&node] { node.world.step(); }),
            "");
    }
}

TEST(FileBdev, TellsWhatIsAllocated) {
    FileNode node(1);
    EXPECT_EQ(node.device->allocated_blocks(), BlockCount(0));
    TestIo io;
    io.prepare(IoOp::kWrite, 10, 3, 4096);
    ASSERT_EQ(node.run(io), Errc::kOk);
    EXPECT_EQ(node.device->allocated_blocks(), BlockCount(3));
    io.prepare(IoOp::kUnmap, 11, 1, 4096);
    ASSERT_EQ(node.run(io), Errc::kOk);
    EXPECT_EQ(node.device->allocated_blocks(), BlockCount(2));
}

TEST(FileBdev, KeepsWhatWasWritten) {
    expect_model_holds(4096, 0);
    expect_model_holds(512, 0);
}

TEST(FileBdev, KeepsWhatWasWrittenFromMemoryOfAnyAlignment) {
    expect_model_holds(4096, 600);
    expect_model_holds(512, 600);
}

TEST(FileBdev, ModelCheckFindsALostWrite) {
    sim::FaultOptions faults;
    faults.lost_write_ppm = 20'000;
    FileNode node(1, 4096, faults);
    EXPECT_NE(
        check_against_model(
            *node.channels[0], node.device->info(), {.seed = 1}, [&node] { node.world.step(); }),
        "");
}

// Writes versions to some blocks, some with FUA and some followed by a flush, until the power
// fails. Then each part of a block must hold the last durable version or one written after that.
class DurabilityCheck {
  public:
    explicit DurabilityCheck(uint64_t seed)
        : seed_(seed), random_(seed), node_(seed, 4096, faults()) {
        possible_.fill({0});
    }

    void run() {
        const uint64_t rounds = 1 + random_.below(100);
        for (uint64_t round = 1; round <= rounds; ++round) {
            write(static_cast<uint8_t>(round));
        }
        node_.world.crash_node(node_.node);
        node_.detach();
        node_.reboot();
        node_.attach();
        for (uint32_t block = 0; block < kBlocks; ++block) {
            check(block);
        }
    }

  private:
    static constexpr uint32_t kBlocks = 16;

    static sim::FaultOptions faults() {
        sim::FaultOptions faults;
        faults.storage_jitter_ns = 200 * kNsPerUs;
        return faults;
    }

    void all_is_durable() {
        for (uint32_t i = 0; i < kBlocks; ++i) {
            possible_[i] = {last_[i]};
        }
    }

    void write(uint8_t version) {
        TestIo io;
        if (random_.chance(1, 6)) {
            io.prepare(IoOp::kFlush, 0, 0, 4096);
            ASSERT_EQ(node_.run(io), Errc::kOk);
            all_is_durable();
            return;
        }
        const uint64_t block = random_.below(kBlocks);
        const bool is_zeroes = random_.chance(1, 8);
        io.prepare(is_zeroes ? IoOp::kWriteZeroes : IoOp::kWrite, block, 1, 4096);
        const bool is_durable = random_.chance(1, 2);
        io.request.fua = is_durable ? Fua::kYes : Fua::kNo;
        last_[block] = is_zeroes ? uint8_t{0} : version;
        if (!is_zeroes) {
            io.fill(version);
        }
        ASSERT_EQ(node_.run(io), Errc::kOk);
        possible_[block].insert(last_[block]);
        if (is_durable) {
            possible_[block] = {last_[block]};
        }
    }

    void check(uint32_t block) {
        TestIo io;
        io.prepare(IoOp::kRead, block, 1, 4096);
        ASSERT_EQ(node_.run(io), Errc::kOk);
        for (uint64_t at = 0; at < io.size_bytes; ++at) {
            ASSERT_TRUE(possible_[block].contains(std::to_integer<uint8_t>(io.data[at])))
                << "seed " << seed_ << " block " << block << " byte " << at;
        }
    }

    uint64_t seed_;
    Random random_;
    FileNode node_;
    std::array<uint8_t, kBlocks> last_{};
    std::array<std::set<uint8_t>, kBlocks> possible_;
};

TEST(FileBdev, AcknowledgedFuaAndFlushedDataSurvivesAPowerLoss) {
    for (uint64_t seed = 1; seed <= 200; ++seed) {
        DurabilityCheck(seed).run();
    }
}

// One life of a node: durable requests, many at once; then the power fails.
void expect_durable_after_power_loss(uint64_t seed) {
    sim::FaultOptions faults;
    faults.storage_jitter_ns = 200 * kNsPerUs;
    FileNode node(seed, 4096, faults);
    Random random(seed);
    std::vector<std::unique_ptr<TestIo>> ios;
    for (uint32_t i = 0; i < 24; ++i) {
        TestIo& io = *ios.emplace_back(std::make_unique<TestIo>());
        const bool is_flush = random.chance(1, 8);
        io.prepare(is_flush ? IoOp::kFlush : IoOp::kWrite, i, is_flush ? 0 : 1, 4096);
        io.request.fua = is_flush ? Fua::kNo : Fua::kYes;
        io.fill(static_cast<uint8_t>(i + 1));
        io.submit(*node.channels[random.below(2)]);
        if (random.chance(1, 3)) {
            node.world.run_for(random.below(100) * kNsPerUs);
        }
    }
    node.world.run_for(random.below(600) * kNsPerUs);
    node.world.crash_node(node.node);
    node.detach();
    node.reboot();
    node.attach();
    for (uint32_t i = 0; i < ios.size(); ++i) {
        if (!ios[i]->is_done() || ios[i]->request.op == IoOp::kFlush) {
            ios[i]->completions = ios[i]->submissions;
            continue;
        }
        TestIo read;
        read.prepare(IoOp::kRead, i, 1, 4096);
        ASSERT_EQ(node.run(read), Errc::kOk);
        ASSERT_EQ(std::count(read.data, read.data + 4096, std::byte(i + 1)), 4096)
            << "seed " << seed << " block " << i;
    }
}

TEST(FileBdev, DurableWritesThatShareAFlushSurviveAPowerLoss) {
    for (uint64_t seed = 1; seed <= 300; ++seed) {
        expect_durable_after_power_loss(seed);
    }
}

TEST(FileBdev, ManyDurableWritesShareAFlush) {
    PlainFiles files(64 * 4096);
    ManualWorld world(0, &files);
    const auto file = std::move(FileBdev::open(make_options(), files)).value();
    const auto channel = std::move(file->open_channel(world.control())).value();
    std::array<TestIo, 16> ios;
    for (uint32_t i = 0; i < ios.size(); ++i) {
        ios[i].prepare(IoOp::kWrite, i, 1, 4096);
        ios[i].request.fua = Fua::kYes;
        ios[i].submit(*channel);
    }
    world.settle();
    EXPECT_EQ(files.durable_writes, 2U) << "the first two, as they would if they were alone";
    EXPECT_EQ(files.flushes, 1U);
    files.flush_status = Errc::kIo;
    for (TestIo& io : ios) {
        ASSERT_EQ(io.code(), Errc::kOk);
        io.request.fua = Fua::kYes;
        io.submit(*channel);
    }
    world.settle();
    for (uint32_t i = 0; i < ios.size(); ++i) {
        EXPECT_EQ(ios[i].code(), i < 2 ? Errc::kOk : Errc::kIo) << i;
    }
}

TEST(FileBdev, DurableWritesThatWaitForMemoryDontWaitForEachOther) {
    // Who is written and waits for a flush must not have what those need that the flush waits for.
    FileNode node(1);
    std::vector<std::unique_ptr<TestIo>> ios;
    for (uint32_t i = 0; i < 200; ++i) {
        TestIo& io = *ios.emplace_back(std::make_unique<TestIo>());
        io.prepare(IoOp::kWrite, i % 32 * 32, 32, 4096, 1, 1);
        io.request.fua = Fua::kYes;
        io.fill(1);
        io.submit(*node.channels[0]);
    }
    EXPECT_TRUE(node.world.run_until(
        [&] {
            return std::all_of(
                ios.begin(), ios.end(), [](const auto& io) { return io->is_done(); });
        },
        10 * kNsPerSecond));
}

TEST(FileBdev, PlainWritesMayBeLost) {
    // The reason for has_volatile_cache, and the proof that the test above can fail.
    uint32_t lost = 0;
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        FileNode node(seed);
        TestIo io;
        io.prepare(IoOp::kWrite, 0, 1, 4096);
        io.fill(0x77);
        EXPECT_EQ(node.run(io), Errc::kOk);
        node.world.crash_node(node.node);
        node.detach();
        node.reboot();
        node.attach();
        io.prepare(IoOp::kRead, 0, 1, 4096);
        EXPECT_EQ(node.run(io), Errc::kOk);
        lost += std::count(io.data, io.data + 4096, std::byte{0x77}) == 4096 ? 0U : 1U;
    }
    EXPECT_GT(lost, 10U);
}

TEST(FileBdev, CanBeDestroyedInAnyStateAfterAPowerLoss) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        FileNode node(seed);
        std::vector<std::unique_ptr<WholeIoRequest>> requests;
        std::vector<std::byte> memory(4096 + 1);
        const iovec piece{memory.data() + 1, 4096};
        for (uint32_t i = 0; i < 600; ++i) {
            requests.push_back(std::make_unique<WholeIoRequest>());
            IoRequest& request = *requests.back();
            request.op = i % 2 == 0 ? IoOp::kCompare : IoOp::kWrite;
            request.first = Lba(i);
            request.count = BlockCount(1);
            request.pieces = &piece;
            request.piece_count = 1;
            request.push_completion([](IoRequest&, void*) {}, nullptr);
            node.channels[0]->submit(request);
        }
        node.world.run_for(node.world.random().below(200) * kNsPerUs);
        node.world.crash_node(node.node);
        node.detach();
    }
}

TEST(FileBdev, AFailedFlushIsNeverFollowedByASuccessfulOne) {
    FileNode node(1);
    node.world.faults().flush_error_ppm = 1'000'000;
    TestIo io;
    io.prepare(IoOp::kFlush, 0, 0, 4096);
    EXPECT_EQ(node.run(io), Errc::kIo);
    node.world.faults().flush_error_ppm = 0;
    EXPECT_EQ(node.run(io), Errc::kIo);
    io.prepare(IoOp::kWrite, 0, 1, 4096);
    io.request.fua = Fua::kYes;
    io.submit(*node.channels[1]);
    node.finish(io);
    EXPECT_EQ(io.code(), Errc::kIo) << "on any core";
    io.request.fua = Fua::kNo;
    EXPECT_EQ(node.run(io), Errc::kOk);
    io.prepare(IoOp::kRead, 0, 1, 4096);
    EXPECT_EQ(node.run(io), Errc::kOk);
}

TEST(FileBdev, ReportsErrorsOfTheMediumAndGoesOn) {
    FileNode node(1);
    node.drive.damage(8192, 4096);
    TestIo io;
    io.prepare(IoOp::kRead, 1, 3, 4096);
    EXPECT_EQ(node.run(io), Errc::kMediaError);
    io.prepare(IoOp::kCompare, 2, 1, 4096);
    EXPECT_EQ(node.run(io), Errc::kMediaError);
    io.prepare(IoOp::kRead, 1, 1, 4096);
    EXPECT_EQ(node.run(io), Errc::kOk);
    node.world.faults().write_error_ppm = 1'000'000;
    io.prepare(IoOp::kWrite, 2, 1, 4096);
    EXPECT_EQ(node.run(io), Errc::kIo);
    io.prepare(IoOp::kUnmap, 2, 100, 4096);
    EXPECT_EQ(node.run(io), Errc::kIo);
}

TEST(FileBdev, MoreRequestsThanOperationsAndBuffersWaitInLine) {
    FileNode node(1);
    std::vector<std::unique_ptr<TestIo>> ios;
    for (uint32_t i = 0; i < 1000; ++i) {
        ios.push_back(std::make_unique<TestIo>());
        ios.back()->prepare(IoOp::kCompare, i % 64, i % 33 == 0 ? 32 : 1, 4096);
        ios.back()->fill(0);
        ios.back()->submit(*node.channels[0]);
    }
    EXPECT_TRUE(node.world.run_until([&] { return node.channels[0]->in_flight() == 0; },
                                     10 * kNsPerSecond));
    for (const auto& io : ios) {
        EXPECT_EQ(io->code(), Errc::kOk);
    }
}

TEST(FileBdev, UnmapGivesTheSpaceBackAndWriteZeroesMayKeepIt) {
    FileNode node(1);
    TestIo io;
    io.prepare(IoOp::kWrite, 0, 32, 4096);
    EXPECT_EQ(node.run(io), Errc::kOk);
    EXPECT_EQ(node.drive.allocated_bytes(), 32U * 4096);
    io.prepare(IoOp::kWriteZeroes, 0, 16, 4096);
    io.request.may_deallocate = false;
    EXPECT_EQ(node.run(io), Errc::kOk);
    EXPECT_EQ(node.drive.allocated_bytes(), 32U * 4096);
    io.request.may_deallocate = true;
    EXPECT_EQ(node.run(io), Errc::kOk);
    EXPECT_EQ(node.drive.allocated_bytes(), 16U * 4096);
    io.prepare(IoOp::kUnmap, 0, kDriveBytes / 4096, 4096);
    EXPECT_EQ(node.run(io), Errc::kOk);
    EXPECT_EQ(node.drive.allocated_bytes(), 0U);
}

TEST(FileBdev, LongRangesGoInSteps) {
    SimNode node(1);
    node.world.add_drive(node.node, "/d", {.size_bytes = 5 * kFilePunchBytes});
    auto file = std::move(FileBdev::open(make_options(), node.files())).value();
    auto channel = std::move(file->open_channel(node.core(0))).value();
    TestIo io;
    io.prepare(IoOp::kUnmap, 1, file->info().block_count.raw() - 1, 4096);
    const uint64_t start = node.world.now_ns();
    io.submit(*channel);
    node.finish(io);
    EXPECT_TRUE(io.status());
    EXPECT_GE(node.world.now_ns() - start, 5 * sim::kStorageNs);
}

TEST(FileBdev, SmallBlocksGoThroughThePageCache) {
    PlainFiles files(64 * 4096);
    ManualWorld world(0, &files);
    {
        auto file = std::move(FileBdev::open(make_options(4096), files)).value();
        EXPECT_TRUE(files.is_direct);
    }
    auto file = std::move(FileBdev::open(make_options(512), files)).value();
    EXPECT_FALSE(files.is_direct);
    EXPECT_EQ(file->info().block_count.raw(), 64U * 8);
    EXPECT_FALSE(file->info().can(IoOp::kUnmap)) << "no holes here";
    EXPECT_FALSE(file->info().reads_zeroes_after_unmap);
}

TEST(FileBdev, WritesZeroesWhereTheFileSystemCannotZero) {
    PlainFiles files(100 * 4096);
    ManualWorld world(0, &files);
    const auto file = std::move(FileBdev::open(make_options(), files)).value();
    const auto channel = std::move(file->open_channel(world.control())).value();
    TestIo io;
    for (uint32_t run = 0; run < 2; ++run) {
        std::fill(files.contents.begin(), files.contents.end(), std::byte{0x5a});
        io.prepare(IoOp::kWriteZeroes, 1, 98, 4096);
        io.submit(*channel);
        world.settle();
        EXPECT_EQ(io.code(), Errc::kOk);
        EXPECT_EQ(std::count(files.contents.begin(), files.contents.end(), std::byte{0}),
                  98 * 4096);
        EXPECT_EQ(files.contents[4095], std::byte{0x5a});
        EXPECT_EQ(files.contents[99 * 4096], std::byte{0x5a});
    }
    EXPECT_EQ(files.refusals, 1U) << "asked once only";
}

TEST(FileBdev, RefusesFilesThatDoNotFit) {
    SimNode node(1);
    node.world.add_drive(node.node, "/odd", {.size_bytes = 4096 * 3 + 512, .alignment_bytes = 512});
    FileOptions options = make_options();
    options.path = "/none";
    EXPECT_EQ(FileBdev::open(options, node.files()).error().code, Errc::kNotFound);
    options.path = "/odd";
    EXPECT_EQ(FileBdev::open(options, node.files()).error().code, Errc::kInvalidArgument);
    options.block_size_bytes = 1000;
    EXPECT_EQ(FileBdev::open(options, node.files()).error().code, Errc::kInvalidArgument);
    options.block_size_bytes = 512;
    {
        auto file = FileBdev::open(options, node.files());
        ASSERT_TRUE(file) << "a refused open leaves nothing open";
        EXPECT_EQ((*file)->info().block_count.raw(), 25U);
        EXPECT_EQ(FileBdev::open(options, node.files()).error().code, Errc::kBusy);
    }
    options.path = "/new";
    options.block_size_bytes = 4096;
    options.create_size_bytes = 1 << 20;
    auto made = FileBdev::open(options, node.files());
    ASSERT_TRUE(made);
    EXPECT_EQ((*made)->info().block_count.raw(), 256U);
}

TEST(FileBdev, IsKnownByItsPathUnlessItIsGivenAUuid) {
    PlainFiles files(64 * 4096);
    const auto uuid_at = [&files](const std::string& path, const std::string& node, Uuid uuid) {
        FileOptions options = make_options();
        options.path = path;
        options.node = node;
        options.uuid = uuid;
        return std::move(FileBdev::open(options, files)).value()->info().uuid;
    };
    const Uuid uuid = uuid_at("/srv/d", "a", {});
    EXPECT_EQ(uuid_at("/srv/d", "a", {}), uuid);
    EXPECT_EQ(uuid_at("/srv//./x/../d", "a", {}), uuid);
    EXPECT_NE(uuid_at("/srv/e", "a", {}), uuid);
    EXPECT_NE(uuid_at("/srv/d", "b", {}), uuid);
    const std::string here = std::filesystem::current_path().native();
    EXPECT_EQ(uuid_at("d", "a", {}), uuid_at(here + "/d", "a", {}));
    const Uuid chosen = Uuid::make_random();
    EXPECT_EQ(uuid_at("/srv/d", "a", chosen), chosen);
}

TEST(FileBdev, ReadOnlyDeviceOffersNoWrites) {
    SimNode node(1);
    node.world.add_drive(node.node, "/d", {.size_bytes = kDriveBytes});
    FileOptions options = make_options();
    options.read_only = true;
    auto file = std::move(FileBdev::open(options, node.files())).value();
    EXPECT_TRUE(file->info().is_read_only);
    EXPECT_FALSE(file->info().can(IoOp::kWrite));
    EXPECT_FALSE(file->info().can(IoOp::kUnmap));
    EXPECT_TRUE(file->info().can(IoOp::kRead));
    EXPECT_EQ(file->describe().parameters.back().name, "readonly");
}

}  // namespace
}  // namespace basalt::bdev
