#include "reactor/uring_services.h"

namespace basalt {

Result<ReactorServices> UringServices::make(CoreId core) {
    BASALT_TRY(const UringFeatures probed, probed_);
    BASALT_TRY(std::unique_ptr<UringDriver> driver, UringDriver::create(clock_, options_, probed));
    UringDriver* const made = driver.get();
    drivers_[core.raw()] = made;
    return ReactorServices{.clock = &clock_, .driver = std::move(driver), .waker = made};
}

}  // namespace basalt
