// Changes of volumes that carry notes: across cores, partitions, snapshots, clones, power cuts.
#include "bdev/store/pool/note_channel.h"

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "bdev/store/checksum.h"
#include "test/bdev/store/pool/pool_node.h"

namespace basalt::bdev::store {
namespace {

using test::PoolNode;

/// A request with memory and a note of its own, which says its key.
class NotedIo {
  public:
    NotedIo(NoteKind kind, uint64_t first, uint32_t count, uint64_t key, uint8_t value = 0) {
        request.kind = kind;
        request.first = first;
        request.count = count;
        request.key = key;
        note = "note " + std::to_string(key);
        request.note = std::as_bytes(std::span(note));
        request.context = this;
        request.complete = [](NotedRequest&, void* context) {
            auto& self = *static_cast<NotedIo*>(context);
            EXPECT_FALSE(self.is_submitting_) << "completed inside submit()";
            EXPECT_FALSE(self.is_done) << "completed twice";
            self.is_done = true;
        };
        if (kind == NoteKind::kWrite) {
            memory_ = std::make_unique<Block[]>(count);
            std::memset(memory_.get(), value, size_t{count} * sizeof(Block));
            piece_ = {memory_.get(), size_t{count} * sizeof(Block)};
            request.pieces = &piece_;
            request.piece_count = 1;
        }
    }

    void submit(NoteChannel& channel) {
        is_submitting_ = true;
        channel.submit(request);
        is_submitting_ = false;
    }

    NotedRequest request;
    std::string note;
    bool is_done = false;

  private:
    struct alignas(kBlockBytes) Block {
        std::array<std::byte, kBlockBytes> bytes;
    };
    std::unique_ptr<Block[]> memory_;
    iovec piece_{};
    bool is_submitting_ = false;
};

/// A pool with a volume "v" of two chunks, of which each core has one.
class Notes {
  public:
    explicit Notes(uint32_t on_core = 0) : on_core_(on_core) {
        EXPECT_TRUE(node.create());
        EXPECT_TRUE(node.add_volume("v", 2 * kChunkBlocks));
        open();
    }
    void open(const std::string& name = "v") {
        channel.reset();
        auto opened = NoteChannel::open(*node.pool->device_of(name), node.core(on_core_));
        ASSERT_TRUE(opened);
        channel = std::move(*opened);
    }
    void cut_power() {
        node.world.crash_node(node.node);
        channel.reset();
        ASSERT_TRUE(node.cut_power());
        open();
    }
    Errc run(NotedIo& io) {
        io.submit(*channel);
        EXPECT_TRUE(node.world.run_until([&io] { return io.is_done; }, kWaitNs));
        return io.request.status ? Errc::kOk : io.request.status.error().code;
    }
    Errc write(uint64_t first, uint32_t count, uint64_t key, uint8_t value = 1) {
        NotedIo io(NoteKind::kWrite, first, count, key, value);
        return run(io);
    }
    Errc unmap(uint64_t first, uint32_t count, uint64_t key) {
        NotedIo io(NoteKind::kUnmap, first, count, key);
        return run(io);
    }
    Errc alone(uint64_t first, uint64_t key, NoteRange forget = {}) {
        NotedIo io(NoteKind::kAlone, first, 0, key);
        io.request.forget = forget;
        return run(io);
    }
    Errc read(const std::string& name, uint64_t first, uint32_t count) {
        const auto device = node.open_channel(name, on_core_);
        bdev::TestIo io;
        io.prepare(bdev::IoOp::kRead, first, count, kBlockBytes);
        return node.run(*device, io);
    }
    std::vector<StoredNote> notes() {
        Task<std::vector<StoredNote>> asked = channel->notes();
        EXPECT_TRUE(node.world.run_until([&asked] { return asked.is_done(); }, kWaitNs));
        return asked.result();
    }
    /// "partition:key" of each, and that its bytes are those of the key.
    std::string text() {
        std::string text;
        for (const StoredNote& note : notes()) {
            const std::string wanted = "note " + std::to_string(note.key);
            EXPECT_EQ(note.byte_count, wanted.size());
            EXPECT_EQ(std::memcmp(note.data.data(), wanted.data(), wanted.size()), 0);
            text += (text.empty() ? "" : " ") + std::to_string(note.partition) + ':' +
                    std::to_string(note.key);
        }
        return text;
    }
    void forget(NoteRange keys) {
        Task<void> asked = channel->forget(keys);
        EXPECT_TRUE(node.world.run_until([&asked] { return asked.is_done(); }, kWaitNs));
    }

    static constexpr uint64_t kWaitNs = 1000 * kNsPerSecond;

    PoolNode node{1};
    std::unique_ptr<NoteChannel> channel;

  private:
    uint32_t on_core_;
};

/// The other partition's chunk: volumes are dealt out by their first node's id, which is 1 here.
constexpr uint64_t kOther = kChunkBlocks;

TEST(NoteChannel, KeepsNotesWithWhatTheyCameWithOnEitherCore) {
    for (const uint32_t core : {0U, 1U}) {
        Notes notes(core);
        EXPECT_EQ(notes.write(256, 256, 7, 0x33), Errc::kOk);
        EXPECT_EQ(notes.write(kOther + 5, 1, 8, 0x44), Errc::kOk);
        EXPECT_EQ(notes.unmap(300, 2, 9), Errc::kOk);
        EXPECT_EQ(notes.unmap(1024, 256, 10), Errc::kOk);  // A hole.
        EXPECT_EQ(notes.alone(0, 11), Errc::kOk);
        for (uint32_t round = 0; round < 3; ++round) {
            EXPECT_EQ(notes.text(), "0:8 1:7 1:9 1:10 1:11");
            const std::vector<StoredNote> all = notes.notes();
            ASSERT_EQ(all.size(), 5U);
            EXPECT_EQ(all[0].kind, NoteKind::kWrite);
            EXPECT_EQ(all[0].first, kOther + 5);
            EXPECT_EQ(all[1].count, 256U);
            EXPECT_EQ(all[2].kind, NoteKind::kUnmap);
            EXPECT_EQ(all[2].first, 300U);
            EXPECT_EQ(all[2].count, 2U);
            EXPECT_EQ(all[3].kind, NoteKind::kUnmap);
            EXPECT_EQ(all[3].count, 256U);
            EXPECT_EQ(all[4].kind, NoteKind::kAlone);
            EXPECT_EQ(all[4].count, 0U);
            EXPECT_TRUE(notes.node.holds("v", 256, 44, 0x33));
            EXPECT_TRUE(notes.node.holds("v", 300, 2, 0));
            EXPECT_TRUE(notes.node.holds("v", kOther + 5, 1, 0x44));
            notes.cut_power();
        }
    }
}

TEST(NoteChannel, BelievesTheSumsThatCameWithTheData) {
    Notes notes;
    NotedIo io(NoteKind::kWrite, 5, 2, 1, 0x33);
    std::array<uint32_t, 2> crcs{};
    crcs.fill(crc32c({static_cast<const std::byte*>(io.request.pieces->iov_base), kBlockBytes}));
    io.request.crcs = crcs.data();
    EXPECT_EQ(notes.run(io), Errc::kOk);
    EXPECT_TRUE(notes.node.holds("v", 5, 2, 0x33));
    // What became other data between the sum and the write is found by the first read.
    NotedIo spoiled(NoteKind::kWrite, 6, 1, 2, 0x44);
    spoiled.request.crcs = crcs.data();
    EXPECT_EQ(notes.run(spoiled), Errc::kOk);
    EXPECT_TRUE(notes.node.holds("v", 5, 1, 0x33));
    EXPECT_EQ(notes.read("v", 6, 1), Errc::kMediaError);
}

TEST(NoteChannel, ForgetsWhatItIsTold) {
    Notes notes;
    for (uint64_t key = 1; key <= 6; ++key) {
        EXPECT_EQ(notes.write(key, 1, key), Errc::kOk);
    }
    EXPECT_EQ(notes.write(kOther, 1, 2), Errc::kOk);
    // With a request: durable with it, in its partition.
    EXPECT_EQ(notes.alone(0, 7, {.first = 1, .last = 2}), Errc::kOk);
    EXPECT_EQ(notes.text(), "0:2 1:3 1:4 1:5 1:6 1:7");
    notes.cut_power();
    EXPECT_EQ(notes.text(), "0:2 1:3 1:4 1:5 1:6 1:7");
    // Without: everywhere, and a crash brings it back ...
    notes.forget({.first = 0, .last = 4});
    EXPECT_EQ(notes.text(), "1:5 1:6 1:7");
    notes.cut_power();
    EXPECT_EQ(notes.text(), "0:2 1:3 1:4 1:5 1:6 1:7");
    // ... unless the pool was closed.
    notes.forget({.first = 0, .last = 4});
    notes.channel.reset();
    ASSERT_TRUE(notes.node.close());
    ASSERT_TRUE(notes.node.open());
    notes.open();
    EXPECT_EQ(notes.text(), "1:5 1:6 1:7");
}

TEST(NoteChannel, NotesStayWithTheVolumeAndAreNobodyElses) {
    Notes notes;
    ASSERT_EQ(notes.write(0, 1, 1), Errc::kOk);
    ASSERT_TRUE(notes.node.take_snapshot("v", "s"));
    ASSERT_EQ(notes.write(1, 1, 2), Errc::kOk);
    ASSERT_TRUE(notes.node.take_snapshot("v", "t"));
    ASSERT_EQ(notes.write(2, 1, 3), Errc::kOk);
    EXPECT_EQ(notes.text(), "1:1 1:2 1:3");
    ASSERT_TRUE(notes.node.clone("t", "c"));
    notes.open("c");
    EXPECT_EQ(notes.text(), "");
    ASSERT_EQ(notes.write(3, 1, 4), Errc::kOk);
    EXPECT_EQ(notes.text(), "1:4");
    notes.open();
    EXPECT_EQ(notes.text(), "1:1 1:2 1:3");
    notes.cut_power();
    EXPECT_EQ(notes.text(), "1:1 1:2 1:3");
    notes.open("c");
    EXPECT_EQ(notes.text(), "1:4");
    notes.channel.reset();
    EXPECT_EQ(NoteChannel::open(*notes.node.pool->device_of("s"), notes.node.core(0)).error().code,
              Errc::kNotSupported);
}

TEST(NoteChannel, ARollbackDropsNotesAndSoDoesTheVolumesEnd) {
    Notes notes;
    ASSERT_EQ(notes.write(0, 1, 1), Errc::kOk);
    ASSERT_TRUE(notes.node.take_snapshot("v", "s"));
    ASSERT_EQ(notes.write(1, 1, 2), Errc::kOk);
    notes.channel.reset();
    ASSERT_TRUE(notes.node.wait(notes.node.pool->roll_back("v", "s")));
    notes.open();
    EXPECT_EQ(notes.text(), "");
    ASSERT_EQ(notes.write(2, 1, 3), Errc::kOk);
    EXPECT_EQ(notes.text(), "1:3");
    notes.cut_power();
    EXPECT_EQ(notes.text(), "1:3");
    notes.channel.reset();
    ASSERT_TRUE(notes.node.wait(notes.node.pool->delete_volume("v")));
    ASSERT_TRUE(notes.node.add_volume("v", kChunkBlocks));
    notes.open();
    EXPECT_EQ(notes.text(), "");
    notes.cut_power();
    EXPECT_EQ(notes.text(), "");
}

TEST(NoteChannel, RefusesWhatTheDeviceWouldRefuse) {
    Notes notes;
    ASSERT_TRUE(notes.node.wait(notes.node.pool->resize("v", 100)));
    EXPECT_EQ(notes.write(100, 1, 1), Errc::kOutOfRange);
    EXPECT_EQ(notes.write(99, 1, 2), Errc::kOk);
    ASSERT_TRUE(notes.node.wait(notes.node.pool->set_read_only("v")));
    EXPECT_EQ(notes.write(0, 1, 3), Errc::kReadOnly);
    EXPECT_EQ(notes.text(), "1:2");
    ASSERT_TRUE(notes.node.add_volume("small", 256, 512));
    EXPECT_EQ(
        NoteChannel::open(*notes.node.pool->device_of("small"), notes.node.core(0)).error().code,
        Errc::kNotSupported);
}

}  // namespace
}  // namespace basalt::bdev::store
