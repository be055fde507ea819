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

}  // namespace basalt::nvmf
