#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bdev/store/note.h"

namespace basalt::bdev::store {

/// The notes of a partition, in the order of their records in the log. Bounded; allocates when it
/// is made.
///
///   kFree -> kPending -> kLive -> kFree                    forgotten by a record of the log
///                          +----> kForgotten -> kLeaving -> kFree     forgotten otherwise
///
/// What no record of the log has forgotten is there again after a crash, until a checkpoint is
/// durable that leaves it out. So it keeps its place until then, and replay never finds more notes
/// than there were.
///
/// Owner: the engine. Core: the partition's. Forgetting costs what is forgotten, and adding next to
/// nothing, if an owner's keys mostly go up.
class NoteTable {
  public:
    static constexpr uint32_t kNone = UINT32_MAX;

    explicit NoteTable(uint32_t notes_max);
    NoteTable(const NoteTable&) = delete;
    NoteTable& operator=(const NoteTable&) = delete;

    /// Whether there is room for `note`, after what it forgets itself.
    [[nodiscard]] bool has_room(const Note& note) const;

    /// The record of `note` is in the log: what it forgets is gone, and the note waits to be
    /// acknowledged. There is room.
    [[nodiscard]] uint32_t add(const Note& note, NoteKind kind, uint64_t first, uint32_t count);
    /// Its change is acknowledged, or was replayed.
    void confirm(uint32_t index);

    /// A record of the log says that the owner's notes with these keys are gone. Those that are not
    /// acknowledged yet stay.
    void drop(uint32_t owner, NoteRange keys);
    /// They are gone, but a crash may bring them back.
    void forget(uint32_t owner, NoteRange keys);
    /// forget() for all owners but these, which are in order.
    void keep_only(std::span<const uint32_t> owners);

    /// A checkpoint begins: what is forgotten leaves with it. No note is pending.
    void begin_checkpoint();
    /// It is durable.
    void end_checkpoint();
    /// Puts the notes from `index` on, at most `count`, to where `at` is as a checkpoint has them,
    /// and moves both on; gives how many they were. Nothing is added meanwhile.
    uint32_t list(uint32_t& index, uint32_t count, std::byte*& at) const;
    /// What list() made of `count` notes. False: it makes no sense, or there is no room. Trusts
    /// nothing.
    [[nodiscard]] bool load(std::span<const std::byte> bytes, uint32_t count);

    /// The notes of `owner`, as far as they are acknowledged, in order.
    [[nodiscard]] std::vector<StoredNote> notes_of(uint32_t owner) const;
    /// The first of all notes, where list() begins; kNone: there is none.
    [[nodiscard]] uint32_t first() const { return all_.front; }

    [[nodiscard]] uint32_t size() const { return used_; }
    [[nodiscard]] bool is_full() const { return free_ == kNone; }
    [[nodiscard]] uint32_t notes_max() const { return static_cast<uint32_t>(entries_.size()); }
    /// Of size(): those that a checkpoint will free, or is about to.
    [[nodiscard]] uint32_t forgotten() const { return forgotten_ + leaving_count_; }

  private:
    enum class State : uint8_t {
        kFree,
        kPending,    ///< confirm().
        kLive,       ///< Whoever forgets it.
        kForgotten,  ///< begin_checkpoint().
        kLeaving,    ///< end_checkpoint().
    };
    struct Links {
        uint32_t previous = kNone;
        uint32_t next = kNone;
    };
    struct Entry {
        StoredNote note;
        Links in_order;
        Links by_key;  ///< Of its owner's.
        State state = State::kFree;
    };
    struct List {
        uint32_t front = kNone;
        uint32_t back = kNone;
    };
    /// An owner's notes, by key.
    struct Owner {
        uint32_t id = 0;
        List notes;
    };

    [[nodiscard]] const Owner* find(uint32_t owner) const;
    [[nodiscard]] uint32_t take(const StoredNote& note);
    void remove(uint32_t index);
    void release(uint32_t index);
    void link(List& list, Links Entry::*links, uint32_t index, uint32_t after);
    void unlink(List& list, Links Entry::*links, uint32_t index);
    template <typename Visit>
    void for_each_in(uint32_t owner, NoteRange keys, Visit visit) const;

    std::vector<Entry> entries_;
    std::vector<Owner> owners_;  // In order; only those that have a note.
    List all_;
    uint32_t free_ = kNone;
    uint32_t leaving_ = kNone;
    uint32_t used_ = 0;
    uint32_t forgotten_ = 0;
    uint32_t leaving_count_ = 0;
};

}  // namespace basalt::bdev::store
