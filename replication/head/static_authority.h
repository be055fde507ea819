#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bdev/core/uuid.h"
#include "reactor/async_mutex.h"
#include "reactor/io/storage.h"
#include "reactor/reactor.h"
#include "reactor/task.h"
#include "replication/head/map_authority.h"
#include "replication/head/map_file.h"

namespace basalt::replication {

/// Who is told whether the head of this process serves. Called on the authority's core.
class ServingUser {
  public:
    virtual void serving_changed(bool serves) = 0;

  protected:
    ~ServingUser() = default;
};

/// What a static authority decides on.
struct StaticAuthorityOptions {
    bdev::Uuid volume;
    uint32_t replicas = 3;
    /// How long a head may read without asking again; so long a takeover of a head that is not
    /// there to give its lease up waits.
    uint64_t lease_us = 1'000'000;
    std::string path;  ///< Of the file that it keeps (format.md); made if it is missing.
    /// Nothing is granted until a head takes over; other processes may have the volume.
    bool is_standby = false;
    /// Drives that have the replicas, in their order. Empty: not kept, and not looked at.
    std::vector<bdev::Uuid> drives{};
    uint64_t watch_ns = 0;  ///< How often to look whether another process took over; 0: never.
    ServingUser* user = nullptr;  ///< Or null; outlives the authority.
};

/// The map authority of one volume, for fixed set-ups and tests: a file, and heads that may
/// compete: of this process, on any of its cores, and of others that share the file. The first of
/// a process that asks is its head; it stays so until it stops or another one takes over.
///
/// Between processes: `FILE.head` is locked by the one that has the head, so that no other begins
/// to be it unasked. One that takes over does so all the same: it changes the file, which the
/// other looks at before it grants anything (a set, a lease, an opening), and waits for the lease
/// that the other may have given before. A process that finds that it was pushed away is a standby.
///
/// Life: open(), add_port() for each head, close() when all heads have stopped. Owner: whoever
/// wires the process. Core: `control`'s, the thread that may open files; the ports live on their
/// heads' cores and send messages.
class StaticAuthority {
  public:
    /// Opens the file, or makes it. `control` and `files` outlive the authority. Errors: those of
    /// FileSystem::open() and of reading; kBusy: another process has the head, and this is no
    /// standby; kDataCorrupt: what is there can't be trusted; kInvalidArgument: it is another
    /// volume's, or has replicas that the volume has not, or on other drives.
    [[nodiscard]] static Task<Result<std::unique_ptr<StaticAuthority>>> open(
        Reactor& control, FileSystem& files, StaticAuthorityOptions options);
    StaticAuthority(const StaticAuthority&) = delete;
    StaticAuthority& operator=(const StaticAuthority&) = delete;
    ~StaticAuthority();  ///< After close(), or when the machine has lost its power.

    /// The authority as the head on `here`'s core sees it. One head uses it, once. Lives as long as
    /// this object.
    [[nodiscard]] MapAuthority& add_port(Reactor& here);

    /// Waits until nothing is under way any more. All ports have been stopped.
    [[nodiscard]] Task<void> close();

    /// Replica `index` is on `drive` from now on. Errors: kBusy: another process has the head, and
    /// says otherwise; those of MapFile::lock().
    [[nodiscard]] Task<Status> set_drive(uint32_t index, bdev::Uuid drive);

    /// No head of this process is to be the volume's until one takes over.
    [[nodiscard]] bool is_standby() const { return is_standby_; }
    [[nodiscard]] Epoch epoch() const { return record_.epoch; }
    [[nodiscard]] ReplicaSet set() const { return record_.set; }

  private:
    class Port;
    struct Ask;

    StaticAuthority(Reactor& control, FileSystem& files, StaticAuthorityOptions options);

    [[nodiscard]] Task<Status> load();
    [[nodiscard]] bool fits(const MapRecord& record) const;
    [[nodiscard]] Status lock_head();
    void unlock_head();
    [[nodiscard]] Task<Result<MapRecord>> look();
    [[nodiscard]] Task<bool> save(MapRecord record);
    void take(Ask& ask);
    void answer(Ask& ask);
    void choose(Port* port);
    void consider_grants();
    [[nodiscard]] Task<void> grant(Ask& ask);
    [[nodiscard]] Task<void> change_set(Ask& ask);
    [[nodiscard]] Task<void> renew(Ask& ask);
    void consider_opening();
    [[nodiscard]] Task<void> open_head(Ask& ask);
    [[nodiscard]] Task<void> watch();
    void watch_later();
    void pushed_away();
    void free_lease(const Port& port);
    void leave(Port& port);
    void tell_serving(bool serves);
    [[nodiscard]] bool is_last(const Ask& ask) const;

    Reactor& control_;
    FileSystem& files_;
    const StaticAuthorityOptions options_;
    const bdev::Uuid id_;  // Of this authority, of one life.
    MapFile file_;
    FileHandle head_lock_{};
    AsyncMutex mutex_;  // Of changes of the record.
    bool is_closed_ = false;
    bool is_standby_;
    bool may_claim_;  // What another process had: at the beginning, and to take over.
    std::vector<bdev::Uuid> drives_;
    bool serves_ = false;
    MapRecord record_;
    std::vector<std::unique_ptr<Port>> ports_;
    Port* chosen_ = nullptr;  // Is to be the head.
    Port* head_ = nullptr;    // Was granted the last epoch.
    Epoch tenure_;            // Its first one.
    Port* lease_ = nullptr;   // Served last.
    uint64_t lease_until_ns_ = 0;
    Timer lease_timer_;
    Timer watch_timer_;
};

}  // namespace basalt::replication
