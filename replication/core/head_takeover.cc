#include <algorithm>

#include "replication/core/head_core.h"

namespace basalt::replication {

namespace {

/// Whether all that a replica says it has is of epochs before `epoch`, as it must be: what is not
/// would pass for newer than everything that this head writes.
bool is_of_before(const Reply& reply, Epoch epoch) {
    const bool are_entries =
        std::all_of(reply.window.begin(), reply.window.end(), [epoch](const WindowEntry& entry) {
            return entry.number.epoch < epoch;
        });
    return are_entries && reply.agreed < epoch && reply.watermark.epoch < epoch &&
           reply.generation.epoch < epoch;
}

}  // namespace

/// The model's GRANT, then FENCE for each of the set.
void HeadCore::begin(const HeadEvent& event) {
    if (event.epoch <= epoch_) {
        return;  // Late, or said twice.
    }
    stop(false);
    epoch_ = tenure_ = event.epoch;
    set_ = event.set & all();
    state_ = State::kRecovering;
    count_ = 0;
    watermark_ = generation_ = OpNumber{};
    dirty_.clear_all();
    began_us_ = now_us_;
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        peers_[i].window.clear();
        peers_[i].has_failed = false;
        peers_[i].silent_since_us = now_us_;
        if (peers_[i].is_linked) {
            greet(i);
        }
    }
}

void HeadCore::on_fenced(uint32_t replica, const Reply& reply) {
    Peer& peer = peers_[replica];
    if (state_ != State::kRecovering || !set_.has(replica) || reply.is_blank ||
        reply.dirty == nullptr || reply.dirty->blocks() != settings_.blocks ||
        reply.window.size() > peer.window.entries_max()) {
        return;
    }
    if (!is_of_before(reply, epoch_)) {
        peer.has_failed = true;
        return;
    }
    peer.is_heard = true;
    peer.agreed = reply.agreed;
    peer.watermark = reply.watermark;
    peer.generation = reply.generation;
    peer.window.replace(reply.window);
    restart_work(peer);
    heard_.add(replica);
    dirty_.merge(*reply.dirty);
    consider_deciding();
}

/// The model's MAY_DECIDE. Those that are slow are waited for a little: whom the beginning leaves
/// out has to be dropped and brought up to date.
void HeadCore::consider_deciding() {
    const bool are_enough = heard_.count() >= settings_.takeover_quorum(set_.count());
    const bool has_waited = now_us_ - began_us_ >= settings_.takeover_wait_us;
    if (state_ == State::kRecovering && are_enough && (heard_ == set_ || has_waited)) {
        decide();
    }
}

/// The model's DECIDE: those count that took part in the last beginning; what the others have in
/// their windows is void.
void HeadCore::decide() {
    Epoch last;
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        last = heard_.has(i) ? std::max(last, peers_[i].agreed) : last;
    }
    counted_ = ReplicaSet();
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        if (heard_.has(i) && (peers_[i].agreed == last || mistakes_.counts_any_window)) {
            counted_.add(i);
            watermark_ = std::max(watermark_, peers_[i].watermark);
            generation_ = std::max(generation_, peers_[i].generation);
        }
    }
    work_.clear();
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        if (!heard_.has(i)) {
            continue;
        }
        if (!mistakes_.loses_dirty) {
            peers_[i].window.mark_blocks(dirty_);
        }
        if (counted_.has(i)) {
            // All that counted for this watermark have everything up to it.
            peers_[i].window.trim(watermark_);
        }
    }
    load_known(counted_);
    for (const WindowEntry& entry : known_) {
        work_.push_back(entry.range);
    }
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        if (!(heard_ - counted_).has(i)) {
            continue;
        }
        for (const WindowEntry& entry : peers_[i].window.entries()) {
            work_.push_back(entry.range);
        }
    }
    state_ = State::kAgreeing;
    began_us_ = progress_us_ = now_us_;
    settle_replicas();
}

/// All entries of those that count, each once, the lowest number first.
void HeadCore::load_known(ReplicaSet counted) {
    const auto is_less = [](const WindowEntry& a, const WindowEntry& b) {
        return a.number != b.number
                   ? a.number < b.number
                   : (a.range.first != b.range.first ? a.range.first < b.range.first
                                                     : a.range.count < b.range.count);
    };
    known_.clear();
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        if (counted.has(i)) {
            for (const WindowEntry& entry : peers_[i].window.entries()) {
                known_.push_back(entry);
            }
        }
    }
    std::sort(known_.begin(), known_.end(), is_less);
    known_.erase(std::unique(known_.begin(), known_.end()), known_.end());
}

HeadCore::Winner HeadCore::winner_of(uint64_t block) const {
    Winner winner;
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        if (!counted_.has(i)) {
            continue;
        }
        const OpNumber newest = peers_[i].window.newest({block, 1});
        if (newest > winner.number) {
            winner = {newest, ReplicaSet::of(i)};
        } else if (newest == winner.number) {
            winner.sources.add(i);
        }
    }
    return winner;
}

/// Whether the block must be copied to `replica`, so that it has what won.
bool HeadCore::lacks(uint32_t replica, uint64_t block, const Winner& winner) const {
    if (!counted_.has(replica)) {
        return true;
    }
    return peers_[replica].window.newest({block, 1}) != winner.number;
}

void HeadCore::settle_replicas() {
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        if (heard_.has(i) && !settled_.has(i)) {
            settle_replica(i);
        }
    }
}

void HeadCore::restart_work(Peer& peer) {
    peer.work_index = peer.work_offset = 0;
    peer.work_block = 0;
}

/// The model's SETTLE: what won is copied, piece by piece, then the replica is told that this is
/// all.
void HeadCore::settle_replica(uint32_t replica) {
    Peer& peer = peers_[replica];
    if (!peer.is_linked || peer.has_asked || peer.has_failed) {
        return;
    }
    for (const Copy& copy : copies_) {
        if (copy.purpose == Copy::Purpose::kSettle && copy.target == replica) {
            return;
        }
    }
    if (copy_known(replica) || copy_dirty(replica)) {
        return;
    }
    if (known_.size() > peer.window.entries_max()) {
        peer.has_failed = true;
        return;
    }
    send_control(replica,
                 {.kind = MessageKind::kSettle,
                  .generation = generation_,
                  .window = known_,
                  .dirty = &dirty_});
}

/// Copies the next of what windows cover and the replica has otherwise. False if that is all.
bool HeadCore::copy_known(uint32_t replica) {
    Peer& peer = peers_[replica];
    while (peer.work_index < work_.size()) {
        const BlockRange range = work_[peer.work_index];
        if (peer.work_offset >= range.count) {
            ++peer.work_index;
            peer.work_offset = 0;
            continue;
        }
        // A block is dealt with where its winner stands in the list, or, without one, wherever.
        const bool is_known = peer.work_index < known_.size();
        const OpNumber own = is_known ? known_[peer.work_index].number : OpNumber{};
        const uint64_t first = range.first + peer.work_offset;
        Winner winner = winner_of(first);
        if (winner.number != own || !lacks(replica, first, winner)) {
            ++peer.work_offset;
            continue;
        }
        uint32_t count = 1;
        while (first + count < range.end() && count < kRangeBlocksMax) {
            const Winner next = winner_of(first + count);
            if (next.number != own || !lacks(replica, first + count, next) ||
                (next.sources & winner.sources).empty()) {
                break;
            }
            winner.sources = winner.sources & next.sources;
            ++count;
        }
        if (copy_settled(replica, {first, count}, winner)) {
            peer.work_offset += count;
        }
        return true;
    }
    return false;
}

/// A replica that was coming back when the head before died does not have all that its window or
/// the others' leave out. All that may be missing anywhere is dirty.
bool HeadCore::copy_dirty(uint32_t replica) {
    Peer& peer = peers_[replica];
    if (counted_.has(replica) || peer.agreed != Epoch{}) {
        return false;
    }
    const auto is_next = [&](uint64_t block) {
        return block < settings_.blocks && dirty_.has(block) && winner_of(block).number.is_none();
    };
    uint64_t first = dirty_.next(peer.work_block);
    while (first < settings_.blocks && !is_next(first)) {
        first = dirty_.next(first + 1);
    }
    if (first >= settings_.blocks) {
        return false;
    }
    uint32_t count = 1;
    const uint64_t end = boundary_after(first);
    while (count < kRangeBlocksMax && first + count < end && is_next(first + count)) {
        ++count;
    }
    if (copy_settled(replica, {first, count}, winner_of(first))) {
        peer.work_block = first + count;
    }
    return true;
}

/// False if it can't begin now: again when somebody is there, or another one has ended.
bool HeadCore::copy_settled(uint32_t replica, BlockRange range, const Winner& winner) {
    const uint32_t source = copy_source(winner.sources);
    Copy* copy = source == settings_.replicas ? nullptr : free_copy(0);
    if (copy == nullptr) {
        return false;
    }
    *copy = Copy{.purpose = Copy::Purpose::kSettle,
                 .range = range,
                 .source = source,
                 .target = replica,
                 .number = winner.number};
    start_copy(*copy);
    return true;
}

void HeadCore::on_settled(uint32_t replica) {
    if (state_ != State::kAgreeing && state_ != State::kOpening) {
        return;
    }
    settled_.add(replica);
    progress_us_ = now_us_;
    consider_opening();
}

void HeadCore::consider_opening() {
    const bool has_waited = now_us_ - began_us_ >= settings_.takeover_wait_us;
    if (state_ == State::kAgreeing && settled_.count() >= quorum() &&
        (settled_ == heard_ || has_waited)) {
        state_ = State::kOpening;
        act(HeadAction::Kind::kAskOpen).epoch = epoch_;
        return;
    }
    if (state_ == State::kAgreeing && now_us_ - progress_us_ >= settings_.drop_timeout_us) {
        // What was decided on is with a replica that does not answer. Another beginning, in an
        // epoch of its own, may do without it.
        stop(true);
    }
}

/// The model's OPEN.
void HeadCore::open(const HeadEvent& event) {
    if (!event.is_granted) {
        stop(true);
        return;
    }
    for (Copy& copy : copies_) {
        end_copy(copy);
    }
    state_ = State::kOpen;
    lease_until_us_ = event.lease_until_us;
    live_ = settled_;
    for (const WindowEntry& entry : known_) {
        ops_.push_back({.number = entry.number,
                        .range = entry.range,
                        .generation = generation_,
                        .since_us = now_us_,
                        .sent = settled_,
                        .acked = settled_,
                        .is_answered = true});
    }
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        Peer& peer = peers_[i];
        peer.is_at_epoch = settled_.has(i) && peer.is_linked;
        // A beginning that has not been asked for any more; its answer is not waited for.
        peer.has_asked = false;
        if (settled_.has(i) && !peer.is_linked) {
            peer.silent_since_us = now_us_;
        }
    }
    if (live_ == all()) {
        dirty_.clear_all();
    }
    wants_room_ = true;
    advance_watermark();
    consider_members();
}

}  // namespace basalt::replication
