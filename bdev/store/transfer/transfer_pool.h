#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "bdev/store/pool/pool.h"
#include "bdev/store/stream/stream_writer.h"
#include "reactor/base/result.h"
#include "reactor/task.h"

namespace basalt::bdev::store {

/// Ranges of blocks with their data, in their order: what one record of a stream is about. `data`
/// has the blocks of the ranges that are no holes, `crcs` their checksums. All lives as long as it
/// is used.
struct BlockBatch {
    std::span<const ChangedRange> ranges;
    std::span<std::byte> data;
    std::span<uint32_t> crcs;
};

/// What the transfer of one snapshot does to its pool. Keeps the pool open, and the snapshots that
/// it needs from being deleted, as long as it lives.
///
/// Life: choose(), then changed() and read(); or begin(), then write() and keep(), then finish().
/// Owner: a sender or receiver. Core: the control thread. The pool outlives it.
class TransferPool {
  public:
    explicit TransferPool(Pool& pool);
    TransferPool(const TransferPool&) = delete;
    TransferPool& operator=(const TransferPool&) = delete;
    ~TransferPool();

    [[nodiscard]] Pool& pool() { return pool_; }

    // ---- To send

    /// The snapshot of that name, told as differences to `base` ("": to nothing); fills in `begin`,
    /// but for where it begins. Errors: kNotFound, kBusy (the pool closes); kInvalidArgument: it
    /// has not grown out of `base`, or that is itself.
    [[nodiscard]] Status choose(const std::string& snapshot,
                                const std::string& base,
                                StreamBegin& begin);

    /// What is different from `from` on, at most `max` ranges; perhaps none though there are more.
    /// Errors: kMediaError.
    [[nodiscard]] Task<Result<ChangedStep>> changed(uint64_t from, size_t max);

    /// Reads data and checksums of a batch without holes, at most kStreamBlocksMax blocks. Errors:
    /// kMediaError, kIo.
    [[nodiscard]] Task<Status> read(BlockBatch batch);

    // ---- To receive

    /// Makes what is received into, or finds what an earlier transfer left. `name`: of the snapshot
    /// here; "": the sender's. Errors, explained in `problem`: kExists (the snapshot, or its name),
    /// kNotFound (the base; or what was received before), kBusy, kInvalidArgument, kNoSpace, kIo.
    [[nodiscard]] Task<Status> begin(StreamBegin begin, std::string name, std::string& problem);

    /// All before that block was there when the transfer began.
    [[nodiscard]] uint64_t kept() const { return kept_; }

    /// Writes data, with these checksums, and makes holes. Durable when it ends. Errors: kNoSpace,
    /// kIo, kMediaError (the mapping).
    [[nodiscard]] Task<Status> write(BlockBatch batch);

    /// Keeps on the device that all before `next` is there. Errors: kIo.
    [[nodiscard]] Task<Status> keep(uint64_t next);

    /// All is there: it becomes a snapshot. Errors: kExists: something else has its name or UUID by
    /// now; kIo, kNoSpace (the catalogue is full). Then it stays what it is.
    [[nodiscard]] Task<Status> finish();

  private:
    struct Piece;
    struct Moving;
    struct Unmapping;

    [[nodiscard]] Status judge_new(const StreamBegin& begin, std::string& problem) const;
    [[nodiscard]] Status judge_old(const VolumeEntry& entry,
                                   const StreamBegin& begin,
                                   const std::string& name,
                                   std::string& problem) const;
    [[nodiscard]] Task<Status> make(StreamBegin begin, std::string name, std::string& problem);
    [[nodiscard]] Task<Status> move(PartitionOp op, BlockBatch batch);
    [[nodiscard]] Task<Status> unmap(uint64_t first, uint64_t end);
    [[nodiscard]] uint32_t partition_of(uint64_t block) const;
    void hold(const Uuid& uuid);

    Pool& pool_;
    std::unique_ptr<Pool::Look> look_;
    std::vector<Uuid> held_;
    Reservation reserved_;  // Of the name, while the catalogue is being changed.
    StreamBegin begin_;
    uint32_t node_ = 0;  // That is read or written.
    uint32_t base_ = 0;  // The node of the base.
    uint32_t deal_ = 0;
    uint64_t kept_ = 0;
    std::unique_ptr<Piece[]> pieces_;
};

}  // namespace basalt::bdev::store
