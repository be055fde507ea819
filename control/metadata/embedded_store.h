#pragma once

#include <coroutine>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "control/metadata/sqlite_file.h"
#include "control/metadata/state.h"
#include "control/metadata/store.h"
#include "reactor/msg/owned_event.h"
#include "reactor/reactor.h"

namespace basalt::metadata {

/// The metadata of one control process, in a file of SQLite: nothing to install or to operate. All
/// of it is in memory, too, so that only changes wait for the drive; those of one turn share one
/// transaction of the file, which blocks the control thread for a flush.
///
/// After a failed write it takes nothing more, and says kIo or kNoSpace to all, watches included:
/// what is in memory may be ahead of the file. Leases are as long as ever after a restart.
///
/// Owner: the process. Core: the control thread's. Destroyed with no call under way and no watch.
class EmbeddedStore final : public MetadataStore {
  public:
    /// Makes the file if it is missing. Errors: SqliteFile's; kDataCorrupt: what is in it does not
    /// fit together; kNotSupported: of a newer version; kInvalidArgument: another program's.
    [[nodiscard]] static Result<std::unique_ptr<EmbeddedStore>> open(Reactor& here,
                                                                     const std::string& path);
    EmbeddedStore(const EmbeddedStore&) = delete;
    EmbeddedStore& operator=(const EmbeddedStore&) = delete;
    ~EmbeddedStore() override;

    [[nodiscard]] Task<Result<KeyValue>> get(std::string key) override;
    [[nodiscard]] Task<Result<Page>> list(ListRequest request) override;
    [[nodiscard]] Task<Result<Outcome>> commit(Transaction transaction) override;
    [[nodiscard]] Task<Result<LeaseId>> grant(uint64_t ttl_ns) override;
    [[nodiscard]] Task<Status> keep_alive(LeaseId lease) override;
    [[nodiscard]] Task<Status> revoke(LeaseId lease) override;
    void watch(WatchUser& user, std::string prefix, Revision after) override;
    void unwatch(WatchUser& user) override;
    [[nodiscard]] Task<Status> forget(Revision until) override;

  private:
    /// A call that changes something, until it is durable. In its coroutine's frame.
    struct Waiting : Event {
        Waiting() : Event(&Waiting::resumed) {}
        static void resumed(Event& event, Reactor& here);

        const Transaction* transaction = nullptr;  ///< commit().
        uint64_t ttl_ns = 0;                       ///< grant().
        LeaseId lease;                             ///< revoke(); what grant() gave.
        Result<Outcome> result = Outcome{};
        std::coroutine_handle<> caller;
    };
    struct Durably;
    struct Watch {
        WatchUser* user;
        std::string prefix;
        Revision after;
    };

    EmbeddedStore(Reactor& here, std::unique_ptr<SqliteFile> file);

    [[nodiscard]] Status load();
    void turn_soon();
    void turn();
    [[nodiscard]] Status write_turn();
    [[nodiscard]] Status carry_out(Waiting& waiting);
    [[nodiscard]] Status end_lease(LeaseId lease);
    [[nodiscard]] Status store(const std::string& key);
    [[nodiscard]] Status store_counters();
    void fail(Error error);
    void tell_watches();
    [[nodiscard]] bool is_behind(const Watch& watch) const;
    [[nodiscard]] Watch* find(const WatchUser& user);
    void keep_time();

    Reactor& here_;
    std::unique_ptr<SqliteFile> file_;
    SqliteStatement put_;
    SqliteStatement erase_;
    SqliteStatement put_lease_;
    SqliteStatement erase_lease_;
    SqliteStatement put_counter_;
    MetadataState state_;
    Status health_;  // What made a write fail.
    EventList waiting_;
    std::vector<Watch> watches_;
    Timer lease_timer_;
    OwnedEvent<EmbeddedStore, &EmbeddedStore::turn> turn_event_{*this};
};

}  // namespace basalt::metadata
