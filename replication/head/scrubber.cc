#include "replication/head/scrubber.h"

#include <algorithm>
#include <utility>

#include "replication/head/head_call.h"
#include "replication/head/limits.h"

namespace basalt::replication {

namespace {

/// Whether all replicas were heard and have the same.
bool is_clean(const HeadRequest& request) {
    return request.status && request.compared.is_complete && request.compared.different.empty() &&
           request.compared.unreadable.empty();
}

}  // namespace

Scrubber::Scrubber(Head& head)
    : head_(head), turn_(head.reactor()), run_turn_(head.reactor()), mend_turn_(head.reactor()) {
    suspects_.reserve(kSuspectsMax);
    head_.set_suspect_user(this);
}

Scrubber::~Scrubber() {
    BASALT_ASSERT(!is_busy() || head_.reactor().is_abandoned());
    head_.set_suspect_user(nullptr);
}

Status Scrubber::start(uint64_t bytes_per_second) {
    if (state_.is_running) {
        return Errc::kBusy;
    }
    state_ = {.was_started = true, .is_running = true, .bytes_per_second = bytes_per_second};
    is_stopped_ = false;
    run().detach();
    return kOk;
}

Task<void> Scrubber::stop() {
    is_closed_ = true;
    co_await run_turn_.acquire();
    const AsyncMutex::Turn no_run(run_turn_);
    co_await mend_turn_.acquire();
    const AsyncMutex::Turn no_mend(mend_turn_);
}

Task<void> Scrubber::run() {
    co_await run_turn_.acquire();
    const AsyncMutex::Turn whole(run_turn_);
    Reactor& here = head_.reactor();
    const uint64_t blocks = head_.settings().blocks;
    uint64_t due_ns = here.now_ns();
    while (state_.blocks_done < blocks && !is_over(Purpose::kScrub)) {
        const uint64_t first = state_.blocks_done;
        const uint64_t end = std::min({blocks, boundary_after(first), first + kRangeBlocksMax});
        const BlockRange range{first, static_cast<uint32_t>(end - first)};
        const Status done = co_await compare(range);
        if (!done) {
            break;  // Another head has the volume.
        }
        state_.blocks_done = end;
        if (state_.bytes_per_second > 0) {
            const uint64_t bytes = uint64_t{range.count} * kBlockBytes;
            // What waited for a replica is not made up for.
            due_ns =
                std::max(due_ns + bytes * kNsPerSecond / state_.bytes_per_second, here.now_ns());
            sleep_for pause(here, due_ns - here.now_ns());
            co_await pause;
        }
    }
    state_.is_finished = state_.blocks_done == blocks;
    state_.is_running = false;
}

/// What is in line already comes to it.
void Scrubber::suspected(BlockRange range) {
    const bool is_known =
        std::any_of(suspects_.begin(), suspects_.end(), [range](const BlockRange& known) {
            return known.first <= range.first && range.end() <= known.end();
        });
    if (is_closed_ || is_known || suspects_.size() == kSuspectsMax) {
        return;
    }
    suspects_.push_back(range);
    if (!std::exchange(is_mending_, true)) {
        mend().detach();
    }
}

Task<void> Scrubber::mend() {
    co_await mend_turn_.acquire();
    const AsyncMutex::Turn whole(mend_turn_);
    while (!suspects_.empty()) {
        const BlockRange range = suspects_.front();
        for (uint64_t block = range.first; block < range.end(); ++block) {
            co_await turn_.acquire();
            const AsyncMutex::Turn turn(turn_);
            const Status done = co_await compare_block(block, Purpose::kSuspect);
            if (!done || is_closed_) {
                suspects_.resize(1);  // Another head has the volume, and finds it again.
                break;
            }
        }
        suspects_.erase(suspects_.begin());
    }
    is_mending_ = false;
}

/// Errors: kStaleEpoch.
Task<Status> Scrubber::compare(BlockRange range) {
    co_await turn_.acquire();
    const AsyncMutex::Turn turn(turn_);
    HeadRequest request;
    request.op = HeadOp::kScrub;
    request.first = range.first;
    request.count = range.count;
    HeadCall call(head_, request);
    const Status outcome = co_await call;
    if (!outcome && outcome.error().code == Errc::kStaleEpoch) {
        co_return outcome;
    }
    if (is_clean(request)) {
        co_return kOk;
    }
    for (uint64_t block = range.first; block < range.end() && !is_over(Purpose::kScrub); ++block) {
        const Status done = co_await compare_block(block, Purpose::kScrub);
        if (!done) {
            co_return done;
        }
    }
    co_return kOk;
}

/// Until it is the same everywhere: what was wrong has been written anew then.
/// Errors: kStaleEpoch.
Task<Status> Scrubber::compare_block(uint64_t block, Purpose purpose) {
    const bool is_of_scrub = purpose == Purpose::kScrub;
    bool is_found = false;
    bool is_compared = false;
    for (uint32_t attempt = 0; attempt < kScrubAttempts && !is_over(purpose); ++attempt) {
        HeadRequest request;
        request.op = HeadOp::kScrub;
        request.first = block;
        request.count = 1;
        HeadCall call(head_, request);
        const Status outcome = co_await call;
        if (!outcome && outcome.error().code == Errc::kStaleEpoch) {
            co_return outcome;
        }
        if (is_clean(request)) {
            is_compared = true;
            break;
        }
        if (request.compared.is_complete) {
            is_compared = true;
            if (!is_found) {
                is_found = true;
                state_.blocks_found += uint64_t{is_of_scrub};
                head_.note_findings({block, 1}, request.compared, outcome.has_value(), is_of_scrub);
            }
        }
        sleep_for pause(head_.reactor(), kScrubPauseUs * kNsPerUs);
        co_await pause;
    }
    state_.blocks_skipped += uint64_t{is_of_scrub && !is_compared};
    co_return kOk;
}

}  // namespace basalt::replication
