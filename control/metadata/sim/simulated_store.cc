#include "control/metadata/sim/simulated_store.h"

#include <algorithm>
#include <utility>

#include "reactor/base/assert.h"

namespace basalt::metadata {

SimulatedMetadata::~SimulatedMetadata() {
    BASALT_ASSERT(stores_.empty());
}

void SimulatedMetadata::end_leases() {
    const uint64_t now_ns = clock_.now_ns();
    const uint64_t until_ns = now_ns - std::min(now_ns, faults.lease_late_ns);
    bool has_ended = false;
    for (LeaseId lease = state_.overdue(until_ns); lease != LeaseId();
         lease = state_.overdue(until_ns)) {
        const Status ended = state_.end_lease(lease);
        BASALT_ASSERT(ended.has_value());
        has_ended = true;
    }
    if (has_ended) {
        changed();
    }
}

/// Whoever watches hears of it, and leases that end by time do so whoever is there.
void SimulatedMetadata::changed() {
    for (SimulatedStore* one : stores_) {
        one->tell_soon();
        one->keep_time();
    }
}

SimulatedStore::SimulatedStore(Reactor& here, SimulatedMetadata& metadata)
    : here_(here), metadata_(metadata) {
    tell_timer_.set(
        [](Timer& /*timer*/, void* self) { static_cast<SimulatedStore*>(self)->tell(); }, this);
    lease_timer_.set(
        [](Timer& /*timer*/, void* self) {
            auto& store = *static_cast<SimulatedStore*>(self);
            store.metadata_.end_leases();
            store.keep_time();
        },
        this);
    metadata_.stores_.push_back(this);
    keep_time();
}

SimulatedStore::~SimulatedStore() {
    BASALT_ASSERT(watches_.empty() || here_.is_abandoned());
    std::erase(metadata_.stores_, this);
    if (!here_.is_abandoned()) {
        here_.stop_timer(tell_timer_);
        here_.stop_timer(lease_timer_);
    }
}

void SimulatedStore::set_reachable(bool is_reachable) {
    is_reachable_ = is_reachable;
    tell_soon();
}

/// From whoever's turn it is: this reactor's own time may be older.
void SimulatedStore::start(Timer& timer, uint64_t delay_ns) {
    if (!here_.is_abandoned()) {
        here_.stop_timer(timer);
        here_.start_timer(timer, metadata_.clock_.now_ns() - here_.now_ns() + delay_ns);
    }
}

Task<Status> SimulatedStore::go_there() {
    sleep_for on_the_way(here_, metadata_.delay_ns());
    co_await on_the_way;
    if (!is_reachable_ || metadata_.chance(metadata_.faults.request_lost_ppm)) {
        sleep_for in_vain(here_, metadata_.faults.timeout_ns);
        co_await in_vain;
        co_return metadata_.chance(500'000) ? Errc::kTimedOut : Errc::kUnreachable;
    }
    metadata_.end_leases();
    co_return kOk;
}

Task<Status> SimulatedStore::come_back() {
    sleep_for on_the_way(here_, metadata_.delay_ns());
    co_await on_the_way;
    if (!is_reachable_ || metadata_.chance(metadata_.faults.answer_lost_ppm)) {
        sleep_for in_vain(here_, metadata_.faults.timeout_ns);
        co_await in_vain;
        co_return Errc::kTimedOut;
    }
    co_return kOk;
}

Task<Result<KeyValue>> SimulatedStore::get(std::string key) {
    if (const Status there = co_await go_there(); !there) {
        co_return there.error();
    }
    Result<KeyValue> found = metadata_.state_.get(key);
    if (const Status back = co_await come_back(); !back) {
        co_return back.error();
    }
    co_return found;
}

Task<Result<Page>> SimulatedStore::list(ListRequest request) {
    if (const Status there = co_await go_there(); !there) {
        co_return there.error();
    }
    Result<Page> page = metadata_.state_.list(request);
    if (const Status back = co_await come_back(); !back) {
        co_return back.error();
    }
    co_return page;
}

Task<Result<Outcome>> SimulatedStore::commit(Transaction transaction) {
    if (const Status sound = MetadataState::check(transaction); !sound) {
        co_return sound.error();
    }
    if (const Status there = co_await go_there(); !there) {
        co_return there.error();
    }
    const Result<Outcome> outcome = metadata_.state_.apply(transaction);
    if (metadata_.chance(metadata_.faults.forget_ppm)) {
        const Status forgotten = metadata_.state_.forget(metadata_.state_.revision());
        BASALT_ASSERT(forgotten.has_value());
    }
    metadata_.changed();
    if (const Status back = co_await come_back(); !back) {
        co_return back.error();
    }
    co_return outcome;
}

Task<Result<LeaseId>> SimulatedStore::grant(uint64_t ttl_ns) {
    if (const Status sound = MetadataState::check_ttl(ttl_ns); !sound) {
        co_return sound.error();
    }
    if (const Status there = co_await go_there(); !there) {
        co_return there.error();
    }
    const LeaseId lease = metadata_.state_.grant(ttl_ns, metadata_.clock_.now_ns());
    metadata_.changed();
    if (const Status back = co_await come_back(); !back) {
        co_return back.error();
    }
    co_return lease;
}

Task<Status> SimulatedStore::keep_alive(LeaseId lease) {
    if (const Status there = co_await go_there(); !there) {
        co_return there;
    }
    const Status kept = metadata_.state_.keep_alive(lease, metadata_.clock_.now_ns());
    const Status back = co_await come_back();
    co_return back ? kept : back;
}

Task<Status> SimulatedStore::revoke(LeaseId lease) {
    if (const Status there = co_await go_there(); !there) {
        co_return there;
    }
    const Status ended = metadata_.state_.end_lease(lease);
    metadata_.changed();
    const Status back = co_await come_back();
    co_return back ? ended : back;
}

Task<Status> SimulatedStore::forget(Revision until) {
    if (const Status there = co_await go_there(); !there) {
        co_return there;
    }
    const Status forgotten = metadata_.state_.forget(until);
    const Status back = co_await come_back();
    co_return back ? forgotten : back;
}

void SimulatedStore::watch(WatchUser& user, std::string prefix, Revision after) {
    BASALT_ASSERT(find(user) == nullptr);
    watches_.push_back({.user = &user, .prefix = std::move(prefix), .after = after});
    tell_soon();
}

void SimulatedStore::unwatch(WatchUser& user) {
    std::erase_if(watches_, [&user](const Watch& one) { return one.user == &user; });
}

SimulatedStore::Watch* SimulatedStore::find(const WatchUser& user) {
    const auto found = std::ranges::find(watches_, &user, &Watch::user);
    return found == watches_.end() ? nullptr : &*found;
}

void SimulatedStore::tell_soon() {
    if (!watches_.empty() && is_reachable_ && !tell_timer_.is_running()) {
        start(tell_timer_, metadata_.delay_ns());
    }
}

/// Each watch gets what it lacks. Those who are told may watch, and end watches, meanwhile.
void SimulatedStore::tell() {
    if (!is_reachable_) {
        return;
    }
    std::vector<WatchUser*> users;
    users.reserve(watches_.size());
    for (const Watch& one : watches_) {
        users.push_back(one.user);
    }
    for (WatchUser* user : users) {
        tell(*user);
    }
}

void SimulatedStore::tell(WatchUser& user) {
    for (Watch* watch = find(user); watch != nullptr && watch->after < metadata_.state_.revision();
         watch = find(user)) {
        const bool is_lost = metadata_.chance(metadata_.faults.watch_lost_ppm);
        const Result<std::vector<WatchEvent>> events =
            is_lost ? Result<std::vector<WatchEvent>>(Errc::kOutOfRange)
                    : metadata_.state_.changes(watch->prefix, watch->after);
        if (!events) {
            unwatch(user);
            user.lost();
            return;
        }
        if (!events->empty()) {
            user.changed(*events);
        }
    }
}

void SimulatedStore::keep_time() {
    const uint64_t end_ns = metadata_.state_.next_end_ns();
    if (end_ns != UINT64_MAX) {
        const uint64_t at_ns = end_ns + metadata_.faults.lease_late_ns;
        const uint64_t now_ns = metadata_.clock_.now_ns();
        start(lease_timer_, at_ns - std::min(at_ns, now_ns));
    }
}

}  // namespace basalt::metadata
