#pragma once

#include "reactor/io/tsc_clock.h"
#include "reactor/io/uring_driver.h"
#include "reactor/threads.h"

namespace basalt {

/// Gives reactor threads the real world: the time stamp counter and an io_uring each. The clocks
/// share one calibration, so that times of different cores compare.
/// Owner: main. Any thread.
class UringServices final : public ReactorServicesFactory {
  public:
    explicit UringServices(const UringOptions& options) : options_(options) {}

    /// Errors: those of UringDriver::create().
    [[nodiscard]] Result<ReactorServices> make(CoreId core) override;

  private:
    const UringOptions options_;
    const TscClock clock_;
};

}  // namespace basalt
