// Snapshots sent from one pool and received into another one, on two simulated machines.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "bdev/store/transfer/transfers.h"
#include "test/bdev/store/pool/pool_node.h"

namespace basalt::bdev::store {
namespace {

using test::PoolNode;
using State = TransferReport::State;
using Bytes = std::vector<std::byte>;

constexpr uint64_t kTwoChunks = uint64_t{2} * kChunkBlocks;
constexpr uint64_t kLimitNs = 1000 * kNsPerSecond;

Errc code_of(Status status) {
    return status ? Errc::kOk : status.error().code;
}

/// The transfer's report; state kRunning if it is under way.
TransferReport report_of(PoolNode& node, uint64_t id) {
    for (const TransferReport& report : node.transfers->reports()) {
        if (report.id == id) {
            return report;
        }
    }
    ADD_FAILURE() << "no transfer " << id;
    return {};
}

TransferReport finish(PoolNode& node, uint64_t id) {
    EXPECT_TRUE(node.world.run_until([&] { return report_of(node, id).state != State::kRunning; },
                                     kLimitNs));
    return report_of(node, id);
}

Bytes read_blocks(PoolNode& node, const std::string& name, uint64_t first, uint64_t count) {
    const auto channel = node.open_channel(name);
    const uint32_t sector = channel->info().block_size_bytes;
    const uint64_t end = (first + count) * kBlockBytes / sector;
    Bytes bytes;
    for (uint64_t at = first * kBlockBytes / sector; at < end;) {
        TestIo io;
        const uint64_t some = std::min(end - at, channel->info().transfer_max.raw());
        io.prepare(IoOp::kRead, at, some, sector);
        EXPECT_EQ(node.run(*channel, io), Errc::kOk);
        bytes.insert(bytes.end(), io.data, io.data + io.size_bytes);
        at += some;
    }
    return bytes;
}

/// A stream as blocks of 4096 bytes: those of the file that a sender has written, zeroes behind.
Bytes file_of(PoolNode& node, const std::string& path) {
    OpenOptions options;
    options.read_only = true;
    const Result<FileInfo> file = node.files().open(path, options);
    EXPECT_TRUE(file);
    Bytes bytes(file->size_bytes);
    const iovec piece{bytes.data(), bytes.size()};
    EXPECT_TRUE(node.files().find(file->handle)->drive->read(0, &piece, bytes.size()));
    node.files().close(file->handle);
    return bytes;
}

void put_file(PoolNode& node, const std::string& path, Bytes bytes) {
    sim::DriveOptions options;
    options.size_bytes = bytes.size();
    const iovec piece{bytes.data(), bytes.size()};
    EXPECT_TRUE(node.world.add_drive(node.node, path, options)
                    .write(0, &piece, bytes.size(), sim::Drive::Durable::kYes));
}

/// The blocks of a stream that are not zeroes behind its end.
size_t block_count(const Bytes& stream) {
    size_t count = 0;
    StreamReader reader;
    while (reader.take_head(std::span(stream).subspan(count * kBlockBytes, kBlockBytes))) {
        count += 1 + reader.block_count();
        if (reader.kind() == StreamKind::kEnd) {
            break;
        }
    }
    EXPECT_EQ(reader.problem(), "");
    return count;
}

std::string new_path() {
    static uint32_t number = 0;
    return "/s" + std::to_string(number++);
}

/// Sends into a file and gives what is in it.
Bytes send(PoolNode& node,
           const std::string& snapshot,
           const std::string& base,
           std::optional<ResumeToken> resume = {}) {
    SendOptions options;
    options.snapshot = snapshot;
    options.base = base;
    options.path = new_path();
    options.resume = resume;
    const Result<uint64_t> id = node.transfers->send(*node.pool, *node.streams, options);
    EXPECT_TRUE(id);
    const TransferReport report = finish(node, *id);
    EXPECT_EQ(report.state, State::kDone) << report.problem;
    Bytes bytes = file_of(node, options.path);
    bytes.resize(block_count(bytes) * kBlockBytes);
    return bytes;
}

uint64_t start_receive(PoolNode& node,
                       const Bytes& stream,
                       uint64_t keep_blocks = 16384,
                       uint64_t bytes_a_second = 0) {
    ReceiveOptions options;
    options.path = new_path();
    options.keep_blocks = keep_blocks;
    options.bytes_a_second = bytes_a_second;
    put_file(node, options.path, stream);
    const Result<uint64_t> id = node.transfers->receive(*node.pool, *node.streams, options);
    EXPECT_TRUE(id);
    return *id;
}

TransferReport receive(PoolNode& node, const Bytes& stream) {
    return finish(node, start_receive(node, stream));
}

void expect_clean(PoolNode& node) {
    const Result<CheckReport> report = node.wait(node.pool->check());
    ASSERT_TRUE(report.has_value());
    EXPECT_TRUE(report->is_clean());
}

/// That both have the snapshot with the same UUID and bytes, in the ranges that tests write to.
void expect_same(PoolNode& from, PoolNode& to, const std::string& name) {
    const SnapshotEntry* sent = from.pool->catalogue().find_snapshot(name);
    const SnapshotEntry* received = to.pool->catalogue().find_snapshot(name);
    ASSERT_NE(sent, nullptr);
    ASSERT_NE(received, nullptr) << name;
    EXPECT_EQ(received->uuid, sent->uuid);
    EXPECT_EQ(received->volume, sent->volume);
    EXPECT_EQ(received->size_blocks, sent->size_blocks);
    EXPECT_EQ(received->created_ns, sent->created_ns);
    for (const uint64_t first : {uint64_t{0},
                                 uint64_t{256},
                                 uint64_t{512},
                                 uint64_t{kChunkBlocks} - 128,
                                 kTwoChunks - 256}) {
        if (first + 256 <= sent->size_blocks) {
            EXPECT_EQ(read_blocks(from, name, first, 256), read_blocks(to, name, first, 256))
                << name << " " << first;
        }
    }
}

ResumeToken token_of(PoolNode& node, const std::string& name) {
    const VolumeEntry* entry = node.pool->catalogue().find_volume(name);
    EXPECT_NE(entry, nullptr);
    const ResumeToken token = resume_token_of(node.pool->catalogue(), *entry);
    EXPECT_EQ(*ResumeToken::parse(token.to_string()), token);
    return token;
}

/// UUIDs of one machine are not those of the other one.
void make_pools(PoolNode& from, PoolNode& to) {
    ASSERT_TRUE(from.create());
    to.uuids = 1000;
    ASSERT_TRUE(to.create());
}

/// A volume over two partitions with the snapshots s1, s2 and s3, each different from the one
/// before by scattered blocks, runs and holes.
void make_chain(PoolNode& node, uint32_t block_bytes = kBlockBytes) {
    const uint64_t sectors = kBlockBytes / block_bytes;
    const auto fill = [&](uint64_t first, uint64_t count, uint8_t value) {
        ASSERT_EQ(node.fill("v", first * sectors, count * sectors, value), Errc::kOk);
    };
    ASSERT_TRUE(node.add_volume("v", kTwoChunks, block_bytes));
    fill(0, 200, 0x11);
    fill(200, 200, 0x12);
    fill(kChunkBlocks - 20, 20, 0x13);
    fill(kTwoChunks - 5, 5, 0x14);
    ASSERT_TRUE(node.take_snapshot("v", "s1"));
    for (uint64_t i = 0; i < 140; ++i) {
        fill(600 + 2 * i, 1, static_cast<uint8_t>(i));
    }
    fill(100, 30, 0x21);
    fill(kChunkBlocks, 10, 0x22);
    {
        const auto channel = node.open_channel("v");
        TestIo io;
        io.prepare(IoOp::kWriteZeroes, 10 * sectors, 50 * sectors, block_bytes);
        ASSERT_EQ(node.run(*channel, io), Errc::kOk);
    }
    ASSERT_TRUE(node.take_snapshot("v", "s2"));
    fill(10, 5, 0x31);
    ASSERT_TRUE(node.take_snapshot("v", "s3"));
}

TEST(SnapshotTransfer, AChainArrivesWithTheSameBytesAndUuids) {
    for (const uint32_t block_bytes : {4096U, 512U}) {
        PoolNode from(1);
        PoolNode to(2);
        make_pools(from, to);
        make_chain(from, block_bytes);
        const TransferReport first = receive(to, send(from, "s1", ""));
        EXPECT_EQ(first.state, State::kDone) << first.problem;
        EXPECT_EQ(first.data_blocks, 425U);
        EXPECT_EQ(first.passed_blocks, kTwoChunks);
        EXPECT_EQ(receive(to, send(from, "s2", "s1")).state, State::kDone);
        const TransferReport third = receive(to, send(from, "s3", "s2"));
        EXPECT_EQ(third.state, State::kDone) << third.problem;
        EXPECT_EQ(third.data_blocks, 5U) << "what is the same is not sent";
        for (const char* name : {"s1", "s2", "s3"}) {
            expect_same(from, to, name);
        }
        expect_clean(to);
        ASSERT_TRUE(to.close());
        ASSERT_TRUE(to.open());
        expect_same(from, to, "s2");
        EXPECT_EQ(receive(to, send(from, "s2", "s1")).problem, "the pool has that snapshot");
        // In one go, into a pool that has nothing, and onwards from there.
        PoolNode third_node(3);
        third_node.uuids = 2000;
        ASSERT_TRUE(third_node.create());
        EXPECT_EQ(receive(third_node, send(to, "s1", "")).state, State::kDone);
        EXPECT_EQ(receive(third_node, send(to, "s3", "s1")).state, State::kDone);
        expect_same(from, third_node, "s3");
    }
}

TEST(SnapshotTransfer, GoesOnAfterABreakAnywhere) {
    PoolNode from(4);
    ASSERT_TRUE(from.create());
    make_chain(from);
    const Bytes full = send(from, "s1", "");
    const Bytes whole = send(from, "s2", "s1");
    const size_t blocks = block_count(whole);
    ASSERT_GT(blocks, 150U);
    std::vector<size_t> cuts{0, 1, 2, 3, 50, blocks - 2, blocks - 1};
    StreamReader reader;
    for (size_t at = 0; at < blocks; at += 1 + reader.block_count()) {
        ASSERT_TRUE(reader.take_head(std::span(whole).subspan(at * kBlockBytes, kBlockBytes)));
        cuts.push_back(at);
        cuts.push_back(std::min(at + 1, blocks - 1));
    }
    for (const size_t cut : cuts) {
        SCOPED_TRACE(cut);
        PoolNode to(5);
        to.uuids = 1000;
        ASSERT_TRUE(to.create());
        ASSERT_EQ(receive(to, full).state, State::kDone);
        Bytes part(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(cut * kBlockBytes));
        part.resize(std::max<size_t>(part.size(), kBlockBytes));
        const TransferReport report = receive(to, part);
        EXPECT_EQ(report.state, State::kFailed);
        EXPECT_EQ(report.problem,
                  cut == 0 ? "record 0: not a stream of a snapshot" : "the stream is cut off");
        EXPECT_EQ(to.pool->device_of("s2"), nullptr) << "nobody sees a part of it";
        Bytes rest = whole;
        if (cut > 0) {
            EXPECT_EQ(code_of(to.wait(to.pool->delete_snapshot("s1", WithClones::kDelete))),
                      Errc::kBusy);
            ASSERT_TRUE(to.close());
            ASSERT_TRUE(to.open());
            const ResumeToken token = token_of(to, "s2");
            rest = send(from, "s2", "s1", token);
            EXPECT_TRUE(token.block == 0 || rest.size() < whole.size());
        }
        const TransferReport last = receive(to, rest);
        EXPECT_EQ(last.state, State::kDone) << last.problem;
        expect_same(from, to, "s2");
        expect_clean(to);
    }
}

TEST(SnapshotTransfer, SurvivesThatTheReceiverLosesItsPowerAnyTime) {
    PoolNode from(6);
    ASSERT_TRUE(from.create());
    make_chain(from);
    const Bytes full = send(from, "s1", "");
    const Bytes more = send(from, "s2", "s1");
    uint32_t resumed = 0;
    for (uint64_t seed = 0; seed < 24; ++seed) {
        SCOPED_TRACE(seed);
        PoolNode to(100 + seed);
        to.uuids = 1000;
        ASSERT_TRUE(to.create());
        ASSERT_EQ(receive(to, full).state, State::kDone);
        static_cast<void>(start_receive(to, more, 1, 200'000'000));
        to.world.run_for(200 * kNsPerUs * (1 + 3 * seed));
        ASSERT_TRUE(to.cut_power());
        expect_clean(to);
        if (to.pool->catalogue().find_snapshot("s2") == nullptr) {
            Bytes rest = more;
            if (to.pool->catalogue().find_volume("s2") != nullptr) {
                const ResumeToken token = token_of(to, "s2");
                resumed += token.block > 0 ? 1 : 0;
                rest = send(from, "s2", "s1", token);
            }
            const TransferReport report = receive(to, rest);
            EXPECT_EQ(report.state, State::kDone) << report.problem;
        }
        expect_same(from, to, "s2");
        expect_same(from, to, "s1");
        expect_clean(to);
    }
    EXPECT_GT(resumed, 0U) << "some of them in the middle";
}

TEST(SnapshotTransfer, SurvivesThatTheReceiverLosesItsPowerAtEachWriteOfItsDrive) {
    PoolNode from(6);
    ASSERT_TRUE(from.create());
    ASSERT_TRUE(from.add_volume("v", 1024));
    ASSERT_EQ(from.fill("v", 0, 10, 0x11), Errc::kOk);
    ASSERT_TRUE(from.take_snapshot("v", "s1"));
    for (uint64_t i = 0; i < 24; ++i) {
        ASSERT_EQ(from.fill("v", 5 + 3 * i, 2, static_cast<uint8_t>(i)), Errc::kOk);
    }
    ASSERT_EQ(from.fill("v", 100, 800, 0x21), Errc::kOk);
    ASSERT_TRUE(from.take_snapshot("v", "s2"));
    const Bytes full = send(from, "s1", "");
    const Bytes more = send(from, "s2", "s1");
    bool is_whole = false;
    uint64_t cuts = 0;
    uint32_t resumed = 0;
    for (; !is_whole && cuts < 1000 && !testing::Test::HasFailure(); ++cuts) {
        SCOPED_TRACE(cuts);
        PoolNode to(500 + cuts);
        to.uuids = 1000;
        ASSERT_TRUE(to.create());
        ASSERT_EQ(receive(to, full).state, State::kDone);
        const uint64_t before = to.device_writes;
        const uint64_t id = start_receive(to, more, 8);
        const auto is_now = [&] {
            is_whole = report_of(to, id).state != State::kRunning;
            return is_whole || to.device_writes > before + cuts;
        };
        ASSERT_TRUE(to.world.run_until(is_now, kLimitNs));
        ASSERT_TRUE(to.cut_power());
        expect_clean(to);
        if (to.pool->catalogue().find_snapshot("s2") == nullptr) {
            EXPECT_FALSE(is_whole) << "it was said to be there";
            Bytes rest = more;
            if (to.pool->catalogue().find_volume("s2") != nullptr) {
                const ResumeToken token = token_of(to, "s2");
                resumed += token.block > 0 ? 1 : 0;
                rest = send(from, "s2", "s1", token);
            }
            const TransferReport report = receive(to, rest);
            EXPECT_EQ(report.state, State::kDone) << report.problem;
        }
        expect_same(from, to, "s2");
    }
    EXPECT_TRUE(is_whole);
    EXPECT_GT(cuts, 12U);
    EXPECT_GT(resumed, 2U) << "some of them in the middle";
}

TEST(SnapshotTransfer, KeepsWhatItNeeds) {
    PoolNode from(7);
    PoolNode to(8);
    make_pools(from, to);
    make_chain(from);
    SendOptions options;
    options.snapshot = "s2";
    options.base = "s1";
    options.path = new_path();
    options.bytes_a_second = 10000;
    const Result<uint64_t> sending = from.transfers->send(*from.pool, *from.streams, options);
    ASSERT_TRUE(sending);
    from.world.run_for(kNsPerSecond);
    for (const char* name : {"s1", "s2"}) {
        EXPECT_EQ(code_of(from.wait(from.pool->delete_snapshot(name, WithClones::kDelete))),
                  Errc::kBusy);
    }
    EXPECT_EQ(code_of(from.close()), Errc::kBusy);
    EXPECT_TRUE(from.wait(from.pool->rename("s2", "other")));
    EXPECT_TRUE(from.wait(from.pool->delete_snapshot("s3", WithClones::kDelete)));
    EXPECT_TRUE(from.wait(from.transfers->stop(*sending)));
    EXPECT_EQ(report_of(from, *sending).state, State::kStopped);
    EXPECT_EQ(code_of(from.wait(from.transfers->stop(*sending))), Errc::kNotFound);
    EXPECT_TRUE(from.wait(from.pool->rename("other", "s2")));
    // The receiver.
    const Bytes stream = send(from, "s1", "");
    Bytes part(stream.begin(), stream.begin() + 300 * kBlockBytes);
    EXPECT_EQ(receive(to, part).state, State::kFailed);
    EXPECT_EQ(code_of(to.wait(to.pool->flatten("s1", FlattenFrom::kAll))), Errc::kBusy);
    EXPECT_EQ(code_of(to.wait(to.pool->resize("s1", 1))), Errc::kDeviceGone);
    EXPECT_EQ(code_of(to.wait(to.pool->set_read_only("s1"))), Errc::kDeviceGone);
    EXPECT_EQ(code_of(to.take_snapshot("s1", "x")), Errc::kDeviceGone);
    EXPECT_EQ(code_of(to.wait(to.pool->clone("s1", {}))), Errc::kNotFound);
    EXPECT_TRUE(to.wait(to.pool->rename("s1", "renamed")));
    const uint64_t again = start_receive(to, stream, 16384, 10'000'000);
    to.world.run_for(kNsPerMs);
    EXPECT_EQ(code_of(to.wait(to.pool->delete_volume("renamed"))), Errc::kBusy);
    EXPECT_EQ(receive(to, stream).state, State::kFailed) << "twice at once";
    EXPECT_EQ(finish(to, again).state, State::kDone);
    EXPECT_NE(to.pool->catalogue().find_snapshot("renamed"), nullptr);
    // What was begun may be given up.
    const Bytes more = send(from, "s2", "s1");
    EXPECT_EQ(receive(to, Bytes(more.begin(), more.begin() + 2 * kBlockBytes)).state,
              State::kFailed);
    EXPECT_TRUE(to.wait(to.pool->delete_volume("s2")));
    to.wait([](Pool& pool) -> Task<int> {
        co_await pool.swept();
        co_return 0;
    }(*to.pool));
    expect_clean(to);
}

TEST(SnapshotTransfer, RefusesWhatDoesNotFit) {
    PoolNode from(9);
    PoolNode to(10);
    make_pools(from, to);
    make_chain(from);
    const Bytes full = send(from, "s1", "");
    const Bytes more = send(from, "s2", "s1");
    EXPECT_NE(receive(to, more).problem.find("a snapshot that is not here"), std::string::npos);
    const ResumeToken middle{from.pool->catalogue().find_snapshot("s1")->uuid, Uuid{}, 250};
    EXPECT_NE(receive(to, send(from, "s1", "", middle)).problem.find("nothing of it is here"),
              std::string::npos);
    Bytes bad = full;
    bad[300 * kBlockBytes] ^= std::byte{1};
    EXPECT_EQ(receive(to, bad).problem, "record 2: a block of data is not what was sent");
    ASSERT_TRUE(to.wait(to.pool->delete_volume("s1")));
    ASSERT_TRUE(to.add_volume("s1"));
    EXPECT_EQ(receive(to, full).state, State::kFailed) << "the name is taken";
    EXPECT_EQ(to.pool->catalogue().volumes().size(), 1U);
    EXPECT_TRUE(to.pool->catalogue().snapshots().empty());
    SendOptions options;
    options.path = new_path();
    for (const auto& [snapshot, base] : std::vector<std::pair<const char*, const char*>>{
             {"v", ""}, {"s1", "none"}, {"s1", "s2"}, {"s1", "s1"}}) {
        options.snapshot = snapshot;
        options.base = base;
        EXPECT_FALSE(from.transfers->send(*from.pool, *from.streams, options)) << snapshot << base;
    }
    options.snapshot = "s2";
    options.base = "s1";
    options.resume = middle;
    EXPECT_FALSE(from.transfers->send(*from.pool, *from.streams, options)) << "another one's token";
    for (const char* text : {"", "a/b/c", "00000000-0000-0000-0000-000000000001/1", "//"}) {
        EXPECT_FALSE(ResumeToken::parse(text)) << text;
    }
    EXPECT_FALSE(ResumeToken::parse(middle.to_string() + "x"));
}

TEST(SnapshotTransfer, APoolThatIsFullTakesTheRestLater) {
    PoolNode from(11);
    PoolNode to(12);
    make_pools(from, to);
    ASSERT_TRUE(from.add_volume("v", kTwoChunks));
    for (uint64_t first = 0; first < 768; first += 256) {
        ASSERT_EQ(from.fill("v", first, 256, static_cast<uint8_t>(first / 256 + 1)), Errc::kOk);
    }
    ASSERT_TRUE(from.take_snapshot("v", "s1"));
    const Bytes stream = send(from, "s1", "");
    ASSERT_TRUE(to.add_volume("filler", kTwoChunks));
    uint64_t filled = 0;
    while (to.fill("filler", filled % kChunkBlocks + (filled / 256 % 2) * kChunkBlocks, 256, 9) ==
           Errc::kOk) {
        filled += 256;
        ASSERT_LT(filled, PoolNode::kDriveBytes / kBlockBytes);
    }
    const TransferReport report = receive(to, stream);
    EXPECT_EQ(report.state, State::kFailed);
    EXPECT_NE(report.problem.find("the pool can't be written"), std::string::npos)
        << report.problem;
    ASSERT_TRUE(to.wait(to.pool->delete_volume("filler")));
    const TransferReport last = receive(to, send(from, "s1", "", token_of(to, "s1")));
    EXPECT_EQ(last.state, State::kDone) << last.problem;
    expect_same(from, to, "s1");
}

TEST(SnapshotTransfer, WhatASmallerOneLostDoesNotComeBack) {
    PoolNode from(13);
    PoolNode to(14);
    make_pools(from, to);
    ASSERT_TRUE(from.add_volume("v", 2048));
    ASSERT_EQ(from.fill("v", 256, 256, 0x41), Errc::kOk);
    ASSERT_TRUE(from.take_snapshot("v", "s1"));
    ASSERT_TRUE(from.wait(from.pool->resize("v", 300)));
    ASSERT_TRUE(from.take_snapshot("v", "s2"));
    ASSERT_TRUE(from.wait(from.pool->resize("v", 2048)));
    ASSERT_TRUE(from.take_snapshot("v", "s3"));
    EXPECT_EQ(receive(to, send(from, "s1", "")).state, State::kDone);
    EXPECT_EQ(receive(to, send(from, "s2", "s1")).state, State::kDone);
    EXPECT_EQ(receive(to, send(from, "s3", "s2")).state, State::kDone);
    for (const char* name : {"s1", "s2", "s3"}) {
        expect_same(from, to, name);
    }
    EXPECT_TRUE(to.holds("s3", 300, 200, 0));
}

TEST(SnapshotTransfer, GoesThroughAPipeThatIsSlowAndBreaks) {
    PoolNode from(15);
    PoolNode to(16);
    make_pools(from, to);
    make_chain(from);
    std::optional<ResumeToken> token;
    for (const uint64_t breaks_after : {uint64_t{1'300'000}, UINT64_MAX}) {
        sim::SimPipe pipe;
        pipe.break_after_bytes = breaks_after;
        from.streams->add_pipe("/pipe", pipe);
        to.streams->add_pipe("/pipe", pipe);
        SendOptions sending;
        sending.snapshot = "s1";
        sending.path = "/pipe";
        sending.resume = token;
        const Result<uint64_t> sent = from.transfers->send(*from.pool, *from.streams, sending);
        ASSERT_TRUE(sent);
        from.world.run_for(100 * kNsPerMs);  // It waits for a reader.
        ReceiveOptions receiving;
        receiving.path = "/pipe";
        const Result<uint64_t> got = to.transfers->receive(*to.pool, *to.streams, receiving);
        ASSERT_TRUE(got);
        for (uint32_t i = 0; i < 100'000 && report_of(to, *got).state == State::kRunning; ++i) {
            from.world.run_for(kNsPerMs);
            to.world.run_for(kNsPerMs);
        }
        const TransferReport report = report_of(to, *got);
        if (breaks_after != UINT64_MAX) {
            EXPECT_EQ(report.problem, "the stream is cut off");
            EXPECT_EQ(finish(from, *sent).state, State::kFailed);
            token = token_of(to, "s1");
            EXPECT_GT(token->block, 0U);
        } else {
            EXPECT_EQ(report.state, State::kDone) << report.problem;
            EXPECT_EQ(finish(from, *sent).state, State::kDone);
        }
    }
    expect_same(from, to, "s1");
    // One that nobody reads can be stopped.
    sim::SimPipe pipe;
    from.streams->add_pipe("/pipe", pipe);
    SendOptions sending;
    sending.snapshot = "s1";
    sending.path = "/pipe";
    const Result<uint64_t> sent = from.transfers->send(*from.pool, *from.streams, sending);
    ASSERT_TRUE(sent);
    EXPECT_TRUE(from.wait(from.transfers->stop(*sent)));
    EXPECT_EQ(report_of(from, *sent).state, State::kStopped);
}

}  // namespace
}  // namespace basalt::bdev::store
