#include "nvmf/target/reservation/reservation_visits.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "nvmf/target/io_commands.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/reservation/reservation_codec.h"

namespace basalt::nvmf {

namespace {

/// Whether the command may touch the namespace. Of those that name several, all may.
bool may_touch(const Request& request, Nsid nsid) {
    const Sqe& sqe = request.sqe;
    return !is_reservation_command(sqe.opcode) &&
           (sqe.nsid() == nsid || sqe.nsid() == kNsidAll || sqe.opcode == nvme_cmd_copy);
}

/// Calls visit(Request&) for each command of the hosts that was judged before.
template <typename Visit>
void for_each_command(AwaitCommands& waiting, const Subsystem& subsystem, Visit visit) {
    waiting.group->for_each_connection([&](const Connection& connection) {
        const bool is_meant =
            connection.link.subsystem == &subsystem && !connection.is_admin_queue() &&
            std::find(waiting.hosts.begin(), waiting.hosts.end(), connection.link.host_id) !=
                waiting.hosts.end();
        if (is_meant) {
            connection.for_each_executing([&](Request& request) {
                // The version goes round, so it is the distance that tells.
                const auto distance =
                    static_cast<int32_t>(request.checked_version - waiting.version);
                if (distance < 0 && may_touch(request, waiting.nsid)) {
                    visit(request);
                }
            });
        }
    });
}

/// Ends those that no device has: in line for a step job or the device's rate, at a fence, or
/// between two parts.
void abort_commands(AwaitCommands& waiting, const Subsystem& subsystem) {
    std::vector<Request*> found;  // None of them ends another, or takes it along.
    for_each_command(waiting, subsystem, [&](Request& request) { found.push_back(&request); });
    for (Request* request : found) {
        const bool will_end = stop_io_command(*request, status::kAbortedByPreempt);
        if (will_end && request->state() == Request::State::kExecuting) {
            request->is_abort_wanted = true;
        }
    }
}

}  // namespace

Task<void> InstallReservation::run(Reactor&, InstallReservation& self) {
    Subsystem* subsystem = self.group->find_subsystem(self.subsystem);
    Namespace* found = subsystem == nullptr ? nullptr : subsystem->find_namespace(self.nsid);
    if (found != nullptr) {
        found->set_reservation(*self.view);
        // What has been judged and not executed yet is judged again.
        self.version = ++subsystem->namespaces_version;
    }
    co_return;
}

Task<void> AwaitCommands::run(Reactor& there, AwaitCommands& self) {
    bool is_first = true;
    while (true) {
        const Subsystem* subsystem = self.group->find_subsystem(self.subsystem);
        if (subsystem == nullptr) {
            co_return;
        }
        if (std::exchange(is_first, false)) {
            abort_commands(self, *subsystem);
        }
        bool is_left = false;
        for_each_command(self, *subsystem, [&](const Request&) { is_left = true; });
        if (!is_left) {
            co_return;
        }
        co_await sleep_for(there, kDrainPollNs);
    }
}

Task<void> AnnounceReservation::run(Reactor&, AnnounceReservation& self) {
    Subsystem* subsystem = self.group->find_subsystem(self.subsystem);
    if (subsystem == nullptr) {
        co_return;
    }
    auto& controllers = subsystem->controllers();
    for (Controller* at = controllers.front(); at != nullptr; at = controllers.next(*at)) {
        for (const ReservationNotice& notice : self.notices) {
            if (at->identity().host_id == notice.host) {
                at->reservation_notices.add(self.nsid, notice.type);
                at->raise(AsyncEvent::kReservationNotice);
            }
        }
    }
}

}  // namespace basalt::nvmf
