#include "control/metadata/etcd/inbox.h"

#include <utility>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "reactor/base/assert.h"

namespace basalt::metadata::etcd {

Inbox::Inbox() : event_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    BASALT_ASSERT(event_fd_ >= 0);
}

Inbox::~Inbox() {
    BASALT_ASSERT(expected_ == 0);
    ::close(event_fd_);
}

void Inbox::push(Arrival& arrival) {
    const std::lock_guard lock(mutex_);
    arrivals_.push_back(&arrival);
    // Can fail only if it is readable already, which is all that is wanted.
    static_cast<void>(::eventfd_write(event_fd_, 1));
}

void Inbox::process() {
    std::vector<Arrival*> arrivals;
    {
        const std::lock_guard lock(mutex_);
        eventfd_t ignored = 0;
        static_cast<void>(::eventfd_read(event_fd_, &ignored));
        arrivals = std::exchange(arrivals_, {});
    }
    for (Arrival* one : arrivals) {
        BASALT_ASSERT(expected_ > 0);
        --expected_;
        one->arrived();
    }
}

void Inbox::drain() {
    while (expected_ > 0) {
        pollfd ready{.fd = event_fd_, .events = POLLIN, .revents = 0};
        static_cast<void>(::poll(&ready, 1, -1));
        process();
    }
}

}  // namespace basalt::metadata::etcd
