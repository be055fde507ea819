#include "nvmf/target/subsystem.h"

namespace basalt::nvmf {

Controller* Subsystem::find_controller(ControllerId id) {
    for (Controller* at = controllers_.front(); at != nullptr; at = controllers_.next(*at)) {
        if (at->id() == id) {
            return at;
        }
    }
    return nullptr;
}

HealthCounters Subsystem::health(Nsid nsid) const {
    HealthCounters sum;
    if (nsid == kNsidAll) {
        sum.add(retired_);
    }
    for (const auto& each : namespaces_) {
        if (each != nullptr && (nsid == kNsidAll || each->config().nsid == nsid)) {
            sum.add(each->health_now());
        }
    }
    return sum;
}

}  // namespace basalt::nvmf
