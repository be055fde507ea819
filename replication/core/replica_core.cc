#include "replication/core/replica_core.h"

#include <algorithm>

namespace basalt::replication {

namespace {

/// Whether it leads to a window or a bitmap that the replica takes over.
bool has_lists(MessageKind kind) {
    return kind == MessageKind::kSettle || kind == MessageKind::kJoined;
}

}  // namespace

ReplicaCore::ReplicaCore(const Settings& settings,
                         const ReplicaState& state,
                         const Mistakes& mistakes)
    : settings_(settings),
      mistakes_(mistakes),
      state_(settings),
      slots_(settings.window_ops * 2 + settings.reads * 2 + 16),
      messages_(slots_.size()),
      settle_window_(settings.window_ops * kWindowEntriesPerOp),
      settle_dirty_(settings.blocks) {
    state_ = state;
    // A copied vector has only the room that it needs.
    state_.window = Window(settings.window_ops * kWindowEntriesPerOp);
    state_.window.replace(state.window.entries());
    actions_.reserve(slots_.size() * 2);
    active_.reserve(slots_.size());
    free_.reserve(slots_.size());
    for (uint32_t i = slots(); i > 0; --i) {
        free_.push_back(i - 1);
    }
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
        case MessageKind::kRead:
        case MessageKind::kDropLine: return is_fenced_by_it && is_member;
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
        if (message.kind != MessageKind::kTrim) {
            reply(message, Errc::kStaleEpoch);
        }
        return actions_;
    }
    accept(message);
    start_waiting();
    return actions_;
}

/// Whether it can be meant for this volume.
bool ReplicaCore::is_sound(const Message& message) const {
    const BlockRange range = message.range;
    const bool has_range = message.kind == MessageKind::kRead ||
                           message.kind == MessageKind::kCopyRead || is_write(message.kind);
    const bool has_blocks =
        has_range && !(message.kind == MessageKind::kWrite && message.write == WriteKind::kBarrier);
    if (range.count > kRangeBlocksMax || range.end() > settings_.blocks ||
        range.end() < range.first || (range.count > 0) != has_blocks) {
        return false;
    }
    if (has_blocks &&
        range.first / kRangeBoundaryBlocks != (range.end() - 1) / kRangeBoundaryBlocks) {
        return false;
    }
    return message.window.size() <= settle_window_.entries_max() &&
           (message.dirty == nullptr || message.dirty->blocks() == settings_.blocks);
}

void ReplicaCore::accept(const Message& message) {
    if (message.kind == MessageKind::kTrim) {
        // What a control message is about to make of the state is fixed; the next one says it
        // again.
        if (takes(message) && !is_changing_) {
            advance(state_, message.watermark);
        }
        return;
    }
    if (!is_sound(message)) {
        reply(message, Errc::kInvalidArgument);
        return;
    }
    if (free_.empty()) {
        reply(message, Errc::kNoMemory);
        return;
    }
    if (!take_lists(message)) {
        reply(message, Errc::kTryAgain);
        return;
    }
    const uint32_t index = free_.back();
    free_.pop_back();
    active_.push_back(index);
    ++waiting_;
    messages_[index] = message;
    messages_[index].window = {};
    messages_[index].dirty = nullptr;
    if (has_lists(message.kind)) {
        lists_slot_ = index;
    }
    slots_[index] = {.state = Slot::State::kWaiting,
                     .is_control = is_control(message.kind),
                     .is_write = is_write(message.kind),
                     .is_line = message.write == WriteKind::kBarrier,
                     .range = message.range};
}

/// There is room for what one message leads to: a later one takes the place of one that waits.
bool ReplicaCore::take_lists(const Message& message) {
    if (!has_lists(message.kind)) {
        return true;
    }
    if (lists_slot_ != kNone) {
        if (slots_[lists_slot_].state != Slot::State::kWaiting) {
            return false;
        }
        const uint32_t former = lists_slot_;
        release(former);
        reply(messages_[former], Errc::kTryAgain);
    }
    settle_window_.replace(message.window);
    if (message.dirty != nullptr) {
        settle_dirty_ = *message.dirty;
    } else {
        settle_dirty_.clear_all();
    }
    return true;
}

void ReplicaCore::release(uint32_t index) {
    Slot& slot = slots_[index];
    BASALT_ASSERT(slot.state != Slot::State::kFree);
    waiting_ -= uint32_t{slot.state == Slot::State::kWaiting};
    reserved_ -= slot.entries;
    slot.entries = 0;
    slot.state = Slot::State::kFree;
    active_.erase(std::find(active_.begin(), active_.end(), index));
    free_.push_back(index);
    if (lists_slot_ == index) {
        lists_slot_ = kNone;
    }
}

/// A control message has the replica to itself. A write waits for those that came before it and
/// overlap. A read waits for nothing but control messages. `place`: in active_.
bool ReplicaCore::may_start(size_t place) const {
    const Slot& own = slots_[active_[place]];
    for (size_t i = 0; i < active_.size(); ++i) {
        const Slot& other = slots_[active_[i]];
        if (i == place || (i > place && other.state == Slot::State::kWaiting)) {
            continue;
        }
        if (own.is_control || other.is_control) {
            return false;
        }
        // A generation begins between writes, not beside them: what is stored before it is in the
        // snapshot, what comes after is not.
        if (own.is_write && other.is_write &&
            (own.is_line || other.is_line || own.range.overlaps(other.range))) {
            return false;
        }
    }
    return true;
}

/// In the order of arrival. One that starts or is refused stands in the way of later ones alone, so
/// once through is enough.
void ReplicaCore::start_waiting() {
    for (size_t place = 0; place < active_.size() && waiting_ > 0;) {
        const uint32_t index = active_[place];
        if (slots_[index].state == Slot::State::kWaiting && may_start(place)) {
            start(index);
        }
        if (slots_[index].state != Slot::State::kFree) {
            ++place;
        }
    }
}

void ReplicaCore::start(uint32_t index) {
    const Message& message = messages_[index];
    const bool is_refused = message.epoch < state_.fence && !mistakes_.skips_fence;
    if (is_refused || !takes(message)) {
        release(index);
        reply(message, is_refused ? Errc::kStaleEpoch : Errc::kTryAgain);
    } else if (message.kind == MessageKind::kRead || message.kind == MessageKind::kCopyRead) {
        slots_[index].state = Slot::State::kLoading;
        --waiting_;
        actions_.push_back({.kind = ReplicaAction::Kind::kLoad, .slot = index, .message = message});
    } else if (is_known(message)) {
        release(index);
        reply(message, Errc::kOk);
    } else {
        start_store(index);
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
        case MessageKind::kJoined:
        case MessageKind::kDropLine: return false;
    }
    return false;
}

void ReplicaCore::start_store(uint32_t index) {
    const Message& message = messages_[index];
    if (message.kind == MessageKind::kWrite) {
        // With it, what was sent before it and is below can be forgotten: so there is room.
        advance(state_, message.watermark);
    }
    const bool adds_entry = message.kind == MessageKind::kWrite || message.is_exact;
    const size_t pieces = message.is_exact ? state_.window.pieces(message.range) : 0;
    const size_t entries = adds_entry ? pieces + 1 : 0;
    if (state_.window.entries().size() + reserved_ + entries > state_.window.entries_max()) {
        release(index);
        reply(message, Errc::kNoMemory);
        return;
    }
    slots_[index].state = Slot::State::kStoring;
    slots_[index].entries = entries;
    reserved_ += entries;
    --waiting_;
    const bool is_change = is_control(message.kind);
    if (is_change) {
        prepare_change(message);
        is_changing_ = true;
    }
    actions_.push_back({.kind = ReplicaAction::Kind::kStore,
                        .slot = index,
                        .message = message,
                        .blocks = blocks_to_write(message),
                        .draws_line = message.kind == MessageKind::kWrite &&
                                      message.write == WriteKind::kBarrier &&
                                      state_.agreed == message.tenure,
                        .change = is_change ? &change_ : nullptr});
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
    BASALT_ASSERT(slots_[index].state == Slot::State::kStoring);
    const Message& message = messages_[index];
    if (is_control(message.kind)) {
        is_changing_ = false;
    }
    if (status == Errc::kOk) {
        commit(message);
    }
    release(index);
    reply(message, status);
    start_waiting();
    return actions_;
}

ReplicaCore::Actions ReplicaCore::loaded(uint32_t index, Errc status, uint64_t digest) {
    actions_.clear();
    BASALT_ASSERT(slots_[index].state == Slot::State::kLoading);
    const BlockRange range = slots_[index].range;
    release(index);
    Reply answer = make_reply(messages_[index], status);
    answer.digest = digest;
    // What a write under way has stored may have been seen already.
    answer.newest = state_.window.newest(range);
    for (const uint32_t other : active_) {
        if (slots_[other].state == Slot::State::kStoring && slots_[other].range.overlaps(range)) {
            answer.newest = std::max(answer.newest, messages_[other].number);
        }
    }
    actions_.push_back({.kind = ReplicaAction::Kind::kReply,
                        .message = {.data = messages_[index].data},
                        .reply = answer});
    start_waiting();
    return actions_;
}

void ReplicaCore::commit(const Message& message) {
    if (is_control(message.kind)) {
        commit_control(message);
        return;
    }
    if (message.kind == MessageKind::kDropLine) {
        return;  // The state knows no lines.
    }
    if (mistakes_.loses_dirty && message.is_replica_away) {
        Message forgetful = message;
        forgetful.is_replica_away = false;
        commit_write(state_, forgetful);
        return;
    }
    commit_write(state_, message);
}

/// What the message makes of the state. Marks of dirty blocks are set at once: too many of them,
/// should it fail, do no harm, and the bitmap need not be copied.
void ReplicaCore::prepare_change(const Message& message) {
    change_ = {.marks = static_cast<const ReplicaMarks&>(state_),
               .window = state_.window.entries()};
    switch (message.kind) {
        case MessageKind::kFence:
            change_.marks.fence = message.epoch;
            change_.marks.joining = Epoch{};
            return;
        case MessageKind::kCarryOn:
            change_.marks.fence = message.epoch;
            change_.marks.joining = Epoch{};
            if (!message.is_replica_away) {
                change_.dirty_change = DirtyChange::kCleared;
            } else if (!mistakes_.loses_dirty) {
                state_.window.mark_blocks(state_.dirty);
                change_.dirty_change = DirtyChange::kMore;
            }
            break;
        case MessageKind::kJoin:
            change_.marks.fence = message.epoch;
            change_.marks.joining = message.epoch;
            change_.marks.agreed = Epoch{};
            change_.marks.is_blank = false;
            change_.marks.watermark = message.watermark;
            // What it has above the watermark may never have been acknowledged.
            if (state_.is_blank) {
                state_.dirty.set_all();
            }
            state_.window.mark_blocks(state_.dirty);
            change_.window = {};
            change_.dirty_change = DirtyChange::kMore;
            break;
        case MessageKind::kSettle:
            change_.marks.watermark = message.watermark;
            change_.marks.agreed = message.tenure;
            if (state_.generation != message.generation) {
                // The lines that were drawn meanwhile went through data that was not here.
                change_.marks.generation = change_.marks.history_after = message.generation;
            }
            change_.window = settle_window_.entries();
            change_.dirty_change = DirtyChange::kReplaced;
            break;
        case MessageKind::kJoined:
            change_.marks.agreed = message.tenure;
            change_.marks.generation = change_.marks.history_after = message.generation;
            change_.dirty_change = DirtyChange::kReplaced;
            break;
        case MessageKind::kWrite:
        case MessageKind::kRead:
        case MessageKind::kTrim:
        case MessageKind::kCopyRead:
        case MessageKind::kCopy:
        case MessageKind::kDropLine: return;
    }
    if (change_.dirty_change == DirtyChange::kReplaced) {
        change_.dirty = &settle_dirty_;
    } else if (change_.dirty_change == DirtyChange::kMore) {
        change_.dirty = &state_.dirty;
    }
}

void ReplicaCore::commit_control(const Message& message) {
    static_cast<ReplicaMarks&>(state_) = change_.marks;
    if (message.kind == MessageKind::kSettle) {
        state_.window.replace(settle_window_.entries());
    } else if (message.kind == MessageKind::kJoin) {
        state_.window.clear();
    }
    switch (change_.dirty_change) {
        case DirtyChange::kSame:
        case DirtyChange::kMore: break;
        case DirtyChange::kCleared: state_.dirty.clear_all(); break;
        case DirtyChange::kReplaced: std::swap(state_.dirty, settle_dirty_); break;
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

void ReplicaCore::fill_in(Reply& answer) const {
    if (answer.status != Errc::kOk) {
        return;
    }
    if (answer.kind == MessageKind::kFence) {
        answer.is_blank = state_.is_blank;
        answer.agreed = state_.agreed;
        answer.watermark = state_.watermark;
        answer.generation = state_.generation;
        answer.window = state_.window.entries();
        answer.dirty = &state_.dirty;
    } else if (answer.kind == MessageKind::kJoin) {
        answer.dirty = &state_.dirty;
    }
}

void ReplicaCore::reply(const Message& message, Errc status) {
    Reply answer = make_reply(message, status);
    fill_in(answer);
    actions_.push_back(
        {.kind = ReplicaAction::Kind::kReply, .message = {.data = message.data}, .reply = answer});
}

}  // namespace basalt::replication
