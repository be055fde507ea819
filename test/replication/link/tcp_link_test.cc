#include "replication/link/tcp_link.h"

#include <gtest/gtest.h>

#include "test/replication/link/bench.h"
#include "test/replication/link/raw_peer.h"
#include "test/sim/seeds.h"

namespace basalt::replication::testing {
namespace {

OpNumber random_number(Random& random) {
    return {Epoch(random.next()), random.next()};
}

void expect_same(const BlockBitmap& a, const BlockBitmap& b) {
    ASSERT_EQ(a.blocks(), b.blocks());
    ASSERT_EQ(a.count(), b.count());
    for (uint64_t block = a.next(0); block < a.blocks(); block = a.next(block + 1)) {
        ASSERT_TRUE(b.has(block)) << block;
    }
}

void expect_same(const Message& a, const Message& b) {
    EXPECT_EQ(a.kind, b.kind);
    EXPECT_EQ(a.write, b.write);
    EXPECT_EQ(a.epoch, b.epoch);
    EXPECT_EQ(a.tenure, b.tenure);
    EXPECT_EQ(a.session, b.session);
    EXPECT_EQ(a.number, b.number);
    EXPECT_EQ(a.range, b.range);
    EXPECT_EQ(a.generation, b.generation);
    EXPECT_EQ(a.watermark, b.watermark);
    EXPECT_EQ(a.as_of, b.as_of);
    EXPECT_EQ(a.is_exact, b.is_exact);
    EXPECT_EQ(a.is_replica_away, b.is_replica_away);
}

/// What the replica remembers, at random: from nothing to several pages.
void randomize(Random& random, Window& window, BlockBitmap& dirty) {
    window.clear();
    dirty.clear_all();
    for (uint64_t i = random.chance(1, 2) ? random.below(1500) : 0; i > 0; --i) {
        window.add({random_number(random), {random.below(4000), uint32_t(random.below(65))}});
    }
    const uint64_t step = 1 + random.below(300);
    for (uint64_t block = random.below(4096); block < dirty.blocks(); block += step) {
        dirty.set(block);
    }
}

class EveryKind : public ::testing::Test {
  protected:
    Message random_message(MessageKind kind) {
        Random& random = bench_.world_.random();
        Message message{.kind = kind,
                        .epoch = Epoch(random.next() >> 1U),
                        .tenure = Epoch(++tenure_),
                        .session = static_cast<uint32_t>(random.next()),
                        .id = random.next(),
                        .number = random_number(random),
                        .generation = random_number(random),
                        .watermark = random_number(random),
                        .as_of = random_number(random),
                        .is_exact = random.chance(1, 2),
                        .is_replica_away = random.chance(1, 2)};
        if (kind == MessageKind::kWrite) {
            message.write = static_cast<WriteKind>(random.below(4));
        }
        const bool has_range =
            (kind == MessageKind::kWrite && message.write != WriteKind::kBarrier) ||
            kind == MessageKind::kCopy || kind == MessageKind::kRead ||
            kind == MessageKind::kCopyRead;
        if (has_range) {
            message.range = {random.next() >> 1U, static_cast<uint32_t>(1 + random.below(64))};
        }
        if (kind == MessageKind::kSettle || kind == MessageKind::kJoined) {
            randomize(random, window_, dirty_);
            message.window =
                kind == MessageKind::kSettle ? window_.entries() : decltype(message.window){};
            message.dirty = random.chance(1, 8) ? nullptr : &dirty_;
        }
        return message;
    }
    /// What the replica answers, at random.
    void prepare_answer() {
        Random& random = bench_.world_.random();
        Reply& answer = bench_.ports_[0]->answer_with;
        answer = Reply{.epoch = Epoch(random.next()),
                       .newest = random_number(random),
                       .is_blank = random.chance(1, 2),
                       .agreed = Epoch(random.next()),
                       .watermark = random_number(random),
                       .generation = random_number(random)};
        if (random.chance(1, 4)) {
            answer.status = Errc::kNoSpace;
        }
        ReplicaState& state = bench_.ports_[0]->state();
        randomize(random, state.window, state.dirty);
    }
    void check(const Message& sent, const BlockRef& data) {
        const Kept<Message>& taken = bench_.ports_[0]->taken.back();
        expect_same(sent, taken.value);
        EXPECT_TRUE(std::equal(
            sent.window.begin(), sent.window.end(), taken.window.begin(), taken.window.end()));
        ASSERT_EQ(sent.dirty != nullptr, taken.has_dirty);
        if (sent.dirty != nullptr) {
            expect_same(*sent.dirty, taken.dirty);
        }
        ASSERT_EQ(data.is_valid() ? data.bytes().size() : 0, taken.bytes.size());
        EXPECT_TRUE(
            std::equal(taken.bytes.begin(),
                       taken.bytes.end(),
                       data.is_valid() ? data.bytes().begin() : decltype(data.bytes().begin()){}));
    }
    void check_answer(const Message& sent) {
        const Reply& expected = bench_.ports_[0]->answer_with;
        const Kept<Reply>& got = bench_.users_[0].replies.back();
        EXPECT_EQ(got.value.kind, sent.kind);
        EXPECT_EQ(got.value.status, expected.status);
        EXPECT_EQ(got.value.epoch, expected.epoch);
        EXPECT_EQ(got.value.session, sent.session);
        EXPECT_EQ(got.value.id, sent.id);
        EXPECT_EQ(got.value.number, sent.number);
        EXPECT_EQ(got.value.newest, expected.newest);
        EXPECT_EQ(got.value.is_blank, expected.is_blank);
        EXPECT_EQ(got.value.agreed, expected.agreed);
        EXPECT_EQ(got.value.watermark, expected.watermark);
        EXPECT_EQ(got.value.generation, expected.generation);
        const bool is_done = expected.status == Errc::kOk;
        const bool is_read =
            is_done && (sent.kind == MessageKind::kRead || sent.kind == MessageKind::kCopyRead);
        EXPECT_EQ(got.bytes.size(), is_read ? size_t{sent.range.count} * kBlockBytes : 0);
        EXPECT_EQ(got.value.digest != 0, is_read);
        ReplicaState& state = bench_.ports_[0]->state();
        const bool has_window = is_done && sent.kind == MessageKind::kFence;
        const auto entries =
            has_window ? state.window.entries() : decltype(state.window.entries()){};
        EXPECT_TRUE(
            std::equal(entries.begin(), entries.end(), got.window.begin(), got.window.end()));
        ASSERT_EQ(got.has_dirty, has_window || (is_done && sent.kind == MessageKind::kJoin));
        if (got.has_dirty) {
            expect_same(got.dirty, state.dirty);
        }
    }

    Bench bench_{{.volumes = 1}};
    Window window_{kWindowOpsMax * kWindowEntriesPerOp};
    BlockBitmap dirty_{4096};
    uint64_t tenure_ = 0;
};

TEST_F(EveryKind, ArrivesWithAllThatItHasAndSoDoesItsAnswer) {
    ASSERT_TRUE(bench_.start_and_wait());
    for (int i = 0; i < 400; ++i) {
        const auto kind = static_cast<MessageKind>(i % 10);
        const Message message = random_message(kind);
        prepare_answer();
        BlockRef data;
        if (kind == MessageKind::kCopy ||
            (kind == MessageKind::kWrite && message.write == WriteKind::kData)) {
            data = bench_.data(message.range, 7);
        }
        const size_t taken = bench_.ports_[0]->taken.size();
        const size_t replies = bench_.users_[0].replies.size();
        bench_.users_[0].send(*bench_.links_[0], message, data);
        const bool is_asked = kind != MessageKind::kTrim;
        ASSERT_TRUE(bench_.world_.run_until(
            [&] {
                return bench_.ports_[0]->taken.size() > taken &&
                       (!is_asked || bench_.users_[0].replies.size() > replies);
            },
            10 * kNsPerSecond))
            << i;
        check(message, data);
        if (is_asked) {
            check_answer(message);
        }
    }
    EXPECT_EQ(bench_.users_[0].downs, 0);
}

TEST(TcpLink, KeepsTheOrderWhateverGoesAlong) {
    Bench bench({.volumes = 1});
    ASSERT_TRUE(bench.start_and_wait());
    BlockBitmap dirty(4096);
    for (uint64_t block = 0; block < 4096; block += 2) {
        dirty.set(block);  // Two pages.
    }
    Message settle = bench.write(0, 0);
    settle.kind = MessageKind::kSettle;
    settle.dirty = &dirty;
    bench.send_write(0, bench.write(1, 1));
    bench.users_[0].send(*bench.links_[0], settle);
    bench.send_write(0, bench.write(2, 1));
    dirty.clear_all();  // It is the link's business no more.
    ASSERT_TRUE(
        bench.world_.run_until([&] { return bench.ports_[0]->taken.size() == 3; }, kNsPerSecond));
    EXPECT_EQ(bench.ports_[0]->taken[0].value.range.first, 1U);
    EXPECT_EQ(bench.ports_[0]->taken[1].value.kind, MessageKind::kSettle);
    EXPECT_EQ(bench.ports_[0]->taken[1].dirty.count(), 2048U);
    EXPECT_EQ(bench.ports_[0]->taken[2].value.range.first, 2U);
}

TEST(TcpLink, AResetDisturbsNoOtherVolumeAndLateAnswersAreDropped) {
    Bench bench;
    ASSERT_TRUE(bench.start_and_wait());
    bench.ports_[0]->is_holding = true;
    for (int i = 0; i < 5; ++i) {
        bench.send_write(0, bench.write(1, 1));
    }
    bench.users_[0].send(*bench.links_[0], bench.read(1, 8));
    ASSERT_TRUE(
        bench.world_.run_until([&] { return bench.ports_[0]->waiting() == 6; }, kNsPerSecond));
    bench.links_[0]->reset();
    bench.ports_[0]->release();
    bench.send_write(1, bench.write(9, 2));
    ASSERT_TRUE(bench.world_.run_until(
        [&] { return bench.users_[0].ups == 2 && bench.users_[1].replies.size() == 1; },
        kNsPerSecond));
    bench.world_.run_for(kNsPerSecond);
    EXPECT_EQ(bench.users_[0].downs, 1);
    EXPECT_TRUE(bench.users_[0].replies.empty());
    EXPECT_EQ(bench.users_[1].downs, 0);
    EXPECT_EQ(bench.connection_->sessions(), 1U);
    bench.send_write(0, bench.write(1, 1));
    ASSERT_TRUE(
        bench.world_.run_until([&] { return bench.users_[0].replies.size() == 1; }, kNsPerSecond));
    EXPECT_EQ(bench.connection_->outstanding(), 0U);
}

TEST(TcpLink, ComesBackAfterAWhileThatGrows) {
    Bench bench;
    ASSERT_TRUE(bench.start_and_wait());
    const uint64_t end_ns = bench.world_.now_ns() + 10 * kNsPerSecond;
    while (bench.world_.now_ns() < end_ns) {
        bench.links_[0]->reset();
        ASSERT_TRUE(bench.world_.run_until([&] { return !bench.users_[0].is_up; }, kNsPerMs));
        ASSERT_TRUE(bench.world_.run_until([&] { return bench.users_[0].is_up; },
                                           kReconnectMaxNs + kNsPerMs));
    }
    EXPECT_GT(bench.users_[0].downs, 5);
    EXPECT_LT(bench.users_[0].downs, 25);
    EXPECT_EQ(bench.users_[1].downs, 0);
    // One that was good for long begins anew.
    bench.world_.run_for(kReconnectMaxNs);
    bench.links_[0]->reset();
    bench.world_.run_for(kReconnectMinNs + kNsPerMs);
    EXPECT_TRUE(bench.users_[0].is_up);
}

TEST(TcpLink, WaitsForCreditsAndLosesNone) {
    Bench::Options options{.volumes = 2};
    options.server.credits = 3;
    Bench bench(options);
    ASSERT_TRUE(bench.start_and_wait());
    for (auto& port : bench.ports_) {
        port->is_holding = true;
    }
    for (int i = 0; i < 20; ++i) {
        bench.send_write(0, bench.write(1, 1));
        bench.send_write(1, bench.write(1, 1));
    }
    bench.world_.run_for(kNsPerSecond);
    EXPECT_EQ(bench.ports_[0]->waiting() + bench.ports_[1]->waiting(), 3U);
    EXPECT_GT(bench.ports_[0]->waiting(), 0U);
    EXPECT_GT(bench.ports_[1]->waiting(), 0U);
    for (auto& port : bench.ports_) {
        port->release();
    }
    ASSERT_TRUE(bench.world_.run_until(
        [&] {
            return bench.users_[0].replies.size() == 20 && bench.users_[1].replies.size() == 20;
        },
        kNsPerSecond));
    EXPECT_EQ(bench.users_[0].downs, 0);
    // What is taken back before it is sent gives its credit back.
    const auto is_up = [&] { return bench.users_[0].is_up; };
    for (int i = 0; i < 4; ++i) {
        ASSERT_TRUE(bench.world_.run_until(is_up, 5 * kNsPerSecond));
        // While the first is on its way the second one is in line at the connection.
        for (uint32_t count = 1; count <= 2; ++count) {
            bench.send_write(0, bench.write(1, count == 1 ? 64 : 1));
            ASSERT_TRUE(bench.world_.run_until(
                [&] { return bench.connection_->outstanding() == count; }, kNsPerMs));
        }
        bench.links_[0]->reset();
        EXPECT_EQ(bench.connection_->outstanding(), 1U);
        bench.world_.run_for(10 * kNsPerMs);
    }
    ASSERT_TRUE(bench.world_.run_until(is_up, 5 * kNsPerSecond));
    bench.send_write(0, bench.write(1, 1));
    EXPECT_TRUE(
        bench.world_.run_until([&] { return bench.users_[0].replies.size() == 21; }, kNsPerSecond));
}

TEST(TcpLink, ReadsWaitForMemoryWhileWritesGoOn) {
    Bench bench({.volumes = 1, .head_buffers = {.small = 8, .large = 1}});
    ASSERT_TRUE(bench.start_and_wait());
    BlockRef held = bench.head_pool_.buffers.try_take(64);
    for (int i = 0; i < 3; ++i) {
        bench.users_[0].send(*bench.links_[0], bench.read(0, 64));
    }
    bench.send_write(0, bench.write(1, 1));
    bench.world_.run_for(kNsPerSecond);
    ASSERT_EQ(bench.users_[0].replies.size(), 1U);
    EXPECT_EQ(bench.users_[0].replies[0].value.kind, MessageKind::kWrite);
    held.reset();
    EXPECT_TRUE(
        bench.world_.run_until([&] { return bench.users_[0].replies.size() == 4; }, kNsPerSecond));
    // One that waits when the link is reset waits no more.
    held = bench.head_pool_.buffers.try_take(64);
    bench.users_[0].send(*bench.links_[0], bench.read(0, 64));
    bench.world_.run_for(10 * kNsPerMs);
    bench.links_[0]->reset();
    held.reset();
    bench.world_.run_for(10 * kNsPerMs);
    EXPECT_EQ(bench.head_pool_.buffers.free_count(64), 1U);
    EXPECT_EQ(bench.users_[0].replies.size(), 4U);
}

TEST(TcpLink, StoresWithoutMemoryTakeOneWriteAfterTheOther) {
    Bench bench({.volumes = 2, .store_buffers = {.small = 1, .large = 1}});
    ASSERT_TRUE(bench.start_and_wait());
    for (int i = 0; i < 12; ++i) {
        bench.send_write(static_cast<uint32_t>(i % 2), bench.write(1, 32));
    }
    EXPECT_TRUE(bench.world_.run_until(
        [&] { return bench.users_[0].replies.size() == 6 && bench.users_[1].replies.size() == 6; },
        10 * kNsPerSecond));
    EXPECT_EQ(bench.users_[0].downs + bench.users_[1].downs, 0);
}

TEST(TcpLink, RottenDataIsNotHandedUp) {
    Bench bench({.volumes = 1});
    ASSERT_TRUE(bench.start_and_wait());
    bench.ports_[0]->damages_reads = true;
    bench.users_[0].send(*bench.links_[0], bench.read(3, 2));
    ASSERT_TRUE(
        bench.world_.run_until([&] { return bench.users_[0].replies.size() == 1; }, kNsPerSecond));
    EXPECT_EQ(bench.users_[0].replies[0].value.status, Errc::kDataCorrupt);
    EXPECT_TRUE(bench.users_[0].replies[0].bytes.empty());
    EXPECT_EQ(bench.users_[0].downs, 0);
}

/// Sums that are damaged on the way say nothing of what is on the drive.
TEST(TcpLink, DamagedSumsEndTheConnection) {
    sim::World world(1);
    const sim::NodeId store = world.add_node();
    Reactor& peer_reactor = world.add_reactor(store);
    Reactor& head = world.add_reactor(world.add_node());
    Pool pool({.small = 4, .large = 1});
    RawPeer peer(peer_reactor);
    peer.listen(sim::World::address(store, 4500));
    StoreConnection connection(
        head, pool.buffers, {.address = sim::World::address(store, 4500), .cluster = {}});
    FakeUser user;
    {
        TcpLink link(connection, {.volume = 1, .blocks = 64});
        connection.start();
        link.start(user, 0);
        std::optional<RawPeer::Received> asked;
        const auto has_asked = [&] {
            asked = asked ? std::move(asked) : peer.take_frame();
            return asked.has_value();
        };
        ASSERT_TRUE(world.run_until(has_asked, kNsPerSecond));
        asked.reset();
        peer.send(frame_of({.opcode = wire::Opcode::kHello, .is_answer = true, .credits = 4},
                           wire::Hello{.version_min = wire::kVersionMax}));
        ASSERT_TRUE(world.run_until([&] { return user.is_up; }, kNsPerSecond));
        user.send(link, {.kind = MessageKind::kRead, .id = 5, .range = {3, 1}});
        ASSERT_TRUE(world.run_until(has_asked, kNsPerSecond));
        ByteVector answer = data_frame_of(
            {.opcode = wire::Opcode::kRead, .is_answer = true, .id = asked->header.id},
            wire::AnswerFields{},
            ByteVector(kBlockBytes));
        answer[wire::kHeaderBytes + wire::kAnswerBytes] ^= std::byte{1};
        peer.send(answer);
        EXPECT_TRUE(world.run_until([&] { return !user.is_up; }, kNsPerSecond));
        EXPECT_TRUE(user.replies.empty());
        link.stop();
    }
    bool is_stopped = false;
    connection.stop([](void* flag) { *static_cast<bool*>(flag) = true; }, &is_stopped);
    EXPECT_TRUE(world.run_until([&] { return is_stopped; }, kNsPerSecond));
    peer.close();
    peer.stop_listening();
    world.run_for(kNsPerSecond);
}

TEST(TcpLink, IsResetWhenFarTooMuchWaits) {
    Bench bench({.volumes = 2, .messages_max = 8});
    ASSERT_TRUE(bench.start_and_wait());
    for (int i = 0; i < 9; ++i) {
        bench.send_write(0, bench.write(1, 1));
    }
    EXPECT_TRUE(bench.world_.run_until([&] { return bench.users_[0].ups == 2; }, kNsPerSecond));
    EXPECT_EQ(bench.users_[1].downs, 0);
}

TEST(StoreConnection, ReconnectsAfterSilence) {
    Bench bench;
    ASSERT_TRUE(bench.start_and_wait());
    bench.world_.run_for(20 * kNsPerSecond);
    EXPECT_EQ(bench.connection_->sessions(), 1U) << "pings keep an idle connection alive";
    bench.send_write(0, bench.write(1, 1));
    bench.world_.network().partition(bench.head_node_, bench.store_node_);
    const uint64_t before = bench.world_.now_ns();
    ASSERT_TRUE(bench.world_.run_until(
        [&] { return !bench.users_[0].is_up && !bench.users_[1].is_up; }, 10 * kNsPerSecond));
    EXPECT_LE(bench.world_.now_ns() - before, 3 * kNsPerSecond);
    bench.world_.network().heal_all();
    ASSERT_TRUE(bench.world_.run_until(
        [&] { return bench.users_[0].is_up && bench.users_[1].is_up; }, 20 * kNsPerSecond));
    bench.send_write(0, bench.write(1, 1));
    EXPECT_TRUE(
        bench.world_.run_until([&] { return bench.users_[0].replies.size() == 1; }, kNsPerSecond));
}

/// Two volumes under everything that networks do, resets included. FakeUser sees whether a link
/// keeps its promises.
void run_faults(uint64_t seed) {
    sim::FaultOptions faults = sim::swarm(seed);
    Bench bench({.seed = seed, .faults = faults, .server = {.credits = 16}});
    Random& random = bench.world_.random();
    bench.start();
    for (int i = 0; i < 300; ++i) {
        const auto volume = static_cast<uint32_t>(random.below(2));
        FakeUser& user = bench.users_[volume];
        const uint64_t first = random.below(64);
        const auto count = static_cast<uint32_t>(1 + random.below(random.chance(1, 4) ? 64 : 4));
        Message message =
            random.chance(1, 2) ? bench.read(first, count) : bench.write(first, count);
        message.session = static_cast<uint32_t>(user.ups);
        if (message.kind == MessageKind::kRead) {
            user.send(*bench.links_[volume], message);
        } else if (const BlockRef data = bench.data(message.range, message.id); data.is_valid()) {
            user.send(*bench.links_[volume], message, data);
        }
        if (random.chance(1, 40)) {
            bench.links_[volume]->reset();
        }
        bench.world_.run_for(random.below(2 * kNsPerMs));
    }
    bench.world_.faults() = sim::calm();
    ASSERT_TRUE(bench.world_.run_until(
        [&] {
            return std::all_of(bench.users_.begin(), bench.users_.end(), [](const FakeUser& user) {
                return user.is_up && user.sent.empty();
            });
        },
        60 * kNsPerSecond))
        << seed;
    for (size_t i = 0; i < 2; ++i) {
        std::map<uint32_t, uint64_t> last;  // By session: what an old one sent may come late.
        for (const Kept<Message>& taken : bench.ports_[i]->taken) {
            const Message& message = taken.value;
            if (message.kind != MessageKind::kWrite) {
                continue;
            }
            EXPECT_GT(message.number.count, last[message.session]) << seed;
            last[message.session] = message.number.count;
            for (uint32_t k = 0; k < message.range.count; ++k) {
                const auto block =
                    std::span(taken.bytes).subspan(size_t{k} * kBlockBytes, kBlockBytes);
                ASSERT_EQ(seed_of_block(block, message.range.first + k), message.number.count);
            }
        }
        for (const Kept<Reply>& reply : bench.users_[i].replies) {
            EXPECT_EQ(reply.value.status, Errc::kOk);
        }
    }
    bench.end();
    EXPECT_EQ(bench.head_pool_.buffers.free_count(1), 64U) << seed;
    EXPECT_EQ(bench.store_pool_.buffers.free_count(64), 32U) << seed;
}

TEST(TcpLinkFaults, PromisesAreKept) {
    for (const uint64_t seed : Seeds(60)) {
        run_faults(seed);
        ASSERT_FALSE(HasFailure()) << "seed " << seed;
    }
}

}  // namespace
}  // namespace basalt::replication::testing
