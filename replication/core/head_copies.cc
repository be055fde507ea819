#include <algorithm>
#include <bit>

#include "replication/core/head_core.h"

namespace basalt::replication {

namespace {

constexpr uint32_t kCopySlots = 0x8000;  // Ids of copies, beside those of reads.

}  // namespace

HeadCore::Copy* HeadCore::free_copy(uint32_t keep_free) {
    Copy* found = nullptr;
    uint32_t free = 0;
    for (Copy& copy : copies_) {
        if (copy.purpose == Copy::Purpose::kNone) {
            found = &copy;
            ++free;
        }
    }
    return free > keep_free ? found : nullptr;
}

/// The nearest of them that can be read; settings_.replicas if none can. One that failed to read
/// what shall be copied is the last resort.
uint32_t HeadCore::copy_source(ReplicaSet from) const {
    uint32_t best = settings_.replicas;
    uint32_t best_cost = ~0U;
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        const uint32_t cost = settings_.distance[i] + (unreadable_.has(i) ? 1000U : 0U);
        if (from.has(i) && peers_[i].is_linked && !peers_[i].has_failed && cost < best_cost) {
            best = i;
            best_cost = cost;
        }
    }
    return best;
}

ReplicaSet HeadCore::at_epoch() const {
    ReplicaSet set;
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        if (live_.has(i) && peers_[i].is_at_epoch) {
            set.add(i);
        }
    }
    return set;
}

void HeadCore::start_copy(Copy& copy) {
    const auto slot = static_cast<uint32_t>(&copy - copies_.data()) | kCopySlots;
    ++copies_under_way_;
    copy.as_of = ops_.empty() ? std::max(watermark_, OpNumber{epoch_, count_})
                              : ops_[ops_.size() - 1].number;
    copy.id = send(copy.source, {.kind = MessageKind::kCopyRead, .range = copy.range}, slot);
}

void HeadCore::on_copy_reply(uint32_t replica, const Reply& reply) {
    const auto slot = static_cast<uint32_t>(reply.id & 0x7fff);
    Copy* copy = slot < copies_.size() ? &copies_[slot] : nullptr;
    if (copy == nullptr || copy->purpose == Copy::Purpose::kNone || copy->id != reply.id) {
        if (reply.kind == MessageKind::kCopyRead) {
            forget_read(reply.id);
        }
        return;
    }
    const Copy::Purpose purpose = copy->purpose;
    if (reply.kind == MessageKind::kCopyRead && reply.status == Errc::kOk) {
        copy->data = reply.id;
        // A write that began after the copy: it may be in what was read, and be lost later.
        if (!copy->is_overtaken || mistakes_.lets_resync_race) {
            copy->is_writing = true;
            copy->id = send(copy->target,
                            {.kind = MessageKind::kCopy,
                             .number = copy->number,
                             .range = copy->range,
                             .as_of = copy->as_of,
                             .is_exact = copy->purpose == Copy::Purpose::kSettle,
                             .data = copy->data},
                            slot | kCopySlots);
            return;
        }
        end_copy(*copy);
    } else if (reply.status == Errc::kOk) {
        progress_us_ = now_us_;
        copied(*copy);
        end_copy(*copy);
    } else {
        if (reply.kind == MessageKind::kCopyRead) {
            forget_read(reply.id);
        }
        const uint32_t target = copy->target;
        end_copy(*copy);
        // In a beginning and in a join nothing may be left out: from the start, without the one
        // that can't be read or written.
        if (purpose == Copy::Purpose::kSettle) {
            restart_work(peers_[target]);
            peers_[replica].has_failed = true;
        } else if (purpose == Copy::Purpose::kJoin && replica == target) {
            reset_link(target);
        } else if (purpose == Copy::Purpose::kJoin) {
            // Round about: what this one can't read another one can.
            unreadable_ = unreadable_.contains(live_ - ReplicaSet::of(replica))
                              ? ReplicaSet::of(replica)
                              : unreadable_ | ReplicaSet::of(replica);
        }
    }
    if (state_ == State::kAgreeing || state_ == State::kOpening) {
        settle_replicas();
    } else {
        advance_watermark();
        settle_copied_ops();
        copy_for_join();
        consider_members();
    }
}

void HeadCore::copied(const Copy& copy) {
    if (copy.purpose == Copy::Purpose::kRepair) {
        HeadAction& mended = act(HeadAction::Kind::kMended);
        mended.replica = copy.target;
        mended.range = copy.range;
    }
    if (copy.purpose != Copy::Purpose::kJoin) {
        return;
    }
    for (uint64_t block = copy.range.first; block < copy.range.end(); ++block) {
        todo_.clear(block);
    }
}

void HeadCore::end_copy(Copy& copy) {
    if (copy.purpose == Copy::Purpose::kNone) {
        return;
    }
    if (copy.data != 0) {
        forget_read(copy.data);
    }
    copy = Copy{};
    --copies_under_way_;
}

void HeadCore::end_copies_of(uint32_t replica) {
    for (Copy& copy : copies_) {
        if (copy.purpose == Copy::Purpose::kNone ||
            (copy.source != replica && copy.target != replica)) {
            continue;
        }
        if (copy.purpose == Copy::Purpose::kSettle) {
            restart_work(peers_[copy.target]);
        }
        // One that is being written needs its source no more.
        if (copy.target == replica || !copy.is_writing) {
            end_copy(copy);
        }
    }
}

void HeadCore::overtake_copies(BlockRange range) {
    for (size_t i = 0; i < copies_.size() && copies_under_way_ > 0; ++i) {
        if (copies_[i].purpose != Copy::Purpose::kNone && copies_[i].range.overlaps(range)) {
            copies_[i].is_overtaken = true;
        }
    }
}

/// Rewrites what one replica could not read, or has otherwise than the others. If a write to it is
/// under way, the next read finds it again.
void HeadCore::repair(BlockRange range, uint32_t source, ReplicaSet targets) {
    for (uint64_t block = range.first; block < range.end(); ++block) {
        if (!is_quiet(block, source, targets)) {
            return;
        }
    }
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        if (!targets.has(i) || !peers_[i].is_linked || !peers_[source].is_linked) {
            continue;
        }
        Copy* copy = free_copy(0);
        if (copy == nullptr) {
            return;
        }
        *copy =
            Copy{.purpose = Copy::Purpose::kRepair, .range = range, .source = source, .target = i};
        start_copy(*copy);
    }
}

/// The model's QUIET: what `source` has of the block can't be lost, and no write to it is on its
/// way to `target`. The model asks that all replicas have each write; that it is acknowledged is
/// enough, for then every later head finds it. So a dead replica does not hold up another one's
/// return.
bool HeadCore::is_quiet(uint64_t block, uint32_t source, ReplicaSet target) const {
    if (mistakes_.lets_resync_race) {
        return true;
    }
    for (uint32_t i = 0; i < ops_.size() && ops_.may_touch({block, 1}); ++i) {
        const Op& op = ops_[i];
        // A replica that counts must have it, so that no line is drawn through a copy.
        const ReplicaSet awaited = target & (live_ | op.sent);
        if (op.range.covers(block) &&
            (!op.is_answered || !op.acked.has(source) || !op.acked.contains(awaited))) {
            return false;
        }
    }
    for (const Copy& copy : copies_) {
        if (copy.purpose != Copy::Purpose::kNone && copy.range.covers(block)) {
            return false;
        }
    }
    return true;
}

/// Whether the rate has room for another copy, and hosts do.
bool HeadCore::may_copy() const {
    const bool is_busy = now_us_ - host_us_ < kHostFirstUs;
    const auto under_way = std::count_if(copies_.begin(), copies_.end(), [](const Copy& copy) {
        return copy.purpose == Copy::Purpose::kJoin;
    });
    return (!is_busy || under_way == 0) && copied_us_ <= now_us_;
}

void HeadCore::charge_copy(uint32_t blocks) {
    if (settings_.resync_bytes_per_second == 0) {
        return;
    }
    const uint64_t earliest_us = now_us_ - std::min(now_us_, kResyncBurstUs);
    copied_us_ = std::max(copied_us_, earliest_us) +
                 uint64_t{blocks} * kBlockBytes * 1'000'000 / settings_.resync_bytes_per_second;
}

/// Starts a copy at `block` if it may begin there. False if there is no room for another.
/// `is_urgent`: the watermark waits for it.
bool HeadCore::copy_run(uint64_t block, uint64_t end, uint32_t source, bool is_urgent) {
    Copy* copy = is_urgent || may_copy() ? free_copy(2 * kReplicasMax) : nullptr;
    if (copy == nullptr) {
        return false;
    }
    uint32_t count = 0;
    end = std::min(end, boundary_after(block));
    while (block + count < end && count < kRangeBlocksMax && todo_.has(block + count) &&
           is_quiet(block + count, source, join_)) {
        ++count;
    }
    if (count > 0) {
        *copy = Copy{.purpose = Copy::Purpose::kJoin,
                     .range = {block, count},
                     .source = source,
                     .target = static_cast<uint32_t>(std::countr_zero(join_.bits()))};
        start_copy(*copy);
        charge_copy(count);
    }
    return true;
}

/// The model's COPY. First what writes under way have touched, because the watermark waits for it;
/// then the rest, round about.
void HeadCore::copy_for_join() {
    if (join_.empty() || !is_joining_ready_ || has_pending_) {
        return;
    }
    const uint32_t source = copy_source(at_epoch() & set_);
    for (uint32_t i = 0; i < ops_.size() && source != settings_.replicas; ++i) {
        const Op& op = ops_[i];
        if ((op.by_copy & join_).empty()) {
            continue;
        }
        for (uint64_t block = op.range.first; block < op.range.end(); ++block) {
            if (todo_.has(block) && !copy_run(block, op.range.end(), source, true)) {
                return;
            }
        }
    }
    // At most once round; blocks that are not quiet are tried again at the next event.
    const uint64_t start = todo_cursor_;
    bool is_round = false;
    while (!todo_.empty() && source != settings_.replicas) {
        const uint64_t block = todo_.next(todo_cursor_);
        if (block >= settings_.blocks || (is_round && block >= start)) {
            if (is_round) {
                break;
            }
            is_round = true;
            todo_cursor_ = 0;
            continue;
        }
        if (!copy_run(block, settings_.blocks, source, false)) {
            break;
        }
        todo_cursor_ = block + 1;
    }
    settle_copied_ops();
    consider_joined();
}

/// A write that the joining replica gets by a copy is there when all of its blocks are.
void HeadCore::settle_copied_ops() {
    if (join_.empty() || !is_joining_ready_) {
        return;
    }
    bool has_learned = false;
    for (uint32_t i = 0; i < ops_.size(); ++i) {
        Op& op = ops_[i];
        if ((op.by_copy & join_).empty()) {
            continue;
        }
        bool is_there = true;
        for (uint64_t block = op.range.first; block < op.range.end(); ++block) {
            is_there = is_there && !todo_.has(block);
        }
        if (is_there) {
            op.by_copy = op.by_copy - join_;
            op.acked = op.acked | join_;
            has_learned = true;
        }
    }
    if (has_learned) {
        advance_watermark();
        for (uint32_t i = 0; i < settings_.replicas; ++i) {
            if (join_.has(i) && peers_[i].is_gated) {
                pump(i);
            }
        }
    }
}

}  // namespace basalt::replication
