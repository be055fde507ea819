#pragma once

#include <array>

#include "reactor/io/tsc_clock.h"
#include "reactor/io/uring_driver.h"
#include "reactor/limits.h"
#include "reactor/threads.h"

namespace basalt {

/// The real services: an io_uring for each reactor, and one time stamp clock for all. Owner: main;
/// outlives the ReactorThreads that it serves.
class UringServices final : public ReactorServicesFactory {
  public:
    /// Calibrates the clock, for about 10 ms, and asks the kernel what it can do, once for all
    /// reactors; if it can't do enough, make() says so.
    explicit UringServices(const UringOptions& options)
        : options_(options), probed_(UringFeatures::probe()) {}
    UringServices(const UringServices&) = delete;
    UringServices& operator=(const UringServices&) = delete;

    [[nodiscard]] Result<ReactorServices> make(CoreId core) override;

    [[nodiscard]] Clock& clock() { return clock_; }

    /// The driver made for `core`, on that core: for what only io_uring's driver can do, such as
    /// watching a descriptor.
    [[nodiscard]] UringDriver& driver(CoreId core) { return *drivers_[core.raw()]; }

  private:
    const UringOptions options_;
    const Result<UringFeatures> probed_;
    TscClock clock_;
    std::array<UringDriver*, kReactorsMax> drivers_{};  // Each touched by its own thread only.
};

}  // namespace basalt
