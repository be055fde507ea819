#include "replication/head/local_link.h"

#include <algorithm>
#include <utility>

#include "reactor/base/assert.h"

namespace basalt::replication {

LocalLink::LocalLink(Reactor& here,
                     ReplicaDirectory& directory,
                     const bdev::Uuid& drive,
                     uint64_t volume)
    : here_(here), directory_(directory), drive_(drive), volume_(volume) {
    step_.owner = this;
    step_.set_run([](Event& event, Reactor&) { static_cast<Step&>(event).owner->step(); });
    retry_.set([](Timer&, void* self) { static_cast<LocalLink*>(self)->connect(); }, this);
}

LocalLink::~LocalLink() {
    BASALT_ASSERT(user_ == nullptr || here_.is_abandoned());
}

void LocalLink::start(LinkUser& user, uint32_t replica) {
    BASALT_ASSERT(user_ == nullptr);
    user_ = &user;
    replica_ = replica;
    here_.defer(step_);
}

void LocalLink::connect() {
    port_ = directory_.find(drive_, volume_);
    if (port_ == nullptr) {
        here_.start_timer(retry_, retry_us_ * kNsPerUs);
        retry_us_ = std::min(retry_us_ * 2, kRetryMaxUs);
        return;
    }
    connection_ = port_->connect(*this);
    up_since_ns_ = here_.now_ns();
    user_->link_up(replica_);
}

void LocalLink::send(const Message& message, BlockRef data) {
    if (port_ != nullptr) {
        port_->take(connection_, message, std::move(data));
    }
}

void LocalLink::reply(const Reply& reply, BlockRef data) {
    if (port_ != nullptr) {
        user_->link_replied(replica_, reply, std::move(data));
    }
}

void LocalLink::replica_gone(const ReplicaPort& /*replica*/, uint64_t connection) {
    if (port_ != nullptr && connection == connection_) {
        lose();
    }
}

void LocalLink::reset() {
    if (port_ != nullptr) {
        port_->disconnect(connection_);
        lose();
    }
}

void LocalLink::lose() {
    port_ = nullptr;
    connection_ = 0;
    has_lost_ = true;
    if (here_.now_ns() - up_since_ns_ >= kRetryMaxUs * kNsPerUs) {
        retry_us_ = kRetryMinUs;
    }
    here_.defer(step_);
}

/// The first connection, or the end of one: not inside of the head's call.
void LocalLink::step() {
    if (std::exchange(has_lost_, false)) {
        here_.start_timer(retry_, retry_us_ * kNsPerUs);
        retry_us_ = std::min(retry_us_ * 2, kRetryMaxUs);
        user_->link_down(replica_);
    } else {
        connect();
    }
}

void LocalLink::stop() {
    if (user_ == nullptr) {
        return;
    }
    if (port_ != nullptr) {
        port_->disconnect(connection_);
    }
    if (step_.link.is_linked()) {
        EventList::remove(step_);
    }
    here_.stop_timer(retry_);
    port_ = nullptr;
    user_ = nullptr;
}

}  // namespace basalt::replication
