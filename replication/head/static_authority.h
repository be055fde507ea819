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
#include "replication/head/map_record.h"

namespace basalt::replication {

/// What a static authority decides on.
struct StaticAuthorityOptions {
    bdev::Uuid volume;
    uint32_t replicas = 3;
    /// How long a head may read without asking again; so long a takeover of a head that is not
    /// there to give its lease up waits.
    uint64_t lease_us = 1'000'000;
    std::string path;  ///< Of the file that it keeps (format.md); made if it is missing.
};

/// The map authority of one volume, for fixed set-ups and tests: one process, a local file, and
/// heads of that process, on any of its cores, that may compete. The first that asks is the head;
/// it stays so until it stops or another one takes over.
///
/// Life: open(), add_port() for each head, close() when all heads have stopped. Owner: whoever
/// wires the process. Core: `control`'s, the thread that may open files; the ports live on their
/// heads' cores and send messages.
class StaticAuthority {
  public:
    /// Opens the file, or makes it. `control` and `files` outlive the authority. Errors: those of
    /// FileSystem::open() and of reading; kDataCorrupt: what is there can't be trusted;
    /// kInvalidArgument: it is another volume's, or has replicas that the volume has not.
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

    [[nodiscard]] Epoch epoch() const { return record_.epoch; }
    [[nodiscard]] ReplicaSet set() const { return record_.set; }

  private:
    class Port;
    struct Ask;
    struct alignas(4096) Slot {
        std::array<std::byte, kMapSlotBytes> bytes;
    };

    StaticAuthority(Reactor& control, FileSystem& files, StaticAuthorityOptions options);

    [[nodiscard]] Task<Status> load();
    [[nodiscard]] Task<void> save(MapRecord record);
    void take(Ask& ask);
    void answer(Ask& ask);
    void choose(Port* port);
    void consider_grants();
    [[nodiscard]] Task<void> grant(Ask& ask);
    [[nodiscard]] Task<void> change_set(Ask& ask);
    void consider_opening();
    void free_lease(const Port& port);
    void leave(Port& port);
    [[nodiscard]] bool is_last(const Ask& ask) const;

    Reactor& control_;
    FileSystem& files_;
    const StaticAuthorityOptions options_;
    FileHandle file_;
    Slot slot_{};
    AsyncMutex mutex_;  // Of changes of the record.
    bool is_closed_ = false;
    MapRecord record_;
    std::vector<std::unique_ptr<Port>> ports_;
    Port* chosen_ = nullptr;  // Is to be the head.
    Port* head_ = nullptr;    // Was granted the last epoch.
    Epoch tenure_;            // Its first one.
    Port* lease_ = nullptr;   // Served last.
    uint64_t lease_until_ns_ = 0;
    Timer lease_timer_;
};

}  // namespace basalt::replication
