#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "bdev/core/uuid.h"
#include "reactor/async_mutex.h"
#include "reactor/task.h"
#include "replication/link/replica_port.h"
#include "replication/replica/replica_service.h"

namespace basalt::replication {

/// Which replica: there is one of each volume (part) on a drive, at most. A value.
struct ReplicaKey {
    bdev::Uuid drive;
    uint64_t volume = 0;

    auto operator<=>(const ReplicaKey&) const = default;  // NOLINT(modernize-use-nullptr)
};

/// Whether a new replica has what all others have, nothing, because the volume is new; or takes the
/// place of one that is lost, and has to get everything before it counts.
enum class ReplicaOrigin : uint8_t { kNewVolume, kReplacement };

/// Where replicas can be: a pool. Owner: the process. Core: that of the Replicas which it is part
/// of. One task at a time.
class ReplicaDrive {
  public:
    virtual ~ReplicaDrive() = default;

    [[nodiscard]] virtual const bdev::Uuid& uuid() const = 0;

    /// Makes an empty replica, durably. Of `settings` only blocks, window_ops and reads mean
    /// anything. Errors: kExists, kNoSpace, kIo; those of the drive. What was begun is taken back,
    /// or is not taken for a replica.
    [[nodiscard]] virtual Task<Status> create(uint64_t volume,
                                              Settings settings,
                                              ReplicaOrigin origin) = 0;
    /// Errors: kNotFound; those of the drive.
    [[nodiscard]] virtual Task<Result<std::unique_ptr<ReplicaStore>>> open(uint64_t volume) = 0;
    /// Its blocks and snapshots too. Nobody has it open. Errors: kNotFound; those of the drive.
    [[nodiscard]] virtual Task<Status> remove(uint64_t volume) = 0;
    /// Those that are there, in order.
    [[nodiscard]] virtual Task<std::vector<uint64_t>> list() = 0;
};

/// An open replica, for statistics. A value.
struct ReplicaReport {
    ReplicaKey key;
    ReplicaMarks marks;
    uint64_t blocks = 0;
    uint64_t dirty_blocks = 0;
    uint32_t window_entries = 0;
    uint32_t messages_under_way = 0;
    uint32_t connections = 0;
    ReplicaCounters counters;
};

/// The replicas of one core. Changes go one after the other; messages do not wait for them.
///
/// Owner: the process. Core: one, that of all its drives. Destroyed after close_all(), or when its
/// (simulated) machine has lost its power.
class Replicas final : public ReplicaDirectory {
  public:
    /// `buffers` is memory for the data of all of them, and outlives this. `mistakes`: of tests
    /// only.
    Replicas(Reactor& here, BlockBuffers& buffers, const Mistakes& mistakes = {});
    Replicas(const Replicas&) = delete;
    Replicas& operator=(const Replicas&) = delete;
    ~Replicas() override;

    /// `drive` outlives this, or remove_drive(). Errors: kExists.
    [[nodiscard]] Status add_drive(ReplicaDrive& drive);
    /// Errors: kNotFound; kBusy: replicas of it are open.
    [[nodiscard]] Status remove_drive(const bdev::Uuid& drive);

    // Errors of all: kNotFound: no such drive, or replica; those of the drive.

    /// Makes a replica and opens it. Errors: kInvalidArgument (settings), kExists.
    [[nodiscard]] Task<Status> create(ReplicaKey key, Settings settings, ReplicaOrigin origin);
    /// Errors: kExists: it is open; those of ReplicaService::open().
    [[nodiscard]] Task<Status> open(ReplicaKey key);
    /// Opens all of a drive that are not open; the first error there was, after all others.
    [[nodiscard]] Task<Status> open_all(bdev::Uuid drive);
    /// Errors: those of ReplicaService::stop(); it is closed nevertheless.
    [[nodiscard]] Task<Status> close(ReplicaKey key);
    [[nodiscard]] Task<Status> close_all();
    /// Deletes a replica, open or not, and all that it has.
    [[nodiscard]] Task<Status> remove(ReplicaKey key);

    /// Open ones, in the order of their keys.
    [[nodiscard]] std::vector<ReplicaReport> list() const;

    [[nodiscard]] ReplicaPort* find(const bdev::Uuid& drive, uint64_t volume) override;
    [[nodiscard]] bool has_drive(const bdev::Uuid& drive) override;

  private:
    [[nodiscard]] ReplicaDrive* find_drive(const bdev::Uuid& uuid) const;
    [[nodiscard]] Task<Status> open_now(ReplicaKey key);
    [[nodiscard]] Task<Status> close_now(ReplicaKey key);

    Reactor& here_;
    BlockBuffers& buffers_;
    const Mistakes mistakes_;
    AsyncMutex changes_;
    std::map<bdev::Uuid, ReplicaDrive*> drives_;
    std::map<ReplicaKey, std::unique_ptr<ReplicaService>> open_;
};

}  // namespace basalt::replication
