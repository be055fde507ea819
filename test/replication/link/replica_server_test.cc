#include "replication/link/replica_server.h"

#include <gtest/gtest.h>

#include "test/replication/link/bench.h"
#include "test/replication/link/raw_peer.h"

namespace basalt::replication::testing {
namespace {

using wire::Opcode;

class ReplicaServerTest : public ::testing::Test {
  protected:
    [[nodiscard]] wire::Hello hello() const {
        return {.session = 1, .cluster = bench_.cluster_, .drive = bench_.drive_};
    }
    [[nodiscard]] static wire::RequestFields fields(BlockRange range = {}) {
        return {.volume = 1,
                .epoch = Epoch(1),
                .tenure = Epoch(1),
                .session = 1,
                .range = range,
                .number = {Epoch(1), 1}};
    }
    [[nodiscard]] static ByteVector block_data(uint64_t first, uint32_t count) {
        ByteVector data(size_t{count} * kBlockBytes);
        for (uint32_t i = 0; i < count; ++i) {
            fill_block(std::span(data).subspan(size_t{i} * kBlockBytes, kBlockBytes), first + i, 9);
        }
        return data;
    }
    [[nodiscard]] static ByteVector write_frame(uint64_t id, BlockRange range) {
        return data_frame_of({.opcode = Opcode::kWrite, .id = id},
                             fields(range),
                             block_data(range.first, range.count));
    }
    [[nodiscard]] ByteVector hello_frame() const {
        return frame_of({.opcode = Opcode::kHello}, hello());
    }

    void greet(RawPeer& peer) {
        peer.connect(bench_.address());
        peer.send(hello_frame());
        const auto answer = next(peer);
        ASSERT_TRUE(answer.has_value());
        ASSERT_EQ(answer->header.status, Errc::kOk);
        ASSERT_EQ(answer->header.credits, bench_options().server.credits);
    }
    std::optional<RawPeer::Received> next(RawPeer& peer, uint64_t limit_ns = kNsPerSecond) {
        std::optional<RawPeer::Received> frame;
        bench_.world_.run_until(
            [&] {
                frame = frame ? std::move(frame) : peer.take_frame();
                // Pings are not what is waited for.
                if (frame && frame->header.opcode == Opcode::kPing) {
                    frame.reset();
                }
                return frame.has_value() || !peer.is_open;
            },
            limit_ns);
        return frame;
    }
    /// Sends `bytes` after the hello: whether the server closes the connection because of them.
    bool closes_after(const ByteVector& bytes) {
        RawPeer peer(bench_.head_);
        greet(peer);
        peer.send(bytes);
        bench_.world_.run_until([&] { return !peer.is_open; }, 100 * kNsPerMs);
        const bool is_closed = !peer.is_open;
        peer.close();
        bench_.world_.run_until([&] { return !peer.is_open; }, kNsPerSecond);
        return is_closed;
    }
    /// A whole life of a connection that says `bytes`, a hello and more, and ends.
    void say(const ByteVector& bytes) {
        RawPeer peer(bench_.head_);
        peer.connect(bench_.address());
        // Credits come with the answer to the hello.
        const size_t hello_bytes = std::min(bytes.size(), hello_frame().size());
        const auto rest = bytes.begin() + static_cast<ptrdiff_t>(hello_bytes);
        peer.send(ByteVector(bytes.begin(), rest));
        bench_.world_.run_until([&] { return !peer.received.empty() || !peer.is_open; }, kNsPerMs);
        peer.send(ByteVector(rest, bytes.end()));
        bench_.world_.run_for(kNsPerMs);
        peer.close();
        bench_.world_.run_until(
            [&] { return !peer.is_open && bench_.server_->connection_count() == 0; }, kNsPerSecond);
    }
    static Bench::Options bench_options() {
        Bench::Options options{.volumes = 2};
        options.server.credits = 8;
        options.server.connections_max = 4;
        options.server.half_open_max = 2;
        return options;
    }

    Bench bench_{bench_options()};
};

TEST_F(ReplicaServerTest, RefusesStrangersAndSaysWhy) {
    wire::Hello other_cluster = hello();
    other_cluster.cluster.bytes[3] = 1;
    wire::Hello other_drive = hello();
    other_drive.drive.bytes[3] = 1;
    wire::Hello other_version = hello();
    other_version.version_min = other_version.version_max = wire::kVersionMax + 1;
    wire::Hello other_blocks = hello();
    other_blocks.block_bytes = 512;
    const std::vector<std::pair<wire::Hello, Errc>> cases{{other_cluster, Errc::kPermissionDenied},
                                                          {other_drive, Errc::kNotFound},
                                                          {other_version, Errc::kNotSupported},
                                                          {other_blocks, Errc::kNotSupported}};
    for (const auto& [said, status] : cases) {
        RawPeer peer(bench_.head_);
        peer.connect(bench_.address());
        peer.send(frame_of({.opcode = Opcode::kHello}, said));
        const auto answer = next(peer);
        ASSERT_TRUE(answer.has_value());
        EXPECT_EQ(answer->header.status, status);
        EXPECT_TRUE(bench_.world_.run_until([&] { return !peer.is_open; }, kNsPerSecond));
    }
    EXPECT_EQ(bench_.server_->connection_count(), 0U);
}

TEST_F(ReplicaServerTest, AnswersWhatIsWrongAndGoesOn) {
    RawPeer peer(bench_.head_);
    greet(peer);
    wire::RequestFields unknown = fields({1, 1});
    unknown.volume = 77;
    const auto expect = [&](const ByteVector& frame, Errc status) {
        peer.send(frame);
        const auto answer = next(peer);
        ASSERT_TRUE(answer.has_value());
        EXPECT_EQ(answer->header.status, status);
        EXPECT_EQ(answer->header.credits, 1U);
    };
    expect(data_frame_of({.opcode = Opcode::kWrite, .id = 1}, unknown, block_data(1, 1)),
           Errc::kNotFound);
    expect(frame_of({.opcode = Opcode::kRead, .id = 2}, fields()), Errc::kInvalidArgument);
    expect(frame_of({.opcode = Opcode::kFence, .id = 3}, fields({1, 2})), Errc::kInvalidArgument);
    expect(frame_of({.opcode = Opcode::kScrubRange, .id = 4}, fields({1, 2})), Errc::kNotSupported);
    expect(frame_of({.opcode = Opcode::kStatistics, .id = 5}, fields()), Errc::kNotSupported);
    ByteVector twice = block_data(1, 1);
    const ByteVector again = block_data(1, 1);
    twice.insert(twice.end(), again.begin(), again.end());
    expect(data_frame_of({.opcode = Opcode::kCompareAndWrite, .id = 6}, fields({1, 1}), twice),
           Errc::kNotSupported);
    expect(frame_of({.opcode = Opcode::kFlush, .id = 7}, fields()), Errc::kOk);
    expect(frame_of({.opcode = Opcode::kSettle, .id = 8}, fields()), Errc::kTryAgain);
    EXPECT_TRUE(bench_.ports_[0]->taken.empty());
    expect(write_frame(9, {4, 2}), Errc::kOk);
    EXPECT_EQ(bench_.ports_[0]->taken.size(), 1U);
    bench_.ports_[0]->answer_with.status = Errc::kDeviceGone;  // Has no number on the wire.
    expect(write_frame(10, {4, 2}), Errc::kIo);
    peer.close();
    bench_.world_.run_for(kNsPerMs);
}

TEST_F(ReplicaServerTest, EndsTheConnectionOfWhoBreaksTheProtocol) {
    const auto list = [](Opcode opcode, size_t bytes) {
        wire::RequestFields part = fields();
        part.is_part = true;
        const ByteVector payload(bytes);
        return frame_of({.opcode = opcode}, part, payload, bytes);
    };
    EXPECT_TRUE(closes_after(hello_frame())) << "a second hello";
    EXPECT_TRUE(
        closes_after(frame_of({.opcode = Opcode::kRead, .is_answer = true}, wire::AnswerFields{})));
    EXPECT_TRUE(closes_after(frame_of({.opcode = Opcode::kWrite}, fields({1, 1}))));
    EXPECT_TRUE(
        closes_after(data_frame_of({.opcode = Opcode::kWrite}, fields({1, 2}), block_data(1, 1))));
    EXPECT_TRUE(
        closes_after(data_frame_of({.opcode = Opcode::kRead}, fields({1, 1}), block_data(1, 1))));
    EXPECT_TRUE(closes_after(list(Opcode::kPing, 16)));
    EXPECT_TRUE(closes_after(list(Opcode::kDirtyBitmap, wire::kListBytesMax + 16)));
    EXPECT_TRUE(closes_after(list(Opcode::kDirtyBitmap, 15)));
    EXPECT_TRUE(closes_after(list(Opcode::kDirtyBitmap, 16))) << "a run of no blocks";
    EXPECT_FALSE(closes_after(list(Opcode::kDirtyBitmap, 0)));
    EXPECT_FALSE(closes_after(write_frame(1, {1, 1})));
    // An entry beyond the volume's end, which would be marked.
    const WindowEntry beyond{{Epoch(1), 2}, {4095, 2}};
    ByteVector page(wire::kWindowEntryBytes);
    wire::encode_window(std::span(&beyond, 1), page);
    wire::RequestFields part = fields();
    part.is_part = true;
    EXPECT_TRUE(closes_after(frame_of({.opcode = Opcode::kWindow}, part, page, page.size())));
}

TEST_F(ReplicaServerTest, EndsTheConnectionOfWhoSpendsMoreThanHisCredits) {
    RawPeer peer(bench_.head_);
    greet(peer);
    bench_.ports_[0]->is_holding = true;
    for (uint64_t i = 0; i < 8; ++i) {
        peer.send(frame_of({.opcode = Opcode::kRead, .id = i}, fields({1, 1})));
    }
    // These cost nothing.
    peer.send(frame_of({.opcode = Opcode::kTrimWindow}, fields()));
    peer.send(frame_of({.opcode = Opcode::kPing, .id = 5}, wire::RequestFields{}));
    bench_.world_.run_for(10 * kNsPerMs);
    EXPECT_TRUE(peer.is_open);
    EXPECT_EQ(bench_.ports_[0]->waiting(), 8U);
    peer.send(frame_of({.opcode = Opcode::kRead, .id = 8}, fields({1, 1})));
    EXPECT_TRUE(bench_.world_.run_until([&] { return !peer.is_open; }, 100 * kNsPerMs));
    EXPECT_EQ(bench_.ports_[0]->waiting(), 8U);
    bench_.ports_[0]->release();
    bench_.world_.run_for(10 * kNsPerMs);
}

TEST_F(ReplicaServerTest, TakesNothingOfWhatIsCutOff) {
    ByteVector stream = hello_frame();
    const ByteVector write = write_frame(1, {1, 1});
    stream.insert(stream.end(), write.begin(), write.end());
    for (size_t size = 0; size < stream.size(); size += size < 300 || size > 4350 ? 1 : 97) {
        say(ByteVector(stream.begin(), stream.begin() + static_cast<ptrdiff_t>(size)));
        ASSERT_TRUE(bench_.ports_[0]->taken.empty()) << size;
    }
    say(stream);
    EXPECT_EQ(bench_.ports_[0]->taken.size(), 1U);
    EXPECT_EQ(bench_.store_pool_.buffers.free_count(1), 64U);
}

TEST_F(ReplicaServerTest, TakesNothingThatIsDamaged) {
    const ByteVector hello = hello_frame();
    ByteVector stream = hello;
    const ByteVector write = write_frame(1, {1, 1});
    stream.insert(stream.end(), write.begin(), write.end());
    const size_t data_at = stream.size() - kBlockBytes;
    for (size_t bit = 0; bit < stream.size() * 8; bit += bit < data_at * 8 ? 1 : 331) {
        ByteVector damaged = stream;
        damaged[bit / 8] ^= std::byte{1} << (bit % 8);
        say(damaged);
        ASSERT_TRUE(bench_.ports_[0]->taken.empty()) << bit;
    }
}

TEST_F(ReplicaServerTest, WhoDoesNotReadDisturbsNobody) {
    RawPeer peer(bench_.store_);
    peer.connect(bench_.address());
    peer.send(hello_frame());
    bench_.world_.run_for(kNsPerMs);
    peer.is_reading = false;
    for (uint64_t i = 0; i < 8; ++i) {
        peer.send(frame_of({.opcode = Opcode::kRead, .id = i}, fields({0, 64})));
    }
    ASSERT_TRUE(bench_.start_and_wait());
    for (int i = 0; i < 50; ++i) {
        bench_.users_[0].send(*bench_.links_[0], bench_.read(0, 64));
        ASSERT_TRUE(bench_.world_.run_until(
            [&] { return bench_.users_[0].replies.size() == static_cast<size_t>(i) + 1; },
            kNsPerSecond));
    }
    EXPECT_LT(bench_.store_pool_.buffers.free_count(64), 32U);
    bench_.world_.run_for(4 * kNsPerSecond);
    EXPECT_EQ(bench_.server_->connection_count(), 1U);
    EXPECT_EQ(bench_.store_pool_.buffers.free_count(64), 32U);
    EXPECT_EQ(bench_.users_[0].downs, 0);
    peer.close();
    bench_.world_.run_for(kNsPerMs);
}

TEST_F(ReplicaServerTest, BoundsConnectionsAndTheirHellos) {
    RawPeer silent[3]{RawPeer(bench_.head_), RawPeer(bench_.head_), RawPeer(bench_.head_)};
    for (RawPeer& peer : silent) {
        peer.connect(bench_.address());
    }
    bench_.world_.run_for(10 * kNsPerMs);
    EXPECT_EQ(bench_.server_->connection_count(), 2U);
    bench_.world_.run_for(6 * kNsPerSecond);
    EXPECT_EQ(bench_.server_->connection_count(), 0U);
    EXPECT_FALSE(silent[0].is_open || silent[1].is_open || silent[2].is_open);
    std::deque<RawPeer> peers;
    for (int i = 0; i < 5; ++i) {
        peers.emplace_back(bench_.head_).connect(bench_.address());
        peers.back().send(hello_frame());
        bench_.world_.run_for(10 * kNsPerMs);
    }
    EXPECT_EQ(bench_.server_->connection_count(), 4U);
    EXPECT_FALSE(peers.back().is_open);
    for (RawPeer& peer : peers) {
        peer.close();
    }
    bench_.world_.run_for(10 * kNsPerMs);
}

TEST_F(ReplicaServerTest, TellsWhenAReplicaGoesAway) {
    ASSERT_TRUE(bench_.start_and_wait());
    bench_.ports_[0]->is_holding = true;
    bench_.send_write(0, bench_.write(1, 1));
    bench_.send_write(1, bench_.write(1, 1));
    ASSERT_TRUE(
        bench_.world_.run_until([&] { return bench_.ports_[0]->waiting() == 1; }, kNsPerSecond));
    bench_.directory_.ports.erase(1);
    bench_.ports_[0]->leave();
    bench_.send_write(0, bench_.write(2, 1));
    ASSERT_TRUE(bench_.world_.run_until([&] { return bench_.users_[0].replies.size() == 2; },
                                        kNsPerSecond));
    EXPECT_EQ(bench_.users_[0].replies[0].value.status, Errc::kNotFound);
    EXPECT_EQ(bench_.users_[0].replies[1].value.status, Errc::kNotFound);
    bench_.directory_.ports[1] = bench_.ports_[0].get();
    bench_.ports_[0]->release();
    bench_.send_write(0, bench_.write(3, 1));
    ASSERT_TRUE(bench_.world_.run_until([&] { return bench_.users_[0].replies.size() == 3; },
                                        kNsPerSecond));
    EXPECT_EQ(bench_.users_[0].replies[2].value.status, Errc::kOk);
    EXPECT_EQ(bench_.users_[1].downs, 0);
}

TEST_F(ReplicaServerTest, TellsWhichOfTwoReplicasGoesAway) {
    ASSERT_TRUE(bench_.start_and_wait());
    for (uint32_t i = 0; i < 2; ++i) {
        bench_.ports_[i]->is_holding = true;
        bench_.send_write(i, bench_.write(1, 1));
    }
    ASSERT_TRUE(bench_.world_.run_until(
        [&] { return bench_.ports_[0]->waiting() + bench_.ports_[1]->waiting() == 2; },
        kNsPerSecond));
    // Both call this connection by the same name.
    EXPECT_EQ(bench_.ports_[0]->taken[0].value.connection,
              bench_.ports_[1]->taken[0].value.connection);
    bench_.directory_.ports.erase(2);
    bench_.ports_[1]->leave();
    ASSERT_TRUE(bench_.world_.run_until([&] { return bench_.users_[1].replies.size() == 1; },
                                        kNsPerSecond));
    EXPECT_EQ(bench_.users_[1].replies[0].value.status, Errc::kNotFound);
    EXPECT_TRUE(bench_.users_[0].replies.empty());
    bench_.ports_[0]->release();
    ASSERT_TRUE(bench_.world_.run_until([&] { return bench_.users_[0].replies.size() == 1; },
                                        kNsPerSecond));
    EXPECT_EQ(bench_.users_[0].replies[0].value.status, Errc::kOk);
}

TEST_F(ReplicaServerTest, StoresNoWriteWhoseDataHadNoPlace) {
    RawPeer peer(bench_.head_);
    greet(peer);
    std::vector<BlockRef> taken;
    for (BlockRef one = bench_.store_pool_.buffers.try_take(1); one.is_valid();
         one = bench_.store_pool_.buffers.try_take(1)) {
        taken.push_back(std::move(one));
    }
    const ByteVector frame = write_frame(1, {1, 1});
    const auto middle = frame.begin() + 1000;
    peer.send(ByteVector(frame.begin(), middle));
    bench_.world_.run_for(10 * kNsPerMs);
    // It goes away while the write waits for memory, and is back before all of it has come.
    bench_.directory_.ports.erase(1);
    bench_.ports_[0]->leave();
    bench_.world_.run_for(10 * kNsPerMs);
    bench_.directory_.ports[1] = bench_.ports_[0].get();
    taken.clear();
    peer.send(ByteVector(middle, frame.end()));
    const auto answer = next(peer);
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(answer->header.status, Errc::kNotFound);
    EXPECT_TRUE(bench_.ports_[0]->taken.empty());
    peer.close();
    bench_.world_.run_for(kNsPerMs);
}

TEST_F(ReplicaServerTest, PartsOfAnOlderHeadDoNotMixWithThoseOfANewer) {
    RawPeer peer(bench_.head_);
    greet(peer);
    const auto expect = [&](Opcode opcode, uint64_t tenure, bool is_part, Errc status) {
        wire::RequestFields about = fields();
        about.tenure = Epoch(tenure);
        about.is_part = is_part;
        about.is_exact = is_part;
        peer.send(frame_of({.opcode = opcode}, about));
        const auto answer = next(peer);
        ASSERT_TRUE(answer.has_value());
        EXPECT_EQ(answer->header.status, status);
    };
    expect(Opcode::kWindow, 5, true, Errc::kOk);
    expect(Opcode::kWindow, 4, true, Errc::kStaleEpoch);
    expect(Opcode::kSettle, 4, false, Errc::kTryAgain);
    expect(Opcode::kWindow, 6, true, Errc::kOk);
    expect(Opcode::kSettle, 5, false, Errc::kTryAgain);
    expect(Opcode::kSettle, 6, true, Errc::kTryAgain);
    expect(Opcode::kDirtyBitmap, 6, true, Errc::kOk);
    expect(Opcode::kSettle, 6, true, Errc::kOk);
    ASSERT_EQ(bench_.ports_[0]->taken.size(), 1U);
    EXPECT_TRUE(bench_.ports_[0]->taken[0].has_dirty);
    peer.close();
    bench_.world_.run_for(kNsPerMs);
}

}  // namespace
}  // namespace basalt::replication::testing
