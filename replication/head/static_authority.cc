#include "replication/head/static_authority.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "reactor/base/log.h"
#include "reactor/file_call.h"

namespace basalt::replication {

/// What a port asks. Goes to the authority's core and comes back with the answer.
struct StaticAuthority::Ask : Event {
    enum class Kind : uint8_t { kGrant, kTakeOver, kSet, kOpen, kLease, kLeave };

    Port* port = nullptr;
    Kind kind = Kind::kGrant;
    bool is_under_way = false;  ///< For the port's core.
    Epoch epoch;
    ReplicaSet set;
    bool is_granted = false;
};

/// Both ends of the way between a head and the authority.
class StaticAuthority::Port final : public MapAuthority {
  public:
    Port(StaticAuthority& authority, Reactor& here) : authority_(authority), here_(here) {
        for (uint32_t i = 0; i < asks_.size(); ++i) {
            asks_[i].port = this;
            asks_[i].kind = static_cast<Ask::Kind>(i);
        }
        notice_.port = this;
    }

    // On the head's core.
    void start(MapUser& user) override { user_ = &user; }
    void ask_grant(Claim claim) override {
        if (claim == Claim::kTakeOver) {
            post(Ask::Kind::kTakeOver, {}, {});
        }
        post(Ask::Kind::kGrant, {}, {});
    }
    void ask_set(Epoch epoch, ReplicaSet set) override { post(Ask::Kind::kSet, epoch, set); }
    void ask_open(Epoch epoch) override { post(Ask::Kind::kOpen, epoch, {}); }
    void ask_lease(Epoch epoch) override { post(Ask::Kind::kLease, epoch, {}); }
    void stop() override {
        if (std::exchange(user_, nullptr) != nullptr) {
            post(Ask::Kind::kLeave, {}, {});
        }
    }

    // On the authority's.
    void tell_other_chosen();

    static Task<void> nothing(Reactor&, Port&) { co_return; }

    Ask* parked_grant = nullptr;  ///< Until its turn comes.
    Ask* waiting_open = nullptr;  ///< Until the lease is free.
    bool has_left = false;

  private:
    friend class StaticAuthority;
    struct Notice : Event {
        Port* port = nullptr;
    };

    void post(Ask::Kind kind, Epoch epoch, ReplicaSet set) {
        Ask& ask = asks_[static_cast<size_t>(kind)];
        if (ask.is_under_way) {
            BASALT_ASSERT(kind == Ask::Kind::kGrant || kind == Ask::Kind::kTakeOver);
            return;
        }
        ask.is_under_way = true;
        ask.epoch = epoch;
        ask.set = set;
        ask.set_run([](Event& event, Reactor&) {
            Ask& self = static_cast<Ask&>(event);
            self.port->authority_.take(self);
        });
        here_.post(authority_.control_.core(), ask);
    }
    void answered(Ask& ask);

    StaticAuthority& authority_;
    Reactor& here_;
    MapUser* user_ = nullptr;
    std::array<Ask, 6> asks_;
    Notice notice_;
    bool is_notice_under_way_ = false;  // On the authority's core.
    bool is_notice_due_ = false;
};

void StaticAuthority::Port::answered(Ask& ask) {
    ask.is_under_way = false;
    if (user_ == nullptr) {
        return;
    }
    const uint64_t lease_us = authority_.options_.lease_us;
    switch (ask.kind) {
        case Ask::Kind::kGrant:
            if (ask.is_granted) {
                user_->granted(ask.epoch, ask.set);
            }
            return;
        case Ask::Kind::kSet: user_->set_answered(ask.epoch, ask.is_granted); return;
        case Ask::Kind::kOpen: user_->open_answered(ask.epoch, ask.is_granted, lease_us); return;
        case Ask::Kind::kLease: user_->lease_answered(ask.epoch, ask.is_granted, lease_us); return;
        case Ask::Kind::kTakeOver:
        case Ask::Kind::kLeave: return;
    }
}

/// Goes to the head and comes back: then it has stopped to serve, and its lease is free.
void StaticAuthority::Port::tell_other_chosen() {
    if (is_notice_under_way_) {
        is_notice_due_ = true;
        return;
    }
    is_notice_under_way_ = true;
    notice_.set_run([](Event& event, Reactor& here) {
        Port& self = *static_cast<Notice&>(event).port;
        if (self.user_ != nullptr) {
            self.user_->other_chosen();
        }
        event.set_run([](Event& back, Reactor&) {
            Port& port = *static_cast<Notice&>(back).port;
            port.is_notice_under_way_ = false;
            if (std::exchange(port.is_notice_due_, false) && port.authority_.chosen_ != &port) {
                port.tell_other_chosen();
            }
            if (port.authority_.chosen_ != &port) {
                port.authority_.free_lease(port);
            }
        });
        here.post(self.authority_.control_.core(), event);
    });
    authority_.control_.post(here_.core(), notice_);
}

StaticAuthority::StaticAuthority(Reactor& control,
                                 FileSystem& files,
                                 StaticAuthorityOptions options)
    : control_(control), files_(files), options_(std::move(options)), mutex_(control) {
    lease_timer_.set(
        [](Timer&, void* self) { static_cast<StaticAuthority*>(self)->consider_opening(); }, this);
}

StaticAuthority::~StaticAuthority() {
    if (control_.is_abandoned()) {
        return;
    }
    BASALT_ASSERT(is_closed_ || !file_.is_valid());
    if (file_.is_valid()) {
        files_.close(file_);
    }
}

Task<Result<std::unique_ptr<StaticAuthority>>> StaticAuthority::open(
    Reactor& control, FileSystem& files, StaticAuthorityOptions options) {
    if (options.replicas < 1 || options.replicas > kReplicasMax || options.lease_us == 0) {
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
    OpenOptions how;
    how.create_size_bytes = kMapFileBytes;
    const Result<FileInfo> info = files_.open(options_.path, how);
    if (!info) {
        co_return info.error();
    }
    file_ = info->handle;
    if (info->size_bytes != 0 && info->size_bytes != kMapFileBytes) {
        co_return Errc::kDataCorrupt;
    }
    std::optional<MapRecord> newest;
    uint32_t torn = 0;
    for (uint64_t number = 0; number < 2 && info->size_bytes != 0; ++number) {
        FileCall read(control_.storage(), FileRequest::Op::kRead, file_);
        read.set_memory(number * kMapSlotBytes, slot_.bytes);
        const Status outcome = co_await read;
        if (!outcome && outcome.error().code != Errc::kMediaError) {
            co_return outcome;
        }
        const Result<MapRecord> record =
            outcome ? decode_map_record(slot_.bytes) : Errc::kDataCorrupt;
        if (!record) {
            torn += record.error().code == Errc::kDataCorrupt ? 1U : 0U;
        } else if (!newest || newest->epoch < record->epoch) {
            newest = *record;
        }
    }
    if (!newest) {
        if (torn == 2) {
            co_return Errc::kDataCorrupt;
        }
        record_ = {.volume = options_.volume, .set = ReplicaSet::all(options_.replicas)};
        co_return kOk;  // New, or its first record was torn.
    }
    if (newest->volume != options_.volume ||
        !ReplicaSet::all(options_.replicas).contains(newest->set)) {
        co_return Errc::kInvalidArgument;
    }
    record_ = *newest;
    // Who was the head before may still live, or another process of it.
    lease_until_ns_ = control_.clock().now_ns() + options_.lease_us * kNsPerUs;
    co_return kOk;
}

MapAuthority& StaticAuthority::add_port(Reactor& here) {
    ports_.push_back(std::make_unique<Port>(*this, here));
    return *ports_.back();
}

Task<void> StaticAuthority::close() {
    is_closed_ = true;
    control_.stop_timer(lease_timer_);
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
            choose(ask.port);
            return;
        case Ask::Kind::kSet: change_set(ask).detach(); return;
        case Ask::Kind::kOpen:
            ask.port->waiting_open = &ask;
            consider_opening();
            return;
        case Ask::Kind::kLease:
            // Its set may have changed since it asked.
            ask.is_granted = ask.port == head_ && ask.port == chosen_ && ask.epoch >= tenure_ &&
                             ask.port == lease_;
            if (ask.is_granted) {
                lease_until_ns_ = control_.clock().now_ns() + options_.lease_us * kNsPerUs;
            }
            answer(ask);
            return;
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
        if (chosen_ == nullptr && port->parked_grant != nullptr) {
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
    MapRecord next = record_;
    next.epoch = Epoch(record_.epoch.raw() + 1);
    head_ = ask.port;
    tenure_ = next.epoch;
    co_await save(next);
    ask.is_granted = true;
    ask.epoch = record_.epoch;
    ask.set = record_.set;
    answer(ask);
    consider_opening();
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
        const MapRecord next{
            .volume = record_.volume, .epoch = Epoch(record_.epoch.raw() + 1), .set = ask.set};
        co_await save(next);
    }
    answer(ask);
}

/// Until it is durable, in one slot and then in the other: nobody may be told otherwise, and what a
/// failed write left is not known.
Task<void> StaticAuthority::save(MapRecord record) {
    encode_map_record(record, slot_.bytes);
    for (uint64_t copies = 0; copies < 2 && !is_closed_;) {
        FileCall write(control_.storage(), FileRequest::Op::kWriteDurable, file_);
        write.set_memory((record.epoch.raw() + copies) % 2 * kMapSlotBytes, slot_.bytes);
        const Status outcome = co_await write;
        if (outcome) {
            ++copies;
            continue;
        }
        BASALT_LOG(kError,
                   "replication",
                   "{} can't be written, so volume {} can't have epoch {}: {}; trying again",
                   options_.path,
                   options_.volume.to_string(),
                   record.epoch.raw(),
                   describe(outcome.error().code));
        sleep_for pause(control_, kNsPerSecond);
        co_await pause;
    }
    record_ = record;
}

void StaticAuthority::consider_opening() {
    for (const std::unique_ptr<Port>& port : ports_) {
        if (port->waiting_open == nullptr) {
            continue;
        }
        Ask& ask = *port->waiting_open;
        const uint64_t now_ns = control_.clock().now_ns();
        ask.is_granted = is_last(ask) && ask.port == chosen_;
        if (ask.is_granted && lease_ != port.get() && now_ns < lease_until_ns_) {
            control_.stop_timer(lease_timer_);
            control_.start_timer(lease_timer_, lease_until_ns_ - now_ns + 1);
            continue;
        }
        if (ask.is_granted) {
            lease_ = port.get();
            lease_until_ns_ = now_ns + options_.lease_us * kNsPerUs;
        }
        port->waiting_open = nullptr;
        answer(ask);
    }
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
        chosen_ = nullptr;
        consider_grants();
    }
}

}  // namespace basalt::replication
