#pragma once

#include <deque>

#include "reactor/reactor.h"
#include "replication/head/map_authority.h"

namespace basalt::replication::test {

/// A way to the authority that takes its time, both ways and in order, and may be cut for a while.
class SlowAuthority final : public MapAuthority, private MapUser {
  public:
    SlowAuthority(Reactor& here, MapAuthority& real, uint64_t delay_max_ns)
        : here_(here), real_(real), delay_max_ns_(delay_max_ns) {
        timer_.set([](Timer&, void* self) { static_cast<SlowAuthority*>(self)->run(); }, this);
    }
    SlowAuthority(const SlowAuthority&) = delete;
    SlowAuthority& operator=(const SlowAuthority&) = delete;
    ~SlowAuthority() override { here_.stop_timer(timer_); }

    void set_away(bool is_away) {
        is_away_ = is_away;
        wake();
    }

    void start(MapUser& user) override {
        user_ = &user;
        real_.start(*this);
    }
    void ask_grant(Claim claim) override { add({.kind = Kind::kAskGrant, .claim = claim}); }
    void ask_set(Epoch epoch, ReplicaSet set) override {
        add({.kind = Kind::kAskSet, .epoch = epoch, .set = set});
    }
    void ask_open(Epoch epoch) override { add({.kind = Kind::kAskOpen, .epoch = epoch}); }
    void ask_lease(Epoch epoch) override { add({.kind = Kind::kAskLease, .epoch = epoch}); }
    void stop() override {
        things_.clear();
        here_.stop_timer(timer_);
        real_.stop();
    }

  private:
    enum class Kind : uint8_t {
        kAskGrant,
        kAskSet,
        kAskOpen,
        kAskLease,
        kGranted,
        kSet,
        kOpen,
        kLease,
    };
    struct Thing {
        Kind kind = Kind::kAskGrant;
        Claim claim = Claim::kIfFree;
        Epoch epoch{};
        ReplicaSet set{};
        bool is_granted = false;
        uint64_t lease_us = 0;
    };

    void granted(Epoch epoch, ReplicaSet set) override {
        add({.kind = Kind::kGranted, .epoch = epoch, .set = set});
    }
    // The lease is free when this returns, so it can't be said later. What was decided before is
    // said before.
    void other_chosen() override {
        const std::deque<Thing> things = std::exchange(things_, {});
        for (const Thing& thing : things) {
            if (thing.kind >= Kind::kGranted) {
                perform(thing);
            } else {
                things_.push_back(thing);
            }
        }
        user_->other_chosen();
    }
    void set_answered(Epoch asked, bool is_granted) override {
        add({.kind = Kind::kSet, .epoch = asked, .is_granted = is_granted});
    }
    void open_answered(Epoch asked, bool is_granted, uint64_t lease_us) override {
        add({.kind = Kind::kOpen, .epoch = asked, .is_granted = is_granted, .lease_us = lease_us});
    }
    void lease_answered(Epoch asked, bool is_granted, uint64_t lease_us) override {
        add({.kind = Kind::kLease, .epoch = asked, .is_granted = is_granted, .lease_us = lease_us});
    }

    void add(const Thing& thing) {
        things_.push_back(thing);
        wake();
    }
    void wake() {
        if (!is_away_ && !things_.empty() && !timer_.is_running()) {
            here_.start_timer(timer_, here_.random().below(delay_max_ns_) + 1);
        }
    }
    void run() {
        if (!is_away_ && !things_.empty()) {
            const Thing thing = things_.front();
            things_.pop_front();
            perform(thing);
        }
        wake();
    }
    void perform(const Thing& thing) {
        switch (thing.kind) {
            case Kind::kAskGrant: real_.ask_grant(thing.claim); return;
            case Kind::kAskSet: real_.ask_set(thing.epoch, thing.set); return;
            case Kind::kAskOpen: real_.ask_open(thing.epoch); return;
            case Kind::kAskLease: real_.ask_lease(thing.epoch); return;
            case Kind::kGranted: user_->granted(thing.epoch, thing.set); return;
            case Kind::kSet: user_->set_answered(thing.epoch, thing.is_granted); return;
            case Kind::kOpen:
                user_->open_answered(thing.epoch, thing.is_granted, thing.lease_us);
                return;
            case Kind::kLease:
                user_->lease_answered(thing.epoch, thing.is_granted, thing.lease_us);
                return;
        }
    }

    Reactor& here_;
    MapAuthority& real_;
    const uint64_t delay_max_ns_;
    MapUser* user_ = nullptr;
    std::deque<Thing> things_;
    bool is_away_ = false;
    Timer timer_;
};

}  // namespace basalt::replication::test
