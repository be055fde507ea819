#pragma once

#include <memory>

#include "control/handlers/app_handlers.h"
#include "reactor/io/uring_driver.h"

namespace basalt::control {

/// Blocks SIGTERM and SIGINT for this thread and those it starts, so that they arrive through
/// SignalWatcher, and ignores SIGPIPE. First thing in main.
void block_stop_signals();

/// Turns SIGTERM and SIGINT into calls of the control thread: the first asks for the orderly end, a
/// second ends the process at once. Owner: the daemon. Thread: the control thread.
class SignalWatcher final : public FdWatcher {
  public:
    /// Watches through `driver`, the control reactor's. Both arguments outlive it.
    SignalWatcher(UringDriver& driver, Stopper& stopper);
    SignalWatcher(const SignalWatcher&) = delete;
    SignalWatcher& operator=(const SignalWatcher&) = delete;
    ~SignalWatcher() override;

    void on_ready(uint32_t events) override;

  private:
    UringDriver& driver_;
    Stopper& stopper_;
    const int fd_;
    bool has_asked_ = false;
};

}  // namespace basalt::control
