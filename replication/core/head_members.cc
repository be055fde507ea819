#include "replication/core/head_core.h"

namespace basalt::replication {

void HeadCore::consider_members() {
    if (state_ != State::kOpen || has_pending_) {
        return;
    }
    consider_joining();
    consider_drop();
    consider_join();
    consider_joined();
}

/// Not there, or without a word, for too long. When there is no room for more writes because of
/// those that it does not have, too long is soon: hosts must not wait for it.
bool HeadCore::is_silent(const Peer& peer) const {
    const bool is_short =
        is_short_ || ops_.size() >= settings_.window_ops - settings_.window_ops / 4;
    const uint64_t silent_us = now_us_ - peer.silent_since_us;
    if (!peer.is_linked) {
        return is_short || silent_us >= settings_.drop_timeout_us;
    }
    return peer.unanswered > 0 &&
           silent_us >= (is_short ? settings_.slow_us : settings_.drop_timeout_us);
}

/// The one that comes back keeps the watermark from moving, as a member does.
void HeadCore::consider_joining() {
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        if (join_.has(i) && is_silent(peers_[i])) {
            reset_link(i);
        }
    }
}

/// Those of the set that have been silent, or not there, for too long, or can't go on.
ReplicaSet HeadCore::failed_members() {
    ReplicaSet failed = set_ - live_ - join_;
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        const Peer& peer = peers_[i];
        if (!set_.has(i)) {
            continue;
        }
        if (peer.has_failed || is_silent(peer)) {
            failed.add(i);
        }
        // It answers, but one write has not come back: nothing can be forgotten because of it.
        if (!ops_.empty() && live_.has(i) && !ops_[0].acked.has(i) &&
            now_us_ - ops_[0].since_us >= settings_.drop_timeout_us) {
            failed.add(i);
        }
    }
    return failed;
}

/// One that failed and that can't be dropped, since too few would stay, begins anew on another
/// connection: its store may have been mended or opened again. Links don't come back at once.
void HeadCore::retry_failed() {
    for (uint32_t i = 0; i < settings_.replicas && !has_pending_; ++i) {
        if (set_.has(i) && peers_[i].has_failed) {
            reset_link(i);
        }
    }
}

/// The model's HELD: what was acknowledged is with a quorum of those that stay.
bool HeadCore::is_held_by(ReplicaSet stay) const {
    for (uint32_t i = 0; i < ops_.size() && !mistakes_.drops_early; ++i) {
        const Op& op = ops_[i];
        if (op.is_answered && (op.acked & live_ & stay).count() < settings_.write_quorum) {
            return false;
        }
    }
    return true;
}

/// The model's DROP, of all that have failed at once. The model lets no other change of the set be
/// unfinished anywhere; here it must not be with those that stay, so that a second replica can
/// fail.
void HeadCore::consider_drop() {
    if (state_ != State::kOpen || has_pending_) {
        return;
    }
    const ReplicaSet failed = failed_members();
    const ReplicaSet stay = (set_ & live_) - failed;
    if (failed.empty() || stay.count() < settings_.write_quorum || !is_held_by(stay)) {
        return;
    }
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        if (stay.has(i) && !peers_[i].is_at_epoch) {
            return;
        }
    }
    if (!join_.empty()) {
        for (uint32_t i = 0; i < settings_.replicas; ++i) {
            if (join_.has(i)) {
                reset_link(i);
            }
        }
    }
    pending_ = stay;
    has_pending_ = true;
    HeadAction& action = act(HeadAction::Kind::kAskSet);
    action.set = pending_;
    action.epoch = epoch_;
}

/// The model's JOIN. One at a time, while nothing else changes. Also one that the set still has,
/// but that did not take part in the beginning: it can't always be dropped before.
void HeadCore::consider_join() {
    if (has_pending_ || !join_.empty()) {
        return;
    }
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        const Peer& peer = peers_[i];
        if (live_.has(i) || !peer.is_linked || peer.has_failed || peer.has_asked) {
            continue;
        }
        join_.add(i);
        is_joining_ready_ = false;
        peers_[i].is_complete = false;
        unreadable_ = ReplicaSet();
        for (uint32_t k = 0; k < ops_.size(); ++k) {
            // The data of its own writes is still here, that of those that it found is not.
            if (!ops_[k].is_mine) {
                ops_[k].by_copy.add(i);
            }
            ops_[k].acked.remove(i);
        }
        send_control(i, {.kind = MessageKind::kJoin, .generation = generation_});
        return;
    }
}

void HeadCore::on_joining(uint32_t replica, const Reply& reply) {
    if (!join_.has(replica) || reply.dirty == nullptr ||
        reply.dirty->blocks() != settings_.blocks) {
        return;
    }
    is_joining_ready_ = true;
    peers_[replica].is_at_epoch = true;
    todo_.clear_all();
    todo_cursor_ = 0;
    if (!mistakes_.loses_dirty) {
        todo_.merge(*reply.dirty);
        todo_.merge(dirty_);
        for (uint32_t i = 0; i < ops_.size(); ++i) {
            todo_.set(ops_[i].range);
        }
        dirty_.merge(*reply.dirty);
    }
    pump(replica);
    copy_for_join();
}

void HeadCore::abort_join() {
    for (uint32_t i = 0; i < ops_.size(); ++i) {
        ops_[i].by_copy = ops_[i].by_copy - join_;
        ops_[i].acked = ops_[i].acked - join_;
        ops_[i].sent = ops_[i].sent - join_;
    }
    join_ = ReplicaSet();
    is_joining_ready_ = false;
    todo_.clear_all();
    advance_watermark();
}

/// The model's JOINED: it has all.
void HeadCore::consider_joined() {
    if (join_.empty() || !is_joining_ready_ || has_pending_ || !todo_.empty()) {
        return;
    }
    for (const Copy& copy : copies_) {
        if (copy.purpose == Copy::Purpose::kJoin) {
            return;
        }
    }
    for (uint32_t i = 0; i < ops_.size(); ++i) {
        if (!(ops_[i].by_copy & join_).empty()) {
            return;
        }
    }
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        if (join_.has(i) && !peers_[i].has_asked) {
            peers_[i].is_complete = true;
            send_control(
                i, {.kind = MessageKind::kJoined, .generation = generation_, .dirty = &dirty_});
        }
    }
}

/// The model's ADOPT.
void HeadCore::adopt(bool is_granted) {
    if (!is_granted) {
        stop(true);
        return;
    }
    epoch_ = Epoch(epoch_.raw() + 1);
    const ReplicaSet left = set_ - pending_;
    set_ = pending_;
    live_ = (live_ | join_) & set_;
    join_ = pending_ = ReplicaSet();
    has_pending_ = is_joining_ready_ = false;
    todo_.clear_all();
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        if (left.has(i)) {
            reset_link(i);
        }
    }
    for (uint32_t i = 0; i < ops_.size(); ++i) {
        Op& op = ops_[i];
        op.acked = op.acked & live_;
        op.sent = op.sent & live_;
        op.by_copy = ReplicaSet();
        if (live_ != all() && !mistakes_.loses_dirty) {
            dirty_.set(op.range);
        }
    }
    if (live_ == all()) {
        dirty_.clear_all();
    }
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        peers_[i].is_at_epoch = false;
        if (live_.has(i) && peers_[i].is_linked) {
            send_control(i,
                         {.kind = MessageKind::kCarryOn,
                          .generation = generation_,
                          .is_replica_away = live_ != all()});
        }
    }
    acknowledge_all();
    advance_watermark();
}

}  // namespace basalt::replication
