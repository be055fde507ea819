#include "control/metadata/embedded_store.h"

#include <algorithm>
#include <utility>

#include "reactor/base/assert.h"
#include "reactor/base/log.h"

namespace basalt::metadata {
namespace {

// "Bmet": what a file says that it is (SQLite documentation, PRAGMA application_id).
constexpr uint64_t kApplicationId = 0x426d6574;
constexpr uint64_t kVersion = 1;

constexpr const char* kMakeTables =
    "BEGIN;"
    "CREATE TABLE entry (key BLOB PRIMARY KEY, value BLOB NOT NULL, created INTEGER NOT NULL,"
    " modified INTEGER NOT NULL, lease INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl_ns INTEGER NOT NULL);"
    "CREATE TABLE counter (id INTEGER PRIMARY KEY, value INTEGER NOT NULL);"
    "INSERT INTO counter VALUES (1, 0), (2, 0);"
    "PRAGMA application_id = 1114465652;"
    "PRAGMA user_version = 1;"
    "COMMIT";
static_assert(kApplicationId == 1114465652);

// Rows of `counter`.
constexpr uint64_t kRevisionRow = 1;
constexpr uint64_t kLastLeaseRow = 2;

Result<uint64_t> ask(SqliteFile& file, const char* sql) {
    SqliteStatement statement(file, sql);
    BASALT_TRY(const bool has_row, statement.step());
    const uint64_t number = has_row ? statement.number(0) : 0;
    while (true) {
        BASALT_TRY(const bool has_more, statement.step());
        if (!has_more) {
            return number;
        }
    }
}

/// Makes an empty file ours, and refuses one that is not.
Status check_identity(SqliteFile& file) {
    BASALT_TRY(const uint64_t tables, ask(file, "SELECT count(*) FROM sqlite_schema"));
    BASALT_TRY(const uint64_t id, ask(file, "PRAGMA application_id"));
    BASALT_TRY(const uint64_t version, ask(file, "PRAGMA user_version"));
    if (tables == 0 && id == 0) {
        return file.run(kMakeTables);
    }
    if (id != kApplicationId) {
        return Errc::kInvalidArgument;
    }
    return version == kVersion ? kOk : Status(Errc::kNotSupported);
}

}  // namespace

/// `co_await durably`: until the turn that carries it out is durable.
struct EmbeddedStore::Durably {
    EmbeddedStore& store;
    Waiting& waiting;

    [[nodiscard]] bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> caller) const {
        waiting.caller = caller;
        store.waiting_.push_back(waiting);
        store.turn_soon();
    }
    void await_resume() const {}
};

void EmbeddedStore::Waiting::resumed(Event& event, Reactor& /*here*/) {
    static_cast<Waiting&>(event).caller.resume();
}

Result<std::unique_ptr<EmbeddedStore>> EmbeddedStore::open(Reactor& here, const std::string& path) {
    BASALT_TRY(std::unique_ptr<SqliteFile> file, SqliteFile::open(path));
    if (const Status ours = check_identity(*file); !ours) {
        return ours.error();
    }
    std::unique_ptr<EmbeddedStore> store(new EmbeddedStore(here, std::move(file)));
    if (const Status loaded = store->load(); !loaded) {
        return loaded.error();
    }
    store->keep_time();
    return store;
}

EmbeddedStore::EmbeddedStore(Reactor& here, std::unique_ptr<SqliteFile> file)
    : here_(here),
      file_(std::move(file)),
      put_(*file_, "INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?)"),
      erase_(*file_, "DELETE FROM entry WHERE key = ?"),
      put_lease_(*file_, "INSERT OR REPLACE INTO lease VALUES (?, ?)"),
      erase_lease_(*file_, "DELETE FROM lease WHERE id = ?"),
      put_counter_(*file_, "INSERT OR REPLACE INTO counter VALUES (?, ?)") {
    lease_timer_.set(
        [](Timer& /*timer*/, void* store) { static_cast<EmbeddedStore*>(store)->turn_soon(); },
        this);
}

EmbeddedStore::~EmbeddedStore() {
    BASALT_ASSERT(watches_.empty());
    here_.stop_timer(lease_timer_);
}

Status EmbeddedStore::load() {
    BASALT_TRY(const uint64_t revision, ask(*file_, "SELECT value FROM counter WHERE id = 1"));
    BASALT_TRY(const uint64_t last_lease, ask(*file_, "SELECT value FROM counter WHERE id = 2"));
    SqliteStatement leases(*file_, "SELECT id, ttl_ns FROM lease");
    while (true) {
        BASALT_TRY(const bool has_row, leases.step());
        if (!has_row) {
            break;
        }
        const LeaseId id(leases.number(0));
        if (id == LeaseId() || id.raw() > last_lease ||
            !MetadataState::check_ttl(leases.number(1))) {
            return Errc::kDataCorrupt;
        }
        state_.restore(id, leases.number(1), here_.now_ns());
    }
    SqliteStatement entries(*file_, "SELECT key, value, created, modified, lease FROM entry");
    while (true) {
        BASALT_TRY(const bool has_row, entries.step());
        if (!has_row) {
            break;
        }
        KeyValue entry{.key = std::string(entries.bytes(0)),
                       .value = std::string(entries.bytes(1)),
                       .created = Revision(entries.number(2)),
                       .modified = Revision(entries.number(3)),
                       .lease = LeaseId(entries.number(4))};
        const bool has_lease = entry.lease == LeaseId() || state_.leases().contains(entry.lease);
        if (entry.key.empty() || entry.created > entry.modified ||
            entry.modified > Revision(revision) || !has_lease) {
            return Errc::kDataCorrupt;
        }
        state_.restore(std::move(entry));
    }
    state_.restore(Revision(revision), LeaseId(last_lease));
    return kOk;
}

Task<Result<KeyValue>> EmbeddedStore::get(std::string key) {
    if (!health_) {
        co_return health_.error();
    }
    co_return state_.get(key);
}

Task<Result<Page>> EmbeddedStore::list(ListRequest request) {
    if (!health_) {
        co_return health_.error();
    }
    co_return state_.list(request);
}

Task<Result<Outcome>> EmbeddedStore::commit(Transaction transaction) {
    if (const Status sound = MetadataState::check(transaction); !sound) {
        co_return sound.error();
    }
    Waiting waiting;
    waiting.transaction = &transaction;
    const Durably durably{*this, waiting};
    co_await durably;
    co_return waiting.result;
}

Task<Result<LeaseId>> EmbeddedStore::grant(uint64_t ttl_ns) {
    if (const Status sound = MetadataState::check_ttl(ttl_ns); !sound) {
        co_return sound.error();
    }
    Waiting waiting;
    waiting.ttl_ns = ttl_ns;
    const Durably durably{*this, waiting};
    co_await durably;
    if (!waiting.result) {
        co_return waiting.result.error();
    }
    co_return waiting.lease;
}

Task<Status> EmbeddedStore::keep_alive(LeaseId lease) {
    if (!health_) {
        co_return health_;
    }
    const Status kept = state_.keep_alive(lease, here_.now_ns());
    keep_time();
    co_return kept;
}

Task<Status> EmbeddedStore::revoke(LeaseId lease) {
    Waiting waiting;
    waiting.lease = lease;
    const Durably durably{*this, waiting};
    co_await durably;
    co_return waiting.result ? kOk : Status(waiting.result.error());
}

Task<Status> EmbeddedStore::forget(Revision until) {
    co_return health_ ? state_.forget(until) : health_;
}

void EmbeddedStore::watch(WatchUser& user, std::string prefix, Revision after) {
    BASALT_ASSERT(find(user) == nullptr);
    watches_.push_back({.user = &user, .prefix = std::move(prefix), .after = after});
    turn_soon();
}

void EmbeddedStore::unwatch(WatchUser& user) {
    std::erase_if(watches_, [&user](const Watch& one) { return one.user == &user; });
}

bool EmbeddedStore::is_behind(const Watch& watch) const {
    return !health_ || watch.after < state_.revision();
}

EmbeddedStore::Watch* EmbeddedStore::find(const WatchUser& user) {
    const auto found = std::ranges::find(watches_, &user, &Watch::user);
    return found == watches_.end() ? nullptr : &*found;
}

void EmbeddedStore::turn_soon() {
    if (!turn_event_.is_waiting()) {
        here_.defer(turn_event_);
    }
}

/// All that has been asked for since the last one, in one transaction of the file.
void EmbeddedStore::turn() {
    EventList answered;
    answered.splice_back(waiting_);
    const bool has_work = !answered.empty() || state_.overdue(here_.now_ns()) != LeaseId();
    if (health_ && has_work) {
        Status written = file_->run("BEGIN");
        for (Event* one = answered.front(); written && one != nullptr; one = answered.next(*one)) {
            written = carry_out(static_cast<Waiting&>(*one));
        }
        written = written ? write_turn() : written;
        if (!written) {
            fail(written.error());
        }
    }
    while (Event* one = answered.pop_front()) {
        auto& waiting = static_cast<Waiting&>(*one);
        waiting.result = health_ ? waiting.result : Result<Outcome>(health_.error());
        here_.defer(waiting);
    }
    tell_watches();
    keep_time();
}

/// What time has ended, the counters, and the end of the transaction.
Status EmbeddedStore::write_turn() {
    for (LeaseId lease = state_.overdue(here_.now_ns()); lease != LeaseId();
         lease = state_.overdue(here_.now_ns())) {
        if (const Status ended = end_lease(lease); !ended) {
            return ended;
        }
    }
    if (const Status stored = store_counters(); !stored) {
        return stored;
    }
    return file_->run("COMMIT");
}

/// An error is the file's; what the call deserves is in its result.
Status EmbeddedStore::carry_out(Waiting& waiting) {
    if (waiting.ttl_ns != 0) {
        waiting.lease = state_.grant(waiting.ttl_ns, here_.now_ns());
        return put_lease_.bind(0, waiting.lease.raw()).bind(1, waiting.ttl_ns).run();
    }
    if (waiting.transaction == nullptr) {
        if (!state_.leases().contains(waiting.lease)) {
            waiting.result = Errc::kNotFound;
            return kOk;
        }
        return end_lease(waiting.lease);
    }
    waiting.result = state_.apply(*waiting.transaction);
    if (!waiting.result || !waiting.result->is_applied) {
        return kOk;
    }
    for (const Change& one : waiting.transaction->changes) {
        if (const Status stored = store(one.key); !stored) {
            return stored;
        }
    }
    return kOk;
}

Status EmbeddedStore::end_lease(LeaseId lease) {
    const std::set<std::string> keys = state_.leases().at(lease).keys;
    const Status ended = state_.end_lease(lease);
    BASALT_ASSERT(ended.has_value());
    for (const std::string& key : keys) {
        if (const Status stored = store(key); !stored) {
            return stored;
        }
    }
    return erase_lease_.bind(0, lease.raw()).run();
}

/// Makes the file say of a key what memory does.
Status EmbeddedStore::store(const std::string& key) {
    const Result<KeyValue> entry = state_.get(key);
    if (!entry) {
        return erase_.bind(0, std::string_view(key)).run();
    }
    return put_.bind(0, std::string_view(entry->key))
        .bind(1, std::string_view(entry->value))
        .bind(2, entry->created.raw())
        .bind(3, entry->modified.raw())
        .bind(4, entry->lease.raw())
        .run();
}

Status EmbeddedStore::store_counters() {
    if (const Status stored =
            put_counter_.bind(0, kRevisionRow).bind(1, state_.revision().raw()).run();
        !stored) {
        return stored;
    }
    return put_counter_.bind(0, kLastLeaseRow).bind(1, state_.last_lease().raw()).run();
}

void EmbeddedStore::fail(Error error) {
    BASALT_LOG(kError,
               "metadata",
               "the store can't be written: {}; it takes nothing more until "
               "the process is started again",
               describe(error.code));
    health_ = error;
    static_cast<void>(file_->run("ROLLBACK"));
}

/// Each watch gets what it lacks. Those who are told may watch, and end watches, meanwhile.
void EmbeddedStore::tell_watches() {
    std::vector<WatchUser*> users;
    users.reserve(watches_.size());
    for (const Watch& one : watches_) {
        users.push_back(one.user);
    }
    for (WatchUser* user : users) {
        for (Watch* watch = find(*user); watch != nullptr && is_behind(*watch);
             watch = find(*user)) {
            const Result<std::vector<WatchEvent>> events =
                health_ ? state_.changes(watch->prefix, watch->after)
                        : Result<std::vector<WatchEvent>>(health_.error());
            if (!events) {
                unwatch(*user);
                user->lost();
            } else if (!events->empty()) {
                user->changed(*events);
            }
        }
    }
}

void EmbeddedStore::keep_time() {
    here_.stop_timer(lease_timer_);
    const uint64_t end = state_.next_end_ns();
    if (health_ && end != UINT64_MAX) {
        here_.start_timer(lease_timer_, end - std::min(end, here_.now_ns()));
    }
}

}  // namespace basalt::metadata
