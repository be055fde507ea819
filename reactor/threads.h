#pragma once

#include <atomic>
#include <cstdint>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "reactor/base/result.h"
#include "reactor/io/clock.h"
#include "reactor/io/io_driver.h"
#include "reactor/limits.h"
#include "reactor/memory.h"
#include "reactor/msg/ring_mailbox.h"
#include "reactor/msg/waker.h"
#include "reactor/reactor.h"
#include "reactor/task.h"
#include "reactor/topology.h"

namespace basalt {

/// What a reactor needs of the outside, made for one thread.
struct ReactorServices {
    Clock* clock = nullptr;  ///< Belongs to the factory.
    std::unique_ptr<IoDriver> driver;
    Waker* waker = nullptr;  ///< Belongs to the driver.
};

/// Makes the services of reactor threads: UringServices, or a test's.
class ReactorServicesFactory {
  public:
    virtual ~ReactorServicesFactory() = default;

    /// For reactor `core`, called on its own thread, several threads at once. Errors: kNotSupported
    /// (the kernel lacks something), kPermissionDenied, kNoMemory.
    [[nodiscard]] virtual Result<ReactorServices> make(CoreId core) = 0;
};

struct ReactorThreadsOptions {
    std::vector<Processor> processors;  ///< A reactor on each, in this order: CoreId 0, 1, ...
    PollMode mode = PollMode::kAdaptive;
    uint64_t idle_before_sleep_ns = kIdleBeforeSleepNs;
};

/// The reactors of a process: one pinned thread for each processor, named "basalt-r0" and so on,
/// and the control reactor, which has the last CoreId, is not pinned, always adaptive, and runs on
/// the thread that calls start().
///
/// Life: start(), run_control() until the control reactor's stop(), then stop(). Before stop()
/// every user has taken its objects off the reactors: no socket, timer, request or message is
/// left. Owner and core: main, on the control thread.
class ReactorThreads {
  public:
    /// Starts all reactors; they run when this returns. `memory` and `factory` outlive them. The
    /// threads block all signals. Errors, explained in `problem`: those of the factory, kNoMemory,
    /// kInvalidArgument (no processor, too many, or one that can't be pinned to).
    [[nodiscard]] static Result<std::unique_ptr<ReactorThreads>> start(
        const ReactorThreadsOptions& options,
        HugeMemory& memory,
        ReactorServicesFactory& factory,
        std::string& problem);
    ReactorThreads(const ReactorThreads&) = delete;
    ReactorThreads& operator=(const ReactorThreads&) = delete;
    ~ReactorThreads();  ///< Calls stop() if that was not done.

    /// Dataplane reactors; the control reactor's CoreId is this number.
    [[nodiscard]] uint32_t count() const { return static_cast<uint32_t>(processors_.size()); }
    [[nodiscard]] CoreId control_core() const { return CoreId(count()); }
    [[nodiscard]] const Processor& processor(CoreId core) const { return processors_[core.raw()]; }

    [[nodiscard]] Reactor& control() { return *control_; }

    /// Ends the control reactor's sleep from any thread, after that thread has left work where one
    /// of the control reactor's pollers looks for it.
    void wake_control() { control_services_.waker->wake(); }

    /// Turns the control reactor until its stop().
    void run_control() { control_->run(); }

    /// Stops and joins the reactor threads. Afterwards only the control reactor is left, to be
    /// polled by hand if somebody needs it.
    void stop();

    /// The counters of reactor `core` (the control reactor's too), read on its own thread.
    [[nodiscard]] Task<ReactorCounters> read_counters(CoreId core);

  private:
    // What start() decided after it heard from all threads.
    enum class Go : uint8_t { kWait, kRun, kGiveUp };

    ReactorThreads(const ReactorThreadsOptions& options, ReactorServicesFactory& factory);

    Status start_threads(std::string& problem);
    Status start_control(std::string& problem);
    void thread_main(CoreId core);
    Status prepare_thread(CoreId core, ReactorServices& services);
    void run_reactor(CoreId core, ReactorServices& services);

    const std::vector<Processor> processors_;
    const ReactorThreadsOptions options_;
    ReactorServicesFactory& factory_;
    std::unique_ptr<RingMesh> mesh_;

    std::vector<Status> prepared_;    // By core; each written by its thread before reported_.
    std::latch reported_;             // Every thread has prepared, or failed to.
    std::atomic<Go> go_{Go::kWait};   // Set once by start().
    std::atomic<uint32_t> ended_{0};  // Reactors whose run() has returned.
    std::latch quiet_;                // Nobody sends, so nobody wakes: services may be destroyed.

    std::vector<std::thread> threads_;
    ReactorServices control_services_;
    std::optional<Reactor> control_;
};

}  // namespace basalt
