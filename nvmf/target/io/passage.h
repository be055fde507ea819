#pragma once

#include "nvmf/target/connection.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"

namespace basalt::nvmf {

/// Goes through the gate of the request's namespace with a range, for one device operation;
/// leave_gate() follows. False: the range is fenced, and `resume` is called later.
[[nodiscard]] inline bool enter_gate(Request& request,
                                     const BlockRange& range,
                                     void (*resume)(Request&)) {
    Namespace& space = *request.target_namespace;
    if (!space.gate().is_open()) [[unlikely]] {
        FenceTable& fences = request.connection().group().fences();
        if (fences.is_fenced(*space.config().bdev, range)) {
            request.resume = resume;
            fences.wait(request);
            return false;
        }
    }
    request.gate_epoch = space.enter_gate();
    return true;
}

inline void leave_gate(Request& request) {
    request.target_namespace->leave_gate(request.gate_epoch);
}

}  // namespace basalt::nvmf
