#include "replication/head/scrubber.h"

#include <algorithm>

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

Scrubber::~Scrubber() {
    BASALT_ASSERT(!state_.is_running || head_.reactor().is_abandoned());
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
    cancel();
    co_await turn_.acquire();
    const AsyncMutex::Turn turn(turn_);
}

Task<void> Scrubber::run() {
    co_await turn_.acquire();
    const AsyncMutex::Turn turn(turn_);
    Reactor& here = head_.reactor();
    const uint64_t blocks = head_.settings().blocks;
    uint64_t due_ns = here.now_ns();
    while (state_.blocks_done < blocks && !is_stopped_) {
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

/// Errors: kStaleEpoch.
Task<Status> Scrubber::compare(BlockRange range) {
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
    for (uint64_t block = range.first; block < range.end() && !is_stopped_; ++block) {
        const Status done = co_await compare_block(block);
        if (!done) {
            co_return done;
        }
    }
    co_return kOk;
}

/// Until it is the same everywhere: what was wrong has been written anew then.
Task<Status> Scrubber::compare_block(uint64_t block) {
    bool is_found = false;
    bool is_compared = false;
    for (uint32_t attempt = 0; attempt < kScrubAttempts && !is_stopped_; ++attempt) {
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
                ++state_.blocks_found;
                note(request, outcome);
            }
        }
        sleep_for pause(head_.reactor(), kScrubPauseUs * kNsPerUs);
        co_await pause;
    }
    state_.blocks_skipped += uint64_t{!is_compared};
    co_return kOk;
}

void Scrubber::note(const HeadRequest& request, Status outcome) {
    const BlockRange range{request.first, static_cast<uint32_t>(request.count)};
    head_.note_findings(range, request.compared, outcome.has_value(), true);
}

}  // namespace basalt::replication
