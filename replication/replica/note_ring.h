#pragma once

#include <cstdint>
#include <vector>

#include "bdev/store/note.h"
#include "replication/core/types.h"

namespace basalt::replication {

/// Which notes of a replica's writes the store still has to keep, by the sequence that they were
/// begun in. Those at the front are forgotten in turn; a checkpoint covers all before the first
/// that is under way.
///
/// Bounded; allocates when it is made. Owner: PoolReplicaStore. Core: its.
class NoteRing {
  public:
    explicit NoteRing(uint32_t notes_max) : slots_(notes_max) {}

    /// Notes are void up to `covers`: there are none.
    void reset(uint64_t covers) { front_ = first_under_way_ = next_ = covers + 1; }

    [[nodiscard]] bool is_full() const { return next_ - front_ >= slots_.size(); }
    [[nodiscard]] uint64_t last() const { return next_ - 1; }

    /// A note is begun; returns its sequence. `stays`: it is needed until a checkpoint, else until
    /// a watermark is durable that its number is not above.
    [[nodiscard]] uint64_t begin(OpNumber number, OpNumber watermark, bool stays) {
        BASALT_ASSERT(!is_full());
        slot(next_) = {number, watermark, State::kUnderWay, stays};
        return next_++;
    }

    /// It is durable, or was not stored at all.
    void end(uint64_t sequence, bool is_stored) {
        Slot& ended = slot(sequence);
        BASALT_ASSERT(sequence >= first_under_way_ && ended.state == State::kUnderWay);
        ended.state = is_stored ? State::kStored : State::kFailed;
        if (is_stored && sequence > anchor_) {
            anchor_ = sequence;
            watermark_ = ended.watermark;
        }
        while (first_under_way_ < next_ && slot(first_under_way_).state != State::kUnderWay) {
            ++first_under_way_;
        }
        while (front_ < first_under_way_ && is_over(front_)) {
            ++front_;
        }
    }

    /// Notes that are not needed any more. The one that says so has a higher sequence, is durable,
    /// and stays.
    [[nodiscard]] bdev::store::NoteRange forgettable() const { return {1, front_ - 1}; }

    /// What a checkpoint that begins now covers: it has all of them, and none of them is under way.
    [[nodiscard]] uint64_t coverable() const { return first_under_way_ - 1; }
    /// How many a checkpoint would do away with.
    [[nodiscard]] uint64_t coverable_count() const { return first_under_way_ - front_; }
    [[nodiscard]] bool has_under_way() const { return first_under_way_ != next_; }
    /// A checkpoint is durable.
    void cover(uint64_t covers) {
        BASALT_ASSERT(covers < first_under_way_);
        if (covers >= front_) {
            front_ = covers + 1;
        }
    }

  private:
    enum class State : uint8_t { kUnderWay, kStored, kFailed };
    struct Slot {
        OpNumber number;
        OpNumber watermark;
        State state = State::kFailed;
        bool stays = false;
    };

    [[nodiscard]] Slot& slot(uint64_t sequence) { return slots_[sequence % slots_.size()]; }
    [[nodiscard]] bool is_over(uint64_t sequence) {
        const Slot& at = slot(sequence);
        return at.state == State::kFailed ||
               (!at.stays && at.number <= watermark_ && sequence < anchor_);
    }

    std::vector<Slot> slots_;
    uint64_t front_ = 1;
    uint64_t first_under_way_ = 1;
    uint64_t next_ = 1;
    // The highest sequence that is durable, and the watermark that it carries.
    uint64_t anchor_ = 0;
    OpNumber watermark_;
};

}  // namespace basalt::replication
