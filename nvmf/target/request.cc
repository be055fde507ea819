#include "nvmf/target/request.h"

#include "nvmf/target/connection.h"

namespace basalt::nvmf {

constexpr bool Request::is_valid_transition(State from, State to) {
    switch (from) {
        case State::kFree: return to == State::kReceiving;
        case State::kReceiving:
            return to == State::kNeedsBuffer || to == State::kExecuting ||
                   to == State::kResponding || to == State::kFree || to == State::kAwaitingData ||
                   to == State::kAwaitingPartner || to == State::kThrottled;
        case State::kThrottled:
            return to == State::kNeedsBuffer || to == State::kExecuting ||
                   to == State::kResponding || to == State::kFree;
        case State::kNeedsBuffer:
            return to == State::kThrottled || to == State::kAwaitingData ||
                   to == State::kExecuting || to == State::kResponding || to == State::kFree;
        case State::kAwaitingData:
            return to == State::kExecuting || to == State::kResponding || to == State::kFree ||
                   to == State::kAwaitingPartner;
        case State::kAwaitingPartner:
            return to == State::kAwaitingData || to == State::kExecuting ||
                   to == State::kResponding || to == State::kFree;
        case State::kExecuting: return to == State::kResponding || to == State::kFree;
        case State::kResponding: return to == State::kFree;
    }
    return false;
}

Request::Request(Connection& owner, uint16_t table_index)
    : connection(owner),
      index(table_index),
      waiter(
          [](void* self, Buffer granted) {
              Request& request = *static_cast<Request*>(self);
              request.connection.buffer_granted(request, granted);
          },
          this) {}

void Request::reset(const Sqe& command) {
    BASALT_ASSERT(!buffer.is_valid());
    BASALT_ASSERT(!kept);
    BASALT_ASSERT(target_namespace == nullptr);
    BASALT_ASSERT(fused == nullptr);
    BASALT_ASSERT(job == nullptr);
    sqe = command;
    cqe = {};
    early_status = {};
    data_bytes = 0;
    received_bytes = 0;
    is_data_in_capsule = false;
    has_digest_error = false;
    is_abort_wanted = false;
    is_paid = false;
    completes_later = false;
    scratch = 0;
    piece = {};
    io.wants_device_memory = false;
}

void Request::set_state(State to) {
    BASALT_ASSERT(is_valid_transition(state_, to));
    state_ = to;
}

}  // namespace basalt::nvmf
