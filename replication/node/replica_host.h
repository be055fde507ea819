#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bdev/leaf/memory_source.h"
#include "bdev/store/pool/pool.h"
#include "reactor/async_mutex.h"
#include "reactor/task.h"
#include "replication/link/replica_server.h"
#include "replication/replica/pool_replica_drive.h"
#include "replication/replica/replicas.h"

namespace basalt::replication {

struct ReplicaHostOptions {
    SocketAddress address{};
    bdev::Uuid cluster{};
    CoreId core{};
    /// Data of messages under way, of all replicas: 80 MiB, backed when first used. With all 64
    /// connections at work they wait for each other; a few heads never do.
    BlockBuffers::Counts buffers{.small = 1024, .large = 256};
};

/// A replica that is on a drive. A value.
struct HeldReplica {
    ReplicaKey key;
    bool is_open = false;    ///< Else it could not be opened; the log says why.
    ReplicaReport report{};  ///< Of an open one.
};

/// How a host stands. A value.
struct ReplicaHostReport {
    uint32_t connections = 0;  ///< Of heads on other cores and machines.
    uint32_t outstanding = 0;  ///< Their requests that are not answered yet.
    std::vector<HeldReplica> replicas;
};

/// The store role of a process: a server that heads connect to, and the replicas that it serves, in
/// pools that were made drives of replicas. All of it is on one core.
///
/// Life: start(), add_drive() for each pool, …, shut_down() before the pools are closed. Changes go
/// one after the other. Owner: whoever wires the process. Core: the control thread; what serves is
/// visited on its core.
class ReplicaHost {
  public:
    explicit ReplicaHost(Reactor& control);
    ReplicaHost(const ReplicaHost&) = delete;
    ReplicaHost& operator=(const ReplicaHost&) = delete;
    ~ReplicaHost();

    /// Listens. Errors: kExists: it does so already; kNoMemory; those of Network::listen().
    [[nodiscard]] Task<Status> start(ReplicaHostOptions options);
    /// Errors: kNotFound: it does not run; kBusy: it has drives, or heads of this process use it.
    [[nodiscard]] Task<Status> stop();

    /// `pool`, which is open until remove_drive(), is a drive from now on: the replicas in it are
    /// opened and served. One that can't be opened is left out; the log tells. Errors: kNotFound:
    /// nothing was started; kExists.
    [[nodiscard]] Task<Status> add_drive(bdev::store::Pool& pool);
    /// Its replicas are closed. Errors: kNotFound.
    [[nodiscard]] Task<Status> remove_drive(bdev::Uuid drive);

    /// Makes a replica with `blocks` blocks of 4 KiB. Errors: kNotFound: no such drive; those of
    /// Replicas::create().
    [[nodiscard]] Task<Status> create(ReplicaKey key, uint64_t blocks, ReplicaOrigin origin);
    /// Deletes a replica with all that it has. Errors: kNotFound; those of Replicas::remove().
    [[nodiscard]] Task<Status> remove(ReplicaKey key);

    [[nodiscard]] Task<ReplicaHostReport> report();

    /// At the end of the process, after its heads: closes and ends all.
    [[nodiscard]] Task<void> shut_down();

    [[nodiscard]] bool is_running() const { return seat_ != nullptr; }
    [[nodiscard]] const ReplicaHostOptions& options() const { return options_; }
    /// The pools that are drives.
    [[nodiscard]] const std::map<bdev::Uuid, bdev::store::Pool*>& drives() const { return drives_; }
    [[nodiscard]] bool has_drive(const bdev::Uuid& drive) const { return drives_.contains(drive); }

    /// For a head on `core` whose replica is at `address`: where to find it without a socket, until
    /// give_back(); null if it is not here.
    [[nodiscard]] ReplicaDirectory* lend(const SocketAddress& address, CoreId core);
    void give_back();

  private:
    struct Seat;
    struct Order;

    [[nodiscard]] Task<void> visit_seat(Order& order, Task<void> (*run)(Reactor&, Order&));
    [[nodiscard]] Task<Status> remove_drive_now(bdev::Uuid drive);
    [[nodiscard]] Task<Status> stop_now();

    // On the replicas' core.
    static Task<void> start_there(Reactor& there, Order& order);
    static Task<void> stop_there(Reactor& there, Order& order);
    static Task<void> add_there(Reactor& there, Order& order);
    static Task<void> remove_drive_there(Reactor& there, Order& order);
    static Task<void> create_there(Reactor& there, Order& order);
    static Task<void> remove_there(Reactor& there, Order& order);
    static Task<void> report_there(Reactor& there, Order& order);

    Reactor& control_;
    AsyncMutex changes_;
    bdev::AnonymousMemory source_;
    std::span<std::byte> memory_;
    ReplicaHostOptions options_;
    std::map<bdev::Uuid, bdev::store::Pool*> drives_;
    uint32_t lent_ = 0;
    std::unique_ptr<Seat> seat_;  // What is on the core; changed there, in visits.
};

}  // namespace basalt::replication
