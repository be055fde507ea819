#pragma once

#include <cstdint>

#include "replication/core/messages.h"
#include "replication/link/block_buffer.h"

namespace basalt::replication {

/// What a link tells the head. All calls come from the poll loop of the head's core, never from
/// inside a call that the head makes.
class LinkUser {
  public:
    virtual ~LinkUser() = default;

    /// There is a new connection to the replica: nothing of before is on its way any more.
    virtual void link_up(uint32_t replica) = 0;
    /// There is none; what was sent and not answered may or may not have arrived.
    virtual void link_down(uint32_t replica) = 0;
    /// `reply`, and what its spans lead to, lives until this returns. `data`: what a kRead or
    /// kCopyRead brought, its sums compared with its bytes already; else not valid.
    virtual void link_replied(uint32_t replica, const Reply& reply, BlockRef data) = 0;
};

/// A head's way to one replica of its volume, on another machine (TcpLink) or in this process
/// (LocalLink). It connects and reconnects for ever, with back-off, until stop(). Messages arrive
/// in the order of send() or not at all; nothing that was sent before link_down() is answered after
/// it.
///
/// Owner: the head's shell. Core: the head's.
class ReplicaLink {
  public:
    virtual ~ReplicaLink() = default;

    /// Begins to connect. `user` outlives the link; `replica` is what it is called there.
    virtual void start(LinkUser& user, uint32_t replica) = 0;

    /// Sends it, while the link is up; when it is down it is lost (link_down() has been or will be
    /// called). Never fails and never refuses: what the peer has no room for waits here, and a head
    /// bounds what it has outstanding: who waits with far more than that is as good as dead, and
    /// the link is reset. What the message leads to is not used after the call.
    /// `data`: of kWrite (WriteKind::kData) and kCopy, with its sums; held as long as needed.
    virtual void send(const Message& message, BlockRef data) = 0;

    /// Gives this connection up and makes a new one: link_down() follows, then link_up().
    virtual void reset() = 0;

    /// Ends it: no call of the user comes from inside it or after it, and the link may be
    /// destroyed. Data that the network has in hand is let go of when it is done with it: the pool
    /// outlives the connections of its core. In the poll loop only, not from inside a call of the
    /// user's.
    virtual void stop() = 0;
};

}  // namespace basalt::replication
