#include "nvmf/host_bdev/reconnect_policy.h"

#include <algorithm>

namespace basalt::nvmf {

Status validate(const ReconnectOptions& options) {
    const int64_t loss = options.ctrlr_loss_timeout_sec;
    const int64_t delay = options.reconnect_delay_sec;
    const int64_t fast = options.fast_io_fail_timeout_sec;
    if (loss < -1) {
        return Errc::kInvalidArgument;
    }
    if (loss == 0) {
        return delay == 0 && fast == 0 ? kOk : Status(Errc::kInvalidArgument);
    }
    const bool is_delay_wrong = delay == 0 || (loss > 0 && delay > loss);
    const bool is_fast_wrong = fast != 0 && (fast < delay || (loss > 0 && fast > loss));
    return is_delay_wrong || is_fast_wrong ? Status(Errc::kInvalidArgument) : kOk;
}

uint64_t ReconnectPolicy::timer_ns() const {
    const uint64_t attempt_ns = state_ == State::kPausing ? attempt_at_ns_ : UINT64_MAX;
    return std::min({attempt_ns, fail_at_ns_, give_up_at_ns_});
}

void ReconnectPolicy::begin_pause(uint64_t now_ns) {
    state_ = State::kPausing;
    attempt_at_ns_ = now_ns + pause_ns_;
    const uint64_t longest_ns = options_.reconnect_delay_sec * kNsPerSecond;
    pause_ns_ = std::min(longest_ns, std::max(kReconnectDelayNsMin, pause_ns_ * 2));
}

ReconnectPolicy::Actions ReconnectPolicy::apply(Event event, uint64_t now_ns) {
    Actions actions;
    switch (event) {
        case Event::kConnected:
            state_ = State::kConnected;
            fail_at_ns_ = UINT64_MAX;
            give_up_at_ns_ = UINT64_MAX;
            return actions;
        case Event::kLost:
            if (options_.ctrlr_loss_timeout_sec > 0) {
                give_up_at_ns_ =
                    now_ns + static_cast<uint64_t>(options_.ctrlr_loss_timeout_sec) * kNsPerSecond;
            }
            if (options_.fast_io_fail_timeout_sec > 0) {
                fail_at_ns_ = now_ns + options_.fast_io_fail_timeout_sec * kNsPerSecond;
            }
            pause_ns_ = 0;
            if (options_.ctrlr_loss_timeout_sec == 0) {
                give_up_at_ns_ = now_ns;
            } else {
                begin_pause(now_ns);
            }
            break;
        case Event::kAttemptFailed:
            if (state_ == State::kAttempting && options_.ctrlr_loss_timeout_sec == 0) {
                give_up_at_ns_ = now_ns;
            } else if (state_ == State::kAttempting) {
                begin_pause(now_ns);
            }
            break;
        case Event::kRetryNow:
            if (state_ == State::kPausing || state_ == State::kGone) {
                attempt_at_ns_ = now_ns;
                state_ = State::kPausing;
            }
            break;
        case Event::kTimer: break;
    }
    if (now_ns >= fail_at_ns_) {
        fail_at_ns_ = UINT64_MAX;
        actions.fail_commands = true;
    }
    if (now_ns >= give_up_at_ns_) {
        fail_at_ns_ = UINT64_MAX;
        give_up_at_ns_ = UINT64_MAX;
        state_ = State::kGone;
        actions.fail_commands = true;
        actions.give_up = true;
    }
    if (state_ == State::kPausing && now_ns >= attempt_at_ns_) {
        state_ = State::kAttempting;
        actions.connect = true;
    }
    actions.timer_ns = timer_ns();
    return actions;
}

}  // namespace basalt::nvmf
