#include "reactor/io/uring_services.h"

#include <utility>

namespace basalt {

Result<ReactorServices> UringServices::make(CoreId /*core*/) {
    ReactorServices services;
    services.clock = std::make_unique<TscClock>(clock_);
    BASALT_TRY(auto driver, UringDriver::create(*services.clock, options_));
    services.waker = driver.get();
    services.driver = std::move(driver);
    return services;
}

}  // namespace basalt
