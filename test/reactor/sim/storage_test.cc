// What simulated drives promise, and how they break it when asked to.
#include <gtest/gtest.h>

#include "reactor/sim/world.h"

namespace basalt::sim {
namespace {

using Op = FileRequest::Op;
constexpr uint64_t kBlock = 4096;

/// One node with one drive, and blocking helpers that run the world until a request is done.
class StorageTest : public testing::Test {
  protected:
    explicit StorageTest(uint64_t seed = 5)
        : world_(seed), node_(world_.add_node()), drive_(world_.add_drive(node_, "/dev/a")) {
        start();
    }
    ~StorageTest() override { world_.power_off(); }

    struct Request : FileRequest {
        bool is_done = false;
        iovec piece{};
    };

    void start() {
        reactor_ = &world_.add_reactor(node_);
        info_ = world_.file_system(node_).open("/dev/a", {}).value();
    }
    void crash_and_restart(Crash crash = Crash::kPowerLoss) {
        world_.crash_node(node_, crash);
        world_.restart_node(node_);
        start();
    }
    void prepare(Request& request, Op op, uint64_t offset, std::byte* memory, uint64_t length) {
        request.op = op;
        request.file = info_.handle;
        request.offset_bytes = offset;
        request.length_bytes = length;
        request.piece = iovec{memory, length};
        request.pieces = &request.piece;
        request.piece_count = memory == nullptr ? 0 : 1;
        request.is_done = false;
        request.done.set_run(nullptr);
        requests_.push_back(&request);
    }
    Status run(Op op, uint64_t offset, std::byte* memory, uint64_t length) {
        Request request;
        prepare(request, op, offset, memory, length);
        bool& is_done = request.is_done;
        set_done(request);
        reactor_->storage().submit(request);
        EXPECT_TRUE(world_.run_until([&] { return is_done; }, 100 * kNsPerSecond));
        return request.status;
    }
    static void set_done(Request& request) {
        // The event is the first member of FileRequest, which the tests' Request begins with.
        request.done.set_run([](Event& event, Reactor&) {
            for (Request* known : requests_) {
                if (&known->done == &event) {
                    known->is_done = true;
                    requests_.erase(std::find(requests_.begin(), requests_.end(), known));
                    return;
                }
            }
            FAIL() << "a request completed twice";
        });
    }
    Status write(uint64_t block, uint8_t value, Op op = Op::kWrite) {
        Page page;
        page.bytes.fill(std::byte{value});
        return run(op, block * kBlock, page.bytes.data(), kBlock);
    }
    Status flush() { return run(Op::kFlush, 0, nullptr, 0); }
    /// The 512-byte units of a block, -1 for one that is not of one value.
    std::array<int, 8> units(uint64_t block) {
        Page page;
        EXPECT_TRUE(run(Op::kRead, block * kBlock, page.bytes.data(), kBlock));
        std::array<int, 8> values{};
        for (size_t i = 0; i < kBlock; ++i) {
            const int value = std::to_integer<int>(page.bytes[i]);
            values[i / 512] = i % 512 == 0 || values[i / 512] == value ? value : -1;
        }
        return values;
    }
    static std::array<int, 8> all(int value) {
        std::array<int, 8> values{};
        values.fill(value);
        return values;
    }

    struct alignas(4096) Page {
        std::array<std::byte, kBlock> bytes{};
    };

    World world_;
    NodeId node_;
    Drive& drive_;
    Reactor* reactor_ = nullptr;
    FileInfo info_;
    static inline std::vector<Request*> requests_;
};

TEST_F(StorageTest, ReadsWhatWasWrittenAndZeroesElsewhere) {
    EXPECT_TRUE(write(3, 0xAB));
    EXPECT_EQ(units(3), all(0xAB));
    EXPECT_EQ(units(4), all(0));
    EXPECT_EQ(drive_.allocated_bytes(), kBlock);
}

TEST_F(StorageTest, ARegisteredFileIsTheSameOneUntilTheTableIsFull) {
    const FileHandle plain = info_.handle;
    std::vector<FileHandle> handles;
    do {
        handles.push_back(reactor_->storage().register_file(plain));
        info_.handle = handles.back();
        EXPECT_TRUE(write(3, static_cast<uint8_t>(handles.size())));
        info_.handle = plain;
        EXPECT_EQ(units(3), all(static_cast<int>(handles.size())));
    } while (handles.back() != plain);
    EXPECT_GT(handles.size(), 2U);
    for (const FileHandle handle : handles) {
        reactor_->storage().unregister_file(handle);
    }
    EXPECT_NE(reactor_->storage().register_file(plain), plain);
    crash_and_restart();
    EXPECT_NE(reactor_->storage().register_file(info_.handle), info_.handle);
}

TEST_F(StorageTest, ARegisteredFileIsOfItsCoreAloneAndNotClosed) {
    const FileHandle plain = info_.handle;
    info_.handle = reactor_->storage().register_file(plain);
    EXPECT_DEATH(world_.file_system(node_).close(plain), "registered");
    EXPECT_DEATH(world_.file_system(node_).close(info_.handle), "");
    Reactor& own = *reactor_;
    reactor_ = &world_.add_reactor(node_);
    EXPECT_DEATH(static_cast<void>(flush()), "registered");
    reactor_ = &own;
    own.storage().unregister_file(info_.handle);
    EXPECT_DEATH(static_cast<void>(flush()), "registered");
    world_.file_system(node_).close(plain);
}

TEST_F(StorageTest, FlushedAndDurableWritesSurviveEveryPowerLoss) {
    world_.faults().crash_loss_ppm = 1'000'000;
    EXPECT_TRUE(write(1, 0x11));
    EXPECT_TRUE(flush());
    EXPECT_TRUE(write(2, 0x22, Op::kWriteDurable));
    EXPECT_TRUE(write(3, 0x33));
    EXPECT_TRUE(write(1, 0x99));
    crash_and_restart();
    EXPECT_EQ(units(1), all(0x11));
    EXPECT_EQ(units(2), all(0x22));
    EXPECT_EQ(units(3), all(0));
    crash_and_restart();
    EXPECT_EQ(units(1), all(0x11));
}

TEST_F(StorageTest, ADurableWriteOverAnUnflushedOneSurvives) {
    world_.faults().crash_loss_ppm = 1'000'000;
    EXPECT_TRUE(write(1, 0x11));
    EXPECT_TRUE(write(1, 0x22, Op::kWriteDurable));
    crash_and_restart();
    EXPECT_EQ(units(1), all(0x22));
}

TEST_F(StorageTest, UnflushedWritesAreTornInUnits) {
    bool kept_one = false;
    bool lost_one = false;
    for (uint64_t block = 0; block < 20; ++block) {
        EXPECT_TRUE(write(block, 0x11, Op::kWriteDurable));
        EXPECT_TRUE(write(block, 0x22));
    }
    crash_and_restart();
    for (uint64_t block = 0; block < 20; ++block) {
        for (const int unit : units(block)) {
            EXPECT_TRUE(unit == 0x11 || unit == 0x22) << unit;
            kept_one = kept_one || unit == 0x22;
            lost_one = lost_one || unit == 0x11;
        }
    }
    EXPECT_TRUE(kept_one);
    EXPECT_TRUE(lost_one);
}

TEST_F(StorageTest, AWriteInFlightAtAPowerLossIsDoneInPartAndNeverAnswered) {
    world_.faults().crash_loss_ppm = 0;
    std::array<Page, 8> pages;
    Request request;
    for (Page& page : pages) {
        page.bytes.fill(std::byte{0x55});
    }
    prepare(request, Op::kWriteDurable, 0, pages[0].bytes.data(), sizeof(pages));
    set_done(request);
    reactor_->storage().submit(request);
    crash_and_restart();
    world_.run_for(kNsPerSecond);
    EXPECT_FALSE(request.is_done);
    requests_.clear();
    uint32_t written = 0;
    for (uint64_t block = 0; block < 8; ++block) {
        for (const int unit : units(block)) {
            EXPECT_TRUE(unit == 0 || unit == 0x55);
            written += unit == 0x55 ? 1U : 0U;
        }
    }
    EXPECT_GT(written, 0U);
    EXPECT_LT(written, 64U);
}

TEST_F(StorageTest, AKilledProcessLosesNothingThatWasWritten) {
    world_.faults().crash_loss_ppm = 1'000'000;
    EXPECT_TRUE(write(1, 0x11));
    crash_and_restart(Crash::kProcess);
    EXPECT_EQ(units(1), all(0x11));
}

TEST_F(StorageTest, AFailedFlushLosesItsWritesEvenIfTheNextOneSucceeds) {
    world_.faults().crash_loss_ppm = 0;
    EXPECT_TRUE(write(1, 0x11));
    world_.faults().flush_error_ppm = 1'000'000;
    EXPECT_EQ(flush().error().code, Errc::kIo);
    world_.faults().flush_error_ppm = 0;
    EXPECT_TRUE(flush());
    EXPECT_EQ(units(1), all(0x11));
    crash_and_restart();
    EXPECT_EQ(units(1), all(0));
}

TEST_F(StorageTest, ConcurrentRequestsOvertakeEachOther) {
    world_.faults().storage_jitter_ns = kNsPerMs;
    bool has_overtaken = false;
    for (int attempt = 0; attempt < 20; ++attempt) {
        Page pages[2];
        Request first;
        Request second;
        prepare(first, Op::kRead, 0, pages[0].bytes.data(), kBlock);
        prepare(second, Op::kRead, 0, pages[1].bytes.data(), kBlock);
        set_done(first);
        set_done(second);
        reactor_->storage().submit(first);
        reactor_->storage().submit(second);
        world_.run_until([&] { return first.is_done || second.is_done; }, kNsPerSecond);
        has_overtaken = has_overtaken || !first.is_done;
        EXPECT_TRUE(
            world_.run_until([&] { return first.is_done && second.is_done; }, kNsPerSecond));
    }
    EXPECT_TRUE(has_overtaken);
}

TEST_F(StorageTest, EachFaultHappensWhenItsRateIsHigh) {
    EXPECT_TRUE(write(1, 0x11));
    world_.faults().read_error_ppm = 1'000'000;
    Page page;
    EXPECT_EQ(run(Op::kRead, kBlock, page.bytes.data(), kBlock).error().code, Errc::kMediaError);

    world_.faults() = calm();
    world_.faults().write_error_ppm = 1'000'000;
    EXPECT_EQ(write(2, 0x22).error().code, Errc::kIo);

    world_.faults() = calm();
    world_.faults().lost_write_ppm = 1'000'000;
    EXPECT_TRUE(write(3, 0x33));
    world_.faults() = calm();
    EXPECT_EQ(units(3), all(0));

    world_.faults().misdirected_write_ppm = 1'000'000;
    EXPECT_TRUE(write(4, 0x44));
    world_.faults() = calm();
    EXPECT_EQ(units(4), all(0));

    world_.faults().misdirected_read_ppm = 1'000'000;
    EXPECT_EQ(units(1), all(0));
    world_.faults() = calm();
    EXPECT_EQ(units(1), all(0x11));

    world_.faults().corrupt_ppm = 1'000'000;
    EXPECT_NE(units(1), all(0x11));
    world_.faults() = calm();
    EXPECT_NE(units(1), all(0x11));

    world_.faults().storage_stall_ppm = 1'000'000;
    world_.faults().storage_stall_ns = 10 * kNsPerSecond;
    const uint64_t start_ns = world_.now_ns();
    EXPECT_TRUE(write(5, 0x55));
    EXPECT_GE(world_.now_ns() - start_ns, 10 * kNsPerSecond);
}

TEST_F(StorageTest, CorruptionAndDamageCanBePlaced) {
    EXPECT_TRUE(write(1, 0x11));
    drive_.corrupt(kBlock + 700);
    auto expected = all(0x11);
    expected[1] = -1;
    EXPECT_EQ(units(1), expected);
    drive_.damage(kBlock, 512);
    Page page;
    EXPECT_EQ(run(Op::kRead, kBlock, page.bytes.data(), kBlock).error().code, Errc::kMediaError);
    EXPECT_TRUE(write(1, 0x22));
    EXPECT_EQ(units(1), all(0x22));
}

TEST_F(StorageTest, RequestsThatTheKernelWouldRefuseAreRefused) {
    Page page;
    EXPECT_EQ(run(Op::kRead, 512, page.bytes.data(), kBlock).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(run(Op::kRead, 0, page.bytes.data(), 512).error().code, Errc::kInvalidArgument);
    EXPECT_EQ(run(Op::kWrite, info_.size_bytes, page.bytes.data(), kBlock).error().code, Errc::kIo);
    EXPECT_EQ(world_.file_system(node_).open("/dev/a", {}).error().code, Errc::kBusy);
    EXPECT_EQ(world_.file_system(node_).open("/dev/b", {}).error().code, Errc::kNotFound);
    world_.file_system(node_).close(info_.handle);
    EXPECT_TRUE(world_.file_system(node_).open("/dev/a", {}));
    const auto created = world_.file_system(node_).open("/new", {.create_size_bytes = 1U << 20U});
    ASSERT_TRUE(created);
    EXPECT_EQ(created->size_bytes, 1U << 20U);
}

TEST_F(StorageTest, PunchedSpaceReadsAsZeroesAndIsGivenBack) {
    for (uint64_t block = 0; block < 4; ++block) {
        EXPECT_TRUE(write(block, 0x77));
    }
    EXPECT_TRUE(run(Op::kPunchHole, kBlock, nullptr, 2 * kBlock));
    EXPECT_EQ(drive_.allocated_bytes(), 2 * kBlock);
    EXPECT_TRUE(run(Op::kPunchHole, kBlock, nullptr, 2 * kBlock));
    EXPECT_EQ(drive_.allocated_bytes(), 2 * kBlock);
    EXPECT_EQ(units(1), all(0));
    EXPECT_EQ(units(3), all(0x77));
    EXPECT_TRUE(run(Op::kZeroRange, 3 * kBlock, nullptr, kBlock));
    EXPECT_EQ(units(3), all(0));
    EXPECT_EQ(drive_.allocated_bytes(), 2 * kBlock);
}

TEST_F(StorageTest, AnUnflushedPunchMayBeUndoneByAPowerLoss) {
    world_.faults().crash_loss_ppm = 1'000'000;
    EXPECT_TRUE(write(1, 0x11, Op::kWriteDurable));
    EXPECT_TRUE(run(Op::kPunchHole, kBlock, nullptr, kBlock));
    crash_and_restart();
    EXPECT_EQ(units(1), all(0x11));
    EXPECT_EQ(drive_.allocated_bytes(), kBlock);
}

TEST(Drive, AFullDriveRefusesNewBlocksAndStillTakesOldOnes) {
    FaultOptions faults;
    Timeline timeline(1, faults);
    Drive drive(timeline, {.allocated_bytes_max = 2 * kBlock});
    std::vector<std::byte> data(2 * kBlock, std::byte{1});
    const iovec piece{data.data(), data.size()};
    EXPECT_TRUE(drive.write(0, &piece, 2 * kBlock, Drive::Durable::kNo));
    EXPECT_EQ(drive.write(kBlock, &piece, 2 * kBlock, Drive::Durable::kNo).error().code,
              Errc::kNoSpace);
    EXPECT_TRUE(drive.write(0, &piece, 2 * kBlock, Drive::Durable::kNo));
    EXPECT_TRUE(drive.zero(0, kBlock, true, Drive::Durable::kNo));
    EXPECT_TRUE(drive.write(8 * kBlock, &piece, kBlock, Drive::Durable::kNo));
}

TEST(Drive, WithoutAVolatileCacheEveryWriteSurvives) {
    FaultOptions faults;
    faults.crash_loss_ppm = 1'000'000;
    Timeline timeline(1, faults);
    Drive drive(timeline, {.has_volatile_cache = false});
    std::vector<std::byte> data(kBlock, std::byte{1});
    const iovec piece{data.data(), data.size()};
    EXPECT_TRUE(drive.write(0, &piece, kBlock, Drive::Durable::kNo));
    drive.lose_power();
    std::fill(data.begin(), data.end(), std::byte{9});
    EXPECT_TRUE(drive.read(0, &piece, kBlock));
    EXPECT_EQ(data[0], std::byte{1});
}

TEST(Drive, RandomHistoriesAgreeWithAModel) {
    for (uint64_t seed = 0; seed < 100; ++seed) {
        FaultOptions faults;
        Timeline timeline(seed, faults);
        Random random(seed);
        Drive drive(timeline, {.size_bytes = 16 * kBlock, .alignment_bytes = 512});
        // By 512-byte unit: what is stored now, and all that a power loss may leave.
        std::array<uint8_t, 128> now{};
        std::array<uint8_t, 128> safe{};
        std::array<std::byte, 512> unit{};
        const iovec piece{unit.data(), unit.size()};
        for (int i = 0; i < 400; ++i) {
            const uint64_t at = random.below(128);
            const auto value = static_cast<uint8_t>(1 + random.below(255));
            unit.fill(std::byte{value});
            switch (random.below(8)) {
                case 0:
                    ASSERT_TRUE(drive.flush());
                    safe = now;
                    break;
                case 1:
                    ASSERT_TRUE(drive.write(at * 512, &piece, 512, Drive::Durable::kYes));
                    now[at] = safe[at] = value;
                    break;
                case 2:
                    if (random.chance(1, 4)) {
                        drive.lose_power();
                        for (uint64_t k = 0; k < 128; ++k) {
                            ASSERT_TRUE(drive.read(k * 512, &piece, 512));
                            const auto found = std::to_integer<uint8_t>(unit[0]);
                            ASSERT_TRUE(found == now[k] || found == safe[k]) << "seed " << seed;
                            now[k] = safe[k] = found;
                        }
                    }
                    break;
                case 3:
                    ASSERT_TRUE(
                        drive.zero(at * 512, 512, random.chance(1, 2), Drive::Durable::kNo));
                    now[at] = 0;
                    break;
                default:
                    ASSERT_TRUE(drive.write(at * 512, &piece, 512, Drive::Durable::kNo));
                    now[at] = value;
            }
            ASSERT_TRUE(drive.read(at * 512, &piece, 512));
            ASSERT_EQ(std::to_integer<uint8_t>(unit[511]), now[at]) << "seed " << seed;
        }
    }
}

}  // namespace
}  // namespace basalt::sim
