#include "bdev/store/note_table.h"

#include <algorithm>
#include <cstring>

#include "reactor/base/assert.h"

namespace basalt::bdev::store {

namespace {

constexpr size_t padded(size_t bytes) {
    return (bytes + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment;
}
static_assert(kNoteBytesMax % kRecordAlignment == 0, "data is copied with its padding");

}  // namespace

NoteTable::NoteTable(uint32_t notes_max) : entries_(notes_max) {
    BASALT_ASSERT(notes_max > 0);
    owners_.reserve(notes_max);
    for (uint32_t i = notes_max; i > 0; --i) {
        entries_[i - 1].in_order.next = free_;
        free_ = i - 1;
    }
}

// --- Lists ---------------------------------------------------------------------------------------

void NoteTable::link(List& list, Links Entry::*links, uint32_t index, uint32_t after) {
    Links& mine = entries_[index].*links;
    mine.previous = after;
    mine.next = after == kNone ? list.front : (entries_[after].*links).next;
    (after == kNone ? list.front : (entries_[after].*links).next) = index;
    (mine.next == kNone ? list.back : (entries_[mine.next].*links).previous) = index;
}

void NoteTable::unlink(List& list, Links Entry::*links, uint32_t index) {
    const Links mine = entries_[index].*links;
    (mine.previous == kNone ? list.front : (entries_[mine.previous].*links).next) = mine.next;
    (mine.next == kNone ? list.back : (entries_[mine.next].*links).previous) = mine.previous;
    entries_[index].*links = {};
}

const NoteTable::Owner* NoteTable::find(uint32_t owner) const {
    const auto found = std::ranges::lower_bound(owners_, owner, {}, &Owner::id);
    return found == owners_.end() || found->id != owner ? nullptr : &*found;
}

/// visit(index) is true to go on; it may remove that one.
template <typename Visit>
void NoteTable::for_each_in(uint32_t owner, NoteRange keys, Visit visit) const {
    const Owner* found = find(owner);
    if (found == nullptr || keys.is_empty()) {
        return;
    }
    // From the end that is nearer to what is looked for.
    const List list = found->notes;
    const bool is_forward = entries_[list.front].note.key >= keys.first;
    uint32_t index = is_forward ? list.front : list.back;
    while (index != kNone) {
        const Entry& entry = entries_[index];
        const uint64_t key = entry.note.key;
        if (is_forward ? key > keys.last : key < keys.first) {
            return;
        }
        const uint32_t next = is_forward ? entry.by_key.next : entry.by_key.previous;
        if (keys.has(key) && !visit(index)) {
            return;
        }
        index = next;
    }
}

uint32_t NoteTable::take(const StoredNote& note) {
    BASALT_ASSERT(note.owner != 0);
    BASALT_ASSERT(free_ != kNone);
    const uint32_t index = free_;
    Entry& entry = entries_[index];
    BASALT_ASSERT(entry.state == State::kFree);
    free_ = entry.in_order.next;
    ++used_;
    entry.note = note;
    link(all_, &Entry::in_order, index, all_.back);
    auto owner = std::ranges::lower_bound(owners_, note.owner, {}, &Owner::id);
    if (owner == owners_.end() || owner->id != note.owner) {
        BASALT_ASSERT(owners_.size() < owners_.capacity());
        owner = owners_.insert(owner, Owner{.id = note.owner, .notes = {}});
    }
    uint32_t after = owner->notes.back;
    while (after != kNone && entries_[after].note.key > note.key) {
        after = entries_[after].by_key.previous;
    }
    link(owner->notes, &Entry::by_key, index, after);
    return index;
}

/// Out of the lists.
void NoteTable::remove(uint32_t index) {
    const uint32_t id = entries_[index].note.owner;
    const auto owner = std::ranges::lower_bound(owners_, id, {}, &Owner::id);
    BASALT_ASSERT(owner != owners_.end());
    BASALT_ASSERT(owner->id == id);
    unlink(owner->notes, &Entry::by_key, index);
    unlink(all_, &Entry::in_order, index);
    if (owner->notes.front == kNone) {
        owners_.erase(owner);
    }
}

void NoteTable::release(uint32_t index) {
    entries_[index].state = State::kFree;
    entries_[index].in_order.next = free_;
    free_ = index;
    --used_;
}

// --- Notes ---------------------------------------------------------------------------------------

bool NoteTable::has_room(const Note& note) const {
    bool has_room = free_ != kNone;
    if (!has_room) {
        for_each_in(note.owner, note.forget, [&](uint32_t index) {
            has_room = entries_[index].state != State::kPending;
            return !has_room;
        });
    }
    return has_room;
}

uint32_t NoteTable::add(const Note& note, NoteKind kind, uint64_t first, uint32_t count) {
    BASALT_ASSERT(note.bytes.size() <= kNoteBytesMax);
    drop(note.owner, note.forget);
    StoredNote stored{.owner = note.owner,
                      .kind = kind,
                      .byte_count = static_cast<uint8_t>(note.bytes.size()),
                      .key = note.key,
                      .first = first,
                      .count = count};
    std::ranges::copy(note.bytes, stored.data.begin());
    const uint32_t index = take(stored);
    entries_[index].state = State::kPending;
    return index;
}

void NoteTable::confirm(uint32_t index) {
    BASALT_ASSERT(entries_[index].state == State::kPending);
    entries_[index].state = State::kLive;
}

void NoteTable::drop(uint32_t owner, NoteRange keys) {
    for_each_in(owner, keys, [this](uint32_t index) {
        const State state = entries_[index].state;
        if (state != State::kPending) {
            forgotten_ -= state == State::kForgotten ? 1U : 0U;
            remove(index);
            release(index);
        }
        return true;
    });
}

void NoteTable::forget(uint32_t owner, NoteRange keys) {
    for_each_in(owner, keys, [this](uint32_t index) {
        Entry& entry = entries_[index];
        if (entry.state == State::kLive) {
            entry.state = State::kForgotten;
            ++forgotten_;
        }
        return true;
    });
}

void NoteTable::keep_only(std::span<const uint32_t> owners) {
    for (const Owner& owner : owners_) {
        if (!std::ranges::binary_search(owners, owner.id)) {
            forget(owner.id, {0, UINT64_MAX});
        }
    }
}

// --- Checkpoints ---------------------------------------------------------------------------------

void NoteTable::begin_checkpoint() {
    BASALT_ASSERT(leaving_ == kNone);
    if (forgotten_ == 0) {
        return;
    }
    for (uint32_t index = all_.front; index != kNone;) {
        Entry& entry = entries_[index];
        const uint32_t following = entry.in_order.next;
        BASALT_ASSERT(entry.state == State::kLive || entry.state == State::kForgotten);
        if (entry.state == State::kForgotten) {
            remove(index);
            entry.state = State::kLeaving;
            entry.in_order.next = leaving_;
            leaving_ = index;
            --forgotten_;
            ++leaving_count_;
        }
        index = following;
    }
    BASALT_ASSERT(forgotten_ == 0);
}

void NoteTable::end_checkpoint() {
    while (leaving_ != kNone) {
        const uint32_t index = leaving_;
        leaving_ = entries_[index].in_order.next;
        --leaving_count_;
        release(index);
    }
    BASALT_ASSERT(leaving_count_ == 0);
}

uint32_t NoteTable::list(uint32_t& index, uint32_t count, std::byte*& at) const {
    uint32_t listed = 0;
    for (uint32_t i = 0; i < count && index != kNone; ++i) {
        const Entry& entry = entries_[index];
        index = entry.in_order.next;
        if (entry.state != State::kLive) {
            continue;  // Forgotten since the checkpoint began.
        }
        const CheckpointNote raw{.owner = entry.note.owner,
                                 .kind = static_cast<uint8_t>(entry.note.kind),
                                 .byte_count = entry.note.byte_count,
                                 .reserved = 0,
                                 .key = entry.note.key,
                                 .first = entry.note.first,
                                 .block_count = entry.note.count,
                                 .reserved2 = 0};
        std::memcpy(at, &raw, sizeof(raw));
        std::memcpy(at + sizeof(raw), entry.note.data.data(), padded(raw.byte_count));
        at += sizeof(raw) + padded(raw.byte_count);
        ++listed;
    }
    return listed;
}

bool NoteTable::load(std::span<const std::byte> bytes, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
        CheckpointNote raw{};
        if (bytes.size() < sizeof(raw) || is_full()) {
            return false;
        }
        std::memcpy(&raw, bytes.data(), sizeof(raw));
        const bool is_alone = raw.kind == static_cast<uint8_t>(NoteKind::kAlone);
        const bool has_kind = raw.kind >= static_cast<uint8_t>(NoteKind::kWrite) &&
                              raw.kind <= static_cast<uint8_t>(NoteKind::kAlone);
        const size_t length = sizeof(raw) + padded(raw.byte_count);
        if (raw.owner == 0 || !has_kind || raw.reserved != 0 || raw.reserved2 != 0 ||
            raw.byte_count > kNoteBytesMax || bytes.size() < length ||
            raw.first > kBlockNumberMax || raw.block_count > kPagePointers ||
            is_alone != (raw.block_count == 0)) {
            return false;
        }
        StoredNote note{.owner = raw.owner,
                        .kind = static_cast<NoteKind>(raw.kind),
                        .byte_count = raw.byte_count,
                        .key = raw.key,
                        .first = raw.first,
                        .count = raw.block_count};
        std::ranges::copy(bytes.subspan(sizeof(raw), raw.byte_count), note.data.begin());
        entries_[take(note)].state = State::kLive;
        bytes = bytes.subspan(length);
    }
    return bytes.empty();
}

std::vector<StoredNote> NoteTable::notes_of(uint32_t owner) const {
    std::vector<StoredNote> notes;
    for (uint32_t index = all_.front; index != kNone; index = entries_[index].in_order.next) {
        const Entry& entry = entries_[index];
        if (entry.note.owner == owner && entry.state == State::kLive) {
            notes.push_back(entry.note);
        }
    }
    return notes;
}

}  // namespace basalt::bdev::store
