#pragma once

#include <cstdint>

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
/// that is not the same everywhere is gone through block by block.
///
/// Owner: who has the head. Core: the head's. Destroyed when none is running.
class Scrubber {
  public:
    /// `head` outlives it.
    explicit Scrubber(Head& head) : head_(head), turn_(head.reactor()) {}
    Scrubber(const Scrubber&) = delete;
    Scrubber& operator=(const Scrubber&) = delete;
    ~Scrubber();

    /// From the volume's beginning. `bytes_per_second`: of the volume, not of its replicas; 0: as
    /// fast as it goes. Errors: kBusy: one is running.
    [[nodiscard]] Status start(uint64_t bytes_per_second);
    /// Has it end soon.
    void cancel() { is_stopped_ = true; }
    /// Likewise, and ends when none is running.
    [[nodiscard]] Task<void> stop();

    [[nodiscard]] const ScrubState& state() const { return state_; }

  private:
    [[nodiscard]] Task<void> run();
    [[nodiscard]] Task<Status> compare(BlockRange range);
    [[nodiscard]] Task<Status> compare_block(uint64_t block);
    void note(const HeadRequest& request, Status outcome);

    Head& head_;
    AsyncMutex turn_;
    bool is_stopped_ = false;
    ScrubState state_;
};

}  // namespace basalt::replication
