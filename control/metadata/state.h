#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "control/metadata/limits.h"
#include "control/metadata/types.h"
#include "reactor/base/result.h"

namespace basalt::metadata {

/// A lease. A value.
struct Lease {
    uint64_t ttl_ns = 0;
    uint64_t ends_ns = 0;
    std::set<std::string> keys;
};

/// What a MetadataStore means, in memory and without time of its own: the embedded store makes its
/// changes durable, the simulated one sends them about. No I/O.
///
/// Owner: a store. Core: the store's.
class MetadataState {
  public:
    /// `history_max`: changes that are remembered.
    explicit MetadataState(size_t history_max = kHistoryMax) : history_max_(history_max) {}

    /// Errors: those of MetadataStore that a transaction deserves by itself.
    [[nodiscard]] static Status check(const Transaction& transaction);
    [[nodiscard]] static Status check_ttl(uint64_t ttl_ns);

    /// A transaction that check() lets through. Errors: kNotFound: no such lease.
    [[nodiscard]] Result<Outcome> apply(const Transaction& transaction);

    /// Errors: kNotFound.
    [[nodiscard]] Result<KeyValue> get(const std::string& key) const;
    /// Only what is so now is known: kOutOfRange for another `at`; kInvalidArgument: the limit.
    [[nodiscard]] Result<Page> list(const ListRequest& request) const;
    [[nodiscard]] Revision revision() const { return revision_; }

    /// The events of keys with `prefix` after `after`, of at most some revisions; moves `after` to
    /// the last one that was looked at. Errors: kOutOfRange: they are not remembered any more.
    [[nodiscard]] Result<std::vector<WatchEvent>> changes(std::string_view prefix,
                                                          Revision& after) const;

    /// Errors: kOutOfRange: it is not there yet.
    [[nodiscard]] Status forget(Revision until);

    [[nodiscard]] LeaseId grant(uint64_t ttl_ns, uint64_t now_ns);
    /// Errors: kNotFound.
    [[nodiscard]] Status keep_alive(LeaseId lease, uint64_t now_ns);
    /// Deletes its keys, at one revision, and the lease. Errors: kNotFound.
    [[nodiscard]] Status end_lease(LeaseId lease);
    /// One that has ended by time; none (0) if there is none.
    [[nodiscard]] LeaseId overdue(uint64_t now_ns) const;
    /// When the next one ends; UINT64_MAX: none does.
    [[nodiscard]] uint64_t next_end_ns() const;
    [[nodiscard]] const std::map<LeaseId, Lease>& leases() const { return leases_; }

    // What was stored is put back, before anything else is done.
    void restore(KeyValue entry);
    void restore(LeaseId lease, uint64_t ttl_ns, uint64_t now_ns);
    /// What the counters were. Changes before are not remembered.
    void restore(Revision revision, LeaseId last_lease);
    [[nodiscard]] LeaseId last_lease() const { return last_lease_; }

  private:
    struct Entry {
        std::string value;
        Revision created;
        Revision modified;
        LeaseId lease;
    };

    [[nodiscard]] static KeyValue to_key_value(const std::string& key, const Entry& entry);
    [[nodiscard]] bool holds(const Condition& condition) const;
    void make(const Change& change);
    void leave_lease(const std::string& key, const Entry& entry);
    void remember(const std::string& key);

    const size_t history_max_;
    Revision revision_;
    LeaseId last_lease_;
    std::map<std::string, Entry, std::less<>> entries_;
    std::map<LeaseId, Lease> leases_;
    std::deque<WatchEvent> history_;
    Revision forgotten_;  // Up to which changes are not in history_.
};

}  // namespace basalt::metadata
