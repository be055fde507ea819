#include "nvmf/target/reservation/reservation_visits.h"

#include <algorithm>

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

bool is_command_left(AwaitCommands& waiting, const Subsystem& subsystem) {
    bool is_left = false;
    waiting.group->for_each_connection([&](const Connection& connection) {
        const bool is_meant =
            connection.link.subsystem == &subsystem && !connection.is_admin_queue() &&
            std::find(waiting.hosts.begin(), waiting.hosts.end(), connection.link.host_id) !=
                waiting.hosts.end();
        if (is_meant) {
            connection.for_each_executing([&](const Request& request) {
                // The version goes round, so it is the distance that tells.
                const auto distance =
                    static_cast<int32_t>(request.checked_version - waiting.version);
                is_left = is_left || (distance < 0 && may_touch(request, waiting.nsid));
            });
        }
    });
    return is_left;
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
    while (true) {
        const Subsystem* subsystem = self.group->find_subsystem(self.subsystem);
        if (subsystem == nullptr || !is_command_left(self, *subsystem)) {
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
