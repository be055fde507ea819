#include "replication/link/replica_server.h"

#include <algorithm>
#include <utility>

#include "reactor/base/log.h"

namespace basalt::replication {

ReplicaServer::ReplicaServer(Reactor& reactor,
                             ReplicaDirectory& directory,
                             const ReplicaServerOptions& options)
    : reactor_(reactor), directory_(directory), options_(options) {
    connections_.reserve(options.connections_max);
    free_.reserve(options.connections_max);
    for (uint32_t i = 0; i < options.connections_max; ++i) {
        connections_.push_back(std::make_unique<ReplicaConnection>(*this));
        free_.push_back(connections_.back().get());
    }
}

ReplicaServer::~ReplicaServer() {
    BASALT_ASSERT(connection_count() == 0 || reactor_.is_abandoned());
}

Status ReplicaServer::listen() {
    BASALT_TRY(listener_, reactor_.network().listen(options_.address, *this));
    return kOk;
}

void ReplicaServer::stop(Stopped done, void* context) {
    is_stopping_ = true;
    stopped_ = done;
    stopped_context_ = context;
    listener_.reset();
    for (const auto& connection : connections_) {
        connection->close(Error(Errc::kCancelled));
    }
    if (connection_count() == 0) {
        reactor_.defer(stopped_event_);
    }
}

void ReplicaServer::stopped() {
    if (stopped_ != nullptr) {
        stopped_(stopped_context_);
    }
}

uint32_t ReplicaServer::outstanding() const {
    uint32_t count = 0;
    for (const auto& connection : connections_) {
        count += connection->outstanding();
    }
    return count;
}

void ReplicaServer::on_accept(AcceptedSocket accepted) {
    const auto half_open = static_cast<uint32_t>(
        std::count_if(connections_.begin(), connections_.end(), [](const auto& connection) {
            return connection->is_greeting();
        }));
    if (is_stopping_ || free_.empty() || half_open >= options_.half_open_max) {
        reactor_.network().discard(std::move(accepted));
        if (may_log()) {
            BASALT_LOG(kWarn,
                       "replication",
                       "turned a connection away: {} are there, {} of them have not said hello ({} "
                       "lines like this were left out)",
                       connection_count(),
                       half_open,
                       log_.take_skipped());
        }
        return;
    }
    ReplicaConnection* connection = free_.back();
    if (connection->adopt(std::move(accepted))) {
        free_.pop_back();
    }
}

void ReplicaServer::ended(ReplicaConnection& connection) {
    free_.push_back(&connection);
    if (is_stopping_ && connection_count() == 0 && !stopped_event_.is_waiting()) {
        reactor_.defer(stopped_event_);
    }
}

}  // namespace basalt::replication
