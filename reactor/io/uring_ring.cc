#include "reactor/io/uring_ring.h"

#include <cerrno>

#include <sys/syscall.h>
#include <unistd.h>

#include "reactor/base/assert.h"
#include "reactor/io/clock.h"

namespace basalt {

namespace {

// How often a full submission queue is offered to a kernel that says "busy" before we call it a
// bug. Each offer flushes overflown completions; one has always been enough.
constexpr uint32_t kSubmitTriesMax = 1000;

}  // namespace

Result<std::unique_ptr<UringRing>> UringRing::create(const Options& options,
                                                     const UringFeatures& features) {
    io_uring_params params{};
    params.flags = IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE |
                   IORING_SETUP_CLAMP | IORING_SETUP_TASKRUN_FLAG | options.extra_setup_flags;
    params.flags |= features.defer_taskrun ? IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN
                                           : IORING_SETUP_COOP_TASKRUN;
    params.cq_entries = options.completion_entries;

    std::unique_ptr<UringRing> ring(new UringRing());
    const int error = io_uring_queue_init_params(options.submission_entries, &ring->ring_, &params);
    if (error < 0) {
        return Error::from_errno(-error);
    }
    ring->is_open_ = true;
    if ((params.features & IORING_FEAT_NODROP) == 0 ||
        (params.features & IORING_FEAT_EXT_ARG) == 0 ||
        (params.features & IORING_FEAT_CQE_SKIP) == 0) {
        return Errc::kNotSupported;
    }
    return ring;
}

UringRing::~UringRing() {
    if (is_open_) {
        io_uring_queue_exit(&ring_);
    }
}

void UringRing::enable() {
    // liburing 2.3 declares io_uring_enable_rings() and forgets to export it.
    const long error =
        syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
    BASALT_ASSERT(error == 0);
    // Saves the kernel the look-up of our ring at each call. Optional (5.18).
    io_uring_register_ring_fd(&ring_);
    is_enabled_ = true;
}

io_uring_sqe& UringRing::next_sqe() {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    if (sqe == nullptr) [[unlikely]] {
        submit_until_room(1);
        sqe = io_uring_get_sqe(&ring_);
    }
    BASALT_ASSERT(sqe != nullptr);
    return *sqe;
}

void UringRing::submit_until_room(uint32_t count) {
    for (uint32_t tries = 0; io_uring_sq_space_left(&ring_) < count; ++tries) {
        BASALT_ASSERT(tries < kSubmitTriesMax);
        enter();
    }
}

void UringRing::cancel(uint64_t user_data) {
    io_uring_sqe& sqe = next_sqe();
    io_uring_prep_cancel64(&sqe, user_data, 0);
    sqe.flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe.user_data = kUringIgnored;
}

void UringRing::enter() {
    if (!is_enabled_) [[unlikely]] {
        enable();
    }
    ++counters_.enters;
    const int submitted = io_uring_submit_and_get_events(&ring_);
    if (submitted > 0) {
        counters_.submissions += static_cast<uint64_t>(submitted);
        return;
    }
    // Interrupted, out of memory for now, or too many completions unreaped: what was not taken
    // stays queued for the next turn. Anything else is a request that we built wrongly.
    BASALT_ASSERT(submitted == 0 || submitted == -EINTR || submitted == -EAGAIN ||
                  submitted == -EBUSY || submitted == -ENOMEM);
}

void UringRing::enter_and_wait(uint64_t timeout_ns) {
    if (!is_enabled_) [[unlikely]] {
        enable();
    }
    __kernel_timespec timeout{};
    timeout.tv_sec = static_cast<int64_t>(timeout_ns / kNsPerSecond);
    timeout.tv_nsec = static_cast<int64_t>(timeout_ns % kNsPerSecond);
    ++counters_.enters;
    const uint32_t queued = io_uring_sq_ready(&ring_);
    io_uring_cqe* cqe = nullptr;
    const int result = io_uring_submit_and_wait_timeout(
        &ring_, &cqe, 1, timeout_ns == UINT64_MAX ? nullptr : &timeout, nullptr);
    counters_.submissions += queued - io_uring_sq_ready(&ring_);
    BASALT_ASSERT(result >= 0 || result == -ETIME || result == -EINTR || result == -EAGAIN ||
                  result == -EBUSY || result == -ENOMEM);
}

}  // namespace basalt
