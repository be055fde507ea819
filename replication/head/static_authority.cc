#include "replication/head/static_authority.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "reactor/base/log.h"
#include "replication/head/limits.h"
#include "replication/head/static_authority_port.h"

namespace basalt::replication {

namespace {

bdev::Uuid make_id(Random& random) {
    std::array<uint8_t, 16> bytes{};
    for (uint8_t& byte : bytes) {
        byte = static_cast<uint8_t>(random.next());
    }
    return bdev::Uuid::from_random(bytes);
}

}  // namespace

StaticAuthority::StaticAuthority(Reactor& control,
                                 FileSystem& files,
                                 StaticAuthorityOptions options)
    : control_(control),
      files_(files),
      options_(std::move(options)),
      id_(make_id(control.random())),
      file_(control, files, options_.path),
      mutex_(control),
      is_standby_(options_.is_standby),
      may_claim_(!options_.is_standby),
      drives_(options_.drives) {
    lease_timer_.set(
        [](Timer&, void* self) { static_cast<StaticAuthority*>(self)->consider_opening(); }, this);
    watch_timer_.set(
        [](Timer&, void* self) { static_cast<StaticAuthority*>(self)->watch().detach(); }, this);
}

StaticAuthority::~StaticAuthority() {
    if (control_.is_abandoned()) {
        return;
    }
    BASALT_ASSERT(is_closed_);
    unlock_head();
}

Task<Result<std::unique_ptr<StaticAuthority>>> StaticAuthority::open(
    Reactor& control, FileSystem& files, StaticAuthorityOptions options) {
    const bool has_drives = options.drives.empty() || options.drives.size() == options.replicas;
    if (options.replicas < 1 || options.replicas > kReplicasMax || options.lease_us == 0 ||
        !has_drives) {
        co_return Errc::kInvalidArgument;
    }
    std::unique_ptr<StaticAuthority> made(new StaticAuthority(control, files, std::move(options)));
    const Status outcome = co_await made->load();
    if (!outcome) {
        made->is_closed_ = true;
        co_return outcome.error();
    }
    co_return Result<std::unique_ptr<StaticAuthority>>(std::move(made));
}

Task<Status> StaticAuthority::load() {
    const Status locked = is_standby_ ? Status(kOk) : lock_head();
    if (!locked) {
        co_return locked;
    }
    const Result<std::optional<MapRecord>> newest = co_await file_.lock();
    file_.unlock();
    if (!newest) {
        co_return newest.error();
    }
    record_ = {.volume = options_.volume, .set = ReplicaSet::all(options_.replicas)};
    if (*newest) {
        record_ = **newest;
        if (!fits(record_)) {
            co_return Errc::kInvalidArgument;
        }
    }
    co_return kOk;
}

/// Whether it is this volume's, with the same replicas.
bool StaticAuthority::fits(const MapRecord& record) const {
    if (record.volume != options_.volume ||
        !ReplicaSet::all(options_.replicas).contains(record.set)) {
        return false;
    }
    for (size_t i = 0; i < drives_.size(); ++i) {
        if (!record.drives[i].is_nil() && record.drives[i] != drives_[i]) {
            BASALT_LOG(kError,
                       "replication",
                       "{} has replica {} of volume {} on drive {}, and here it is on {}",
                       options_.path,
                       i,
                       options_.volume.to_string(),
                       record.drives[i].to_string(),
                       drives_[i].to_string());
            return false;
        }
    }
    return true;
}

// ---- between processes

/// Another one may have it still, which has been pushed away and does not know it yet.
Status StaticAuthority::lock_head() {
    if (head_lock_.is_valid()) {
        return kOk;
    }
    OpenOptions how;
    how.create_size_bytes = kMapSlotBytes;
    const Result<FileInfo> info = files_.open(options_.path + ".head", how);
    if (!info) {
        return info.error();
    }
    head_lock_ = info->handle;
    return kOk;
}

void StaticAuthority::unlock_head() {
    if (head_lock_.is_valid()) {
        files_.close(std::exchange(head_lock_, {}));
    }
}

/// Locks the file and looks whether this process has the head still. What fails is tried again:
/// who asked goes on waiting. Errors: kStaleEpoch: another process has it; kCancelled: closed.
Task<Result<MapRecord>> StaticAuthority::look() {
    while (!is_closed_) {
        const Result<std::optional<MapRecord>> newest = co_await file_.lock();
        if (newest && is_closed_) {
            file_.unlock();
        } else if (newest && (!*newest || (*newest)->holder != id_)) {
            file_.unlock();
            pushed_away();
            co_return Errc::kStaleEpoch;
        } else if (newest) {
            co_return **newest;
        } else {
            BASALT_LOG(kError,
                       "replication",
                       "{} can't be read: {}; trying again",
                       options_.path,
                       describe(newest.error().code));
            sleep_for pause(control_, kNsPerSecond);
            co_await pause;
        }
    }
    co_return Errc::kCancelled;
}

void StaticAuthority::pushed_away() {
    // One that is to take the volume back has asked already.
    if (is_closed_ || is_standby_ || may_claim_) {
        return;
    }
    BASALT_LOG(kWarn,
               "replication",
               "volume {}: no head of this process has it any more",
               options_.volume.to_string());
    is_standby_ = true;
    chosen_ = head_ = lease_ = nullptr;
    lease_until_ns_ = 0;
    unlock_head();
    serves_ = true;  // To be told even if it never served: it will not.
    tell_serving(false);
    for (const std::unique_ptr<Port>& port : ports_) {
        port->tell_other_chosen();
    }
    consider_opening();
}

void StaticAuthority::tell_serving(bool serves) {
    if (std::exchange(serves_, serves) != serves && options_.user != nullptr) {
        options_.user->serving_changed(serves);
    }
}

void StaticAuthority::watch_later() {
    if (options_.watch_ns > 0 && !is_closed_ && !watch_timer_.is_running()) {
        control_.start_timer(watch_timer_, options_.watch_ns);
    }
}

Task<void> StaticAuthority::watch() {
    co_await mutex_.acquire();
    const AsyncMutex::Turn turn(mutex_);
    if (is_standby_ || is_closed_) {
        co_return;
    }
    if (head_ != nullptr) {
        const Result<MapRecord> found = co_await look();
        if (found) {
            file_.unlock();
            static_cast<void>(lock_head());
        }
    }
    watch_later();
}

MapAuthority& StaticAuthority::add_port(Reactor& here) {
    ports_.push_back(std::make_unique<Port>(*this, here));
    return *ports_.back();
}

Task<void> StaticAuthority::close() {
    is_closed_ = true;
    file_.give_up();
    control_.stop_timer(lease_timer_);
    control_.stop_timer(watch_timer_);
    co_await mutex_.acquire();
    const AsyncMutex::Turn turn(mutex_);
    // Messages between two cores keep their order: after two rounds none is under way.
    for (uint32_t round = 0; round < 2; ++round) {
        for (size_t i = 0; i < ports_.size(); ++i) {
            visit there(control_, ports_[i]->here_.core(), *ports_[i], &Port::nothing);
            co_await there;
        }
    }
}

bool StaticAuthority::is_last(const Ask& ask) const {
    return ask.port == head_ && ask.epoch == record_.epoch;
}

void StaticAuthority::take(Ask& ask) {
    if (is_closed_) {
        return;
    }
    switch (ask.kind) {
        case Ask::Kind::kGrant:
            ask.port->parked_grant = &ask;
            consider_grants();
            return;
        case Ask::Kind::kTakeOver:
            answer(ask);
            is_standby_ = false;
            may_claim_ = true;
            choose(ask.port);
            return;
        case Ask::Kind::kSet: change_set(ask).detach(); return;
        case Ask::Kind::kOpen:
            ask.port->waiting_open = &ask;
            consider_opening();
            return;
        case Ask::Kind::kLease: renew(ask).detach(); return;
        case Ask::Kind::kLeave: leave(*ask.port); return;
    }
}

void StaticAuthority::answer(Ask& ask) {
    ask.set_run([](Event& event, Reactor&) {
        Ask& self = static_cast<Ask&>(event);
        self.port->answered(self);
    });
    control_.post(ask.port->here_.core(), ask);
}

void StaticAuthority::choose(Port* port) {
    if (chosen_ == port) {
        return;
    }
    Port* before = std::exchange(chosen_, port);
    if (before != nullptr) {
        before->tell_other_chosen();
    }
    consider_grants();
    consider_opening();
}

void StaticAuthority::consider_grants() {
    for (const std::unique_ptr<Port>& port : ports_) {
        if (chosen_ == nullptr && port->parked_grant != nullptr && !is_standby_) {
            chosen_ = port.get();
        }
    }
    for (const std::unique_ptr<Port>& port : ports_) {
        if (port->parked_grant == nullptr) {
            continue;
        }
        if (port.get() == chosen_) {
            grant(*std::exchange(port->parked_grant, nullptr)).detach();
        } else {
            port->tell_other_chosen();
        }
    }
}

Task<void> StaticAuthority::grant(Ask& ask) {
    co_await mutex_.acquire();
    const AsyncMutex::Turn turn(mutex_);
    if (is_closed_ || ask.port->has_left) {
        co_return;
    }
    if (chosen_ != ask.port) {
        ask.port->parked_grant = &ask;
        consider_grants();
        co_return;
    }
    const Result<std::optional<MapRecord>> newest = co_await file_.lock();
    const bool is_usable = newest && (!*newest || fits(**newest));
    const bool is_mine = is_usable && *newest && (*newest)->holder == id_;
    if (!is_usable || (!is_mine && !may_claim_)) {
        file_.unlock();
        if (!is_usable && !is_closed_) {
            // The operator's to mend, who then has it take over again.
            BASALT_LOG(kError, "replication", "{} can't be used", options_.path);
        }
        ask.port->parked_grant = &ask;
        may_claim_ = false;
        pushed_away();
        co_return;
    }
    MapRecord next = *newest ? **newest : record_;
    if (!is_mine) {
        // Who was the head before may still live.
        lease_ = nullptr;
        const uint64_t us = next.lease_us + next.lease_us / kLeaseDriftDivisor;
        lease_until_ns_ = control_.clock().now_ns() + us * kNsPerUs;
    }
    next.epoch = Epoch(next.epoch.raw() + 1);
    next.holder = id_;
    // One of before the holder's may last still, unless that one has opened.
    next.lease_us = std::max(next.lease_us, options_.lease_us);
    std::copy(drives_.begin(), drives_.end(), next.drives.begin());
    head_ = ask.port;
    tenure_ = next.epoch;
    const bool is_saved = co_await save(next);
    if (!is_saved) {
        co_return;
    }
    may_claim_ = false;
    // Else another process has not heard yet that it was pushed away.
    static_cast<void>(lock_head());
    watch_later();
    ask.is_granted = true;
    ask.epoch = record_.epoch;
    ask.set = record_.set;
    answer(ask);
    consider_opening();
}

/// While the file is locked, and unlocks it. False: closed meanwhile.
Task<bool> StaticAuthority::save(MapRecord record) {
    ++record.change;
    const bool is_saved = co_await file_.write(record);
    file_.unlock();
    if (is_saved) {
        record_ = record;
    }
    co_return is_saved;
}

Task<void> StaticAuthority::change_set(Ask& ask) {
    co_await mutex_.acquire();
    const AsyncMutex::Turn turn(mutex_);
    if (is_closed_) {
        co_return;
    }
    ask.is_granted = is_last(ask) && ask.port == chosen_ && !ask.set.empty() &&
                     ReplicaSet::all(options_.replicas).contains(ask.set);
    if (ask.is_granted) {
        const Result<MapRecord> found = co_await look();
        ask.is_granted = found.has_value();
        if (found) {
            MapRecord next = *found;
            next.epoch = Epoch(next.epoch.raw() + 1);
            next.set = ask.set;
            next.lease_us = ask.port == lease_ ? options_.lease_us : next.lease_us;
            const bool is_saved = co_await save(next);
            if (!is_saved) {
                co_return;
            }
        }
    }
    answer(ask);
}

Task<Status> StaticAuthority::set_drive(uint32_t index, bdev::Uuid drive) {
    BASALT_ASSERT(index < drives_.size());
    co_await mutex_.acquire();
    const AsyncMutex::Turn turn(mutex_);
    const Result<std::optional<MapRecord>> newest = co_await file_.lock();
    if (!newest) {
        co_return newest.error();
    }
    MapRecord next = *newest ? **newest : record_;
    const bool is_known = next.drives[index] == drive || next.drives[index].is_nil();
    if (!is_known && next.holder != id_) {
        file_.unlock();
        co_return Errc::kBusy;
    }
    next.drives[index] = drive;
    if (next.holder == id_) {
        const bool is_saved = co_await save(next);
        if (!is_saved) {
            co_return Errc::kCancelled;
        }
    }
    file_.unlock();
    drives_[index] = drive;
    co_return kOk;
}

/// Whoever takes over waits for a lease from when it changed the file: what is given after this
/// process has looked at it, for a time that began before, is over by then.
Task<void> StaticAuthority::renew(Ask& ask) {
    co_await mutex_.acquire();
    const AsyncMutex::Turn turn(mutex_);
    if (is_closed_) {
        co_return;
    }
    // Its set may have changed since it asked.
    ask.is_granted =
        ask.port == head_ && ask.port == chosen_ && ask.epoch >= tenure_ && ask.port == lease_;
    if (ask.is_granted) {
        const Result<MapRecord> found = co_await look();
        if (found) {
            file_.unlock();
        } else if (found.error().code == Errc::kCancelled) {
            co_return;
        }
        ask.is_granted = found && ask.port == lease_;
    }
    if (ask.is_granted) {
        lease_until_ns_ = control_.clock().now_ns() + options_.lease_us * kNsPerUs;
    }
    answer(ask);
}

void StaticAuthority::consider_opening() {
    for (const std::unique_ptr<Port>& port : ports_) {
        if (port->waiting_open == nullptr) {
            continue;
        }
        Ask& ask = *port->waiting_open;
        const uint64_t now_ns = control_.clock().now_ns();
        const bool may_open = is_last(ask) && ask.port == chosen_;
        if (may_open && lease_ != port.get() && now_ns < lease_until_ns_) {
            control_.stop_timer(lease_timer_);
            control_.start_timer(lease_timer_, lease_until_ns_ - now_ns + 1);
            continue;
        }
        port->waiting_open = nullptr;
        if (may_open) {
            open_head(ask).detach();
        } else {
            ask.is_granted = false;
            answer(ask);
        }
    }
}

Task<void> StaticAuthority::open_head(Ask& ask) {
    co_await mutex_.acquire();
    const AsyncMutex::Turn turn(mutex_);
    if (is_closed_ || ask.port->has_left) {
        co_return;
    }
    const Result<MapRecord> found = co_await look();
    if (found) {
        file_.unlock();
    } else if (found.error().code == Errc::kCancelled) {
        co_return;
    }
    ask.is_granted = found && is_last(ask) && ask.port == chosen_;
    if (ask.is_granted) {
        lease_ = ask.port;
        lease_until_ns_ = control_.clock().now_ns() + options_.lease_us * kNsPerUs;
        tell_serving(true);
    }
    answer(ask);
}

void StaticAuthority::free_lease(const Port& port) {
    if (lease_ == &port && !is_closed_) {
        lease_until_ns_ = 0;
        consider_opening();
    }
}

void StaticAuthority::leave(Port& port) {
    port.has_left = true;
    port.parked_grant = nullptr;
    port.waiting_open = nullptr;
    free_lease(port);
    if (chosen_ == &port) {
        tell_serving(false);
        chosen_ = nullptr;
        consider_grants();
    }
}

}  // namespace basalt::replication
