#pragma once

#include <cstdint>
#include <memory>

#include "reactor/base/intrusive_list.h"
#include "reactor/base/result.h"
#include "reactor/task.h"
#include "replication/core/replica_state.h"
#include "replication/link/block_buffer.h"

namespace basalt::replication {

/// One thing that a replica's store is to do. Part of whoever asks, who fills it in and lets it,
/// and what it leads to, be until it is done.
struct StoreJob {
    /// Once, from the poll loop, never inside of ReplicaStore::store() or load().
    using Done = void (*)(StoreJob& job, Errc status, void* context);

    Done done = nullptr;
    void* context = nullptr;
    const Message* message = nullptr;  ///< Its spans are empty.
    /// store(): bit i: block i of the range is to be written. The others stay as they are.
    uint64_t blocks = 0;
    bool draws_line = false;  ///< store(): of a barrier, see ReplicaAction.
    /// store(): of a control message, all of the state; else null: commit_write() says what is
    /// different.
    const ControlChange* change = nullptr;
    /// store(): the data of a copy, and of a write of WriteKind::kData, as many blocks as the
    /// range. load(): where the data goes, and its sums.
    BlockRef data{};

    // The store's.
    ListLink hold_link;
    Errc status = Errc::kOk;
};

/// What one replica keeps, on one drive: its blocks and its ReplicaState.
///
/// Life: load_state() once, start(), jobs, stop(). Never stopped: as after a crash. Owner: the
/// ReplicaService. Core: one. No allocation for a job after start().
class ReplicaStore {
  public:
    virtual ~ReplicaStore() = default;

    /// What the volume is, after load_state(): only blocks, window_ops and reads mean anything.
    [[nodiscard]] virtual const Settings& settings() const = 0;

    /// What was durable. Null when there was an error: kDataCorrupt (it is not ours, or not whole;
    /// the log says what), kNotSupported (of a newer version), kMediaError, kIo.
    [[nodiscard]] virtual Task<Result<std::unique_ptr<ReplicaState>>> load_state() = 0;

    /// Jobs may come. `state` is what the replica goes by: what load_state() found, and then, when
    /// `done` has been called for a store with kOk, with what that made of it. It outlives the
    /// store's use.
    virtual void start(const ReplicaState& state) = 0;

    /// Stores the data and what the message makes of the state, both or neither; it is durable when
    /// it is done. What overlaps comes one after the other, and a control message or a barrier has
    /// the store to itself but for loads (ReplicaCore sees to that). A job that draws a line:
    /// what is stored now stays readable under the name of the message's number, and one that is
    /// there already is left as it is. kDropLine ends that; it is done when there is no such line.
    ///
    /// kOk; kNoSpace, kMediaError, kDataCorrupt, kNoMemory: nothing of it was stored; kIo: nobody
    /// knows whether it was, and the store takes nothing more until it has been opened again.
    virtual void store(StoreJob& job) = 0;

    /// Reads the range of the message, and checks it. kOk; kDataCorrupt, kMediaError: a block is
    /// not what was written, or not readable; kIo.
    virtual void load(StoreJob& job) = 0;

    /// Ends it, after the last job is done, or after load_state() failed. Errors: kIo: what
    /// remained to be tidied up was not; all that was stored is durable nevertheless.
    [[nodiscard]] virtual Task<Status> stop() = 0;
};

}  // namespace basalt::replication
