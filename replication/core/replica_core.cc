#include "replication/core/replica_core.h"

#include <algorithm>

namespace basalt::replication {

ReplicaState::ReplicaState(const Settings& settings)
    : window(settings.window_ops * kWindowEntriesPerOp), dirty(settings.blocks) {}

ReplicaCore::ReplicaCore(const Settings& settings,
                         const ReplicaState& state,
                         const Mistakes& mistakes)
    : settings_(settings),
      mistakes_(mistakes),
      state_(settings),
      slots_(settings.window_ops * 2 + settings.reads * 2 + 16),
      settle_window_(settings.window_ops * kWindowEntriesPerOp),
      settle_dirty_(settings.blocks) {
    state_ = state;
    // A copied vector has only the room that it needs.
    state_.window = Window(settings.window_ops * kWindowEntriesPerOp);
    state_.window.replace(state.window.entries());
    actions_.reserve(slots_.size() * 2);
}

bool ReplicaCore::is_control(MessageKind kind) {
    return kind == MessageKind::kFence || kind == MessageKind::kSettle ||
           kind == MessageKind::kCarryOn || kind == MessageKind::kJoin ||
           kind == MessageKind::kJoined;
}

/// Of a head that has been replaced, or of a connection of the same head that has been replaced.
bool ReplicaCore::is_stale(const Message& message) {
    if (message.tenure < session_tenure_ ||
        (message.tenure == session_tenure_ && message.session < session_)) {
        return true;
    }
    session_tenure_ = message.tenure;
    session_ = message.session;
    return false;
}

bool ReplicaCore::takes(const Message& message) const {
    if (mistakes_.skips_fence &&
        (message.kind == MessageKind::kWrite || message.kind == MessageKind::kRead)) {
        return !state_.is_blank;
    }
    const bool is_fenced_by_it = state_.fence == message.epoch;
    const bool is_member = state_.agreed == message.tenure;
    switch (message.kind) {
        case MessageKind::kWrite:
        case MessageKind::kTrim:
            return is_fenced_by_it && (is_member || state_.joining == message.epoch);
        case MessageKind::kRead: return is_fenced_by_it && is_member;
        case MessageKind::kCopyRead:
        case MessageKind::kCopy:
        case MessageKind::kSettle: return is_fenced_by_it && !state_.is_blank;
        case MessageKind::kJoined: return is_fenced_by_it && state_.joining == message.epoch;
        case MessageKind::kFence:
        case MessageKind::kJoin: return true;
        case MessageKind::kCarryOn: return is_member;
    }
    return false;
}

ReplicaCore::Actions ReplicaCore::apply(const Message& message) {
    actions_.clear();
    const bool is_refused = message.epoch < state_.fence || is_stale(message);
    if (is_refused && !(mistakes_.skips_fence && message.kind == MessageKind::kWrite)) {
        reply(message, Errc::kStaleEpoch);
        return actions_;
    }
    accept(message);
    start_waiting();
    return actions_;
}

void ReplicaCore::accept(const Message& message) {
    if (message.kind == MessageKind::kTrim) {
        if (takes(message)) {
            advance(message.watermark);
        }
        return;
    }
    if (message.range.count > kRangeBlocksMax || message.range.end() > settings_.blocks ||
        message.range.end() < message.range.first ||
        message.window.size() > settle_window_.entries_max() ||
        (message.dirty != nullptr && message.dirty->blocks() != settings_.blocks)) {
        reply(message, Errc::kInvalidArgument);
        return;
    }
    const auto free = std::find_if(slots_.begin(), slots_.end(), [](const Slot& slot) {
        return slot.state == Slot::State::kFree;
    });
    if (free == slots_.end()) {
        reply(message, Errc::kNoMemory);
        return;
    }
    free->order = ++arrivals_;
    free->message = message;
    free->message.window = {};
    free->message.dirty = nullptr;
    free->state = Slot::State::kWaiting;
    if (message.kind == MessageKind::kSettle) {
        settle_window_.replace(message.window);
    }
    if (message.dirty != nullptr) {
        settle_dirty_ = *message.dirty;
    }
}

/// A control message has the replica to itself. A write waits for those that came before it and
/// overlap. A read waits for nothing but control messages.
bool ReplicaCore::may_start(const Slot& slot) const {
    const Message& own = slot.message;
    for (const Slot& other : slots_) {
        if (other.state == Slot::State::kFree || &other == &slot) {
            continue;
        }
        const bool is_before = other.state != Slot::State::kWaiting || other.order < slot.order;
        if (!is_before) {
            continue;
        }
        if (is_control(own.kind) || is_control(other.message.kind)) {
            return false;
        }
        const bool is_other_write =
            other.message.kind == MessageKind::kWrite || other.message.kind == MessageKind::kCopy;
        const bool is_own_write = own.kind == MessageKind::kWrite || own.kind == MessageKind::kCopy;
        // A generation begins between writes, not beside them: what is stored before it is in the
        // snapshot, what comes after is not.
        const bool is_line =
            own.write == WriteKind::kBarrier || other.message.write == WriteKind::kBarrier;
        if (is_own_write && is_other_write &&
            (is_line || own.range.overlaps(other.message.range))) {
            return false;
        }
    }
    return true;
}

void ReplicaCore::start_waiting() {
    // In the order of arrival, which is not that of the slots. Rounds end: each frees or starts
    // at least one slot.
    while (true) {
        Slot* next = nullptr;
        for (Slot& slot : slots_) {
            if (slot.state == Slot::State::kWaiting &&
                (next == nullptr || slot.order < next->order) && may_start(slot)) {
                next = &slot;
            }
        }
        if (next == nullptr) {
            return;
        }
        const auto index = static_cast<uint32_t>(next - slots_.data());
        const Message& message = next->message;
        const bool is_refused = message.epoch < state_.fence && !mistakes_.skips_fence;
        if (is_refused || !takes(message)) {
            next->state = Slot::State::kFree;
            reply(message, is_refused ? Errc::kStaleEpoch : Errc::kTryAgain);
        } else if (message.kind == MessageKind::kRead || message.kind == MessageKind::kCopyRead) {
            next->state = Slot::State::kLoading;
            actions_.push_back(
                {.kind = ReplicaAction::Kind::kLoad, .slot = index, .message = message});
        } else if (is_known(message)) {
            next->state = Slot::State::kFree;
            reply(message, Errc::kOk);
        } else {
            start_store(index);
        }
    }
}

/// Has been done already: the head did not hear the answer.
bool ReplicaCore::is_known(const Message& message) const {
    switch (message.kind) {
        case MessageKind::kWrite:
            return message.number <= state_.watermark ||
                   state_.window.has({message.number, message.range});
        case MessageKind::kSettle: return state_.agreed == message.tenure;
        case MessageKind::kCarryOn: return state_.fence == message.epoch;
        case MessageKind::kFence: return state_.is_blank || state_.fence == message.epoch;
        case MessageKind::kRead:
        case MessageKind::kTrim:
        case MessageKind::kJoin:
        case MessageKind::kCopyRead:
        case MessageKind::kCopy:
        case MessageKind::kJoined: return false;
    }
    return false;
}

void ReplicaCore::start_store(uint32_t index) {
    Slot& slot = slots_[index];
    const Message& message = slot.message;
    if (message.kind == MessageKind::kWrite) {
        // With it, what was sent before it and is below can be forgotten: so there is room.
        advance(message.watermark);
    }
    const bool adds_entry = message.kind == MessageKind::kWrite || message.is_exact;
    const size_t pieces = message.is_exact ? state_.window.pieces(message.range) : 0;
    const auto under_way =
        static_cast<size_t>(std::count_if(slots_.begin(), slots_.end(), [](const Slot& other) {
            return other.state == Slot::State::kStoring;
        }));
    if (adds_entry &&
        state_.window.entries().size() + pieces + under_way >= state_.window.entries_max()) {
        slot.state = Slot::State::kFree;
        reply(message, Errc::kNoMemory);
        return;
    }
    slot.state = Slot::State::kStoring;
    actions_.push_back({.kind = ReplicaAction::Kind::kStore,
                        .slot = index,
                        .message = message,
                        .blocks = blocks_to_write(message)});
}

/// Where a later write has been, an earlier one leaves no trace.
uint64_t ReplicaCore::blocks_to_write(const Message& message) const {
    const uint32_t count = message.range.count;
    const uint64_t all = count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
    if (message.kind == MessageKind::kWrite) {
        return all & ~state_.window.newer_than(message.number, message.range);
    }
    if (message.kind == MessageKind::kCopy && !message.is_exact && !mistakes_.lets_resync_race) {
        return all & ~state_.window.newer_than(message.as_of, message.range);
    }
    return all;
}

ReplicaCore::Actions ReplicaCore::stored(uint32_t index, Errc status) {
    actions_.clear();
    Slot& slot = slots_[index];
    BASALT_ASSERT(slot.state == Slot::State::kStoring);
    slot.state = Slot::State::kFree;
    if (status == Errc::kOk) {
        commit(slot.message);
    }
    reply(slot.message, status);
    start_waiting();
    return actions_;
}

ReplicaCore::Actions ReplicaCore::loaded(uint32_t index, Errc status, uint64_t digest) {
    actions_.clear();
    Slot& slot = slots_[index];
    BASALT_ASSERT(slot.state == Slot::State::kLoading);
    slot.state = Slot::State::kFree;
    Reply answer = make_reply(slot.message, status);
    answer.digest = digest;
    // What a write under way has stored may have been seen already.
    answer.newest = state_.window.newest(slot.message.range);
    for (const Slot& other : slots_) {
        if (other.state == Slot::State::kStoring &&
            other.message.range.overlaps(slot.message.range)) {
            answer.newest = std::max(answer.newest, other.message.number);
        }
    }
    actions_.push_back({.kind = ReplicaAction::Kind::kReply, .reply = answer});
    start_waiting();
    return actions_;
}

void ReplicaCore::commit(const Message& message) {
    if (message.kind == MessageKind::kWrite) {
        commit_write(message);
    } else if (message.kind == MessageKind::kCopy) {
        if (message.is_exact) {
            state_.window.cut(message.range);
        }
        if (!message.number.is_none()) {
            state_.window.add({message.number, message.range});
        }
    } else {
        commit_control(message);
    }
}

void ReplicaCore::commit_write(const Message& message) {
    state_.window.add({message.number, message.range});
    if (message.is_replica_away && !mistakes_.loses_dirty) {
        state_.dirty.set(message.range);
    }
    if (message.write == WriteKind::kBarrier) {
        state_.generation = message.number;
    }
}

void ReplicaCore::commit_control(const Message& message) {
    switch (message.kind) {
        case MessageKind::kFence:
            state_.fence = message.epoch;
            state_.joining = Epoch{};
            return;
        case MessageKind::kCarryOn:
            state_.fence = message.epoch;
            state_.joining = Epoch{};
            if (!message.is_replica_away) {
                state_.dirty.clear_all();
            } else if (!mistakes_.loses_dirty) {
                state_.window.mark_blocks(state_.dirty);
            }
            return;
        case MessageKind::kJoin:
            state_.fence = message.epoch;
            state_.joining = message.epoch;
            state_.agreed = Epoch{};
            // What it has above the watermark may never have been acknowledged.
            if (state_.is_blank) {
                state_.dirty.set_all();
                state_.is_blank = false;
            }
            state_.window.mark_blocks(state_.dirty);
            state_.window.clear();
            state_.watermark = message.watermark;
            return;
        case MessageKind::kSettle:
            state_.window.replace(settle_window_.entries());
            state_.watermark = message.watermark;
            state_.dirty = settle_dirty_;
            state_.agreed = message.tenure;
            if (state_.generation != message.generation) {
                // The lines that were drawn meanwhile went through data that was not here.
                state_.generation = state_.history_after = message.generation;
            }
            return;
        case MessageKind::kJoined:
            state_.dirty = settle_dirty_;
            state_.agreed = message.tenure;
            state_.generation = state_.history_after = message.generation;
            return;
        case MessageKind::kWrite:
        case MessageKind::kRead:
        case MessageKind::kTrim:
        case MessageKind::kCopyRead:
        case MessageKind::kCopy: return;
    }
}

void ReplicaCore::advance(OpNumber watermark) {
    if (watermark > state_.watermark) {
        state_.watermark = watermark;
        state_.window.trim(watermark);
    }
}

Reply ReplicaCore::make_reply(const Message& message, Errc status) const {
    return {.kind = message.kind,
            .status = status,
            .epoch = std::max(state_.fence, session_tenure_),
            .session = message.session,
            .id = message.id,
            .connection = message.connection,
            .number = message.number};
}

void ReplicaCore::reply(const Message& message, Errc status) {
    Reply answer = make_reply(message, status);
    if (status == Errc::kOk && message.kind == MessageKind::kFence) {
        answer.is_blank = state_.is_blank;
        answer.agreed = state_.agreed;
        answer.watermark = state_.watermark;
        answer.generation = state_.generation;
        answer.window = state_.window.entries();
        answer.dirty = &state_.dirty;
    } else if (status == Errc::kOk && message.kind == MessageKind::kJoin) {
        answer.dirty = &state_.dirty;
    }
    actions_.push_back({.kind = ReplicaAction::Kind::kReply, .reply = answer});
}

}  // namespace basalt::replication
