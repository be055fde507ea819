// A replica on a store pool whose power is cut, and what it must find again.
#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "bdev/store/checksum.h"
#include "replication/replica/pool_replica_drive.h"
#include "test/bdev/store/crash_runs.h"
#include "test/bdev/store/pool/pool_node.h"

namespace basalt::replication::test {
namespace {

using bdev::store::test::PoolNode;

constexpr uint64_t kVolume = 0x1234;
constexpr uint64_t kBlocks = 40'000;  // Its bitmap has two pages.
const Settings kSettings{.blocks = kBlocks, .window_ops = 64, .reads = 16};

/// A machine with a pool and one replica in it, and a head that does no more than the test says.
class ReplicaNode final : public ReplyPort {
  public:
    static constexpr BlockBuffers::Counts kCounts{.small = 64, .large = 8};

    struct Write {
        BlockRange range{};
        uint64_t value = 0;
        bool is_acknowledged = false;
    };

    explicit ReplicaNode(uint64_t seed) : node(seed) {
        EXPECT_TRUE(node.create()) << node.problem;
        attach();
        EXPECT_EQ(code(replicas->create(key(), kSettings, ReplicaOrigin::kNewVolume)), Errc::kOk);
        connect();
    }
    ~ReplicaNode() override {
        node.world.crash_node(node.node);
        detach();
    }

    [[nodiscard]] ReplicaKey key() const { return {drive->uuid(), kVolume}; }
    Errc code(Task<Status> task) {
        const Status status = node.wait(std::move(task));
        return status ? Errc::kOk : status.error().code;
    }

    void attach() {
        drive = std::make_unique<PoolReplicaDrive>(node.core(0), buffers, *node.pool);
        replicas = std::make_unique<Replicas>(node.core(0), buffers);
        EXPECT_TRUE(replicas->add_drive(*drive));
    }
    void detach() {
        replicas.reset();
        drive.reset();
        port = nullptr;
    }
    void connect() {
        port = replicas->find(drive->uuid(), kVolume);
        ASSERT_NE(port, nullptr);
        name = port->connect(*this);
    }
    /// The power fails; opens what is left.
    Errc cut_power() {
        node.world.crash_node(node.node);
        detach();
        outstanding = 0;
        EXPECT_TRUE(node.cut_power()) << node.problem;
        attach();
        const Errc opened = code(replicas->open_all(drive->uuid()));
        if (opened == Errc::kOk) {
            connect();
        }
        return opened;
    }

    void reply(const Reply& reply, BlockRef data) override {
        --outstanding;
        last = reply;
        last_window.assign(reply.window.begin(), reply.window.end());
        last_data = std::move(data);
        if (reply.kind == MessageKind::kWrite) {
            if (reply.status != Errc::kOk) {
                EXPECT_TRUE(may_fail) << describe(reply.status);
                ++failures;
                return;
            }
            Write& write = writes.at(reply.number);
            write.is_acknowledged = true;
            if (away) {
                must_be_dirty.set(write.range);
            }
            const OpNumber next{tenure, watermark.epoch == tenure ? watermark.count + 1 : 1};
            for (OpNumber at = next; writes.count(at) != 0 && writes.at(at).is_acknowledged;
                 ++at.count) {
                watermark = at;
            }
        }
    }
    void replica_gone(const ReplicaPort&, uint64_t) override {}

    Message message(MessageKind kind) {
        return {.kind = kind, .epoch = epoch, .tenure = tenure, .session = 1, .id = ++ids};
    }
    void send(const Message& message, BlockRef data = {}) {
        ++outstanding;
        port->take(name, message, std::move(data));
    }
    Errc answer(const Message& message, BlockRef data = {}) {
        send(message, std::move(data));
        EXPECT_TRUE(node.world.run_until([this] { return outstanding == 0; }, kNsPerSecond * 10));
        return last.status;
    }
    BlockRef filled(uint32_t blocks, uint64_t value) {
        BlockRef data = buffers.try_take(blocks);
        EXPECT_TRUE(data.is_valid());
        std::memset(data.bytes().data(), 0, data.bytes().size());
        for (uint32_t i = 0; i < blocks; ++i) {
            const auto block = data.bytes().subspan(size_t{i} * kBlockBytes, kBlockBytes);
            std::memcpy(block.data(), &value, sizeof(value));
            data.sums()[i] = bdev::store::crc32c(block);
        }
        return data;
    }
    Message prepare_write(BlockRange range, WriteKind kind = WriteKind::kData) {
        Message out = message(MessageKind::kWrite);
        out.number = {tenure, ++count};
        out.range = range;
        out.write = kind;
        out.is_replica_away = away;
        const uint64_t value = tenure.raw() << 32U | count;
        writes[out.number] = {range, kind == WriteKind::kData ? value : 0};
        return out;
    }
    void send_write(Message write) {
        write.watermark = watermark;
        send(write,
             write.write == WriteKind::kData
                 ? filled(write.range.count, writes.at(write.number).value)
                 : BlockRef());
    }

    /// A new tenure, as a head begins one that hears this replica alone.
    void begin(const BlockBitmap& dirty) {
        tenure = epoch = Epoch(epoch.raw() + 1);
        count = 0;
        EXPECT_EQ(answer(message(MessageKind::kFence)), Errc::kOk);
        fence = epoch;
        const std::vector<WindowEntry> window = last_window;
        watermark = last.watermark;
        for (auto at = writes.begin(); at != writes.end();) {
            const WindowEntry entry{at->first, at->second.range};
            const bool is_there = std::find(window.begin(), window.end(), entry) != window.end();
            EXPECT_TRUE(is_there || !at->second.is_acknowledged || at->first <= watermark);
            at->second.is_acknowledged = at->second.is_acknowledged || is_there;
            at = at->second.is_acknowledged ? std::next(at) : writes.erase(at);
        }
        Message settle = message(MessageKind::kSettle);
        settle.window = window;
        settle.watermark = watermark;
        settle.dirty = &dirty;
        may_be_dirty = &dirty;
        EXPECT_EQ(answer(settle), Errc::kOk);
        may_be_dirty = nullptr;
        must_be_dirty = dirty;
        away = false;
    }
    void carry_on(bool is_away) {
        epoch = Epoch(epoch.raw() + 1);
        Message carry = message(MessageKind::kCarryOn);
        carry.is_replica_away = is_away;
        EXPECT_EQ(answer(carry), Errc::kOk);
        fence = epoch;
        away = is_away;
        if (away) {
            port->state().window.mark_blocks(must_be_dirty);
        } else {
            must_be_dirty.clear_all();
        }
    }

    /// What the drive must have kept.
    void check() {
        const ReplicaState& state = port->state();
        EXPECT_GE(state.fence, fence);
        for (const auto& [number, write] : writes) {
            if (write.is_acknowledged && number > state.watermark) {
                EXPECT_TRUE(state.window.has({number, write.range}))
                    << number.epoch.raw() << "." << number.count << " was acknowledged";
            }
        }
        const bool is_replaced = may_be_dirty != nullptr && state.fence == epoch;
        const BlockBitmap& wanted = is_replaced ? *may_be_dirty : must_be_dirty;
        for (uint64_t block = 0; block < kBlocks; ++block) {
            EXPECT_TRUE(!wanted.has(block) || state.dirty.has(block))
                << "block " << block << " is not dirty";
        }
        if (is_replaced) {
            EXPECT_TRUE(state.dirty.empty());
        }
        for (uint64_t block = 0; block < 16; ++block) {
            check_block(block);
            check_block(kNearPage + block);
        }
    }
    void check_block(uint64_t block) {
        const ReplicaState& state = port->state();
        OpNumber newest;
        for (const auto& [number, write] : writes) {
            const bool counts =
                number <= state.watermark || state.window.has({number, write.range});
            newest = counts && write.range.covers(block) ? std::max(newest, number) : newest;
        }
        EXPECT_GE(newest, state.window.newest({block, 1}));
        const uint64_t wanted = newest.is_none() ? 0 : writes.at(newest).value;
        EXPECT_EQ(value_of(block), wanted) << "block " << block << ": " << std::hex << wanted;
    }
    uint64_t value_of(uint64_t block) {
        const auto channel = node.open_channel(PoolReplicaDrive::data_name(kVolume), 1);
        bdev::TestIo io;
        io.prepare(bdev::IoOp::kRead, block, 1, kBlockBytes);
        EXPECT_EQ(node.run(*channel, io), Errc::kOk);
        uint64_t value = 0;
        std::memcpy(&value, io.data, sizeof(value));
        return value;
    }

    static constexpr uint64_t kNearPage = kBitsAPage - 8;

    std::vector<std::byte> region =
        std::vector<std::byte>(BlockBuffers::region_bytes(kCounts) + kBlockBytes);
    BlockBuffers buffers{aligned(region), kCounts};
    PoolNode node;
    std::unique_ptr<PoolReplicaDrive> drive;
    std::unique_ptr<Replicas> replicas;
    ReplicaPort* port = nullptr;
    uint64_t name = 0;
    uint32_t outstanding = 0;
    Reply last{};
    std::vector<WindowEntry> last_window{};
    BlockRef last_data{};

    Epoch epoch{};
    Epoch tenure{};
    Epoch fence{};  ///< The last that was acknowledged.
    uint64_t count = 0;
    uint64_t ids = 0;
    OpNumber watermark{};
    bool away = false;
    bool may_fail = false;
    uint32_t failures = 0;
    std::map<OpNumber, Write> writes{};
    BlockBitmap must_be_dirty{kBlocks};
    const BlockBitmap* may_be_dirty = nullptr;  ///< What is to replace it is under way.

  private:
    static std::span<std::byte> aligned(std::vector<std::byte>& memory) {
        const auto address = reinterpret_cast<uintptr_t>(memory.data());
        const size_t skipped = (kBlockBytes - address % kBlockBytes) % kBlockBytes;
        return std::span(memory).subspan(skipped, memory.size() - kBlockBytes);
    }
};

BlockBitmap some_dirty(Random& random) {
    BlockBitmap dirty(kBlocks);
    for (uint64_t i = random.below(3); i > 0; --i) {
        dirty.set(BlockRange{ReplicaNode::kNearPage + random.below(16), 3});
    }
    return dirty;
}

/// What the head of a run sends next, if it sends something.
void act(ReplicaNode& replica, Random& random, std::vector<Message>& late) {
    if (replica.outstanding >= 6) {
        return;
    }
    const uint64_t dice = random.below(200);
    if (dice < 60) {
        const uint64_t near = random.chance(1, 2) ? 0 : ReplicaNode::kNearPage;
        const auto length = static_cast<uint32_t>(1 + random.below(8));
        const BlockRange range{near + random.below(16 - length), length};
        const WriteKind kind = random.chance(1, 4) ? WriteKind::kUnmap : WriteKind::kData;
        if (range.first / kRangeBoundaryBlocks != (range.end() - 1) / kRangeBoundaryBlocks) {
            return;
        }
        late.push_back(replica.prepare_write(range, kind));
    }
    // Two connections: what was first may come last.
    if (!late.empty() && (late.size() > 2 || dice >= 150)) {
        const size_t which = random.below(late.size());
        const Message write = late[which];
        late.erase(late.begin() + static_cast<ptrdiff_t>(which));
        replica.send_write(write);
    }
}

/// Runs until the power fails, and looks at what is left. What is late is lost with the head.
void live_and_crash(ReplicaNode& replica, Random& random) {
    BlockBitmap dirty = some_dirty(random);
    replica.begin(dirty);
    std::vector<Message> late;
    const uint64_t steps = 20 + random.below(1500);
    for (uint64_t i = 0; i < steps; ++i) {
        if (random.chance(1, 300) && replica.outstanding == 0 && late.empty()) {
            // The control message may be cut off: it is sent, and the crash comes soon.
            const bool is_away = random.chance(1, 2);
            if (random.chance(1, 3) && i + 100 > steps) {
                dirty.clear_all();
                replica.may_be_dirty = &dirty;
                replica.epoch = Epoch(replica.epoch.raw() + 1);
                replica.send(replica.message(MessageKind::kCarryOn));
                break;
            }
            replica.carry_on(is_away);
        }
        act(replica, random, late);
        replica.node.world.step();
    }
    for (uint64_t i = random.below(60); i > 0; --i) {
        replica.node.world.step();
    }
    if (replica.may_be_dirty == nullptr && random.chance(1, 4)) {
        replica.tenure = replica.epoch = Epoch(replica.epoch.raw() + 1);
        EXPECT_EQ(replica.answer(replica.message(MessageKind::kFence)), Errc::kOk);
        replica.fence = replica.epoch;
    }
    ASSERT_EQ(replica.cut_power(), Errc::kOk);
    replica.check();
    replica.may_be_dirty = nullptr;
    // What is dirty now, and was not to be, may be what could not be told.
    replica.must_be_dirty = replica.port->state().dirty;
}

TEST(PoolReplica, KeepsWhatItAcknowledgedAtEachLossOfPower) {
    bdev::store::test::for_crash_runs(60, [](uint64_t seed) {
        Random random(seed);
        ReplicaNode replica(seed);
        uint64_t crashes = 0;
        for (; crashes < 4 && !testing::Test::HasFailure(); ++crashes) {
            live_and_crash(replica, random);
        }
        return crashes;
    });
}

class PoolReplicaTest : public ::testing::Test {
  protected:
    PoolReplicaTest() { replica_.begin(none_); }

    void write(uint64_t block, uint32_t count = 1) {
        replica_.send_write(replica_.prepare_write({block, count}));
        EXPECT_TRUE(replica_.node.world.run_until([this] { return replica_.outstanding == 0; },
                                                  kNsPerSecond * 10));
    }
    void overwrite_state(uint64_t block, uint8_t value) {
        EXPECT_EQ(replica_.code(replica_.replicas->close(replica_.key())), Errc::kOk);
        EXPECT_EQ(replica_.node.fill(PoolReplicaDrive::state_name(kVolume), block, 1, value),
                  Errc::kOk);
    }
    Errc open() { return replica_.code(replica_.replicas->open(replica_.key())); }

    const BlockBitmap none_{kBlocks};
    ReplicaNode replica_{1};
};

TEST_F(PoolReplicaTest, ReadsWhatWasWrittenAndForgetsNoneOfIt) {
    write(250, 6);
    write(0, 64);
    Message read = replica_.message(MessageKind::kRead);
    read.range = {0, 64};
    EXPECT_EQ(replica_.answer(read), Errc::kOk);
    EXPECT_EQ(replica_.last.digest, digest_of(replica_.filled(64, uint64_t{1} << 32U | 2).sums()));
    replica_.last_data.reset();
    EXPECT_EQ(replica_.code(replica_.replicas->close(replica_.key())), Errc::kOk);
    EXPECT_EQ(open(), Errc::kOk);
    replica_.connect();
    replica_.check();
}

TEST_F(PoolReplicaTest, KeepsItsNotesFew) {
    replica_.carry_on(true);
    for (uint32_t i = 0; i < 700; ++i) {
        write(i % 8 + (i % 2) * ReplicaNode::kNearPage);
    }
    const std::string name = PoolReplicaDrive::data_name(kVolume);
    const auto stats = replica_.node.wait(replica_.node.pool->stats());
    uint32_t notes = 0;
    for (const auto& each : stats) {
        notes += each.notes;
    }
    EXPECT_LT(notes, 700U);
    EXPECT_EQ(replica_.cut_power(), Errc::kOk);
    replica_.check();
    EXPECT_EQ(replica_.port->state().dirty.count(), 8U);
}

TEST_F(PoolReplicaTest, KeepsCopiesOfABeginningInTheWindow) {
    write(4, 8);
    replica_.epoch = replica_.tenure = Epoch(2);
    EXPECT_EQ(replica_.answer(replica_.message(MessageKind::kFence)), Errc::kOk);
    Message copy = replica_.message(MessageKind::kCopy);
    copy.is_exact = true;
    copy.range = {6, 2};
    EXPECT_EQ(replica_.answer(copy, replica_.filled(2, 77)), Errc::kOk);
    EXPECT_EQ(replica_.cut_power(), Errc::kOk);
    const ReplicaState& state = replica_.port->state();
    EXPECT_EQ(state.fence, Epoch(2));
    ASSERT_EQ(state.window.entries().size(), 2U);
    EXPECT_TRUE(state.window.newest({6, 2}).is_none());
    EXPECT_EQ(state.window.newest({5, 1}).count, 1U);
    EXPECT_EQ(replica_.value_of(6), 77U);
}

TEST_F(PoolReplicaTest, KeepsTheSumsThatCameWithTheData) {
    const Message whole = replica_.prepare_write({0, 4});
    BlockRef data = replica_.filled(4, replica_.writes.at(whole.number).value);
    // After its sums were seen right: the memory that it lies in loses a bit.
    data.bytes()[2 * kBlockBytes + 9] ^= std::byte{1};
    EXPECT_EQ(replica_.answer(whole, std::move(data)), Errc::kOk);
    Message read = replica_.message(MessageKind::kRead);
    for (uint64_t block = 0; block < 4; ++block) {
        read.range = {block, 1};
        EXPECT_EQ(replica_.answer(read), block == 2 ? Errc::kMediaError : Errc::kOk) << block;
    }
    // Part of a write, its sums likewise.
    const Message late = replica_.prepare_write({8, 4});
    write(8);
    data = replica_.filled(4, replica_.writes.at(late.number).value);
    for (uint32_t i = 0; i < 4; ++i) {
        const auto block = data.bytes().subspan(size_t{i} * kBlockBytes, kBlockBytes);
        block[9] = static_cast<std::byte>(i);
        data.sums()[i] = bdev::store::crc32c(block);
    }
    data.bytes()[3 * kBlockBytes] ^= std::byte{1};
    EXPECT_EQ(replica_.answer(late, std::move(data)), Errc::kOk);
    for (uint64_t block = 8; block < 12; ++block) {
        read.range = {block, 1};
        EXPECT_EQ(replica_.answer(read), block == 11 ? Errc::kMediaError : Errc::kOk) << block;
    }
}

TEST_F(PoolReplicaTest, PutsTogetherWhatALaterWriteLeftOpen) {
    const Message first = replica_.prepare_write({0, 8});
    const Message second = replica_.prepare_write({3, 2});
    const Message third = replica_.prepare_write({0, 8}, WriteKind::kZeroes);
    EXPECT_EQ(replica_.answer(second, replica_.filled(2, replica_.writes.at(second.number).value)),
              Errc::kOk);
    EXPECT_EQ(replica_.answer(first, replica_.filled(8, replica_.writes.at(first.number).value)),
              Errc::kOk);
    replica_.check();
    EXPECT_EQ(replica_.answer(third), Errc::kOk);
    replica_.check();
}

TEST_F(PoolReplicaTest, PutsTogetherWhenAllMemoryIsTaken) {
    std::vector<Message> early;
    std::vector<BlockRef> memory;
    for (uint64_t first = 0; first < 12; first += 4) {
        early.push_back(replica_.prepare_write({first, 3}));
        memory.push_back(replica_.filled(3, replica_.writes.at(early.back().number).value));
        write(first + 1);
    }
    std::vector<BlockRef> rest;
    for (BlockRef one = replica_.buffers.try_take(1); one.is_valid();
         one = replica_.buffers.try_take(1)) {
        rest.push_back(std::move(one));
    }
    for (size_t i = 0; i < early.size(); ++i) {
        replica_.send(early[i], std::move(memory[i]));
    }
    EXPECT_TRUE(replica_.node.world.run_until([this] { return replica_.outstanding == 0; },
                                              kNsPerSecond * 10));
    replica_.check();
}

TEST_F(PoolReplicaTest, KeepsWhatIsDirtyUntilWhatReplacesItIsWhole) {
    BlockBitmap before(kBlocks);
    before.set(3);
    before.set(ReplicaNode::kNearPage + 12);
    BlockBitmap after(kBlocks);
    after.set(5);
    uint32_t replaced = 0;
    for (uint64_t steps = 0; replaced < 2; ++steps) {
        ASSERT_LT(steps, 1000U);
        replica_.begin(before);
        // Now it is in the state, and in no note.
        EXPECT_EQ(replica_.code(replica_.replicas->close(replica_.key())), Errc::kOk);
        EXPECT_EQ(open(), Errc::kOk);
        replica_.connect();
        replica_.tenure = replica_.epoch = Epoch(replica_.epoch.raw() + 1);
        EXPECT_EQ(replica_.answer(replica_.message(MessageKind::kFence)), Errc::kOk);
        replica_.fence = replica_.epoch;
        Message settle = replica_.message(MessageKind::kSettle);
        settle.dirty = &after;
        replica_.send(settle);
        for (uint64_t i = 0; i < steps; ++i) {
            replica_.node.world.step();
        }
        ASSERT_EQ(replica_.cut_power(), Errc::kOk);
        const ReplicaState& state = replica_.port->state();
        const bool is_replaced = state.agreed == replica_.tenure;
        replaced += uint32_t{is_replaced};
        const BlockBitmap& wanted = is_replaced ? after : before;
        EXPECT_EQ(state.dirty.count(), wanted.count()) << steps;
        for (uint64_t block = wanted.next(0); block < kBlocks; block = wanted.next(block + 1)) {
            EXPECT_TRUE(state.dirty.has(block)) << steps << ", " << block;
        }
        ASSERT_FALSE(HasFailure());
    }
}

TEST_F(PoolReplicaTest, DrawsALineOnce) {
    write(0);
    Message barrier = replica_.prepare_write({}, WriteKind::kBarrier);
    const std::string name = PoolReplicaDrive::line_name(kVolume, barrier.number);
    // A crash after the snapshot and before the state leaves one that counts.
    std::vector<bdev::store::SnapshotOptions> early(1);
    early[0].volume = PoolReplicaDrive::data_name(kVolume);
    early[0].name = name;
    early[0].uuid = PoolNode::uuid(99);
    EXPECT_TRUE(replica_.node.wait(replica_.node.pool->snapshot(early)));
    EXPECT_EQ(replica_.answer(barrier), Errc::kOk);
    Message next = replica_.prepare_write({}, WriteKind::kBarrier);
    EXPECT_EQ(replica_.answer(next), Errc::kOk);
    EXPECT_EQ(replica_.cut_power(), Errc::kOk);
    EXPECT_EQ(replica_.port->state().generation, next.number);
    EXPECT_TRUE(replica_.port->state().window.has({next.number, {}}));
    EXPECT_EQ(replica_.node.pool->catalogue().snapshots().size(), 2U);
    replica_.check();
    // And drops it, which is nothing to do the second time.
    for (uint32_t i = 0; i < 2; ++i) {
        Message drop = replica_.message(MessageKind::kDropLine);
        drop.number = barrier.number;
        EXPECT_EQ(replica_.answer(drop), Errc::kOk);
        EXPECT_EQ(replica_.node.pool->catalogue().snapshots().size(), 1U);
    }
    replica_.check();
}

TEST_F(PoolReplicaTest, AnswersAllWhenTheDriveHasFailed) {
    for (uint32_t i = 0; i < 20; ++i) {
        write(i % 16);
    }
    replica_.may_fail = true;
    replica_.node.world.faults().write_error_ppm = 1'000'000;
    for (uint32_t i = 0; i < 20; ++i) {
        replica_.send_write(replica_.prepare_write({i % 16, 1}));
    }
    EXPECT_TRUE(replica_.node.world.run_until([this] { return replica_.outstanding == 0; },
                                              kNsPerSecond * 10));
    EXPECT_GT(replica_.failures, 0U);
    // From then on nothing is taken, not even when the drive is well again.
    replica_.node.world.faults() = sim::calm();
    EXPECT_EQ(replica_.answer(replica_.prepare_write({0, 1}), replica_.filled(1, 1)), Errc::kIo);
    Message carry = replica_.message(MessageKind::kCarryOn);
    carry.epoch = Epoch(9);
    EXPECT_EQ(replica_.answer(carry), Errc::kIo);
    EXPECT_EQ(replica_.cut_power(), Errc::kOk);
    replica_.check();
}

TEST_F(PoolReplicaTest, RefusesAStateThatIsNotWhole) {
    write(0);
    overwrite_state(0, 0x55);
    EXPECT_EQ(open(), Errc::kDataCorrupt);
}

TEST_F(PoolReplicaTest, DoesNotGoBackToAnOlderState) {
    write(0);
    overwrite_state(0, 0);  // One of the two is gone.
    EXPECT_EQ(open(), Errc::kDataCorrupt);
}

TEST_F(PoolReplicaTest, GoesWithAllThatItHas) {
    Message barrier = replica_.prepare_write({}, WriteKind::kBarrier);
    EXPECT_EQ(replica_.answer(barrier), Errc::kOk);
    const std::vector<uint64_t> before = replica_.node.wait(replica_.drive->list());
    EXPECT_EQ(before, std::vector<uint64_t>{kVolume});
    const Errc again =
        replica_.code(replica_.drive->create(kVolume, kSettings, ReplicaOrigin::kNewVolume));
    EXPECT_EQ(again, Errc::kExists);
    EXPECT_EQ(replica_.code(replica_.replicas->remove(replica_.key())), Errc::kOk);
    EXPECT_TRUE(replica_.node.pool->catalogue().volumes().empty());
    EXPECT_TRUE(replica_.node.pool->catalogue().snapshots().empty());
    EXPECT_EQ(replica_.code(replica_.replicas->remove(replica_.key())), Errc::kNotFound);
    EXPECT_EQ(open(), Errc::kNotFound);
}

TEST_F(PoolReplicaTest, IsMadeAgainIfACrashCameBeforeItsState) {
    EXPECT_EQ(replica_.code(replica_.replicas->remove(replica_.key())), Errc::kOk);
    EXPECT_TRUE(replica_.node.add_volume(PoolReplicaDrive::data_name(kVolume), 64));
    EXPECT_TRUE(replica_.node.add_volume(PoolReplicaDrive::state_name(kVolume), 1024));
    EXPECT_EQ(open(), Errc::kDataCorrupt);
    const Errc made = replica_.code(
        replica_.replicas->create(replica_.key(), kSettings, ReplicaOrigin::kReplacement));
    EXPECT_EQ(made, Errc::kOk);
    EXPECT_TRUE(replica_.replicas->list().at(0).marks.is_blank);
}

}  // namespace
}  // namespace basalt::replication::test
