#include "control/signals.h"

#include <csignal>

#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "reactor/base/assert.h"
#include "reactor/base/log.h"

namespace basalt::control {

namespace {

sigset_t stop_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return set;
}

}  // namespace

void block_stop_signals() {
    const sigset_t set = stop_signals();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
}

SignalWatcher::SignalWatcher(UringDriver& driver, Stopper& stopper)
    : driver_(driver), stopper_(stopper), fd_([] {
          const sigset_t set = stop_signals();
          return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
      }()) {
    BASALT_ASSERT(fd_ >= 0);
    driver_.watch(fd_, *this);
}

SignalWatcher::~SignalWatcher() {
    driver_.unwatch(*this);
    close(fd_);
}

void SignalWatcher::on_ready(uint32_t /*events*/) {
    signalfd_siginfo info{};
    while (read(fd_, &info, sizeof(info)) == sizeof(info)) {
        if (has_asked_) {
            BASALT_LOG(kWarn, "control", "second signal: ending at once");
            _exit(128 + static_cast<int>(info.ssi_signo));
        }
        has_asked_ = true;
        BASALT_LOG(kInfo,
                   "control",
                   "{}: draining and stopping; a second signal ends at once",
                   info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
        stopper_.request_stop();
    }
}

}  // namespace basalt::control
