#pragma once

#include <cstdint>

#include "reactor/base/strong_int.h"
#include "reactor/timer_queue.h"

namespace basalt::nvmf {

/// How a live I/O queue goes to another core, with all that it is: it executes what it has begun
/// and gives nothing new a buffer, and when nothing is under way, it leaves.
///
///   kStays -> kQuieting -> kLeaving -> (on the other core) kSettling -> kStays
///      ^---------+
///
/// Owner and core: its Connection, whose connection_move.cc has the steps.
struct ConnectionMove {
    /// Each comment names who moves the connection on.
    enum class State : uint8_t {
        kStays,     ///< The group, with begin_move().
        kQuieting,  ///< The last request that is under way; or time, back to kStays.
        kLeaving,   ///< Socket, in on_released().
        kSettling,  ///< Its controller's core, when it knows the new place.
    };

    State state = State::kStays;
    CoreId to;
    Timer patience;

    /// Commands begin as ever.
    [[nodiscard]] bool takes_commands() const {
        return state == State::kStays || state == State::kSettling;
    }
    [[nodiscard]] bool is_quieting() const { return state == State::kQuieting; }
};

/// What a queue has done in its group's present period, by queue_work().
struct PeriodWork {
    uint32_t period = 0;
    uint64_t work = 0;

    [[nodiscard]] uint64_t in(uint32_t present) const { return period == present ? work : 0; }
};

}  // namespace basalt::nvmf
