#pragma once

#include <cstdint>

#include "bdev/core/uuid.h"
#include "reactor/reactor.h"
#include "replication/link/replica_link.h"
#include "replication/link/replica_port.h"

namespace basalt::replication {

/// The way to a replica of this process on the head's core: calls, no socket and no copy. A replica
/// on another core is reached as one on another machine is, by a connection (TcpLink).
///
/// A replica whose drive hangs keeps the memory of the writes that it has, also when it has been
/// dropped: HeadMemory is bounded, so a head with a local replica needs more than one drive's
/// queue holds.
///
/// When the replica goes away, or the head gives the connection up, it looks for it again, after a
/// while that doubles up to kRetryMaxUs and begins anew when a connection has lasted that long.
///
/// Owner: the head. Core: the head's, which is the directory's. See ReplicaLink.
class LocalLink final : public ReplicaLink, private ReplyPort {
  public:
    static constexpr uint64_t kRetryMinUs = 10'000;
    static constexpr uint64_t kRetryMaxUs = 1'000'000;

    /// `directory` outlives the link. The replica of `volume` on `drive` may come later.
    LocalLink(Reactor& here, ReplicaDirectory& directory, const bdev::Uuid& drive, uint64_t volume);
    LocalLink(const LocalLink&) = delete;
    LocalLink& operator=(const LocalLink&) = delete;
    ~LocalLink() override;

    void start(LinkUser& user, uint32_t replica) override;
    void send(const Message& message, BlockRef data) override;
    void reset() override;
    void stop() override;

  private:
    struct Step : Event {
        LocalLink* owner = nullptr;
    };

    void reply(const Reply& reply, BlockRef data) override;
    void replica_gone(const ReplicaPort& replica, uint64_t connection) override;
    void connect();
    void lose();
    void step();

    Reactor& here_;
    ReplicaDirectory& directory_;
    const bdev::Uuid drive_;
    const uint64_t volume_;
    LinkUser* user_ = nullptr;  // Null: not started, or stopped.
    uint32_t replica_ = 0;
    ReplicaPort* port_ = nullptr;  // Of the connection; null: there is none.
    uint64_t connection_ = 0;
    bool has_lost_ = false;  // To be told.
    uint64_t up_since_ns_ = 0;
    uint64_t retry_us_ = kRetryMinUs;
    Step step_;
    Timer retry_;
};

}  // namespace basalt::replication
