#pragma once

#include <cstdint>
#include <memory>

#include "reactor/io/storage.h"
#include "reactor/io/uring_op.h"
#include "reactor/io/uring_ring.h"

namespace basalt {

/// NVMe commands to a character device (IORING_OP_URING_CMD). They need submission entries of 128
/// bytes and completions of 32, twice the usual, so they have a ring of their own, which exists
/// from the first command on. Before a sleep the main ring is made to poll this one's descriptor.
///
/// Owner: UringStorage. Core: its own.
class UringPassthrough {
  public:
    /// `main` is the ring that the reactor sleeps in.
    UringPassthrough(UringRing& main, const UringFeatures& features);
    UringPassthrough(const UringPassthrough&) = delete;
    UringPassthrough& operator=(const UringPassthrough&) = delete;
    ~UringPassthrough();  ///< Nothing is under way.

    void submit(PassthroughRequest& request);

    /// Submits what is queued and runs `done` of what has ended, at most `count_max`. Makes no
    /// system call when there is nothing. Returns how many.
    uint32_t poll(uint32_t count_max, Reactor& here);

    /// Called before the main ring sleeps. False if poll() has something to do at once; after true
    /// a completion here wakes the main ring.
    [[nodiscard]] bool prepare_wait();

    [[nodiscard]] uint32_t in_flight() const { return in_flight_; }

  private:
    static void on_ready(UringOp& op, UringCompletion completion);
    void complete(PassthroughRequest& request,
                  int32_t result,
                  uint64_t command_result,
                  Reactor& here);

    struct ReadyOp : UringOp {
        ReadyOp() : UringOp(&UringPassthrough::on_ready) {}
        bool is_armed = false;
    };

    UringRing& main_;
    std::unique_ptr<UringRing> ring_;  // Null if it could not be made: see open_error_.
    Error open_error_;
    ReadyOp ready_;
    EventList failed_;  // Requests refused for want of a ring, to be completed by poll().
    uint32_t in_flight_ = 0;
};

}  // namespace basalt
