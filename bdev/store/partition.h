#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bdev/core/bdev.h"
#include "bdev/core/uuid.h"
#include "bdev/store/catalogue.h"
#include "bdev/store/layout.h"
#include "bdev/store/note.h"
#include "bdev/store/partition_io.h"
#include "bdev/store/slab_table.h"
#include "reactor/base/result.h"
#include "reactor/task.h"

namespace basalt::bdev::store {

class Engine;

/// Settings of a partition; constant while it is open.
struct PartitionOptions {
    uint32_t requests = 256;       ///< Under way at once; more wait in line. About 9 KiB each.
    uint32_t cache_pages = 16384;  ///< Pages of 4 KiB kept in memory: bounds the mapping's memory.
                                   ///< At least kCachePagesMin.
    uint64_t checkpoint_interval_ns = 30'000'000'000;  ///< Of changes; 0: only when needed.
};
inline constexpr uint32_t kCachePagesMin = 256;

/// Which partition of which pool.
struct PartitionPlace {
    Uuid pool_uuid;
    PoolLayout layout;
    uint32_t index = 0;
};

/// A block that was read and is not what was written, or could not be read.
struct DamagedBlock {
    uint32_t node = 0;
    uint64_t block = 0;         ///< Of the volume; of a page: the first that it leads to.
    uint64_t device_block = 0;  ///< Where it should be.
    bool is_page = false;       ///< It belongs to the mapping, not to the data.
    uint64_t count = 1;         ///< Of the volume; of a page, if it is known: all it leads to.
};

/// What a partition counts. Blocks are of 4096 bytes; counters are since it was opened.
struct PartitionStats {
    static constexpr uint32_t kDamagedKept = 16;

    uint64_t reads = 0;
    uint64_t writes = 0;
    uint64_t unmaps = 0;
    uint64_t blocks_read = 0;
    uint64_t blocks_written = 0;
    uint64_t log_blocks_written = 0;
    uint64_t log_records_written = 0;  ///< By log_blocks_written: the size of a group.
    uint64_t log_depth = 0;            ///< Blocks to replay if it crashed now.
    uint64_t checkpoints = 0;
    uint64_t checkpoint_age_ns = 0;       ///< Since the last one was durable.
    uint64_t checkpoint_last_ns = 0;      ///< How long the last one took.
    uint64_t checkpoint_hold_ns_max = 0;  ///< The longest that writes were held for one.
    uint64_t checkpoint_pages = 0;        ///< Pages that all of them wrote.
    uint64_t page_hits = 0;
    uint64_t page_loads = 0;  ///< Reads of the device for pages of the mapping.
    uint32_t pages_cached = 0;
    uint32_t pages_dirty = 0;                          ///< Changed since the last checkpoint.
    uint64_t damaged_blocks = 0;                       ///< Found, each time that it was read.
    std::array<DamagedBlock, kDamagedKept> damaged{};  ///< The last ones, at damaged_blocks modulo.
    bool is_failed = false;  ///< A write or flush failed: read-only from then on.
    uint32_t data_slabs = 0;
    uint32_t page_slabs = 0;
    uint64_t data_blocks_used = 0;  ///< By volumes and snapshots.
    uint64_t data_blocks_free = 0;  ///< In the partition's own slabs; SlabTable has more.
    uint64_t page_blocks_used = 0;
    uint64_t page_blocks_free = 0;
    uint32_t notes = 0;  ///< Kept, or about to be or not to be.
    uint32_t notes_max = 0;
    uint64_t write_pieces = 0;       ///< That all writes were put into, by `writes`: fragmentation.
    uint64_t mapping_bytes = 0;      ///< Memory that pages of the maps and the bitmaps take.
    uint64_t mapping_bytes_max = 0;  ///< That they may take with the slabs that it has.
};

/// What the full check found. Blocks of the device.
struct CheckReport {
    uint64_t data_blocks = 0;  ///< That the maps lead to.
    uint64_t page_blocks = 0;
    uint64_t leaked_blocks = 0;   ///< In use by the bitmaps, but nothing leads to them.
    uint64_t missing_blocks = 0;  ///< Something leads to them, but the bitmaps call them free.
    uint64_t doubled_blocks = 0;  ///< Two places lead to them.
    uint64_t broken_pages = 0;    ///< Not readable, or not what was written.
    uint64_t wrong_counts = 0;    ///< Counters that don't agree with what is counted.

    [[nodiscard]] bool is_clean() const {
        return leaked_blocks == 0 && missing_blocks == 0 && doubled_blocks == 0 &&
               broken_pages == 0 && wrong_counts == 0;
    }
};

/// What one step of a scrub did.
struct ScrubStep {
    uint64_t next = 0;  ///< Where the next step goes on, in blocks of the volume.
    bool is_end = false;
    uint64_t blocks_read = 0;  ///< Of data.
    uint64_t pages_read = 0;   ///< Of the mapping.
    std::vector<DamagedBlock> damaged;
};

/// Blocks of a volume.
struct BlockRange {
    uint64_t first = 0;
    uint64_t count = 0;

    bool operator==(const BlockRange&) const = default;
};

/// Blocks of a volume that are different in a newer node.
struct ChangedRange {
    uint64_t first = 0;
    uint64_t count = 0;
    bool is_hole = false;  ///< They hold nothing in the newer one: they read as zeroes.

    [[nodiscard]] uint64_t end() const { return first + count; }
    bool operator==(const ChangedRange&) const = default;
};

/// Where two nodes differ, as far as one step looked.
struct ChangedStep {
    uint64_t next = 0;  ///< Where the next step goes on.
    bool is_end = false;
    std::vector<ChangedRange> ranges;  ///< In order.
};

/// What one step of flattening did.
struct FlattenStep {
    uint64_t next = 0;  ///< Where the next step goes on, in blocks of the volume.
    bool is_end = false;
    uint64_t blocks_copied = 0;
};

/// One core's share of a pool: its log, its maps, its slabs. Everything below the pool's
/// administration: it reads and writes blocks of nodes, and what it has acknowledged survives a
/// crash. Several partitions of a pool know nothing of each other but the SlabTable.
///
/// Life: make(); format() once in the life of a pool; load() of *all* partitions of the pool, then
/// open() of each; I/O; close(). A partition that is destroyed without close() is as after a crash.
///
/// Nodes are the catalogue's: the pool tells a partition which there are before load(), and each
/// change when it is durable in the catalogue. A node costs a partition nothing until it is
/// written to there.
///
/// Owner: the pool. Core: that of `here`, for everything; the pool visits it with messages. Tasks
/// may wait for the device; sweep, check, scrub, changed, flatten and exclusive_blocks run one
/// after the other. Invariant: destroyed with no request under way, or after its (simulated)
/// machine has lost its power.
class Partition {
  public:
    /// `channel` is of the device described by `info`, on `here`'s core; both and `slabs` outlive
    /// the partition. The device may have blocks of 512 or 4096 bytes. Allocates all memory that it
    /// ever needs. Errors: kNoMemory, kInvalidArgument (options).
    [[nodiscard]] static Result<std::unique_ptr<Partition>> make(Reactor& here,
                                                                 BdevChannel& channel,
                                                                 const BdevInfo& info,
                                                                 const PartitionPlace& place,
                                                                 SlabTable& slabs,
                                                                 const PartitionOptions& options);
    Partition(const Partition&) = delete;
    Partition& operator=(const Partition&) = delete;
    ~Partition();

    // ---- Life

    /// Makes an empty partition where there may be anything; durable when it ends. load() and
    /// open() follow. Errors: those of the device.
    [[nodiscard]] Task<Status> format();

    /// Reads what the partition was at its last checkpoint and which slabs it has, and claims them
    /// in the SlabTable. All partitions of a pool load before any of them opens, for opening may
    /// take slabs. Errors: kDataCorrupt (told in the log), kMediaError, kIo.
    [[nodiscard]] Task<Status> load();

    /// Replays the log and makes a checkpoint; then I/O may begin. Errors: as load(), and kNoSpace
    /// (no room for the checkpoint).
    [[nodiscard]] Task<Status> open();

    /// Waits for the requests under way and makes a checkpoint, so that the next opening is quick.
    /// Nobody submits any more. Errors: kIo; it is closed nevertheless.
    [[nodiscard]] Task<Status> close();

    // ---- Nodes

    /// A node is there or is different now: before load() for each of the catalogue, afterwards
    /// when the catalogue's transaction is durable. Parents before children.
    void set_node(const NodeEntry& entry);

    /// A node is gone from the catalogue: it was swept, and has no children.
    void remove_node(uint32_t node);

    /// Holds back all writes and unmaps of a head that are submitted from now on; ends when those
    /// under way are done. What the node holds then is what was acknowledged. Reads go on.
    [[nodiscard]] Task<void> hold_writes(uint32_t node);

    /// Ends hold_writes(). What was held back goes to `heir`, which is `node` itself or the child
    /// that is the head now.
    void resume_writes(uint32_t node, uint32_t heir);

    /// Blocks that the node holds something in, of this partition (a host's NUSE). O(1).
    [[nodiscard]] uint64_t mapped_blocks(uint32_t node) const;

    /// Blocks that would be free if the node were deleted now: what only it holds. Reads the pages
    /// in which it differs from its parent. Errors: kNotFound, kMediaError.
    [[nodiscard]] Task<Result<uint64_t>> exclusive_blocks(uint32_t node);

    /// One bounded step (about a page of the map, at most 256 blocks freed) of the removal of what
    /// only `node` holds. The node is hidden and frozen, has no child or exactly one, and stays so
    /// until the sweep has ended. True: there is nothing left of it here, durably. When all
    /// partitions say so the catalogue may forget it, and its child gets its parent. One node at a
    /// time. May be stopped and begun again at any time. Errors: kNotFound, kMediaError, kIo;
    /// kBusy: others than one child have grown out of it.
    [[nodiscard]] Task<Result<bool>> sweep(uint32_t node);

    /// One bounded step (at most 256 blocks) that gives a head blocks and pages of its own instead
    /// of those that it has from ancestors younger than `keep` (0: from all), from `from` on. When
    /// a run from 0 on has ended, its parent may be `keep`. Writes of others may come between.
    /// Errors: kNotFound; kReadOnly (it is no head any more), kMediaError, kNoSpace, kIo.
    [[nodiscard]] Task<Result<FlattenStep>> flatten(uint32_t node, uint32_t keep, uint64_t from);

    // ---- I/O

    /// Takes `io` and completes it later. Never fails itself: what is short of something waits.
    void submit(PartitionIo& io);

    // ---- Notes: what changes carried along (PartitionIo::note), until it is forgotten. After a
    // crash what was forgotten may be there again; nothing else has changed.

    /// Those of `owner` whose changes have been acknowledged, or were found after a crash. One is
    /// before another if its change was acknowledged before the other's was submitted.
    [[nodiscard]] std::vector<StoredNote> notes(uint32_t owner) const;
    /// Those of `owner` with these keys are gone. Needs no I/O.
    void forget_notes(uint32_t owner, NoteRange keys);
    /// Those of all others than `owners`, which are in order, are gone.
    void keep_notes(std::span<const uint32_t> owners);

    // ---- Care

    /// Makes a checkpoint now. Errors: kIo, kNoSpace.
    [[nodiscard]] Task<Status> checkpoint();

    /// Recomputes from the maps what is in use and compares. Writes are held meanwhile. Needs
    /// memory for a bit and a word of 32 bits for each block of the partition's slabs. Errors:
    /// kIo.
    [[nodiscard]] Task<Result<CheckReport>> check();

    /// Reads and verifies blocks that `node` does not share with its parent, and the pages that
    /// lead to them, from `from` on: at most 256 of each. To scrub all: each node, each from 0 to
    /// the end. What is beneath a page that can't be read is left out. Errors: kNotFound.
    [[nodiscard]] Task<Result<ScrubStep>> scrub(uint32_t node, uint64_t from);

    /// Compares two nodes, of which the older is an ancestor of the newer (or 0: nothing), from
    /// `from` on: pages of the map for about 256 ranges, at most 256 pages. What differs costs,
    /// what they share is skipped. Errors: kNotFound, kMediaError.
    [[nodiscard]] Task<Result<ChangedStep>> changed(uint32_t older, uint32_t newer, uint64_t from);

    [[nodiscard]] PartitionStats stats() const;

  private:
    explicit Partition(std::unique_ptr<Engine> engine);

    std::unique_ptr<Engine> engine_;
};

}  // namespace basalt::bdev::store
