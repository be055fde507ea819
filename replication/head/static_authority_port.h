#pragma once

#include <array>

#include "replication/head/static_authority.h"

// Of static_authority.cc and static_authority_port.cc alone.

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

}  // namespace basalt::replication
