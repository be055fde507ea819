#include "control/metadata/state.h"

#include <algorithm>
#include <utility>

#include "reactor/base/assert.h"

namespace basalt::metadata {
namespace {

// Events that one changes() looks at, beyond which it ends with the revision.
constexpr size_t kEventsALook = 1000;

bool is_key(std::string_view key) {
    return !key.empty() && key.size() <= kKeyBytesMax;
}

}  // namespace

Status MetadataState::check(const Transaction& transaction) {
    if (transaction.conditions.size() > kTransactionItemsMax ||
        transaction.changes.size() > kTransactionItemsMax) {
        return Errc::kInvalidArgument;
    }
    for (const Condition& one : transaction.conditions) {
        if (!is_key(one.key)) {
            return Errc::kInvalidArgument;
        }
    }
    size_t bytes = 0;
    std::set<std::string_view> keys;
    for (const Change& one : transaction.changes) {
        const bool is_new = keys.insert(one.key).second;
        const bool is_leased = one.lease != LeaseId();
        if (!is_key(one.key) || !is_new || (is_leased && !one.value.has_value())) {
            return Errc::kInvalidArgument;
        }
        bytes += one.key.size() + (one.value.has_value() ? one.value->size() : 0);
    }
    return bytes <= kTransactionBytesMax ? kOk : Status(Errc::kInvalidArgument);
}

Status MetadataState::check_ttl(uint64_t ttl_ns) {
    return ttl_ns >= kLeaseMinNs && ttl_ns <= kLeaseMaxNs ? kOk : Status(Errc::kInvalidArgument);
}

bool MetadataState::holds(const Condition& condition) const {
    const auto found = entries_.find(condition.key);
    return (found == entries_.end() ? Revision() : found->second.modified) == condition.modified;
}

Result<Outcome> MetadataState::apply(const Transaction& transaction) {
    BASALT_ASSERT(check(transaction));
    if (!std::ranges::all_of(transaction.conditions,
                             [this](const Condition& one) { return holds(one); })) {
        return Outcome{.is_applied = false, .revision = revision_};
    }
    for (const Change& one : transaction.changes) {
        if (one.lease != LeaseId() && !leases_.contains(one.lease)) {
            return Errc::kNotFound;
        }
    }
    const bool has_effect = std::ranges::any_of(transaction.changes, [this](const Change& one) {
        return one.value.has_value() || entries_.contains(one.key);
    });
    if (has_effect) {
        revision_ = Revision(revision_.raw() + 1);
        for (const Change& one : transaction.changes) {
            make(one);
        }
    }
    return Outcome{.is_applied = true, .revision = revision_};
}

void MetadataState::make(const Change& change) {
    const auto found = entries_.find(change.key);
    if (found == entries_.end() && !change.value.has_value()) {
        return;
    }
    if (!change.value.has_value()) {
        leave_lease(change.key, found->second);
        entries_.erase(found);
        remember(change.key);
        return;
    }
    if (found != entries_.end()) {
        leave_lease(change.key, found->second);
    }
    const Revision created = found == entries_.end() ? revision_ : found->second.created;
    entries_[change.key] = {
        .value = *change.value, .created = created, .modified = revision_, .lease = change.lease};
    if (change.lease != LeaseId()) {
        leases_.at(change.lease).keys.insert(change.key);
    }
    remember(change.key);
}

void MetadataState::leave_lease(const std::string& key, const Entry& entry) {
    if (entry.lease != LeaseId()) {
        leases_.at(entry.lease).keys.erase(key);
    }
}

void MetadataState::remember(const std::string& key) {
    WatchEvent event{.revision = revision_, .key = key, .now = {}};
    if (const auto found = entries_.find(key); found != entries_.end()) {
        event.now = to_key_value(key, found->second);
    }
    history_.push_back(std::move(event));
    while (history_.size() > history_max_) {
        forgotten_ = history_.front().revision;
        history_.pop_front();
    }
}

KeyValue MetadataState::to_key_value(const std::string& key, const Entry& entry) {
    return {.key = key,
            .value = entry.value,
            .created = entry.created,
            .modified = entry.modified,
            .lease = entry.lease};
}

Result<KeyValue> MetadataState::get(const std::string& key) const {
    const auto found = entries_.find(key);
    if (found == entries_.end()) {
        return Errc::kNotFound;
    }
    return to_key_value(key, found->second);
}

Result<Page> MetadataState::list(const ListRequest& request) const {
    if (request.limit == 0 || request.limit > kPageKeysMax) {
        return Errc::kInvalidArgument;
    }
    if (request.at != Revision() && request.at != revision_) {
        return Errc::kOutOfRange;
    }
    Page page{.keys = {}, .has_more = false, .revision = revision_};
    auto at = request.after < request.prefix ? entries_.lower_bound(request.prefix)
                                             : entries_.upper_bound(request.after);
    for (; at != entries_.end() && at->first.starts_with(request.prefix); ++at) {
        if (page.keys.size() == request.limit) {
            page.has_more = true;
            break;
        }
        page.keys.push_back(to_key_value(at->first, at->second));
    }
    return page;
}

Result<std::vector<WatchEvent>> MetadataState::changes(std::string_view prefix,
                                                       Revision& after) const {
    if (after < forgotten_) {
        return Errc::kOutOfRange;
    }
    std::vector<WatchEvent> found;
    auto at = std::ranges::upper_bound(history_, after, {}, &WatchEvent::revision);
    for (size_t looked = 0; at != history_.end(); ++at, ++looked) {
        if (looked >= kEventsALook && at->revision != after) {
            break;
        }
        after = at->revision;
        if (at->key.starts_with(prefix)) {
            found.push_back(*at);
        }
    }
    return found;
}

Status MetadataState::forget(Revision until) {
    if (until > revision_) {
        return Errc::kOutOfRange;
    }
    while (!history_.empty() && history_.front().revision <= until) {
        history_.pop_front();
    }
    forgotten_ = std::max(forgotten_, until);
    return kOk;
}

LeaseId MetadataState::grant(uint64_t ttl_ns, uint64_t now_ns) {
    BASALT_ASSERT(check_ttl(ttl_ns));
    last_lease_ = LeaseId(last_lease_.raw() + 1);
    leases_[last_lease_] = {.ttl_ns = ttl_ns, .ends_ns = now_ns + ttl_ns, .keys = {}};
    return last_lease_;
}

Status MetadataState::keep_alive(LeaseId lease, uint64_t now_ns) {
    const auto found = leases_.find(lease);
    if (found == leases_.end()) {
        return Errc::kNotFound;
    }
    found->second.ends_ns = now_ns + found->second.ttl_ns;
    return kOk;
}

Status MetadataState::end_lease(LeaseId lease) {
    const auto found = leases_.find(lease);
    if (found == leases_.end()) {
        return Errc::kNotFound;
    }
    const std::set<std::string> keys = found->second.keys;
    if (!keys.empty()) {
        revision_ = Revision(revision_.raw() + 1);
    }
    for (const std::string& key : keys) {
        make({.key = key, .value = {}, .lease = {}});
    }
    leases_.erase(found);
    return kOk;
}

LeaseId MetadataState::overdue(uint64_t now_ns) const {
    const auto found = std::ranges::find_if(
        leases_, [now_ns](const auto& one) { return one.second.ends_ns <= now_ns; });
    return found == leases_.end() ? LeaseId() : found->first;
}

uint64_t MetadataState::next_end_ns() const {
    uint64_t next = UINT64_MAX;
    for (const auto& [lease, one] : leases_) {
        next = std::min(next, one.ends_ns);
    }
    return next;
}

void MetadataState::restore(KeyValue entry) {
    BASALT_ASSERT(history_.empty());
    if (entry.lease != LeaseId()) {
        leases_.at(entry.lease).keys.insert(entry.key);
    }
    entries_[std::move(entry.key)] = {.value = std::move(entry.value),
                                      .created = entry.created,
                                      .modified = entry.modified,
                                      .lease = entry.lease};
}

void MetadataState::restore(LeaseId lease, uint64_t ttl_ns, uint64_t now_ns) {
    leases_[lease] = {.ttl_ns = ttl_ns, .ends_ns = now_ns + ttl_ns, .keys = {}};
}

void MetadataState::restore(Revision revision, LeaseId last_lease) {
    revision_ = revision;
    last_lease_ = last_lease;
    forgotten_ = revision;
}

}  // namespace basalt::metadata
