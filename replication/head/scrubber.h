#pragma once

#include <cstdint>
#include <vector>

#include "reactor/async_mutex.h"
#include "reactor/task.h"
#include "replication/head/head.h"

namespace basalt::replication {

/// How a scrub stands, or ended. A value.
struct ScrubState {
    bool was_started = false;
    bool is_running = false;
    bool is_finished = false;  ///< It went through all of the volume.
    uint64_t bytes_per_second = 0;
    uint64_t blocks_done = 0;     ///< Of the volume.
    uint64_t blocks_skipped = 0;  ///< Of these, those that were written all the time, or could not
                                  ///< be compared because a replica was away.
    uint64_t blocks_found = 0;    ///< With something wrong at a replica or more.
};

/// Compares what a volume's replicas have, in the background at a set rate, and has what is wrong
/// written anew: by checksum, or by what most of them say. What it finds is in Head::findings().
///
/// A range is read at all replicas that count, and what they say of it is compared by its sums. One
/// that is not the same everywhere is gone through block by block. So is, at once, what a host's
/// read found bad, whether a scrub runs or not: nothing else has copies written anew.
///
/// Owner: who has the head. Core: the head's. Destroyed when it is not busy.
class Scrubber final : private SuspectUser {
  public:
    /// `head` outlives it.
    explicit Scrubber(Head& head);
    Scrubber(const Scrubber&) = delete;
    Scrubber& operator=(const Scrubber&) = delete;
    ~Scrubber();

    /// From the volume's beginning. `bytes_per_second`: of the volume, not of its replicas; 0: as
    /// fast as it goes. Errors: kBusy: one is running.
    [[nodiscard]] Status start(uint64_t bytes_per_second);
    /// Has it end soon.
    void cancel() { is_stopped_ = true; }
    /// Ends all for good: no scrub runs then, and nothing suspect is looked at any more.
    [[nodiscard]] Task<void> stop();

    [[nodiscard]] const ScrubState& state() const { return state_; }
    /// A scrub runs, or what hosts' reads found is being looked at.
    [[nodiscard]] bool is_busy() const { return state_.is_running || is_mending_; }

  private:
    enum class Purpose : uint8_t { kScrub, kSuspect };

    void suspected(BlockRange range) override;
    [[nodiscard]] Task<void> run();
    [[nodiscard]] Task<void> mend();
    [[nodiscard]] Task<Status> compare(BlockRange range);
    [[nodiscard]] Task<Status> compare_block(uint64_t block, Purpose purpose);
    [[nodiscard]] bool is_over(Purpose purpose) const {
        return is_closed_ || (purpose == Purpose::kScrub && is_stopped_);
    }

    Head& head_;
    AsyncMutex turn_;       // Of one comparison: the head takes no more.
    AsyncMutex run_turn_;   // Held by a scrub from beginning to end,
    AsyncMutex mend_turn_;  // and by mend().
    bool is_stopped_ = false;
    bool is_closed_ = false;
    bool is_mending_ = false;
    std::vector<BlockRange> suspects_;  // The first one is being looked at.
    ScrubState state_;
};

}  // namespace basalt::replication
