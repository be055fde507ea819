#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "bdev/leaf/file_bdev.h"
#include "bdev/store/partition.h"
#include "reactor/sim/world.h"
#include "reactor/task.h"
#include "test/bdev/store/store_testing.h"

namespace basalt::bdev::store::test {

/// Passes everything on, and counts what changes the drive: requests, and their blocks.
class MeteredChannel final : public BdevChannel {
  public:
    explicit MeteredChannel(std::unique_ptr<BdevChannel> inner) : inner_(std::move(inner)) {}
    void submit(IoRequest& request) override {
        changes += request.op == IoOp::kRead ? 0U : 1U;
        blocks_changed += request.op == IoOp::kRead ? 0U : request.count.raw();
        reads += request.op == IoOp::kRead ? 1U : 0U;
        inner_->submit(request);
    }

    uint64_t changes = 0;
    uint64_t blocks_changed = 0;
    uint64_t reads = 0;

  private:
    std::unique_ptr<BdevChannel> inner_;
};

/// A request to a partition, with memory of its own.
class TestPartitionIo {
  public:
    explicit TestPartitionIo(
        PartitionOp op, uint32_t node, uint64_t first, uint64_t count, uint32_t pieces_wanted = 1) {
        io.op = op;
        io.node = node;
        io.first = first;
        io.count = count;
        io.context = this;
        io.complete = [](PartitionIo& done, void* context) {
            auto& self = *static_cast<TestPartitionIo*>(context);
            EXPECT_FALSE(self.is_done) << "completed twice";
            EXPECT_FALSE(self.is_submitting_) << "completed inside submit()";
            self.is_done = true;
            self.code = done.status ? Errc::kOk : done.status.error().code;
        };
        if (op == PartitionOp::kUnmap || op == PartitionOp::kNote) {
            return;
        }
        storage_ = std::make_unique_for_overwrite<std::byte[]>((count + 1) * kBlockBytes);
        const auto address = reinterpret_cast<uintptr_t>(storage_.get());
        data = storage_.get() + (kBlockBytes - address % kBlockBytes) % kBlockBytes;
        for (uint64_t done = 0; done < count;) {
            const bool is_last = pieces_.size() + 1 == pieces_wanted;
            const uint64_t blocks = is_last ? count - done : std::max<uint64_t>(1, count / 3);
            const uint64_t taken = std::min(blocks, count - done);
            pieces_.push_back({data + done * kBlockBytes, taken * kBlockBytes});
            done += taken;
        }
        io.pieces = pieces_.data();
        io.piece_count = static_cast<uint32_t>(pieces_.size());
    }
    TestPartitionIo(const TestPartitionIo&) = delete;
    TestPartitionIo& operator=(const TestPartitionIo&) = delete;
    ~TestPartitionIo() {
        if (io.hold_link.is_linked()) {
            PartitionIoList::remove(io);
        }
    }

    /// A note whose bytes only its key has.
    void add_note(uint32_t owner, uint64_t key, NoteRange forget = {}) {
        note_bytes_ = bytes_of_note(key);
        note_ = {.owner = owner, .key = key, .forget = forget, .bytes = note_bytes_};
        io.note = &note_;
    }
    static std::vector<std::byte> bytes_of_note(uint64_t key) {
        std::vector<std::byte> bytes(key % (kNoteBytesMax + 1));
        for (size_t i = 0; i < bytes.size(); ++i) {
            bytes[i] = static_cast<std::byte>(key * 31 + i);
        }
        return bytes;
    }

    void submit(Partition& partition) {
        is_submitting_ = true;
        partition.submit(io);
        is_submitting_ = false;
    }

    /// Every block gets a pattern that only its tag has.
    void fill(uint64_t index, uint64_t tag) {
        for (uint64_t word = 0; word < kBlockBytes / sizeof(word); ++word) {
            const uint64_t value = tag + word * 0x9E3779B97F4A7C15ULL;
            std::memcpy(data + index * kBlockBytes + word * sizeof(value), &value, sizeof(value));
        }
    }
    /// The tag of a block; 0: zeroes. UINT64_MAX: neither.
    [[nodiscard]] uint64_t tag(uint64_t index) const {
        // One word of each unit that the drive writes whole; the rest is the CRCs' concern.
        constexpr uint64_t kStep = 512 / sizeof(uint64_t);
        const auto word_at = [&](uint64_t word) {
            uint64_t value = 0;
            std::memcpy(&value, data + index * kBlockBytes + word * sizeof(value), sizeof(value));
            return value;
        };
        const uint64_t first = word_at(0);
        const bool is_zero = first == 0 && word_at(1) == 0;
        for (uint64_t word = kStep; word < kBlockBytes / sizeof(word); word += kStep) {
            if (word_at(word) != (is_zero ? 0 : first + word * 0x9E3779B97F4A7C15ULL)) {
                return UINT64_MAX;
            }
        }
        return first;
    }

    PartitionIo io;
    std::byte* data = nullptr;
    bool is_done = false;
    Errc code = Errc::kOk;

  private:
    std::unique_ptr<std::byte[]> storage_;
    std::vector<iovec> pieces_;
    std::vector<std::byte> note_bytes_;
    Note note_;
    bool is_submitting_ = false;
};

/// One partition on a simulated drive, on a machine that can lose its power.
class PartitionNode {
  public:
    static constexpr uint64_t kWaitNs = 1000 * kNsPerSecond;

    explicit PartitionNode(uint64_t seed,
                           uint64_t size_bytes = uint64_t{24} << 20U,
                           const sim::FaultOptions& faults = sim::calm(),
                           bool has_volatile_cache = true)
        : world(seed, faults),
          node(world.add_node()),
          drive(world.add_drive(
              node, "/d", {.size_bytes = size_bytes, .has_volatile_cache = has_volatile_cache})),
          layout(PoolLayout::plan(size_bytes / kBlockBytes, 1).value()) {
        options.cache_pages = 1024;
        boot();
    }
    ~PartitionNode() {
        world.power_off();
        end();
    }

    void boot() {
        core = &world.add_reactor(node);
        FileOptions file;
        file.name = "d";
        file.path = "/d";
        file.uuid.bytes[0] = 1;
        device = std::move(FileBdev::open(file, world.file_system(node))).value();
        auto opened = std::move(device->open_channel(*core)).value();
        channel = std::make_unique<MeteredChannel>(std::move(opened));
        slabs = std::make_unique<SlabTable>(layout.slab_count, layout.slab_count);
        const PartitionPlace place{.pool_uuid = uuid_of(7), .layout = layout, .index = 0};
        partition =
            std::move(Partition::make(*core, *channel, device->info(), place, *slabs, options))
                .value();
    }

    /// The power fails; what was under way is lost or not.
    void crash() {
        world.crash_node(node);
        end();
        world.restart_node(node);
        boot();
    }

    template <typename T>
    T wait(Task<T> task) {
        EXPECT_TRUE(world.run_until([&task] { return task.is_done(); }, kWaitNs));
        return task.result();
    }
    [[nodiscard]] Errc code(Task<Status> task) {
        const Status status = wait(std::move(task));
        return status ? Errc::kOk : status.error().code;
    }

    void format() { EXPECT_EQ(code(partition->format()), Errc::kOk); }
    [[nodiscard]] Errc open() {
        const Errc loaded = code(partition->load());
        return loaded != Errc::kOk ? loaded : code(partition->open());
    }

    Errc run(TestPartitionIo& io) {
        io.submit(*partition);
        EXPECT_TRUE(world.run_until([&io] { return io.is_done; }, kWaitNs));
        return io.code;
    }
    Errc write(uint32_t id, uint64_t first, uint64_t count, uint64_t tag) {
        TestPartitionIo io(PartitionOp::kWrite, id, first, count, 3);
        for (uint64_t i = 0; i < count; ++i) {
            io.fill(i, tag + i);
        }
        return run(io);
    }
    Errc unmap(uint32_t id, uint64_t first, uint64_t count) {
        TestPartitionIo io(PartitionOp::kUnmap, id, first, count);
        return run(io);
    }
    /// A note and no data.
    Errc note(uint32_t id, uint32_t owner, uint64_t key, NoteRange forget = {}) {
        TestPartitionIo io(PartitionOp::kNote, id, 0, 0);
        io.add_note(owner, key, forget);
        return run(io);
    }
    uint64_t read(uint32_t id, uint64_t block) {
        TestPartitionIo io(PartitionOp::kRead, id, block, 1);
        EXPECT_EQ(run(io), Errc::kOk);
        return io.tag(0);
    }
    void check() {
        const auto report = wait(partition->check());
        ASSERT_TRUE(report.has_value());
        EXPECT_EQ(report->leaked_blocks, 0U);
        EXPECT_EQ(report->missing_blocks, 0U);
        EXPECT_EQ(report->doubled_blocks, 0U);
        EXPECT_EQ(report->broken_pages, 0U);
        EXPECT_EQ(report->wrong_counts, 0U);
    }
    /// `id` is frozen, and `child` is the head that begins as it.
    void snapshot(uint32_t id, uint32_t parent, uint32_t child) {
        wait_void(partition->hold_writes(id));
        partition->set_node({.id = id, .parent = parent, .is_frozen = true});
        partition->set_node({.id = child, .parent = id});
        partition->resume_writes(id, child);
    }
    void wait_void(Task<void> task) {
        EXPECT_TRUE(world.run_until([&task] { return task.is_done(); }, kWaitNs));
    }
    /// Sweeps until there is nothing left.
    Errc sweep(uint32_t id) {
        for (uint32_t step = 0; step < 100'000; ++step) {
            const Result<bool> swept = wait(partition->sweep(id));
            if (!swept) {
                return swept.error().code;
            }
            if (*swept) {
                return Errc::kOk;
            }
        }
        return Errc::kTimedOut;
    }

    PartitionOptions options;
    sim::World world;
    sim::NodeId node;
    sim::Drive& drive;
    PoolLayout layout;
    Reactor* core = nullptr;
    std::unique_ptr<FileBdev> device;
    std::unique_ptr<SlabTable> slabs;
    std::unique_ptr<MeteredChannel> channel;
    std::unique_ptr<Partition> partition;

  private:
    // A channel of a machine without power goes before the requests that it had.
    void end() {
        channel.reset();
        partition.reset();
        device.reset();
    }
};

}  // namespace basalt::bdev::store::test
