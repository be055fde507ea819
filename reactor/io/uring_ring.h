#pragma once

#include <cstdint>
#include <memory>

#include <liburing.h>

#include "reactor/base/result.h"
#include "reactor/io/uring_features.h"
#include "reactor/io/uring_op.h"

namespace basalt {

/// What a ring did since it was made.
struct UringCounters {
    uint64_t enters = 0;  ///< System calls.
    uint64_t submissions = 0;
    uint64_t completions = 0;
};

/// One io_uring: the memory shared with the kernel and the one system call that drives it. All
/// requests of a turn go in with one io_uring_enter, which also runs the kernel's deferred work;
/// a turn in which there is neither makes no system call.
///
/// Life: create() on any thread makes it disabled; memory may be registered and requests queued.
/// The first enter() enables it and binds it to the calling thread (SINGLE_ISSUER), which is the
/// reactor's; from then on only that thread may touch it. The destructor may run on any thread
/// once that thread has stopped using it.
class UringRing {
  public:
    struct Options {
        uint32_t submission_entries = 1024;
        uint32_t completion_entries = 8192;
        uint32_t extra_setup_flags = 0;  ///< IORING_SETUP_SQE128 and the like.
    };

    /// Errors: kNoMemory, kPermissionDenied, kNotSupported.
    [[nodiscard]] static Result<std::unique_ptr<UringRing>> create(const Options& options,
                                                                   const UringFeatures& features);

    UringRing(const UringRing&) = delete;
    UringRing& operator=(const UringRing&) = delete;
    ~UringRing();

    /// A fresh, zeroed entry to fill in, submitted with the next enter(). When the submission queue
    /// is full, what is in it is submitted first, so there is always one.
    [[nodiscard]] io_uring_sqe& next_sqe();

    /// Makes sure that the next `count` entries will be submitted together, as links must be.
    void make_room(uint32_t count) {
        if (io_uring_sq_space_left(&ring_) < count) [[unlikely]] {
            submit_until_room(count);
        }
    }

    /// Asks the kernel to cancel the request with that user data, silently if it is gone.
    void cancel(uint64_t user_data);

    /// Whether enter() would achieve anything. Reads shared memory only.
    [[nodiscard]] bool wants_enter() const {
        return io_uring_sq_ready(&ring_) > 0 ||
               (__atomic_load_n(ring_.sq.kflags, __ATOMIC_RELAXED) &
                (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
    }

    /// Whether completions wait to be reaped.
    [[nodiscard]] bool has_completions() const { return io_uring_cq_ready(&ring_) > 0; }

    /// Submits what is queued and runs the kernel's deferred work. One system call.
    void enter();

    /// As enter(), and sleeps until a completion is there or `timeout_ns` have passed (UINT64_MAX:
    /// no end). May return early.
    void enter_and_wait(uint64_t timeout_ns);

    /// Calls `handle(user_data, completion, extra)` for at most `count_max` completions that are
    /// there now; `handle` may queue and submit. `extra` is the first half of the long part of a
    /// completion on a ring with IORING_SETUP_CQE32, else 0. Returns how many.
    template <typename Handle>
    uint32_t reap(uint32_t count_max, Handle handle) {
        const uint32_t ready = io_uring_cq_ready(&ring_);
        const uint32_t count = ready < count_max ? ready : count_max;
        for (uint32_t i = 0; i < count; ++i) {
            const uint32_t head = *ring_.cq.khead;
            const io_uring_cqe& cqe =
                ring_.cq.cqes[io_uring_cqe_index(&ring_, head, ring_.cq.ring_mask)];
            const uint64_t user_data = cqe.user_data;
            const UringCompletion completion{.result = cqe.res, .flags = cqe.flags};
            const uint64_t extra = (ring_.flags & IORING_SETUP_CQE32) != 0 ? cqe.big_cqe[0] : 0;
            // Given back before it is handled: the handler may enter, and needs the room.
            io_uring_cq_advance(&ring_, 1);
            handle(user_data, completion, extra);
        }
        counters_.completions += count;
        return count;
    }

    /// For registrations; before enabling, or on the ring's thread.
    [[nodiscard]] io_uring& native() { return ring_; }
    [[nodiscard]] int fd() const { return ring_.ring_fd; }

    [[nodiscard]] const UringCounters& counters() const { return counters_; }

  private:
    UringRing() = default;

    void enable();
    void submit_until_room(uint32_t count);

    io_uring ring_{};
    UringCounters counters_;
    bool is_open_ = false;
    bool is_enabled_ = false;
};

}  // namespace basalt
