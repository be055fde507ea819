#pragma once

#include <cstdint>

#include "reactor/io/network.h"
#include "reactor/io/storage.h"

namespace basalt {

class Reactor;

/// The outside world of one reactor: its sockets, its files, and the wait for either. Owner and
/// core: the reactor. Implementations: UringDriver (io_uring) and sim::SimDriver.
class IoDriver {
  public:
    virtual ~IoDriver() = default;

    /// Says whose driver this is: the reactor that is handed to the `done` events of files. Called
    /// once, by the reactor's constructor.
    void attach(Reactor& reactor) { reactor_ = &reactor; }

    /// Submits what was queued and runs the completions that are there, without waiting. Bounded
    /// work. Returns the number of completions.
    virtual uint32_t poll() = 0;

    /// Sleeps until a completion, a wake-up by another thread, or `deadline_ns` on the reactor's
    /// clock (UINT64_MAX: no deadline). Returns without running completions.
    virtual void wait(uint64_t deadline_ns) = 0;

    /// Requests accepted and not completed, of all kinds.
    [[nodiscard]] virtual uint32_t in_flight() const = 0;

    [[nodiscard]] virtual Network& network() = 0;
    [[nodiscard]] virtual Storage& storage() = 0;

  protected:
    /// The reactor attached, or null before that.
    [[nodiscard]] Reactor* reactor() const { return reactor_; }

  private:
    Reactor* reactor_ = nullptr;
};

}  // namespace basalt
