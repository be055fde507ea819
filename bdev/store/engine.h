#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "bdev/leaf/memory_source.h"
#include "bdev/store/checksum.h"
#include "bdev/store/engine_parts.h"
#include "bdev/store/partition.h"

namespace basalt::bdev::store {

/// What a Partition is made of, and does; partition.h says what for. Its code lies in several
/// files: engine.cc (life, nodes, slots), engine_read.cc, engine_change.cc (writes and unmaps, from
/// the lock to the acknowledgement), engine_apply.cc (what a record does to the maps, when it is
/// acknowledged and when it is replayed), engine_checkpoint.cc, engine_recovery.cc,
/// engine_replay.cc and, going over maps, engine_sweep.cc, engine_check.cc, engine_compare.cc,
/// engine_flatten.cc.
///
/// A change waits at the *gate* until all that it may need is there (room in the log, pages,
/// frames, blocks), so that nothing behind it can fail for lack of something. A checkpoint closes
/// the gate until no change is behind it: the maps are then exactly what the log says up to one
/// block, and replay is doing the same again.
///
/// Owner: Partition. Core: `here`'s.
class Engine final : private LogObserver {
  public:
    /// Blocks of the log that recovery reads in one go.
    static constexpr uint32_t kLogMemoryBlocks = 64;

    using Parts = EngineParts;
    [[nodiscard]] static uint64_t scratch_bytes(const PoolLayout& layout);

    Engine(Reactor& here,
           BdevChannel& channel,
           const BdevInfo& info,
           const PartitionPlace& place,
           const PartitionOptions& options,
           Parts parts);
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;
    ~Engine() override;

    // As in Partition.
    [[nodiscard]] Task<Status> format();
    [[nodiscard]] Task<Status> load();
    [[nodiscard]] Task<Status> open();
    [[nodiscard]] Task<Status> close();
    void set_node(const NodeEntry& entry);
    void remove_node(uint32_t id);
    [[nodiscard]] Task<void> hold_writes(uint32_t id);
    void resume_writes(uint32_t id, uint32_t heir);
    [[nodiscard]] uint64_t mapped_blocks(uint32_t id);
    [[nodiscard]] Task<Result<uint64_t>> exclusive_blocks(uint32_t id);
    [[nodiscard]] Task<Result<bool>> sweep(uint32_t id);
    void submit(PartitionIo& io);
    [[nodiscard]] Task<Status> checkpoint();
    [[nodiscard]] Task<Result<CheckReport>> check();
    [[nodiscard]] Task<Result<ScrubStep>> scrub(uint32_t id, uint64_t from);
    [[nodiscard]] Task<Result<ChangedStep>> changed(uint32_t older, uint32_t newer, uint64_t from);
    [[nodiscard]] Task<Result<FlattenStep>> flatten(uint32_t id, uint32_t keep, uint64_t from);
    [[nodiscard]] PartitionStats stats() const;
    [[nodiscard]] NoteTable& notes() { return *notes_; }
    [[nodiscard]] uint32_t partition() const { return place_.index; }

  private:
    struct PageRun;
    using PageRuns = std::unique_ptr<PageRun[], void (*)(PageRun*)>;
    struct Census;

    // engine.cc
    [[nodiscard]] Node* find_node(uint32_t id);
    [[nodiscard]] const TreeRoot& map_of(const Node& node);
    [[nodiscard]] uint32_t floor_of(const Node& node, uint64_t index);
    [[nodiscard]] Node* only_child_of(uint32_t id, uint32_t& count);
    void take_from_lines();
    void start(PartitionIo& io);
    void begin(Slot& slot);
    void finish(Slot& slot, Status outcome);
    void wait_for_page(Slot& slot, const TreeWalk& walk);
    void page_is_there(Slot& slot);
    void fail_for_page(Slot& slot);
    [[nodiscard]] Task<void> begin_care();
    void end_care();
    [[nodiscard]] Task<void> run_spare_slot();
    void fence(Error error, const char* what);
    void damaged(const DamagedBlock& block);
    void on_log_progress() override;
    void on_log_failure(Error error) override;

    // engine_read.cc
    void run_read(Slot& slot);
    void issue(Slot& slot);
    void add_slices(Slot& slot, uint32_t blocks, bool zeroes);
    void io_done(SlotIo& io);
    void slot_ios_done(Slot& slot);
    [[nodiscard]] Status verify(Slot& slot);
    [[nodiscard]] uint64_t oldest_read() const;

    // engine_change.cc
    void lock(Slot& slot);
    void unlock(Slot& slot);
    void end_change(Slot& slot, Status outcome);
    void run_change(Slot& slot);
    void run_write(Slot& slot);
    void run_unmap(Slot& slot);
    void run_note(Slot& slot);
    void keep_note(Slot& slot, NoteKind kind);
    void give_map(Node& node);
    void pin(Slot& slot, const TreeRoot& root, uint64_t index, uint32_t level);
    [[nodiscard]] bool pass_gate(Slot& slot, const Needs& needs);
    [[nodiscard]] uint64_t checkpoint_pages() const;
    [[nodiscard]] Gate judge(const Needs& needs);
    [[nodiscard]] bool has_notes(const Needs& needs, Gate& verdict);
    [[nodiscard]] bool has_pages(const Needs& needs, Gate& verdict);
    [[nodiscard]] bool has_blocks(const Needs& needs, Gate& verdict);
    [[nodiscard]] bool take_pages(uint64_t count);
    void retry_gate();
    void enter_device(Slot& slot);
    void try_acknowledge(Slot& slot);
    [[nodiscard]] bool apply(Slot& slot);
    void release_quarantine();

    // engine_apply.cc
    [[nodiscard]] bool free_block(const Pointer& old, uint32_t floor, const Freer& freer);
    void mark_changed(Node& node);
    [[nodiscard]] bool apply_write(Node& node,
                                   const WriteTarget& target,
                                   std::span<const Extent> extents,
                                   std::span<const uint32_t> crcs,
                                   const Freer& freer);
    [[nodiscard]] bool apply_unmap(Node& node, const UnmapRecord& record, const Freer& freer);
    [[nodiscard]] bool apply_hollow(Node& node, const HollowRecord& record, const Freer& freer);
    void apply_adopt(Node& node, uint32_t source_id);
    void apply_drop(Node& node);

    // engine_checkpoint.cc
    void want_checkpoint();
    void start_checkpoint();
    void start_timer();
    [[nodiscard]] Task<Status> make_checkpoint();
    [[nodiscard]] Task<Status> write_checkpoint(uint64_t log_start,
                                                uint32_t incarnation,
                                                uint64_t began_ns);
    void list_slabs();
    void list_nodes();
    void list_node(uint32_t id, const Node* node);
    void copy_page_bitmaps();
    [[nodiscard]] Task<void> list_notes();
    [[nodiscard]] Task<void> sum_leaves();
    void seal_page(uint32_t index);
    void take_crc(Pointer& pointer);
    void take_crcs();
    [[nodiscard]] uint32_t build_image(uint64_t log_start, uint32_t incarnation);
    [[nodiscard]] static PageRuns make_page_runs(Engine& engine);
    [[nodiscard]] Task<Status> write_pages(std::span<const uint32_t> frames);
    [[nodiscard]] size_t write_run(PageRun& run, std::span<const uint32_t> frames);
    [[nodiscard]] Task<Status> write_image(uint64_t block, uint32_t bytes);

    // engine_recovery.cc and engine_replay.cc
    [[nodiscard]] Error corrupt(const char* what, uint64_t where) const;
    [[nodiscard]] Task<Status> load_checkpoint();
    [[nodiscard]] Task<Status> read_image(Place place, uint64_t& sequence);
    [[nodiscard]] Status judge_image();
    [[nodiscard]] Task<Status> load_bitmap(uint32_t index, uint64_t block, uint32_t crc);
    [[nodiscard]] Task<Status> load_slabs();
    [[nodiscard]] Task<Status> load_page(PageTree& tree, const TreeRoot& root, uint64_t index);
    [[nodiscard]] Task<Status> load_nodes();
    [[nodiscard]] Node& node_of_record(uint32_t id);
    [[nodiscard]] Task<Status> read_log(uint64_t sequence, uint32_t& count);
    [[nodiscard]] Task<Status> scan_log();
    [[nodiscard]] Status judge_log_block(const LogBlockReader& reader, uint64_t sequence);
    [[nodiscard]] Status claim_slabs(const LogBlockReader& reader);
    [[nodiscard]] Task<Status> replay_block(uint64_t sequence, uint32_t in_memory);
    [[nodiscard]] Task<Status> replay_record(LogRecord record, uint64_t sequence);
    [[nodiscard]] Task<Status> replay_write(WriteRecord record);
    [[nodiscard]] Task<Result<bool>> is_written(WriteRecord record);
    [[nodiscard]] Task<Status> pin_for_replay(Node& node, uint64_t first, uint64_t last);
    [[nodiscard]] Status replay_note(const Note& note, NoteKind kind, BlockRange range);
    [[nodiscard]] Status end_replay(bool is_sound_record, uint64_t sequence);
    [[nodiscard]] Task<Status> settle_nodes();

    // engine_sweep.cc
    [[nodiscard]] Task<Result<bool>> sweep_step(uint32_t id);
    [[nodiscard]] Node* heir_of(uint32_t id, uint32_t& count);
    [[nodiscard]] Difference next_difference(const Node& node, Node* heir, uint64_t from);
    void run_hollow(Slot& slot);
    void run_move(Slot& slot);
    void run_drop(Slot& slot);
    void mark_freed(const Node& node, const Node* heir, HollowRecord& record);

    // engine_check.cc, engine_compare.cc and engine_flatten.cc
    [[nodiscard]] Task<Status> fetch(Pointer pointer, DamagedBlock where = {});
    [[nodiscard]] Task<void> close_gate();
    void open_gate();
    [[nodiscard]] bool see_page(Census& census, const Pointer& pointer);
    void see_data(Census& census, const Pointer& pointer, uint64_t index);
    [[nodiscard]] Task<uint64_t> count_map(Census& census, TreeRoot root);
    [[nodiscard]] Task<void> count_tree(Census& census, const PageTree& tree, TreeRoot root);
    [[nodiscard]] Task<Result<bool>> own_range(uint32_t id, uint64_t from, Found& found);
    [[nodiscard]] Task<Result<bool>> scrub_range(uint32_t id, uint64_t from, ScrubStep& step);
    [[nodiscard]] Task<void> scrub_pages(uint32_t id, uint64_t index, ScrubStep& step);
    [[nodiscard]] Task<void> scrub_data(uint32_t id, ScrubStep& step);
    [[nodiscard]] TreeWalk own_page(const TreeRoot& root,
                                    uint64_t index,
                                    uint32_t floor,
                                    uint64_t& next);
    [[nodiscard]] bool own_part(const TreeWalk& leaf, uint64_t from, uint32_t floor, Found& found);
    [[nodiscard]] TreeWalk find_in_children(uint32_t id, uint64_t index, bool& is_shared);
    [[nodiscard]] TreeWalk compare(const TreeRoot& before,
                                   const TreeRoot& after,
                                   uint64_t index,
                                   uint64_t& next,
                                   std::vector<ChangedRange>& ranges);
    [[nodiscard]] Task<Result<bool>> inherited_range(uint32_t id, uint32_t keep, Found& found);
    [[nodiscard]] bool is_foreign(const TreeRoot& root, uint64_t index, uint32_t floor);
    [[nodiscard]] Task<Status> copy_range(uint32_t id, BlockRange range);
    void run_adopt(Slot& slot);

    [[nodiscard]] std::span<std::byte> image_memory() const {
        return scratch_.first(size_t{place_.layout.checkpoint_blocks} * kBlockBytes);
    }
    [[nodiscard]] std::span<std::byte> log_memory() const {
        return scratch_.subspan(image_memory().size(), size_t{kLogMemoryBlocks} * kBlockBytes);
    }
    [[nodiscard]] std::span<std::byte> data_memory() const {
        return scratch_.subspan(image_memory().size() + log_memory().size());
    }

    Reactor& here_;
    const PartitionPlace place_;
    const PartitionOptions options_;
    DevicePort port_;
    const BlockSeal seal_;
    AnonymousMemory source_;
    std::unique_ptr<Space> space_;
    std::unique_ptr<PageCache> cache_;
    std::unique_ptr<NoteTable> notes_;
    std::span<std::byte> scratch_;
    PageLoader loader_;
    LogWriter log_;
    PageTree maps_;
    PageTree slab_tree_;
    PageTree node_tree_;
    TreeRoot slab_root_;
    TreeRoot node_root_;
    std::unordered_map<uint32_t, Node> nodes_;
    std::vector<uint32_t> gone_nodes_;  // Changed, and then removed: a checkpoint strikes them out.

    std::unique_ptr<Slot[]> slots_;  // The last one is for care (run_spare_slot).
    Slot* free_slots_ = nullptr;
    std::unique_ptr<SlotIo[]> ios_;
    SlotIo* free_ios_ = nullptr;
    PartitionIoList read_line_;
    PartitionIoList change_line_;
    SlotLine gate_line_;
    SlotLine io_line_;
    SlotLine unlocked_;
    SlotsUnderWay locks_;
    SlotsUnderWay reads_;
    Quarantine quarantine_;
    uint64_t next_read_ = 1;
    const uint32_t changes_max_;
    uint32_t changes_ = 0;  // Slots that have one.
    uint32_t behind_gate_ = 0;
    uint32_t changed_nodes_ = 0;

    bool is_open_ = false;
    bool is_failed_ = false;
    bool is_closed_ = false;  // The gate.
    bool is_gate_stuck_ = false;
    bool is_retrying_ = false;
    bool is_checkpointing_ = false;  // Or checking.
    bool is_caring_ = false;         // Between begin_care() and end_care().
    Error failure_{Errc::kIo};

    Signal care_done_;
    Signal changed_;  // What sequences wait for: no change behind the gate, the log, a checkpoint.
    Signal page_written_;
    Timer timer_;
    WantCheckpoint want_checkpoint_;
    uint64_t checkpoint_sequence_ = 0;
    uint64_t checkpointed_ns_ = 0;
    PageRuns page_runs_;
    std::vector<uint32_t> page_order_;
    uint32_t page_runs_under_way_ = 0;
    Status page_status_;
    ListedNotes listed_notes_;
    Recovery recovery_;
    ReplayRoom replay_;
    Found found_;                                      // By what cares, for now.
    std::array<Pointer, kWriteBlocksMax> expected_{};  // Of what is being copied.
    PartitionStats counters_;
};

}  // namespace basalt::bdev::store
