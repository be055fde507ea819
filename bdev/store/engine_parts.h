#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bdev/store/catalogue.h"
#include "bdev/store/device_port.h"
#include "bdev/store/log_writer.h"
#include "bdev/store/note_table.h"
#include "bdev/store/page_loader.h"
#include "bdev/store/page_tree.h"
#include "bdev/store/partition.h"
#include "bdev/store/partition_io.h"
#include "reactor/base/intrusive_list.h"

namespace basalt::bdev::store {

class Engine;

/// What a slot does. Reads, writes and notes alone are a PartitionIo's; kUnmap is one page of one;
/// kHollow, kMove and kDrop are steps of a sweep; kAdopt gives a node a map of its own.
enum class SlotOp : uint8_t { kRead, kWrite, kUnmap, kNote, kHollow, kMove, kDrop, kAdopt };

/// One request under way. All changes of maps go the same way, so that locking, logging and
/// checkpoints know one thing only:
///
///   kFree -> kBegun -> kLocked -> kWaiting -> kDevice -> kFree      a change
///   kFree -> kBegun -> kWaiting -> kDevice -> kFree                 a read
///
/// A change in kDevice has its record in the log (not yet durable) and holds its blocks; nothing
/// is changed in memory before the record and the data are durable. Owner: the engine's pool.
struct Slot {
    enum class State : uint8_t {
        kFree,
        kBegun,    ///< The poll loop takes it on.
        kHeld,     ///< Engine::resume_writes().
        kLocked,   ///< The change before it in the same place ends.
        kWaiting,  ///< A page is loaded, or there is room for it (Engine::retry_gate).
        kDevice,   ///< The device, the log.
    };
    /// Finds its slot again.
    struct Waiter : PageWaiter {
        Slot* slot = nullptr;
    };
    struct Ticket : LogTicket {
        Slot* slot = nullptr;
    };
    struct Start : Event {
        Slot* slot = nullptr;
    };
    /// Pages on the way to two leaves, and roots.
    static constexpr uint32_t kPinsMax = 2 * (kTreeHeightMax + 1);

    Engine* engine = nullptr;
    PartitionIo* io = nullptr;  ///< Null for those that no request is behind.
    SlotOp op = SlotOp::kRead;
    State state = State::kFree;
    bool is_change = false;
    bool is_admitted = false;  ///< It came to the front of the gate's line.
    bool is_issued = false;    ///< All its requests to the device are made.
    bool is_logged = false;
    bool is_data_done = false;
    uint32_t node = 0;
    uint64_t first = 0;  ///< The range that is locked, read or written.
    uint64_t end = 0;
    uint64_t io_end = 0;    ///< Of an unmap, which is done page by page ...
    uint64_t next = 0;      ///< ... and goes on from here.
    uint32_t blockers = 0;  ///< Changes before it in the same place.
    Status status;
    Start start;
    Waiter waiter;
    Ticket ticket;
    WriteTarget target;   ///< kWrite, kUnmap: what the record says.
    HollowRecord hollow;  ///< kHollow: likewise.
    uint64_t awaited_page = 0;
    uint64_t failed_page = 0;  ///< Could not be loaded; if it is still missed that is the end.
    uint64_t read_number = 0;
    uint32_t note_index = 0;  ///< In the table, from the record to the acknowledgement.
    uint32_t ios = 0;         ///< Requests to the device under way.
    uint32_t pin_count = 0;
    uint32_t extent = 0;       ///< The next to be issued ...
    uint32_t extent_done = 0;  ///< ... from here on.
    uint32_t extent_count = 0;
    uint32_t piece = 0;  ///< Of the memory, likewise.
    uint64_t piece_done = 0;
    uint32_t slice_count = 0;
    std::array<uint32_t, kPinsMax> pins{};
    std::array<Extent, kWriteExtentsMax> extents{};  ///< Block 0: a hole.
    std::array<uint32_t, kWriteBlocksMax> crcs{};
    std::array<iovec, kWriteBlocksMax> slices{};
    ListLink link;       ///< Of a line: of the gate, of those held, of those short of a request.
    ListLink lock_link;  ///< Of the changes under way, or of the reads.
    Slot* next_free = nullptr;

    [[nodiscard]] bool overlaps(const Slot& other) const {
        return node == other.node && first < other.end && other.first < end;
    }
    [[nodiscard]] uint32_t block_count() const { return static_cast<uint32_t>(end - first); }
    [[nodiscard]] const Note& note() const {
        static constexpr Note kNone{};
        return io != nullptr && io->note != nullptr ? *io->note : kNone;
    }
};
using SlotLine = IntrusiveList<Slot, &Slot::link>;
using SlotsUnderWay = IntrusiveList<Slot, &Slot::lock_link>;

/// A request to the device for a slot. Owner: the engine's pool.
struct SlotIo {
    WholeIoRequest request;
    Slot* slot = nullptr;
    SlotIo* next_free = nullptr;
};

/// A node as a partition knows it. Owner: the engine.
struct Node {
    NodeEntry entry;
    TreeRoot root;            ///< Of its own map, if it has one.
    bool has_map = false;     ///< Else it holds what `source` holds.
    bool is_changed = false;  ///< Root or count, since the last checkpoint.
    bool is_listed = false;   ///< In the catalogue; else only the device knows of it.
    bool is_held = false;
    uint32_t source = 0;   ///< The nearest ancestor with a map of its own; 0: none, all is holes.
    uint32_t changes = 0;  ///< Slots between kLocked and their end.
    uint64_t mapped = 0;   ///< Blocks in its own map.
    uint64_t cursor = 0;   ///< Of a hidden one: swept up to here.
    SlotLine held;
};

/// Blocks that are free as soon as the record that freed them is sure to be replayed, and those who
/// read them before have ended. First in, first out; bounded.
class Quarantine {
  public:
    struct Entry {
        uint64_t block = 0;
        uint64_t sequence = 0;     ///< Of the log's block that freed it.
        uint64_t read_number = 0;  ///< Reads with lower ones may be on their way to it.
    };
    static constexpr size_t kCapacity = size_t{1} << 16U;

    Quarantine() : ring_(kCapacity) {}

    void push(const Entry& entry) {
        BASALT_ASSERT(size_ < kCapacity);
        ring_[(first_ + size_++) % kCapacity] = entry;
    }
    [[nodiscard]] const Entry* front() const { return size_ == 0 ? nullptr : &ring_[first_]; }
    void pop() {
        first_ = (first_ + 1) % kCapacity;
        --size_;
    }
    [[nodiscard]] size_t size() const { return size_; }

  private:
    std::vector<Entry> ring_;
    size_t first_ = 0;
    size_t size_ = 0;
};

/// What an engine is given.
struct EngineParts {
    std::unique_ptr<Space> space;
    std::unique_ptr<PageCache> cache;
    std::unique_ptr<NoteTable> notes;
    std::span<std::byte> scratch;  ///< Engine::scratch_bytes(), of AnonymousMemory.
};

/// An event that wants a checkpoint.
struct WantCheckpoint : Event {
    Engine* engine = nullptr;
};

/// Whether a change may pass.
enum class Gate : uint8_t { kOpen, kWait, kNoSpace, kNoMemory };

/// What a change at the gate needs, besides pages.
struct Needs {
    uint32_t data_blocks = 0;
    size_t log_bytes = 0;
    const Note* note = nullptr;  ///< That the table takes.
};

/// How what a change frees is free: held for a while, or (in replay) at once.
struct Freer {
    uint64_t sequence = 0;
    bool holds = false;
};

/// The next thing that a swept node still holds, or what must be loaded to know.
struct Difference {
    TreeWalk walk;
    uint64_t index = 0;  ///< Of the first block there; of a page that is missing: where it is met.
    uint32_t level = 0;
    bool is_end = false;
    bool is_shared = false;  ///< With the heir, or with an ancestor: nothing in it is free.
};

/// Blocks that were looked for, and where to go on.
struct Found {
    BlockRange range;
    uint64_t next = 0;
    uint64_t before = 0;  ///< Pages on the way to it were verified; UINT64_MAX: none.
};

/// Notes in the image of a checkpoint.
struct ListedNotes {
    uint32_t count = 0;
    uint32_t bytes = 0;
};

/// What replay works with: copies of a record, and the pages that it changes.
struct ReplayRoom {
    std::array<uint32_t, Slot::kPinsMax> pins{};
    uint32_t pin_count = 0;
    std::array<Extent, kWriteExtentsMax> extents{};
    std::array<uint32_t, kWriteBlocksMax> crcs{};
};

/// What the last checkpoint and the log say.
struct Recovery {
    uint64_t log_start = 1;
    uint64_t log_end = 0;  ///< The first block that is not there; 0: not come to yet.
    uint64_t durable = 0;  ///< Everything up to here was acknowledged.
    uint32_t incarnation = 0;
};

}  // namespace basalt::bdev::store
