#include <algorithm>
#include <utility>

#include "replication/core/head_core.h"

namespace basalt::replication {

void HeadCore::host_read(const HeadEvent& event) {
    const Errc status = check_range(event.range);
    if (status != Errc::kOk || state_ == State::kIdle) {
        answer(event.tag, status != Errc::kOk ? status : Errc::kStaleEpoch);
        return;
    }
    if (state_ != State::kOpen || free_reads_.empty()) {
        wants_room_ = true;
        act(HeadAction::Kind::kLater).tag = event.tag;
        return;
    }
    Read& read = reads_[free_reads_.back()];
    read = Read{.state = Read::State::kAsking,
                .tag = event.tag,
                .range = event.range,
                .place = static_cast<uint32_t>(active_reads_.size())};
    active_reads_.push_back(free_reads_.back());
    free_reads_.pop_back();
    read.wanted = (live_ & set_).count();
    // Of more blocks than one the right ones may be here and there: nobody has all of them. And
    // what one replica can read is not right because another one can't: all are asked first.
    read.is_mended =
        (event.compares_all && event.range.count == 1) || mistakes_.mends_without_asking;
    if (!event.compares_all) {
        host_us_ = now_us_;
        read.wanted = std::min(settings_.read_quorum, read.wanted);
    }
    for (uint32_t i = 0; i < ops_.size() && ops_.may_touch(event.range); ++i) {
        const Op& op = ops_[i];
        if (op.range.overlaps(event.range) && !op.acked.contains(live_)) {
            read.is_quiet = false;
        }
    }
    place(read);
}

/// The model's CURRENT: it has everything of the range that a host was told of.
bool HeadCore::has_all_acknowledged(uint32_t replica, BlockRange range) const {
    for (uint32_t i = 0; i < ops_.size() && ops_.may_touch(range); ++i) {
        const Op& op = ops_[i];
        if (op.range.overlaps(range) && op.is_answered && !op.acked.has(replica)) {
            return false;
        }
    }
    return true;
}

/// The best replica to ask; settings_.replicas if there is none. One that is silent is the last.
uint32_t HeadCore::choose(const Read& read) const {
    uint32_t best = settings_.replicas;
    uint64_t best_cost = ~uint64_t{0};
    for (uint32_t turn = 0; turn < settings_.replicas; ++turn) {
        const uint32_t i = (turn + read_turn_) % settings_.replicas;
        const Peer& peer = peers_[i];
        if (!(live_ & set_).has(i) || !peer.is_linked || !peer.is_at_epoch || peer.has_failed ||
            read.tried.has(i) || !has_all_acknowledged(i, read.range)) {
            continue;
        }
        const bool is_slow =
            peer.unanswered > 0 && now_us_ - peer.silent_since_us >= settings_.slow_us;
        const uint64_t cost =
            (is_slow ? 1000U : 0U) + (settings_.prefers_nearest ? settings_.distance[i] : 0U);
        if (cost < best_cost) {
            best = i;
            best_cost = cost;
        }
    }
    return best;
}

void HeadCore::place(Read& read) {
    if (read.state != Read::State::kAsking) {
        return;
    }
    const auto slot = static_cast<uint32_t>(&read - reads_.data());
    while (true) {
        uint32_t there = read.asked.count();
        for (const ReadAnswer& one : read.answers) {
            there += uint32_t{one.is_there};
        }
        if (there >= read.wanted) {
            return;
        }
        const uint32_t replica = choose(read);
        if (replica == settings_.replicas) {
            break;
        }
        ++read_turn_;
        read.asked.add(replica);
        read.tried.add(replica);
        read.asked_us = now_us_;
        read.answers[replica].id =
            send(replica, {.kind = MessageKind::kRead, .range = read.range}, slot);
    }
    if (!read.asked.empty()) {
        return;
    }
    if (read.bad.contains(live_ & set_)) {
        finish_read(read, Errc::kDataCorrupt);
        return;
    }
    // Those that were to be compared may have left the set, or have nothing to compare.
    read.wanted = std::clamp(((live_ & set_) - read.bad).count(), 1U, read.wanted);
    // Nobody is left to ask now: those that were only slow or gone may be asked again later.
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        if (!read.answers[i].is_there && !read.bad.has(i)) {
            read.tried.remove(i);
        }
    }
}

void HeadCore::place_all() {
    for_each_read([this](Read& read) {
        place(read);
        if (read.state == Read::State::kAsking) {
            compare(read);
        }
    });
}

void HeadCore::on_read_reply(uint32_t replica, const Reply& reply) {
    const auto slot = static_cast<uint32_t>(reply.id & 0xffff);
    Read* read = slot < reads_.size() ? &reads_[slot] : nullptr;
    if (read == nullptr || read->state != Read::State::kAsking || !read->asked.has(replica) ||
        read->answers[replica].id != reply.id) {
        forget_read(reply.id);  // Somebody else has answered meanwhile.
        return;
    }
    read->asked.remove(replica);
    if (reply.status != Errc::kOk) {
        forget_read(reply.id);
        if (reply.status == Errc::kDataCorrupt || reply.status == Errc::kMediaError) {
            read->bad.add(replica);
            read->unreadable.add(replica);
        }
        // A replica that is not in this epoch yet is asked again when it is.
        place(*read);
        if (read->state != Read::State::kAsking) {
            return;
        }
    } else {
        ReadAnswer& one = read->answers[replica];
        one.is_there = true;
        one.digest = reply.digest;
        one.newest = reply.newest;
        if (!read->bad.empty()) {
            place(*read);  // It may be the last that there is to compare.
        }
    }
    compare(*read);
}

/// When all that were asked have answered: chooses the answer that counts.
void HeadCore::compare(Read& read) {
    uint32_t there = 0;
    uint32_t best = settings_.replicas;
    uint32_t best_votes = 0;
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        if (!read.answers[i].is_there) {
            continue;
        }
        ++there;
        uint32_t votes = 0;
        for (const ReadAnswer& other : read.answers) {
            votes += uint32_t{other.is_there && other.digest == read.answers[i].digest};
        }
        if (votes > best_votes) {
            best = i;
            best_votes = votes;
        }
    }
    if (!read.asked.empty() || there < read.wanted) {
        return;
    }
    // While a write to the range is under way, copies differ and all of them are right.
    if (read.is_quiet && best_votes * 2 <= there) {
        if (choose(read) == settings_.replicas) {
            for (uint32_t i = 0; i < settings_.replicas; ++i) {
                read.bad = read.answers[i].is_there ? read.bad | ReplicaSet::of(i) : read.bad;
            }
            finish_read(read, Errc::kDataCorrupt);
            return;
        }
        ++read.wanted;
        place(read);
        return;
    }
    for (uint32_t i = 0; i < settings_.replicas && read.is_quiet; ++i) {
        if (read.answers[i].is_there && read.answers[i].digest != read.answers[best].digest) {
            read.bad.add(i);
        }
    }
    read.chosen = best;
    read.state = Read::State::kHeld;
    ++held_reads_;
    settle(read);
}

/// The model's SAFE and MAY_ANSWER: what is told can't be lost any more, and no other head has
/// begun.
void HeadCore::settle(Read& read) {
    if (now_us_ >= lease_until_us_ && !mistakes_.has_no_lease) {
        return;
    }
    const OpNumber newest = read.answers[read.chosen].newest;
    const bool is_touched = ops_.may_touch(read.range) && !mistakes_.reads_unacknowledged;
    for (uint32_t i = 0; i < ops_.size() && is_touched; ++i) {
        const Op& op = ops_[i];
        if (!op.is_answered && op.number <= newest && op.range.overlaps(read.range)) {
            return;
        }
    }
    const ReplicaSet bad = read.is_mended ? read.bad & live_ : ReplicaSet();
    const BlockRange range = read.range;
    const uint32_t source = read.chosen;
    finish_read(read, Errc::kOk);
    if (!bad.empty() && (live_ & set_).has(source)) {
        repair(range, source, bad);
    }
}

void HeadCore::finish_read(Read& read, Errc status) {
    const uint64_t chosen = status == Errc::kOk ? read.answers[read.chosen].id : 0;
    for (const ReadAnswer& one : read.answers) {
        if (one.is_there && one.id != chosen) {
            forget_read(one.id);
        }
    }
    ReplicaSet heard = read.bad;
    for (uint32_t i = 0; i < settings_.replicas; ++i) {
        heard = read.answers[i].is_there ? heard | ReplicaSet::of(i) : heard;
    }
    answer(read.tag, status, chosen);
    HeadAction& told = actions_.back();
    told.different = read.bad - read.unreadable;
    told.unreadable = read.unreadable;
    told.is_compared = read.is_quiet && heard.contains(live_ & set_);
    held_reads_ -= uint32_t{read.state == Read::State::kHeld};
    read.state = Read::State::kFree;
    const uint32_t last = active_reads_.back();
    free_reads_.push_back(std::exchange(active_reads_[read.place], last));
    reads_[last].place = read.place;
    active_reads_.pop_back();
}

void HeadCore::check_held() {
    if (held_reads_ == 0) {
        return;
    }
    for_each_read([this](Read& read) {
        if (read.state == Read::State::kHeld) {
            settle(read);
        }
    });
}

void HeadCore::time_out_reads() {
    for_each_read([this](Read& read) {
        if (read.state != Read::State::kAsking || read.asked.empty() ||
            now_us_ - read.asked_us < settings_.read_timeout_us) {
            return;
        }
        read.asked = ReplicaSet();  // Their late answers are not waited for.
        place(read);
        if (read.state == Read::State::kAsking) {
            compare(read);
        }
    });
}

void HeadCore::lose_reads_of(uint32_t replica) {
    for_each_read([this, replica](Read& read) {
        if (read.state == Read::State::kAsking && read.asked.has(replica)) {
            read.asked.remove(replica);
            place(read);
            if (read.state == Read::State::kAsking) {
                compare(read);
            }
        }
    });
}

}  // namespace basalt::replication
