#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "bdev/core/uuid.h"
#include "reactor/base/log_throttle.h"
#include "reactor/reactor.h"
#include "replication/link/limits.h"
#include "replication/link/replica_connection.h"

namespace basalt::replication {

struct ReplicaServerOptions {
    SocketAddress address{};
    bdev::Uuid cluster{};
    uint16_t credits = kCreditsPerConnection;
    uint32_t connections_max = kConnectionsMax;
    uint32_t half_open_max = kHalfOpenMax;
    uint64_t hello_timeout_ns = kHelloTimeoutNs;
    uint64_t silence_ns = kSilenceNs;
};

/// The replicas of one core, for heads on other machines: listens, and serves each connection with
/// a ReplicaConnection.
///
/// Owner: the process. Core: its reactor's, which is that of the replicas. Allocates when it is
/// made. Destroyed before listen() or when stopped.
class ReplicaServer final : private ListenHandler {
  public:
    /// Called from the poll loop when the last connection has ended; the server may be destroyed
    /// inside.
    using Stopped = void (*)(void* context);

    /// `directory` outlives the server.
    ReplicaServer(Reactor& reactor,
                  ReplicaDirectory& directory,
                  const ReplicaServerOptions& options);
    ReplicaServer(const ReplicaServer&) = delete;
    ReplicaServer& operator=(const ReplicaServer&) = delete;
    ~ReplicaServer() override;

    /// Errors: those of Network::listen().
    [[nodiscard]] Status listen();
    void stop(Stopped done, void* context);

    [[nodiscard]] SocketAddress local_address() const { return listener_->local_address(); }
    [[nodiscard]] uint32_t connection_count() const {
        return static_cast<uint32_t>(connections_.size() - free_.size());
    }
    /// Requests of all connections that are not answered yet.
    [[nodiscard]] uint32_t outstanding() const;

  private:
    friend class ReplicaConnection;

    void on_accept(AcceptedSocket accepted) override;
    void ended(ReplicaConnection& connection);
    void stopped();
    /// Whether a line that a peer has provoked may be written.
    [[nodiscard]] bool may_log() { return log_.admit(reactor_.now_ns()); }

    Reactor& reactor_;
    ReplicaDirectory& directory_;
    const ReplicaServerOptions options_;
    std::unique_ptr<Listener> listener_;
    std::vector<std::unique_ptr<ReplicaConnection>> connections_;
    std::vector<ReplicaConnection*> free_;
    LogThrottle log_{kLogPeriodNs};
    bool is_stopping_ = false;
    Stopped stopped_ = nullptr;
    void* stopped_context_ = nullptr;
    OwnedEvent<ReplicaServer, &ReplicaServer::stopped> stopped_event_{*this};
};

}  // namespace basalt::replication
