#pragma once

#include <cstdint>

#include "replication/core/types.h"

namespace basalt::replication {

/// What the map authority tells a head. All calls come from the poll loop of the head's core, never
/// from inside a call that the head makes, in the order in which they were decided.
class MapUser {
  public:
    virtual ~MapUser() = default;

    /// To ask_grant(): this is the volume's head from now on, with an epoch that nobody ever had.
    virtual void granted(Epoch epoch, ReplicaSet set) = 0;
    /// Another head has been chosen, or has been there all along. The lease is given up when this
    /// returns, so nothing may be read after it.
    virtual void other_chosen() = 0;

    // The answers have the epoch that was asked about. False: it is not the last one any more.

    /// To ask_set(); if granted the epoch is the next one now, with the set that was asked for.
    virtual void set_answered(Epoch asked, bool is_granted) = 0;
    /// To ask_open() and ask_lease(): may serve, and for `lease_us` microseconds from the moment it
    /// asked no other head does.
    virtual void open_answered(Epoch asked, bool is_granted, uint64_t lease_us) = 0;
    virtual void lease_answered(Epoch asked, bool is_granted, uint64_t lease_us) = 0;
};

/// Whether a head may push another one away.
enum class Claim : uint8_t {
    kIfFree,    ///< Waits until nobody is the head.
    kTakeOver,  ///< Becomes the head.
};

/// Who is a volume's head, in which epoch, and which replicas are in sync, as one head sees it:
/// what the control plane knows and alone may decide. Everything that is granted is durable first.
///
/// An ask is answered once, when its outcome is known, however long that takes: an implementation
/// that can't reach who decides goes on trying, and I/O goes on meanwhile. The exceptions: stop()
/// ends all, and an ask for a grant waits until this head's turn comes, if it does.
///
/// Leases are durations, because machines' clocks differ; an implementation adds to them what
/// clocks may drift meanwhile before it lets another head open.
///
/// Owner: see the implementation. Core: the head's.
class MapAuthority {
  public:
    virtual ~MapAuthority() = default;

    /// Before anything else. `user` outlives the calls, until stop().
    virtual void start(MapUser& user) = 0;

    /// Asks to be the head, in a new epoch. Asking again while the answer is awaited changes the
    /// claim at most.
    virtual void ask_grant(Claim claim) = 0;
    /// Asks for `set` in place of that of `epoch`, if that is still the last. One at a time.
    virtual void ask_set(Epoch epoch, ReplicaSet set) = 0;
    /// Asks to serve, when the lease of whoever served before is over. One at a time.
    virtual void ask_open(Epoch epoch) = 0;
    /// Asks for a longer lease. One at a time.
    virtual void ask_lease(Epoch epoch) = 0;

    /// Gives up the volume and the lease. No call of the user comes after it.
    virtual void stop() = 0;
};

}  // namespace basalt::replication
