#include "reactor/io/uring_driver.h"

#include <cerrno>
#include <utility>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "reactor/base/assert.h"
#include "reactor/limits.h"

namespace basalt {

namespace {

// Completions that one poll handles, so that a flood of I/O can't starve messages and timers, and
// so that no more comes in than goes out: a receive buffer holds eight small writes, and each is an
// event of a memory device. With 512 completions, 1000 busy queue pairs filled all memory for what
// was received and not done, and were many times slower (perf/tried.md).
constexpr uint32_t kCompletionsPerPoll = 128;
static_assert(kCompletionsPerPoll * 8 <= kEventsPerPoll);

}  // namespace

Result<std::unique_ptr<UringDriver>> UringDriver::create(Clock& clock,
                                                         const UringOptions& options,
                                                         const UringFeatures& probed) {
    const UringFeatures features = probed & options.allowed;
    BASALT_TRY(std::unique_ptr<UringRing> ring, UringRing::create(options.ring, features));
    BASALT_TRY(std::unique_ptr<UringBuffers> buffers,
               UringBuffers::create(*ring, options.buffers, features));
    const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0) {
        return Error::from_errno(errno);
    }
    return std::unique_ptr<UringDriver>(
        new UringDriver(clock, features, std::move(ring), std::move(buffers), wake_fd));
}

UringDriver::UringDriver(Clock& clock,
                         const UringFeatures& features,
                         std::unique_ptr<UringRing> ring,
                         std::unique_ptr<UringBuffers> buffers,
                         int wake_fd)
    : clock_(clock),
      features_(features),
      ring_(std::move(ring)),
      buffers_(std::move(buffers)),
      network_(*ring_, *buffers_, features),
      storage_(*ring_, features),
      wake_(*this),
      wake_fd_(wake_fd) {
    arm_wake();
}

UringDriver::~UringDriver() {
    while (WatchOp* watch = watches_.pop_front()) {
        BASALT_ASSERT(watch->watcher == nullptr);
        delete watch;
    }
    close(wake_fd_);
}

uint32_t UringDriver::poll() {
    if (ring_->wants_enter()) {
        ring_->enter();
    }
    UringPassthrough* passthrough = storage_.passthrough();
    if (!ring_->has_completions() && !network_.has_pending() && passthrough == nullptr) {
        return 0;  // The answer to nearly all polls.
    }
    uint32_t count = ring_->reap(kCompletionsPerPoll,
                                 [this](uint64_t user_data, UringCompletion completion, uint64_t) {
                                     handle(user_data, completion);
                                 });
    if (network_.has_pending()) {
        count += network_.run_pending();
    }
    if (passthrough != nullptr) {
        count += passthrough->poll(kCompletionsPerPoll, *reactor());
    }
    return count;
}

void UringDriver::handle(uint64_t user_data, UringCompletion completion) {
    if (user_data == kUringIgnored) {
        return;
    }
    if ((user_data & kUringFileTag) != 0) {
        storage_.complete(user_data & ~kUringFileTag, completion, *reactor());
        return;
    }
    // The kernel gives a pointer back as the integer that it was handed.
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    auto& op = *reinterpret_cast<UringOp*>(user_data);
    op.complete(op, completion);
}

void UringDriver::wait(uint64_t deadline_ns) {
    if (ring_->has_completions() || network_.has_pending()) {
        return;
    }
    UringPassthrough* passthrough = storage_.passthrough();
    if (passthrough != nullptr && !passthrough->prepare_wait()) {
        return;
    }
    uint64_t timeout_ns = UINT64_MAX;
    if (deadline_ns != UINT64_MAX) {
        const uint64_t now_ns = clock_.now_ns();
        if (deadline_ns <= now_ns) {
            return;
        }
        timeout_ns = deadline_ns - now_ns;
    }
    ring_->enter_and_wait(timeout_ns);
}

// ---- waking

void UringDriver::wake() {
    const uint64_t one = 1;
    // Can't fail: the counter is 64 bits wide.
    [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof(one));
}

void UringDriver::arm_wake() {
    // Multishot: each write is a completion, also without ever reading the counter, so that a
    // wake-up costs the sleeper no system call.
    io_uring_sqe& sqe = ring_->next_sqe();
    io_uring_prep_poll_multishot(&sqe, wake_fd_, POLLIN);
    sqe.user_data = wake_.user_data();
}

void UringDriver::on_wake(UringOp& op, UringCompletion completion) {
    if ((completion.flags & IORING_CQE_F_MORE) == 0) {
        static_cast<WakeOp&>(op).driver.arm_wake();
    }
}

// ---- foreign descriptors

void UringDriver::watch(int fd, FdWatcher& watcher) {
    auto* watch = new WatchOp(*this, fd, watcher);
    watches_.push_back(*watch);
    arm_watch(*watch);
}

void UringDriver::unwatch(FdWatcher& watcher) {
    for (WatchOp* watch = watches_.front(); watch != nullptr; watch = watches_.next(*watch)) {
        if (watch->watcher == &watcher) {
            watch->watcher = nullptr;
            ring_->cancel(watch->user_data());
        }
    }
}

void UringDriver::arm_watch(WatchOp& watch) {
    // One poll at a time, armed again after each: the kernel looks at the state when it arms, which
    // makes it level triggered on every kernel.
    io_uring_sqe& sqe = ring_->next_sqe();
    io_uring_prep_poll_add(&sqe, watch.fd, POLLIN);
    sqe.user_data = watch.user_data();
}

void UringDriver::on_watch(UringOp& op, UringCompletion completion) {
    auto& watch = static_cast<WatchOp&>(op);
    if (watch.watcher != nullptr) {
        watch.watcher->on_ready(completion.result > 0 ? static_cast<uint32_t>(completion.result)
                                                      : static_cast<uint32_t>(POLLERR));
    }
    if (watch.watcher == nullptr) {
        watch.driver.watches_.remove(watch);
        delete &watch;
        return;
    }
    watch.driver.arm_watch(watch);
}

}  // namespace basalt
