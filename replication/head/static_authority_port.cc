#include "replication/head/static_authority_port.h"

#include <utility>

namespace basalt::replication {

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

}  // namespace basalt::replication
