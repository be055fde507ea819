#include "nvmf/initiator/host_command.h"

#include "reactor/base/assert.h"

namespace basalt::nvmf {

constexpr bool HostCommand::is_valid_transition(State from, State to) {
    switch (from) {
        case State::kIdle: return to == State::kWaiting || to == State::kQueued;
        case State::kWaiting: return to == State::kQueued || to == State::kIdle;
        case State::kQueued: return to == State::kInFlight || to == State::kIdle;
        case State::kInFlight:
            return to == State::kSendingData || to == State::kEnding || to == State::kIdle;
        case State::kSendingData:
            return to == State::kInFlight || to == State::kEnding || to == State::kIdle;
        case State::kEnding: return to == State::kIdle;
    }
    return false;
}

void HostCommand::set_state(State to) {
    BASALT_ASSERT(is_valid_transition(state_, to));
    state_ = to;
}

void HostCommand::reset() {
    BASALT_ASSERT(state_ == State::kIdle);
    BASALT_ASSERT(done_ != nullptr);
    status = kOk;
    cqe = Cqe{};
    moved_bytes_ = 0;
    position_ = start;
    r2t_end_bytes_ = 0;
    is_in_capsule_ = false;
    has_digest_error_ = false;
}

}  // namespace basalt::nvmf
