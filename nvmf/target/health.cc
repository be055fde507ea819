#include "nvmf/target/health.h"

#include <memory>
#include <utility>

#include "nvmf/target/connection.h"
#include "nvmf/target/io/copy_check.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"

namespace basalt::nvmf {

namespace {

/// Goes from core to core and warns the hosts that have a controller of the subsystem there; then
/// home. At most one a subsystem and core is under way, however often a device comes and goes.
struct Warning : Event {
    static void send(PollGroup& from, Subsystem& subsystem) {
        if (subsystem.is_warning) {
            subsystem.has_to_warn_again = true;
            return;
        }
        subsystem.is_warning = true;
        from.begin_errand();
        Warning& warning = *std::make_unique<Warning>().release();  // Owns itself until home.
        warning.origin = &from;
        warning.subsystem = subsystem.config().id;
        warning.set_run(
            [](Event& arrived, Reactor& here) { static_cast<Warning&>(arrived).arrive(here); });
        from.reactor().post(CoreId(0), warning);
    }

    void arrive(Reactor& here) {
        if (Subsystem* there = origin->peers()[here.core().raw()]->find_subsystem(subsystem)) {
            auto& controllers = there->controllers();
            for (Controller* at = controllers.front(); at != nullptr; at = controllers.next(*at)) {
                at->raise(AsyncEvent::kReliability);
            }
        }
        if (++next_core < origin->peers().size()) {
            here.post(CoreId(next_core), *this);
            return;
        }
        set_run([](Event& returned, Reactor&) { static_cast<Warning&>(returned).end(); });
        here.post(origin->reactor().core(), *this);
    }

    void end() {
        const std::unique_ptr<Warning> owned(this);
        origin->end_errand();
        Subsystem* const home = origin->find_subsystem(subsystem);
        if (home == nullptr) {
            return;
        }
        home->is_warning = false;
        if (std::exchange(home->has_to_warn_again, false)) {
            send(*origin, *home);
        }
    }

    PollGroup* origin = nullptr;
    SubsystemId subsystem;
    uint32_t next_core = 0;
};

void count_success(const Request& request, HealthCounters& health, uint32_t block_bytes) {
    health.troubles &= static_cast<uint8_t>(~HealthCounters::kDeviceGone);
    switch (request.sqe.opcode) {
        case nvme_cmd_read:
        case nvme_cmd_compare:
            ++health.read_commands;
            health.bytes_read += RwView(request.sqe).nlb().raw() * block_bytes;
            break;
        case nvme_cmd_verify:
            health.bytes_read += RwView(request.sqe).nlb().raw() * block_bytes;
            break;
        case nvme_cmd_copy:
            ++health.read_commands;
            ++health.write_commands;
            health.bytes_written += copy_blocks(request) * block_bytes;
            health.troubles &= static_cast<uint8_t>(~HealthCounters::kWritesRefused);
            break;
        case nvme_cmd_write:
            ++health.write_commands;
            health.bytes_written += RwView(request.sqe).nlb().raw() * block_bytes;
            health.troubles &= static_cast<uint8_t>(~HealthCounters::kWritesRefused);
            break;
        default: break;
    }
}

}  // namespace

void count_outcome(const Request& request, Namespace& space, Status outcome, NvmeStatus status) {
    constexpr uint8_t kMediaErrorType = 2;
    HealthCounters& health = space.health;
    if (outcome) [[likely]] {
        count_success(request, health, space.info().block_size_bytes);
        return;
    }
    const uint8_t before = health.troubles;
    if (status.sct == kMediaErrorType && !status.is(status::kCompareFailure)) {
        ++health.media_errors;
        health.troubles |= HealthCounters::kMediaFailed;
    }
    if (outcome.error().code == Errc::kDeviceGone) {
        health.troubles |= HealthCounters::kDeviceGone;
    }
    if (outcome.error().code == Errc::kReadOnly && !space.is_write_protected()) {
        health.troubles |= HealthCounters::kWritesRefused;
    }
    if (before == 0 && health.troubles != 0) {
        Warning::send(request.connection().group(), *request.connection().link.subsystem);
    }
}

}  // namespace basalt::nvmf
