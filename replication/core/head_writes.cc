#include "replication/core/head_core.h"

namespace basalt::replication {

void HeadCore::host_write(const HeadEvent& event) {
    const bool is_snapshot = event.kind == HeadEvent::Kind::kSnapshot;
    const Errc status = is_snapshot ? Errc::kOk : check_range(event.range);
    if (status != Errc::kOk || state_ == State::kIdle) {
        answer(event.tag, status != Errc::kOk ? status : Errc::kStaleEpoch);
        return;
    }
    if (state_ != State::kOpen || ops_.size() >= settings_.window_ops) {
        wants_room_ = true;
        act(HeadAction::Kind::kLater).tag = event.tag;
        return;
    }
    host_us_ = now_us_;
    Op op{.number = {epoch_, ++count_},
          .range = is_snapshot ? BlockRange{} : event.range,
          .generation = generation_,
          .tag = event.tag,
          .data = event.data,
          .since_us = now_us_,
          .write = is_snapshot ? WriteKind::kBarrier : event.write,
          .is_mine = true};
    if (is_snapshot) {
        generation_ = op.number;
        op.generation = op.number;
    }
    issue(op);
}

/// The model's ISSUE.
void HeadCore::issue(const Op& taken) {
    Op& op = ops_.push_back(taken);
    if (op.write != WriteKind::kBarrier) {
        overtake_copies(op.range);
        for_each_read(
            [&op](Read& read) { read.is_quiet = read.is_quiet && !read.range.overlaps(op.range); });
        if (live_ != all() && !mistakes_.loses_dirty) {
            dirty_.set(op.range);
        }
    }
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        if (!(live_ | join_).has(i) || !peers_[i].is_linked || !peers_[i].is_at_epoch) {
            continue;
        }
        // The beginning of a generation may have to wait, and then all later writes do.
        if (op.write == WriteKind::kBarrier) {
            pump(i);
        } else if (!peers_[i].is_gated) {
            send_op(op, i);
        }
    }
}

void HeadCore::send_op(Op& op, uint32_t replica) {
    op.sent.add(replica);
    send(replica,
         {.kind = MessageKind::kWrite,
          .write = op.write,
          .number = op.number,
          .range = op.range,
          .generation = op.generation,
          .is_replica_away = live_ != all(),
          .data = op.data},
         0);
}

/// Sends the replica all that it lacks. The beginning of a generation waits until all writes before
/// it are there, and those after it until it is: so a snapshot is a cut at each replica, and no
/// replica waits for another.
void HeadCore::pump(uint32_t replica) {
    Peer& peer = peers_[replica];
    if (!(live_ | join_).has(replica) || !peer.is_linked || !peer.is_at_epoch) {
        return;
    }
    peer.is_gated = false;
    bool is_waiting = false;
    for (uint32_t i = 0; i < ops_.size(); ++i) {
        Op& op = ops_[i];
        if (op.acked.has(replica)) {
            continue;
        }
        // What is drawn through a replica that lacks blocks does not count there anyway.
        const bool is_line =
            op.write == WriteKind::kBarrier && (live_.has(replica) || peer.is_complete);
        if (is_waiting && is_line) {
            peer.is_gated = true;
            return;
        }
        if (!op.sent.has(replica) && !op.by_copy.has(replica)) {
            send_op(op, replica);
        }
        if (is_line) {
            peer.is_gated = true;
            return;
        }
        is_waiting = true;
    }
}

/// When no replica that counts can be sent the beginning of that generation any more: one that is
/// told before that would have the snapshot for ever. Others are told when they count again.
void HeadCore::drop_line(OpNumber number) {
    const bool may_be_drawn = !ops_.empty() && ops_[0].number <= number;
    if (state_ != State::kOpen || (may_be_drawn && !mistakes_.drops_lines_early)) {
        return;
    }
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        if (live_.has(i) && peers_[i].is_linked && peers_[i].is_at_epoch) {
            send(i, {.kind = MessageKind::kDropLine, .number = number}, 0);
        }
    }
}

void HeadCore::on_write_reply(uint32_t replica, const Reply& reply) {
    Op* op = ops_.find(reply.number);
    if (op == nullptr || !op->sent.has(replica)) {
        return;
    }
    if (reply.status == Errc::kOk) {
        learn(*op, replica);
        return;
    }
    op->sent.remove(replica);
    if (reply.status == Errc::kTryAgain || reply.status == Errc::kStaleEpoch) {
        // Sent in the epoch before. What the new one lacks goes out when it is confirmed.
        if (peers_[replica].is_at_epoch) {
            pump(replica);
        }
        return;
    }
    if (join_.has(replica) && !has_pending_) {
        reset_link(replica);
        return;
    }
    peers_[replica].has_failed = true;
    consider_members();
}

/// The model's LEARN.
void HeadCore::learn(Op& op, uint32_t replica) {
    if (op.acked.has(replica) || !(live_ | join_).has(replica)) {
        return;
    }
    op.acked.add(replica);
    if (join_.has(replica) && is_joining_ready_) {
        // All of each block has come: there is nothing to copy any more.
        todo_.clear(op.range);
    }
    acknowledge(op);
    const bool is_gated = peers_[replica].is_gated;
    advance_watermark();
    if (is_gated) {
        pump(replica);
    }
    copy_for_join();
}

/// The model's IS_QUORUM: while a smaller set is asked for, both must have it.
bool HeadCore::is_quorum(const Op& op) const {
    const ReplicaSet holders = op.acked & live_;
    if ((holders & set_).count() < quorum()) {
        return false;
    }
    return !has_pending_ || !set_.contains(pending_) || (holders & pending_).count() >= quorum();
}

void HeadCore::acknowledge(Op& op) {
    if (!op.is_mine || op.is_answered || !is_quorum(op)) {
        return;
    }
    op.is_answered = true;
    answer(op.tag, Errc::kOk, 0, op.number);
    check_held();
}

void HeadCore::acknowledge_all() {
    for (uint32_t i = 0; i < ops_.size(); ++i) {
        acknowledge(ops_[i]);
    }
}

/// What every replica of the set has, and the one that joins, can be forgotten: the model's PASSED.
void HeadCore::advance_watermark() {
    while (!ops_.empty()) {
        const Op& op = ops_[0];
        const bool is_passed = mistakes_.moves_watermark_early
                                   ? op.acked.count() >= settings_.write_quorum
                                   : op.acked.contains(set_ | join_);
        if (!is_passed || !op.is_answered) {
            return;
        }
        // The replica that a copy goes to must still know which writes came after it was read.
        for (size_t i = 0; i < copies_.size() && copies_under_way_ > 0; ++i) {
            if (copies_[i].purpose != Copy::Purpose::kNone && copies_[i].as_of < op.number) {
                return;
            }
        }
        watermark_ = op.number;
        if (op.is_mine && op.write == WriteKind::kData) {
            act(HeadAction::Kind::kForgetWrite).data = op.data;
        }
        ops_.pop_front();
    }
}

/// For replicas that no write has told of it.
void HeadCore::spread_watermark() {
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        Peer& peer = peers_[i];
        if ((live_ | join_).has(i) && peer.is_linked && peer.is_at_epoch &&
            peer.told_watermark != watermark_) {
            send(i, {.kind = MessageKind::kTrim}, 0);
        }
    }
}

}  // namespace basalt::replication
