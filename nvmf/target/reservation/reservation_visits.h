#pragma once

#include <vector>

#include "nvmf/target/options.h"
#include "nvmf/target/reservation/reservation.h"
#include "nvmf/target/reservation/reservation_view.h"
#include "reactor/task.h"

// What a ReservationHome has done on a reactor: visits, as Target's. Each names its group, carries
// its arguments there and its results back. A core that has not got the namespace does nothing.

namespace basalt::nvmf {

class PollGroup;

/// The core judges by `view` from now on.
struct InstallReservation {
    PollGroup* group = nullptr;
    SubsystemId subsystem;
    Nsid nsid;
    const ReservationView* view = nullptr;
    uint32_t version = 0;  ///< Result: Subsystem::namespaces_version of what is judged from now on.

    static Task<void> run(Reactor& there, InstallReservation& self);
};

/// Aborts the commands that a host of `hosts` has sent to the namespace and that were judged before
/// `version` (Command Aborted due to Preempt and Abort), and waits for the end of those that the
/// device has. New ones don't prolong the wait.
struct AwaitCommands {
    PollGroup* group = nullptr;
    SubsystemId subsystem;
    Nsid nsid;
    const std::vector<HostId>& hosts;
    uint32_t version = 0;

    static Task<void> run(Reactor& there, AwaitCommands& self);
};

/// Tells the hosts' controllers on this core.
struct AnnounceReservation {
    PollGroup* group = nullptr;
    SubsystemId subsystem;
    Nsid nsid;
    const std::vector<ReservationNotice>& notices;

    static Task<void> run(Reactor& there, AnnounceReservation& self);
};

}  // namespace basalt::nvmf
