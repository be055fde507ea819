#include "nvmf/target/poll_group.h"

#include <algorithm>
#include <bitset>
#include <utility>

#include "nvmf/auth/messages.h"
#include "nvmf/target/poll_group_events.h"
#include "reactor/base/log.h"

namespace basalt::nvmf {

namespace {

// Admin and fabrics commands may bring up to 8 KiB whatever the I/O capsule size is: few do.
constexpr uint32_t kLargeCapsuleBuffers = 64;

QueuePools::Counts io_counts(const TransportOptions& options) {
    return {.data = {options.small_buffers, options.medium_buffers, options.large_buffers},
            .capsules = {options.capsule_buffers, kLargeCapsuleBuffers, 0}};
}

// Identify and most log pages are 4 KiB, others up to MDTS. They are answered at once, so a buffer
// is in use for as long as its host takes to read.
constexpr QueuePools::Counts kAdminCounts{.data = {64, 8, 4}, .capsules = {64, 16, 0}};
// Connect and authentication bring and take less than 4 KiB.
constexpr QueuePools::Counts kConnectCounts{.data = {64, 1, 1}, .capsules = {64, 16, 0}};
static_assert(kAuthTransferBytesMax <= BufferPool::kClassBytes[0]);
static_assert(kAdminCapsuleDataBytes <= BufferPool::kClassBytes[1]);

/// The next `bytes` of `memory`.
std::span<std::byte> cut(std::span<std::byte>& memory, size_t bytes) {
    const std::span<std::byte> part = memory.first(bytes);
    memory = memory.subspan(bytes);
    return part;
}

}  // namespace

size_t PollGroup::buffer_bytes(const TransportOptions& options) {
    return io_counts(options).region_bytes() + kAdminCounts.region_bytes() +
           kConnectCounts.region_bytes() + FusedPairs::region_bytes() + StepJobs::region_bytes();
}

PollGroup::PollGroup(Reactor& reactor,
                     std::span<PollGroup* const> peers,
                     const TransportOptions& options,
                     Authenticator& authenticator,
                     std::span<std::byte> buffers)
    : reactor_(reactor),
      memory_(buffers),
      started_ns_(reactor.now_ns()),
      peers_(peers),
      authenticator_(authenticator),
      options_(options),
      io_pools_(cut(memory_, io_counts(options).region_bytes()), io_counts(options)),
      admin_pools_(cut(memory_, kAdminCounts.region_bytes()), kAdminCounts),
      connect_pools_(cut(memory_, kConnectCounts.region_bytes()), kConnectCounts),
      requests_(reactor, options.requests, options.capsule_requests),
      fused_(*this, cut(memory_, FusedPairs::region_bytes())),
      steps_(*this, cut(memory_, StepJobs::region_bytes())),
      fences_(reactor) {
    // Direct I/O to a file then need not pin the pages of each request.
    reactor_.storage().register_memory(buffers.first(buffer_bytes(options)));
}

PollGroup::~PollGroup() {
    BASALT_ASSERT(connections_.empty());
    BASALT_ASSERT(connection_count_ == 0);
}

// --- Connections -------------------------------------------------------------------------------

void PollGroup::accept(AcceptedSocket accepted, ListenerId listener) {
    if (connection_count_ >= kConnectionsPerGroupMax) {
        ++admission_.stats().refused_connections;
        tell_refusal("as many as may be are open");
        reactor_.network().discard(std::move(accepted));
        return;
    }
    // An id is this core's for ever, also when the connection is not.
    const uint64_t id = next_connection_++ * peers_.size() + reactor_.core().raw();
    auto connection = std::make_unique<Connection>(*this, id, listener);
    if (const Status started = connection->start(std::move(accepted)); !started) {
        BASALT_LOG(kInfo,
                   "nvmf",
                   "connection {}: gone before it began: {}",
                   connection->id(),
                   describe(started.error().code));
        return;
    }
    Connection& begun = *connection.release();  // Owned through the list from here: forget().
    add(begun);
    switch (admission_.begin(begun.beginner, begun.peer())) {
        case Admittance::kAdmitted: break;
        case Admittance::kInPlaceOfAnother:
            tell_refusal("of all that have begun and are not live, the oldest go");
            break;
        case Admittance::kRefused:
            tell_refusal("too many from " + begun.peer().host() + " have begun and are not live");
            begun.close({});
            break;
    }
}

void PollGroup::add(Connection& connection) {
    connections_.push_back(connection);
    ++connection_count_;
}

/// Who sends thousands gets a line a second for all of them.
void PollGroup::tell_refusal(std::string_view why) {
    if (!refusal_lines_.admit(reactor_.now_ns())) {
        return;
    }
    BASALT_LOG(kWarn,
               "nvmf",
               "connections refused: {} ({} refused and {} given up until now)",
               why,
               admission_.stats().refused_connections,
               admission_.stats().evicted_connections);
}

void PollGroup::remove(Connection& connection) {
    IntrusiveList<Connection, &Connection::group_link>::remove(connection);
    --connection_count_;
}

Connection* PollGroup::find_connection(uint64_t id) {
    for (Connection* at = connections_.front(); at != nullptr; at = connections_.next(*at)) {
        if (at->id() == id) {
            return at;
        }
    }
    return nullptr;
}

void PollGroup::connection_closed(Connection& connection) {
    ControllerLink& link = connection.link;
    if (link.controller != nullptr) {
        --stats_.admin_queues;
        Controller& controller = *link.controller;
        link.controller = nullptr;
        controller.admin_gone();
    } else if (link.is_attached) {
        --stats_.io_queues;
    }
}

void PollGroup::join(Connection& connection, Subsystem& subsystem) {
    ControllerLink& link = connection.link;
    link.subsystem = &subsystem;
    link.subsystem_id = subsystem.config().id;
    link.host = &hosts_.join(link.host_nqn);
    update_access(connection, subsystem);
    ++subsystem.connections;
}

void PollGroup::part(Connection& connection) {
    ControllerLink& link = connection.link;
    --std::exchange(link.subsystem, nullptr)->connections;
    hosts_.leave(*std::exchange(link.host, nullptr));
}

void PollGroup::forget(Connection& connection) {
    remove(connection);
    if (connection.link.is_attached) {
        // Only now: its controller must not call itself disabled, and a host send a write again by
        // another way, while a device may still do what this queue has asked for.
        DetachEvent::send(*this, connection.link);
    }
    if (connection.link.subsystem != nullptr) {
        part(connection);
    }
    const std::unique_ptr<Connection> owned(&connection);
}

void PollGroup::close_remote(CoreId core, uint64_t connection_id) {
    CloseEvent::send(*this, core, connection_id);
}

void PollGroup::abort_remote(Request& request, const QueueMember& member) {
    AbortEvent::send(*this, request, member);
}

void PollGroup::send_settings(Request& request, const QueueMember& member, QueueSettings settings) {
    SettingsEvent::send(*this, request, member, settings);
}

void PollGroup::gather_health(Request& request) {
    HealthEvent::send(*this, request);
}

void PollGroup::gather_controllers(Request& request) {
    ControllersEvent::send(*this, request);
}

void PollGroup::report_errors(ErrorReport& report, const ControllerLink& link) {
    report.origin = this;
    report.receiver = peers_[link.home.raw()];
    report.subsystem = link.subsystem->config().id;
    report.cntlid = link.cntlid;
    report.set_run([](Event& arrived, Reactor& here) {
        auto& self = static_cast<ErrorReport&>(arrived);
        self.receiver->log_errors(self);
        self.set_run([](Event& returned, Reactor&) {
            static_cast<ErrorReport&>(returned).connection->errors_reported();
        });
        here.post(self.origin->reactor_.core(), self);
    });
    reactor_.post(link.home, report);
}

void PollGroup::log_errors(const ErrorReport& report) {
    Subsystem* subsystem = find_subsystem(report.subsystem);
    Controller* controller =
        subsystem == nullptr ? nullptr : subsystem->find_controller(report.cntlid);
    if (controller == nullptr) {
        return;
    }
    for (uint32_t i = 0; i < report.batch.count; ++i) {
        controller->error_log.add(report.batch.records[i]);
    }
    controller->error_log.add_lost(report.batch.lost);
}

void PollGroup::close_here(uint64_t connection_id) {
    if (Connection* connection = find_connection(connection_id)) {
        connection->close("its controller is gone");
    }
}

// --- Controllers -------------------------------------------------------------------------------

PollGroup::ControllerIds PollGroup::ids_of(const SubsystemConfig& config, CoreId core) const {
    const auto groups = static_cast<uint32_t>(peers_.size());
    const uint32_t share = (uint32_t{config.cntlid_max} - config.cntlid_min + 1) / groups;
    return {config.cntlid_min + share * core.raw(), std::min(share, kControllersPerGroupMax)};
}

std::optional<CoreId> PollGroup::home_of(const Subsystem& subsystem, ControllerId id) const {
    for (uint32_t i = 0; i < peers_.size(); ++i) {
        const ControllerIds ids = ids_of(subsystem.config(), CoreId(i));
        if (id.raw() >= ids.first && id.raw() < ids.first + ids.count) {
            return CoreId(i);
        }
    }
    return std::nullopt;
}

Controller* PollGroup::make_controller(Subsystem& subsystem,
                                       Connection& admin,
                                       Controller::Identity identity) {
    const ControllerIds ids = ids_of(subsystem.config(), reactor_.core());
    std::bitset<kControllersPerGroupMax> is_taken;
    auto& controllers = subsystem.controllers();
    for (Controller* at = controllers.front(); at != nullptr; at = controllers.next(*at)) {
        is_taken.set(at->id().raw() - ids.first);
    }
    for (uint32_t tried = 0; tried < ids.count; ++tried) {
        const uint32_t index = next_controller_++ % ids.count;
        if (is_taken.test(index)) {
            continue;
        }
        const ControllerId id(static_cast<uint16_t>(ids.first + index));
        identity.id = id;
        auto controller =
            std::make_unique<Controller>(*this, subsystem, admin, std::move(identity));
        Controller& made = *controller.release();  // Owned through the list: controller_changed().
        controllers.push_back(made);
        ++stats_.admin_queues;
        ++stats_.admin_queues_total;
        return &made;
    }
    return nullptr;
}

void PollGroup::controller_changed(Controller& controller) {
    if (controller.is_finished()) {
        ControllerList::remove(controller);
        const std::unique_ptr<Controller> owned(&controller);
    }
}

void PollGroup::apply_message(Request& request, TargetExchange& exchange) {
    AuthEvent::send(*this, request, exchange);
}

void PollGroup::attach_remote(Request& request) {
    AttachEvent::send(*this, request);
}

NvmeStatus PollGroup::attach_here(AttachEvent& event) {
    Subsystem* subsystem = find_subsystem(event.subsystem);
    Controller* controller =
        subsystem == nullptr ? nullptr : subsystem->find_controller(event.cntlid);
    if (controller == nullptr || controller->identity().host_nqn != event.host_nqn ||
        controller->identity().host_id != event.host_id) {
        return status::kConnectInvalidParameters;  // It has gone; its host makes another one.
    }
    // One path has one ANA state for a namespace, so the queues of a controller come by one path.
    const Connection* admin = controller->admin();
    if (subsystem->config().ana_reporting && admin != nullptr &&
        admin->listener() != event.listener) {
        return status::kConnectInvalidParameters.with_dnr();
    }
    event.settings = controller->queue_settings();
    return controller->attach(event.qid, event.member);
}

void PollGroup::detach_here(SubsystemId subsystem_id, ControllerId cntlid, QueueId qid) {
    Subsystem* subsystem = find_subsystem(subsystem_id);
    BASALT_ASSERT(subsystem != nullptr);  // Its controllers keep it: see remove_subsystem().
    Controller* controller = subsystem->find_controller(cntlid);
    BASALT_ASSERT(controller != nullptr);
    controller->detach(qid);
}

void PollGroup::attach_done(const AttachEvent& event) {
    Request& request = *event.request;
    Connection& connection = request.connection();
    if (event.status.ok()) {
        if (connection.is_closing()) {
            DetachEvent::send(*this, connection.link);
        } else {
            connection.link.is_attached = true;
            connection.link.settings = event.settings;
            connection.go_live(event.member.queue_entries, event.disables_sq_flow_control);
            ++stats_.io_queues;
            ++stats_.io_queues_total;
            request.cqe.dw0.set(connection.connect_result());
        }
    } else if (!connection.is_closing()) {
        part(connection);
        connection.link = {};
        connection.place = {};
        connection.set_connecting(false);
        BASALT_LOG(kWarn,
                   "nvmf",
                   "connection {} from {}: controller {} refuses I/O queue {}",
                   connection.id(),
                   connection.peer().to_string(),
                   event.cntlid.raw(),
                   event.qid.raw());
    }
    connection.complete(request, event.status);
}

}  // namespace basalt::nvmf
