#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include <sys/uio.h>

#include "bdev/store/block_io.h"
#include "bdev/store/pool/note_channel.h"
#include "reactor/async_mutex.h"
#include "reactor/reactor.h"
#include "replication/replica/note_ring.h"
#include "replication/replica/replica_store.h"
#include "replication/replica/state_format.h"

namespace basalt::replication {

/// What a PoolReplicaStore needs of its pool, which lives on the control thread. Called on the
/// replica's core.
class ReplicaVolumes {
  public:
    virtual ~ReplicaVolumes() = default;

    /// Takes a snapshot of the data volume that is named after `line`, if there is none. Errors:
    /// those of Pool::snapshot().
    [[nodiscard]] virtual Task<Status> draw_line(uint64_t volume, OpNumber line) = 0;
    /// Deletes that snapshot, if there is one. Errors: those of Pool::delete_snapshot().
    [[nodiscard]] virtual Task<Status> drop_line(uint64_t volume, OpNumber line) = 0;
    /// The store's channels are closed: the volumes are nobody's.
    [[nodiscard]] virtual Task<void> let_go(uint64_t volume) = 0;
};

/// The two volumes of one replica, and whose they are.
struct PoolReplicaParts {
    bdev::Uuid drive;
    uint64_t volume = 0;
    std::unique_ptr<bdev::store::NoteChannel> data;
    std::unique_ptr<bdev::store::NoteChannel> metadata;
};

/// A replica in a store pool, as two thin volumes: one with its blocks, and one with its state.
/// format.md says what is where.
///
/// A write is one write of the data volume that carries a note, so that data and entry of the
/// window are durable together. A control message is one write of the whole state to one of two
/// places. Notes are forgotten as the watermark goes on; when many can't be, because a replica is
/// away or the watermark stands, a checkpoint writes the state, and those pages of the dirty bitmap
/// that have changed.
///
///   store() -> [line] -> begin -> [read and put together] -> write with its note -> done
///   control message, barrier: change(), one at a time, nothing else is being stored
///   checkpoint(): beside writes
///
/// Owner: the ReplicaService. Core: one, the channels'.
class PoolReplicaStore final : public ReplicaStore {
  public:
    /// Jobs under way; more wait in line. As many as a drive can use.
    static constexpr uint32_t kOperations = 128;
    /// When a checkpoint can do away with so many notes it is made. A write of the state every 256
    /// writes costs little, and all replicas of a partition share its room for notes.
    static constexpr uint32_t kNotesBeforeCheckpoint = 256;
    /// More are never kept: who wants to write waits.
    static constexpr uint32_t kNotesMax = 1024;

    /// Writes the state of a new replica, of which nothing was there, durably. Errors: those of the
    /// metadata volume.
    [[nodiscard]] static Task<Status> format(bdev::store::NoteChannel& metadata,
                                             bdev::Uuid drive,
                                             uint64_t volume,
                                             Settings settings,
                                             bool is_blank);
    /// What the newest of the two places says; kNotFound: there was never a state. Errors: as
    /// load_state().
    [[nodiscard]] static Task<Result<StateRecord>> examine(bdev::store::NoteChannel& metadata,
                                                           bdev::Uuid drive,
                                                           uint64_t volume);

    /// `buffers` and `volumes` outlive the store.
    PoolReplicaStore(Reactor& here,
                     BlockBuffers& buffers,
                     ReplicaVolumes& volumes,
                     PoolReplicaParts parts);
    PoolReplicaStore(const PoolReplicaStore&) = delete;
    PoolReplicaStore& operator=(const PoolReplicaStore&) = delete;
    ~PoolReplicaStore() override;

    [[nodiscard]] const Settings& settings() const override { return settings_; }
    [[nodiscard]] Task<Result<std::unique_ptr<ReplicaState>>> load_state() override;
    void start(const ReplicaState& state) override;
    void store(StoreJob& job) override;
    void load(StoreJob& job) override;
    [[nodiscard]] Task<Status> stop() override;

    /// Since it was opened.
    [[nodiscard]] uint64_t checkpoints() const { return checkpoints_; }

  private:
    /// One job of blocks under way.
    struct Operation {
        enum class Step : uint8_t { kLoad, kPutTogether, kPlainWrite };

        PoolReplicaStore* store = nullptr;
        Operation* next = nullptr;
        StoreJob* job = nullptr;
        Step step = Step::kLoad;
        uint64_t first = 0;  ///< What of the range is read or written.
        uint32_t count = 0;
        uint32_t done = 0;
        std::byte* memory = nullptr;  ///< For them.
        uint32_t* sums = nullptr;     ///< Of what is written, as they came with it; or null.
        uint64_t sequence = 0;        ///< Of its note; 0: it has none.
        bool has_retried = false;
        BlockRef whole{};  ///< Where what stays and what is written are put together, or spare_.
        iovec piece{};
        std::array<std::byte, sizeof(NoteBody)> note{};
        bdev::WholeIoRequest io;
        bdev::store::NotedRequest noted;
    };
    struct OverEvent : Event {
        explicit OverEvent(PoolReplicaStore& owner);

        PoolReplicaStore& store;
    };
    using Jobs = IntrusiveList<StoreJob, &StoreJob::hold_link>;

    // Blocks (pool_replica_store.cc).
    void run_lines();
    void fail_stores(Errc status);
    void begin_store(Operation& operation);
    void find_room(Operation& operation);
    void use_spare(Operation& operation);
    void end_spare(const Operation& operation);
    void put_together(Operation& operation);
    void write(Operation& operation);
    void transfer(Operation& operation, Operation::Step step);
    void transferred(Operation& operation);
    void noted(Operation& operation);
    void end(Operation& operation, Errc status);
    void end_later(StoreJob& job, Errc status);
    [[nodiscard]] Operation& take_operation(StoreJob& job);

    // State (pool_replica_state.cc).
    [[nodiscard]] Task<void> drop(StoreJob& job);
    [[nodiscard]] Task<void> change(StoreJob& job);
    [[nodiscard]] Task<Status> store_change(StoreJob& job);
    void consider_checkpoint();
    [[nodiscard]] Task<void> checkpoint();
    [[nodiscard]] Task<Status> checkpoint_now();
    [[nodiscard]] Task<Status> write_state(ReplicaMarks marks,
                                           std::span<const WindowEntry> window,
                                           WindowEntry more,
                                           uint64_t covers,
                                           uint32_t area);
    [[nodiscard]] Task<Status> write_pages(const BlockBitmap& dirty, uint32_t area);
    [[nodiscard]] Task<Status> replace_area(const BlockBitmap* dirty, uint32_t area);
    [[nodiscard]] Task<Status> load_dirty(BlockBitmap& dirty);
    [[nodiscard]] Task<Result<uint64_t>> replay(ReplicaState& state, uint64_t covers);
    void mark_pages(BlockRange range);

    Reactor& here_;
    BlockBuffers& buffers_;
    ReplicaVolumes& volumes_;
    PoolReplicaParts parts_;
    Settings settings_;
    const ReplicaState* live_ = nullptr;
    uint64_t sequence_ = 0;  // Of the state that is durable.
    uint32_t area_ = 0;      // Where its bitmap is.
    BlockBitmap unwritten_;  // Pages of the bitmap that have changed since they were written.
    NoteRing notes_{kNotesMax};
    AsyncMutex turn_;  // Of who writes the state.
    bdev::store::BlockMemory memory_{kStateBlocksMax};
    // For one operation, when all buffers are taken: perhaps by those that wait for it.
    bdev::store::BlockMemory spare_{kRangeBlocksMax};
    Operation* spare_user_ = nullptr;
    Operation* spare_first_ = nullptr;  // In line for it, by Operation::next.
    Operation** spare_last_ = &spare_first_;
    std::unique_ptr<Operation[]> operations_;
    Operation* free_ = nullptr;
    Jobs loads_;   // In line.
    Jobs stores_;  // In line.
    Jobs over_;    // To be told what became of them.
    OverEvent over_event_{*this};
    Operation* retries_ = nullptr;  // Wait for a checkpoint, to be tried again.
    bool is_checkpointing_ = false;
    bool has_failed_ = false;
    uint64_t checkpoints_ = 0;
};

}  // namespace basalt::replication
