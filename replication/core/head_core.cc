#include "replication/core/head_core.h"

#include <algorithm>

namespace basalt::replication {

namespace {

// The low bits of a message's id say who waits for its answer.
constexpr uint32_t kSlotBits = 16;

/// What one call may lead to at most: each write goes to each replica, is answered and forgotten;
/// each read is asked for, twice in turn, everywhere, answered, and what came of it forgotten; each
/// copy likewise. And control messages, questions to the authority and the like.
size_t actions_max(const Settings& settings) {
    const size_t replicas = settings.replicas;
    const size_t copies = settings.resync_copies + 2 * kReplicasMax;
    return settings.window_ops * (replicas + 2) + settings.reads * (4 * replicas + 4) +
           copies * (2 * replicas + 4) + 64;
}

}  // namespace

HeadCore::HeadCore(const Settings& settings, const Mistakes& mistakes)
    : settings_(settings),
      mistakes_(mistakes),
      ops_(settings.window_ops * kWindowEntriesPerOp),
      dirty_(settings.blocks),
      todo_(settings.blocks),
      reads_(settings.reads),
      copies_(settings.resync_copies + 2 * kReplicasMax) {
    BASALT_ASSERT(settings.validate().has_value());
    const uint32_t entries = settings.window_ops * kWindowEntriesPerOp;
    for (uint32_t i = 0; i < settings.replicas; ++i) {
        peers_[i].window = Window(entries);
    }
    known_.reserve(size_t{entries} * settings.replicas);
    work_.reserve(size_t{entries} * settings.replicas * 2);
    active_reads_.reserve(settings.reads);
    free_reads_.reserve(settings.reads);
    for (uint32_t i = settings.reads; i > 0; --i) {
        free_reads_.push_back(i - 1);
    }
    actions_.reserve(actions_max(settings));
}

HeadCore::Actions HeadCore::apply(const HeadEvent& event) {
    actions_.clear();
    BASALT_ASSERT(event.now_us >= now_us_);
    now_us_ = event.now_us;
    switch (event.kind) {
        case HeadEvent::Kind::kGranted: begin(event); break;
        case HeadEvent::Kind::kLinkUp: link_up(event.replica); break;
        case HeadEvent::Kind::kLinkDown: link_down(event.replica); break;
        case HeadEvent::Kind::kWrite:
        case HeadEvent::Kind::kSnapshot: host_write(event); break;
        case HeadEvent::Kind::kRead: host_read(event); break;
        case HeadEvent::Kind::kDropLine: drop_line(event.number); break;
        case HeadEvent::Kind::kReply: on_reply(event.replica, *event.reply); break;
        case HeadEvent::Kind::kSetAnswer:
            if (has_pending_) {
                adopt(event.is_granted);
            }
            break;
        case HeadEvent::Kind::kOpenAnswer:
            if (state_ == State::kOpening) {
                open(event);
            }
            break;
        case HeadEvent::Kind::kLease:
            lease_until_us_ = std::max(lease_until_us_, event.lease_until_us);
            check_held();
            break;
        case HeadEvent::Kind::kTick:
            is_short_ = event.is_short;
            tick();
            break;
        case HeadEvent::Kind::kStop: stop(false); break;
    }
    if (wants_room_ && state_ == State::kOpen && ops_.size() < settings_.window_ops &&
        !free_reads_.empty()) {
        wants_room_ = false;
        act(HeadAction::Kind::kRoom);
    }
    return actions_;
}

HeadAction& HeadCore::act(HeadAction::Kind kind) {
    BASALT_ASSERT(actions_.size() < actions_.capacity());
    HeadAction& action = actions_.emplace_back();
    action.kind = kind;
    return action;
}

ReplicaSet HeadCore::linked() const {
    ReplicaSet set;
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        if (peers_[i].is_linked) {
            set.add(i);
        }
    }
    return set;
}

uint32_t HeadCore::quorum() const {
    return mistakes_.acks_before_quorum ? 1 : settings_.write_quorum;
}

Errc HeadCore::check_range(BlockRange range) const {
    if (range.count == 0 || range.count > kRangeBlocksMax ||
        range.first + range.count > boundary_after(range.first) ||
        range.first / settings_.chunk_blocks !=
            (range.first + range.count - 1) / settings_.chunk_blocks) {
        return Errc::kInvalidArgument;
    }
    return range.first < settings_.blocks && range.count <= settings_.blocks - range.first
               ? Errc::kOk
               : Errc::kOutOfRange;
}

uint64_t HeadCore::send(uint32_t replica, const Message& message, uint32_t slot) {
    Peer& peer = peers_[replica];
    BASALT_ASSERT(peer.is_linked);
    peer.told_watermark = watermark_;
    if (message.kind != MessageKind::kTrim) {
        if (peer.unanswered == 0) {
            peer.silent_since_us = now_us_;
        }
        ++peer.unanswered;
    }
    HeadAction& action = act(HeadAction::Kind::kSend);
    action.replica = replica;
    Message& sent = action.message;
    sent = message;
    sent.epoch = epoch_;
    sent.tenure = tenure_;
    sent.session = peer.session;
    sent.id = (++ids_ << kSlotBits) | slot;
    sent.watermark = watermark_;
    return sent.id;
}

void HeadCore::send_control(uint32_t replica, const Message& message) {
    Peer& peer = peers_[replica];
    peer.has_asked = true;
    peer.control_id = send(replica, message, (1U << kSlotBits) - 1);
}

void HeadCore::answer(uint64_t tag, Errc status, uint64_t data, OpNumber number) {
    HeadAction& action = act(HeadAction::Kind::kAnswer);
    action.tag = tag;
    action.status = status;
    action.data = data;
    action.number = number;
}

void HeadCore::forget_read(uint64_t id) {
    act(HeadAction::Kind::kForgetRead).data = id;
}

void HeadCore::reset_link(uint32_t replica) {
    if (peers_[replica].is_linked) {
        act(HeadAction::Kind::kResetLink).replica = replica;
        link_down(replica);
    }
}

void HeadCore::link_up(uint32_t replica) {
    BASALT_ASSERT(replica < settings_.replicas);
    Peer& peer = peers_[replica];
    if (peer.is_linked) {
        link_down(replica);
    }
    peer.is_linked = true;
    peer.has_failed = false;
    ++peer.session;
    peer.unanswered = 0;
    greet(replica);
}

/// What there is to say first on a new connection.
void HeadCore::greet(uint32_t replica) {
    switch (state_) {
        case State::kIdle: return;
        case State::kRecovering:
            if (set_.has(replica)) {
                send_control(replica, {.kind = MessageKind::kFence});
            }
            return;
        case State::kAgreeing:
        case State::kOpening: settle_replicas(); return;
        case State::kOpen: break;
    }
    if (live_.has(replica)) {
        send_control(replica,
                     {.kind = MessageKind::kCarryOn,
                      .generation = generation_,
                      .is_replica_away = live_ != all()});
    }
    consider_members();
    place_all();
    copy_for_join();
}

void HeadCore::link_down(uint32_t replica) {
    BASALT_ASSERT(replica < settings_.replicas);
    Peer& peer = peers_[replica];
    if (!peer.is_linked) {
        return;
    }
    peer.is_linked = false;
    peer.is_at_epoch = false;
    peer.has_asked = false;
    peer.is_gated = false;
    peer.unanswered = 0;
    peer.silent_since_us = now_us_;
    restart_work(peer);
    if (state_ == State::kRecovering) {
        // It may come back as a new drive: what it has said counts no more.
        heard_.remove(replica);
        peer.is_heard = false;
    }
    for (uint32_t i = 0; i < ops_.size(); ++i) {
        ops_[i].sent.remove(replica);
    }
    end_copies_of(replica);
    if (join_.has(replica) && !has_pending_) {
        abort_join();
    }
    lose_reads_of(replica);
    if (state_ == State::kOpen) {
        copy_for_join();
    }
}

void HeadCore::tick() {
    switch (state_) {
        case State::kIdle: return;
        case State::kRecovering:
            consider_deciding();
            retry_failed();
            return;
        case State::kAgreeing:
            settle_replicas();
            consider_opening();
            retry_failed();
            return;
        case State::kOpening: return;
        case State::kOpen: break;
    }
    time_out_reads();
    check_held();
    consider_members();
    retry_failed();
    copy_for_join();
    place_all();
    spread_watermark();
}

bool HeadCore::is_at_rest() const {
    if (state_ == State::kIdle) {
        return true;
    }
    if (state_ != State::kOpen || has_pending_ || live_ != set_ || !join_.empty() ||
        !ops_.empty() || !active_reads_.empty() || copies_under_way_ > 0) {
        return false;
    }
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        const Peer& peer = peers_[i];
        const bool is_well = peer.is_linked && peer.is_at_epoch && !peer.has_failed &&
                             peer.unanswered == 0 && peer.told_watermark == watermark_;
        // One that is not in the set can only come back.
        if (set_.has(i) ? !is_well : peer.is_linked && !peer.has_failed) {
            return false;
        }
    }
    return true;
}

void HeadCore::on_reply(uint32_t replica, const Reply& reply) {
    BASALT_ASSERT(replica < settings_.replicas);
    Peer& peer = peers_[replica];
    const bool has_data = reply.kind == MessageKind::kRead || reply.kind == MessageKind::kCopyRead;
    const bool is_current = peer.is_linked && reply.session == peer.session;
    if (is_current) {
        // Also of what an earlier tenure asked: it is the replica that is judged.
        peer.unanswered -= peer.unanswered > 0 ? 1 : 0;
        peer.silent_since_us = now_us_;
    }
    if (!is_current || state_ == State::kIdle) {
        if (has_data) {
            forget_read(reply.id);
        }
        return;
    }
    if (reply.status == Errc::kStaleEpoch && reply.epoch > epoch_) {
        if (has_data) {
            forget_read(reply.id);
        }
        stop(true);
        return;
    }
    switch (reply.kind) {
        case MessageKind::kWrite: on_write_reply(replica, reply); return;
        case MessageKind::kRead: on_read_reply(replica, reply); return;
        case MessageKind::kCopyRead:
        case MessageKind::kCopy: on_copy_reply(replica, reply); return;
        case MessageKind::kFence:
        case MessageKind::kSettle:
        case MessageKind::kCarryOn:
        case MessageKind::kJoin:
        case MessageKind::kJoined: on_control_reply(replica, reply); return;
        case MessageKind::kDropLine:
            if (reply.status == Errc::kOk) {
                HeadAction& action = act(HeadAction::Kind::kLineDropped);
                action.replica = replica;
                action.number = reply.number;
            }
            return;
        case MessageKind::kTrim: return;
    }
}

void HeadCore::on_control_reply(uint32_t replica, const Reply& reply) {
    Peer& peer = peers_[replica];
    if (!peer.has_asked || reply.id != peer.control_id) {
        return;
    }
    peer.has_asked = false;
    if (reply.status != Errc::kOk) {
        // It is in no state that this head can go on with, or its store failed.
        peer.has_failed = true;
        if (join_.has(replica) && !has_pending_) {
            reset_link(replica);
        }
        return;
    }
    switch (reply.kind) {
        case MessageKind::kFence: on_fenced(replica, reply); return;
        case MessageKind::kSettle: on_settled(replica); return;
        case MessageKind::kCarryOn:
            peer.is_at_epoch = true;
            pump(replica);
            consider_members();
            place_all();
            copy_for_join();
            return;
        case MessageKind::kJoin: on_joining(replica, reply); return;
        case MessageKind::kJoined: {
            pending_ = set_ | join_;
            has_pending_ = true;
            HeadAction& action = act(HeadAction::Kind::kAskSet);
            action.set = pending_;
            action.epoch = epoch_;
            return;
        }
        case MessageKind::kWrite:
        case MessageKind::kRead:
        case MessageKind::kTrim:
        case MessageKind::kCopyRead:
        case MessageKind::kCopy:
        case MessageKind::kDropLine: return;
    }
}

void HeadCore::stop(bool is_superseded) {
    for (uint32_t i = 0; i < ops_.size(); ++i) {
        const Op& op = ops_[i];
        if (op.is_mine && !op.is_answered) {
            answer(op.tag, Errc::kStaleEpoch);
        }
        if (op.is_mine && op.write == WriteKind::kData) {
            act(HeadAction::Kind::kForgetWrite).data = op.data;
        }
    }
    ops_.clear();
    for_each_read([this](Read& read) { finish_read(read, Errc::kStaleEpoch); });
    for (Copy& copy : copies_) {
        end_copy(copy);
    }
    live_ = join_ = pending_ = heard_ = counted_ = settled_ = ReplicaSet();
    has_pending_ = is_joining_ready_ = false;
    lease_until_us_ = 0;
    todo_.clear_all();
    for (Peer& peer : peers_) {
        peer.is_at_epoch = peer.has_asked = peer.is_gated = peer.is_heard = false;
    }
    const bool was_busy = state_ != State::kIdle;
    state_ = State::kIdle;
    if (wants_room_) {
        wants_room_ = false;
        act(HeadAction::Kind::kRoom);
    }
    if (is_superseded && was_busy) {
        act(HeadAction::Kind::kSuperseded);
    }
}

}  // namespace basalt::replication
