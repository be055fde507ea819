#include "replication/replica/replica_service.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "reactor/base/allocation_counter.h"
#include "test/bdev/support/sim_node.h"
#include "test/reactor/may_leak.h"
#include "test/replication/replica/memory_store.h"

namespace basalt::replication::test {
namespace {

const Settings kSettings{.blocks = 512, .window_ops = 16, .reads = 16};

/// A connection: keeps what it hears, and sees that it hears it when it may.
struct Port final : public ReplyPort {
    struct Heard {
        Reply reply{};
        std::vector<WindowEntry> window{};
        BlockRef data{};
    };

    void reply(const Reply& reply, BlockRef data) override {
        EXPECT_FALSE(is_taking) << "answered inside of take()";
        ++count;
        last = reply.status;
        if (is_keeping) {
            heard.push_back({reply, {reply.window.begin(), reply.window.end()}, std::move(data)});
        }
        if (next != nullptr) {
            const Message* message = std::exchange(next, nullptr);
            replica->take(name, *message, BlockRef());
        }
    }
    void replica_gone(const ReplicaPort& /*replica*/, uint64_t connection) override {
        EXPECT_EQ(connection, name);
        ++gone;
    }

    std::vector<Heard> heard{};
    bool is_taking = false;
    bool is_keeping = true;
    uint64_t count = 0;
    Errc last = Errc::kOk;
    uint32_t gone = 0;
    uint64_t name = 0;
    ReplicaPort* replica = nullptr;
    const Message* next = nullptr;  ///< To be sent from inside of reply().
};

class ReplicaServiceTest : public ::testing::Test {
  protected:
    static constexpr BlockBuffers::Counts kCounts{.small = 16, .large = 2};

    ReplicaServiceTest() {
        disk_.state.fence = disk_.state.agreed = Epoch(1);
        open();
    }
    ~ReplicaServiceTest() override {
        if (service_ != nullptr) {
            store_->is_automatic = true;
            while (!store_->pending.empty()) {
                store_->finish(0);
            }
            EXPECT_TRUE(node_.wait(service_->stop()));
            EXPECT_TRUE(store_->is_stopped);
        }
    }

    void open() {
        auto store = std::make_unique<MemoryReplicaStore>(node_.core(0), disk_);
        store_ = store.get();
        Task<Result<std::unique_ptr<ReplicaService>>> opening =
            ReplicaService::open(node_.core(0), buffers_, std::move(store));
        service_ = std::move(node_.wait(std::move(opening)).value());
        connect(port_);
    }
    void connect(Port& port) {
        port.replica = service_.get();
        port.name = service_->connect(port);
    }

    Message message(MessageKind kind, BlockRange range = {}, uint64_t epoch = 1) {
        return {.kind = kind,
                .epoch = Epoch(epoch),
                .tenure = Epoch(epoch),
                .session = 1,
                .id = ++ids_,
                .range = range};
    }
    Message write(uint64_t count, BlockRange range) {
        Message out = message(MessageKind::kWrite, range);
        out.number = {Epoch(1), count};
        return out;
    }
    BlockRef filled(uint32_t blocks, uint8_t value) {
        BlockRef data = buffers_.try_take(blocks);
        std::memset(data.bytes().data(), value, data.bytes().size());
        for (uint32_t i = 0; i < blocks; ++i) {
            data.sums()[i] =
                bdev::store::crc32c(data.bytes().subspan(size_t{i} * kBlockBytes, kBlockBytes));
        }
        return data;
    }
    void take(Port& port, const Message& message, BlockRef data = {}) {
        port.is_taking = true;
        service_->take(port.name, message, std::move(data));
        port.is_taking = false;
    }
    void take(const Message& message, BlockRef data = {}) { take(port_, message, std::move(data)); }
    void settle() {
        EXPECT_TRUE(node_.world.run_until([this] { return service_->messages_under_way() == 0; },
                                          kNsPerSecond));
        node_.world.run_for(kNsPerSecond / 1000);
    }
    /// The status that a message is answered with.
    Errc answer(const Message& message, BlockRef data = {}) {
        const uint64_t before = port_.count;
        take(message, std::move(data));
        EXPECT_TRUE(node_.world.run_until([&] { return port_.count > before; }, kNsPerSecond));
        EXPECT_EQ(port_.count, before + 1);
        return port_.last;
    }

    bdev::SimNode node_{1};
    MemoryDisk disk_{kSettings};
    std::vector<std::byte> region_ = std::vector<std::byte>(BlockBuffers::region_bytes(kCounts));
    BlockBuffers buffers_{region_, kCounts};
    MemoryReplicaStore* store_ = nullptr;
    std::unique_ptr<ReplicaService> service_;
    Port port_;
    uint64_t ids_ = 0;
};

TEST_F(ReplicaServiceTest, ReadsWhatWasWritten) {
    EXPECT_EQ(answer(write(1, {8, 2}), filled(2, 7)), Errc::kOk);
    EXPECT_EQ(answer(message(MessageKind::kRead, {7, 4})), Errc::kOk);
    const Port::Heard& read = port_.heard.back();
    ASSERT_TRUE(read.data.is_valid());
    EXPECT_EQ(read.data.bytes()[0], std::byte{0});
    EXPECT_EQ(read.data.bytes()[kBlockBytes], std::byte{7});
    EXPECT_EQ(read.data.bytes()[kBlockBytes * 3 - 1], std::byte{7});
    EXPECT_EQ(read.data.bytes()[kBlockBytes * 3], std::byte{0});
    EXPECT_EQ(read.reply.digest, digest_of(read.data.sums()));
    EXPECT_EQ(read.reply.newest, (OpNumber{Epoch(1), 1}));
    EXPECT_EQ(read.reply.connection, port_.name);
    EXPECT_EQ(service_->counters().writes, 1U);
    EXPECT_EQ(service_->counters().blocks_written, 2U);
    EXPECT_EQ(service_->counters().blocks_read, 4U);
}

TEST_F(ReplicaServiceTest, StoresWhatOverlapsInTurnAndTheRestBesideIt) {
    store_->is_automatic = false;
    take(write(1, {0, 4}), filled(4, 1));
    take(write(2, {3, 1}), filled(1, 2));
    take(write(3, {8, 1}), filled(1, 3));
    ASSERT_EQ(store_->pending.size(), 2U);
    EXPECT_EQ(store_->pending[1].job->message->number.count, 3U);
    store_->finish(0);
    ASSERT_EQ(store_->pending.size(), 2U);
    EXPECT_EQ(store_->pending[1].job->message->number.count, 2U);
    store_->finish(1);
    store_->finish(0);
    EXPECT_EQ(port_.count, 3U);
    EXPECT_EQ(disk_.bytes[2 * kBlockBytes], std::byte{1});
    EXPECT_EQ(disk_.bytes[3 * kBlockBytes], std::byte{2});
}

TEST_F(ReplicaServiceTest, KeepsTheDataOfALaterWriteThatOvertook) {
    EXPECT_EQ(answer(write(2, {1, 1}), filled(1, 2)), Errc::kOk);
    EXPECT_EQ(answer(write(1, {0, 3}), filled(3, 1)), Errc::kOk);
    EXPECT_EQ(disk_.bytes[0], std::byte{1});
    EXPECT_EQ(disk_.bytes[kBlockBytes], std::byte{2});
    EXPECT_EQ(disk_.bytes[2 * kBlockBytes], std::byte{1});
}

TEST_F(ReplicaServiceTest, AnswersWhoAskedAndNobodyElse) {
    Port other;
    connect(other);
    store_->is_automatic = false;
    take(write(1, {0, 1}), filled(1, 1));
    take(other, write(2, {1, 1}), filled(1, 2));
    service_->disconnect(other.name);
    store_->finish(0);
    store_->finish(0);
    EXPECT_EQ(port_.count, 1U);
    EXPECT_EQ(other.count, 0U);
    // It is stored all the same, and its memory is free again.
    EXPECT_EQ(disk_.state.window.entries().size(), 2U);
    EXPECT_EQ(buffers_.free_count(1), kCounts.small);
    EXPECT_EQ(service_->connections(), 1U);
}

TEST_F(ReplicaServiceTest, TellsThatTheStoreFailedAndRemembersNothing) {
    store_->is_automatic = false;
    take(write(1, {0, 1}), filled(1, 1));
    store_->finish(0, Errc::kNoSpace);
    EXPECT_EQ(port_.last, Errc::kNoSpace);
    EXPECT_TRUE(service_->state().window.entries().empty());
    take(message(MessageKind::kFence, {}, 2));
    store_->finish(0, Errc::kIo);
    EXPECT_EQ(port_.last, Errc::kIo);
    EXPECT_EQ(service_->state().fence, Epoch(1));
    EXPECT_EQ(service_->counters().errors, 2U);
    EXPECT_EQ(buffers_.free_count(1), kCounts.small);
}

TEST_F(ReplicaServiceTest, GivesNoDataThatIsNotWhole) {
    disk_.bad.insert(5);
    EXPECT_EQ(answer(message(MessageKind::kRead, {4, 2})), Errc::kDataCorrupt);
    EXPECT_FALSE(port_.heard.back().data.is_valid());
    EXPECT_EQ(buffers_.free_count(1), kCounts.small);
}

TEST_F(ReplicaServiceTest, RefusesWhatIsNotOfThisVolume) {
    EXPECT_EQ(answer(message(MessageKind::kRead, {511, 2})), Errc::kInvalidArgument);
    EXPECT_EQ(answer(message(MessageKind::kRead, {~uint64_t{0}, 2})), Errc::kInvalidArgument);
    EXPECT_EQ(answer(message(MessageKind::kRead, {0, 0})), Errc::kInvalidArgument);
    EXPECT_EQ(answer(message(MessageKind::kRead, {0, 65})), Errc::kInvalidArgument);
    // A store changes no more than 1 MiB at once.
    EXPECT_EQ(answer(write(1, {255, 2}), filled(2, 1)), Errc::kInvalidArgument);
    EXPECT_EQ(answer(write(1, {0, 0})), Errc::kInvalidArgument);
    Message barrier = write(1, {0, 1});
    barrier.write = WriteKind::kBarrier;
    EXPECT_EQ(answer(barrier), Errc::kInvalidArgument);
    const BlockBitmap other(100);
    Message settle = message(MessageKind::kSettle);
    settle.dirty = &other;
    EXPECT_EQ(answer(settle), Errc::kInvalidArgument);
    EXPECT_EQ(answer(message(MessageKind::kFence, {0, 1}, 2)), Errc::kInvalidArgument);
    EXPECT_EQ(service_->counters().refused, 9U);
    EXPECT_EQ(buffers_.free_count(1), kCounts.small);
}

TEST_F(ReplicaServiceTest, LetsReadsWaitForMemory) {
    const BlockRef one = buffers_.try_take(64);
    BlockRef two = buffers_.try_take(64);
    take(message(MessageKind::kRead, {0, 64}));
    node_.world.run_for(kNsPerSecond);
    EXPECT_EQ(port_.count, 0U);
    EXPECT_EQ(service_->counters().buffer_waits, 1U);
    two.reset();
    settle();
    EXPECT_EQ(port_.count, 1U);
    EXPECT_EQ(port_.last, Errc::kOk);
}

TEST_F(ReplicaServiceTest, AnswersAFenceWithTheWindow) {
    EXPECT_EQ(answer(write(1, {8, 2}), filled(2, 7)), Errc::kOk);
    EXPECT_EQ(answer(message(MessageKind::kFence, {}, 2)), Errc::kOk);
    ASSERT_EQ(port_.heard.back().window.size(), 1U);
    EXPECT_EQ(port_.heard.back().reply.agreed, Epoch(1));
    // The same once more, which costs no store.
    const uint64_t controls = service_->counters().controls;
    EXPECT_EQ(answer(message(MessageKind::kFence, {}, 2)), Errc::kOk);
    EXPECT_EQ(port_.heard.back().window.size(), 1U);
    EXPECT_EQ(service_->counters().controls, controls);
    EXPECT_EQ(answer(write(2, {8, 2}), filled(2, 7)), Errc::kStaleEpoch);
}

TEST_F(ReplicaServiceTest, SettlesOnWhatTheHeadSays) {
    EXPECT_EQ(answer(write(1, {8, 2}), filled(2, 7)), Errc::kOk);
    EXPECT_EQ(answer(message(MessageKind::kFence, {}, 2)), Errc::kOk);
    const std::vector<WindowEntry> window{{{Epoch(1), 9}, {100, 3}}};
    BlockBitmap dirty(kSettings.blocks);
    dirty.set({5, 6});
    Message settle = message(MessageKind::kSettle, {}, 2);
    settle.window = window;
    settle.dirty = &dirty;
    EXPECT_EQ(answer(settle), Errc::kOk);
    ASSERT_EQ(disk_.state.window.entries().size(), 1U);
    EXPECT_EQ(disk_.state.window.entries()[0], window[0]);
    EXPECT_EQ(disk_.state.dirty.count(), 6U);
    EXPECT_EQ(service_->state().dirty.count(), 6U);
    EXPECT_EQ(service_->state().agreed, Epoch(2));
    // The same head goes on, and nobody is away any more.
    Message carry_on = message(MessageKind::kCarryOn, {}, 3);
    carry_on.tenure = Epoch(2);
    EXPECT_EQ(answer(carry_on), Errc::kOk);
    EXPECT_TRUE(disk_.state.dirty.empty());
    EXPECT_TRUE(service_->state().dirty.empty());
    EXPECT_EQ(disk_.state.window.entries().size(), 1U);
}

TEST_F(ReplicaServiceTest, TakesTheNextMessageFromInsideOfAnAnswer) {
    const Message next = message(MessageKind::kRead, {0, 1});
    port_.next = &next;
    take(write(1, {8, 2}), filled(2, 7));
    settle();
    EXPECT_EQ(port_.count, 2U);
    // One that is refused at once, too.
    const Message bad = message(MessageKind::kRead, {0, 0});
    port_.next = &bad;
    take(message(MessageKind::kRead, {0, 1}));
    settle();
    EXPECT_EQ(port_.count, 4U);
    EXPECT_EQ(port_.last, Errc::kInvalidArgument);
}

TEST_F(ReplicaServiceTest, DrawsALineBetweenWrites) {
    store_->is_automatic = false;
    take(write(1, {0, 1}), filled(1, 1));
    Message barrier = write(2, {});
    barrier.write = WriteKind::kBarrier;
    take(barrier);
    take(write(3, {0, 1}), filled(1, 3));
    for (int i = 0; i < 3; ++i) {
        ASSERT_EQ(store_->pending.size(), 1U);
        store_->finish(0);
    }
    const auto& line = disk_.snapshots.at({Epoch(1), 2});
    EXPECT_EQ(line[0], std::byte{1});
    EXPECT_EQ(disk_.bytes[0], std::byte{3});
    EXPECT_EQ(service_->state().generation.count, 2U);
}

TEST_F(ReplicaServiceTest, AnswersAllBeforeItStops) {
    const BlockRef one = buffers_.try_take(64);
    const BlockRef two = buffers_.try_take(64);
    store_->is_automatic = false;
    take(write(1, {0, 1}), filled(1, 1));
    take(write(2, {0, 1}), filled(1, 2));  // Waits for the first.
    take(message(MessageKind::kRead, {0, 64}));
    Task<Status> stopping = service_->stop();
    EXPECT_EQ(port_.last, Errc::kCancelled);
    take(write(3, {0, 1}), filled(1, 3));
    store_->finish(0);
    EXPECT_FALSE(stopping.is_done());
    store_->finish(0);
    EXPECT_TRUE(node_.wait(std::move(stopping)));
    EXPECT_EQ(port_.count, 3U);
    EXPECT_EQ(port_.gone, 1U);
    EXPECT_EQ(disk_.state.window.entries().size(), 2U);
    EXPECT_EQ(buffers_.free_count(1), kCounts.small);
    service_.reset();
}

TEST_F(ReplicaServiceTest, FindsAfterACrashWhatWasDurable) {
    [[maybe_unused]] const basalt::test::MayLeak may_leak;
    EXPECT_EQ(answer(write(1, {0, 1}), filled(1, 1)), Errc::kOk);
    store_->is_automatic = false;
    take(write(2, {1, 1}), filled(1, 2));
    node_.world.crash_node(node_.node);
    service_.reset();
    node_.reboot();
    open();
    ASSERT_EQ(service_->state().window.entries().size(), 1U);
    EXPECT_EQ(service_->state().window.entries()[0].number.count, 1U);
    EXPECT_EQ(disk_.bytes[kBlockBytes], std::byte{0});
}

TEST_F(ReplicaServiceTest, AllocatesNothingForAMessage) {
    if (!is_counting_allocations()) {
        GTEST_SKIP();
    }
    port_.is_keeping = false;
    const auto round = [this](uint64_t i) {
        Message one = write(i, {i % 64, 1});
        one.watermark = {Epoch(1), i > 8 ? i - 8 : 0};
        take(one, filled(1, 1));
        Message two = write(i + 1, {i % 64, 2});
        take(two, filled(2, 1));
        take(message(MessageKind::kRead, {i % 64, 3}));
        take(message(MessageKind::kRead, {600, 3}));
        while (service_->messages_under_way() > 0) {
            static_cast<void>(node_.core(0).poll_once());
        }
    };
    for (uint64_t i = 1; i < 100; i += 2) {
        round(i);
    }
    const uint64_t before = thread_allocations();
    for (uint64_t i = 101; i < 1000; i += 2) {
        round(i);
    }
    EXPECT_EQ(thread_allocations(), before);
    EXPECT_GT(service_->counters().writes, 900U);
}

}  // namespace
}  // namespace basalt::replication::test
