#include "nvmf/target/fabrics_commands.h"

#include <cstring>

#include "nvmf/target/connection.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"
#include "nvmf/wire/nqn.h"
#include "reactor/base/log.h"

namespace basalt::nvmf {

namespace {

// Property offsets, NVMe Base Specification, "Controller Properties".
constexpr uint32_t kPropertyCap = 0x00;
constexpr uint32_t kPropertyVs = 0x08;
constexpr uint32_t kPropertyCc = 0x14;
constexpr uint32_t kPropertyCsts = 0x1c;
constexpr uint32_t kPropertyCrto = 0x68;

constexpr uint32_t kReadyTimeout = 30;  // CRTO.CRWMT, in units of 500 ms, as CAP.TO.

// Where a refused Connect names the field at fault: offsets in the command (IATTR 0) and in its
// data (IATTR 1), NVMe over Fabrics, Connect response.
constexpr uint32_t kAttributeData = 1U << 16U;
constexpr uint32_t kOffsetQid = 42;
constexpr uint32_t kOffsetSqsize = 44;
constexpr uint32_t kOffsetCntlid = kAttributeData | offsetof(nvmf_connect_data, cntlid);
constexpr uint32_t kOffsetSubsysnqn = kAttributeData | offsetof(nvmf_connect_data, subsysnqn);
constexpr uint32_t kOffsetHostnqn = kAttributeData | offsetof(nvmf_connect_data, hostnqn);

/// Refuses Connect; the connection stays and the host may try again. `status` says Do Not Retry
/// where it would never succeed: Linux takes that as the order to remove the controller for good,
/// so what may be otherwise in a moment, while the target starts or is configured, must not say it.
void refuse(Request& request, NvmeStatus status, uint32_t where, const char* why) {
    Connection& connection = request.connection();
    BASALT_LOG(kWarn,
               "nvmf",
               "connection {} from {}: Connect refused: {}",
               connection.id(),
               connection.peer().to_string(),
               why);
    request.cqe.dw0.set(where);
    connection.complete(request, status);
}

/// As refuse(), for a host that has all that one may have: it may come again when it has less.
void refuse_busy(Request& request, const char* why) {
    Connection& connection = request.connection();
    ++connection.group().admission().stats().refused_connects;
    BASALT_LOG(kWarn,
               "nvmf",
               "connection {} from {}: Connect refused for now: {}",
               connection.id(),
               connection.peer().to_string(),
               why);
    connection.complete(request, status::kConnectControllerBusy);
}

struct ConnectNames {
    std::string_view subsystem;
    std::string_view host;
};

/// What a host takes of its places by Connect.
struct HostPlaces {
    bool are_there = false;
    HostPlace connection;
    HostPlace controller;
};

/// Who has yet to prove that it is the host takes none now, but is refused where there are none.
HostPlaces find_places(Connection& connection,
                       const SubsystemConfig& config,
                       std::string_view host_nqn,
                       bool wants_controller) {
    Admission& admission = connection.group().admission();
    HostPlaces found;
    if (must_authenticate(connection, config, host_nqn)) {
        found.are_there = admission.has_room(host_nqn, wants_controller);
        return found;
    }
    found.connection = admission.take_connection(host_nqn);
    if (wants_controller) {
        found.controller = admission.take_controller(host_nqn);
    }
    found.are_there = found.connection && (!wants_controller || found.controller);
    return found;
}

void connect_admin_queue(Request& request,
                         const nvmf_connect_data& data,
                         const ConnectNames& names,
                         Subsystem& subsystem) {
    Connection& connection = request.connection();
    const ConnectView command(request.sqe);
    if (ControllerId(data.cntlid) != kControllerIdAny) {
        refuse(request,
               status::kConnectInvalidParameters.with_dnr(),
               kOffsetCntlid,
               "only the dynamic controller model (CNTLID FFFFh) is offered");
        return;
    }
    if (command.queue_entries() < 2 ||
        command.queue_entries() > connection.group().options().admin_queue_entries_max) {
        refuse(request,
               status::kConnectInvalidParameters.with_dnr(),
               kOffsetSqsize,
               "bad admin queue size");
        return;
    }
    HostPlaces places = find_places(connection, subsystem.config(), names.host, true);
    if (!places.are_there) {
        refuse_busy(request, "the host has as many connections or controllers as one may have");
        return;
    }
    Controller::Identity identity;
    identity.host_nqn = names.host;
    std::memcpy(identity.host_id.data(), data.hostid, identity.host_id.size());
    identity.keep_alive_ms = command.keep_alive_ms();
    Controller* controller =
        connection.group().make_controller(subsystem, connection, std::move(identity));
    if (controller == nullptr) {
        refuse(request, status::kConnectControllerBusy, 0, "no controller id is free");
        return;
    }
    controller->place = std::move(places.controller);
    connection.place = std::move(places.connection);
    connection.link.controller = controller;
    connection.link.home = connection.group().reactor().core();
    connection.link.cntlid = controller->id();
    connection.link.qid = kAdminQueueId;
    connection.link.host_nqn = names.host;
    connection.link.host_id = controller->identity().host_id;
    connection.group().join(connection, subsystem);
    connection.go_live(command.queue_entries(), command.disables_sq_flow_control());
    request.cqe.dw0.set(connection.connect_result());
    BASALT_LOG(kInfo,
               "nvmf",
               "connection {} from {}: controller {} of {} for {}",
               connection.id(),
               connection.peer().to_string(),
               controller->id().raw(),
               names.subsystem,
               names.host);
    connection.complete(request, status::kSuccess);
}

void connect_io_queue(Request& request,
                      const nvmf_connect_data& data,
                      const ConnectNames& names,
                      Subsystem& subsystem) {
    Connection& connection = request.connection();
    const ConnectView command(request.sqe);
    if (subsystem.is_discovery()) {
        refuse(request,
               status::kConnectInvalidParameters.with_dnr(),
               kOffsetQid,
               "discovery has no I/O queues");
        return;
    }
    if (command.queue_entries() < 2 ||
        command.queue_entries() > connection.group().options().queue_entries_max) {
        refuse(request,
               status::kConnectInvalidParameters.with_dnr(),
               kOffsetSqsize,
               "bad I/O queue size");
        return;
    }
    const ControllerId cntlid(data.cntlid);
    const auto home = connection.group().home_of(subsystem, cntlid);
    if (!home) {
        refuse(request, status::kConnectInvalidParameters, kOffsetCntlid, "no such controller");
        return;
    }
    HostPlaces places = find_places(connection, subsystem.config(), names.host, false);
    if (!places.are_there) {
        refuse_busy(request, "the host has as many connections as one may have");
        return;
    }
    connection.place = std::move(places.connection);
    connection.link.home = *home;
    connection.link.cntlid = cntlid;
    connection.link.qid = command.qid();
    connection.link.host_nqn = names.host;
    std::memcpy(connection.link.host_id.data(), data.hostid, connection.link.host_id.size());
    connection.group().join(connection, subsystem);
    connection.set_connecting(true);
    connection.group().attach_remote(request);
}

/// Whether the connection is as secure as host and address want it, with the key of this host and
/// this subsystem; if not, refuses Connect.
bool is_secure_enough(Request& request, const SubsystemConfig& config, std::string_view host_nqn) {
    Connection& connection = request.connection();
    if (connection.group().tls().is_generated(config.id, host_nqn, connection.tls_identity())) {
        return true;
    }
    switch (judge_tls(
        config, config.find_listener(connection.listener()), host_nqn, connection.tls_identity())) {
        case TlsVerdict::kAllowed: return true;
        case TlsVerdict::kNeedsTls:
            refuse(request,
                   status::kConnectInvalidHost.with_dnr(),
                   kOffsetHostnqn,
                   "the host must use TLS");
            return false;
        case TlsVerdict::kWrongIdentity:
            refuse(request,
                   status::kConnectInvalidHost.with_dnr(),
                   kOffsetHostnqn,
                   "the TLS key belongs to another host or subsystem");
            return false;
    }
    assertion_failed("no such verdict", __FILE__, __LINE__);
}

void execute_connect(Request& request) {
    Connection& connection = request.connection();
    nvmf_connect_data data{};
    std::memcpy(&data, request.payload().data(), sizeof(data));
    const auto subsystem_nqn = read_nqn_field(data.subsysnqn);
    if (!subsystem_nqn) {
        refuse(request,
               status::kConnectInvalidParameters.with_dnr(),
               kOffsetSubsysnqn,
               "bad subsystem NQN");
        return;
    }
    const auto host_nqn = read_nqn_field(data.hostnqn);
    if (!host_nqn) {
        refuse(
            request, status::kConnectInvalidParameters.with_dnr(), kOffsetHostnqn, "bad host NQN");
        return;
    }
    Subsystem* subsystem = connection.group().find_subsystem(*subsystem_nqn);
    if (subsystem == nullptr || subsystem->is_closing()) {
        refuse(request, status::kConnectInvalidParameters, kOffsetSubsysnqn, "no such subsystem");
        return;
    }
    if (!subsystem->config().listens_on(connection.listener())) {
        refuse(request,
               status::kConnectInvalidHost,
               kOffsetSubsysnqn,
               "the subsystem does not listen on this address");
        return;
    }
    if (!subsystem->config().allows(*host_nqn)) {
        refuse(request,
               status::kConnectInvalidHost.with_dnr(),
               kOffsetHostnqn,
               "the host is not allowed");
        return;
    }
    if (!is_secure_enough(request, subsystem->config(), *host_nqn)) {
        return;
    }
    const ConnectNames names{*subsystem_nqn, *host_nqn};
    if (ConnectView(request.sqe).qid() == kAdminQueueId) {
        connect_admin_queue(request, data, names, *subsystem);
    } else {
        connect_io_queue(request, data, names, *subsystem);
    }
}

void execute_property_get(Request& request) {
    const Controller& controller = *request.connection().link.controller;
    const PropertyView command(request.sqe);
    const bool wants_8_bytes = command.is_8_bytes();
    uint64_t value = 0;
    bool is_8_bytes = false;
    switch (command.offset()) {
        case kPropertyCap:
            value = controller.capabilities();
            is_8_bytes = true;
            break;
        case kPropertyVs: value = kNvmeVersion; break;
        case kPropertyCc: value = controller.configuration(); break;
        case kPropertyCsts: value = controller.status(); break;
        case kPropertyCrto: value = kReadyTimeout; break;
        default: request.connection().complete(request, status::kInvalidField.with_dnr()); return;
    }
    if (wants_8_bytes != is_8_bytes) {
        request.connection().complete(request, status::kInvalidField.with_dnr());
        return;
    }
    request.cqe.set_result64(value);
    request.connection().complete(request, status::kSuccess);
}

void execute_property_set(Request& request) {
    const PropertyView command(request.sqe);
    if (command.offset() != kPropertyCc || command.is_8_bytes()) {
        request.connection().complete(request, status::kInvalidField.with_dnr());
        return;
    }
    Controller& controller = *request.connection().link.controller;
    const NvmeStatus outcome = controller.set_configuration(static_cast<uint32_t>(command.value()));
    request.connection().complete(request, outcome);
}

}  // namespace

bool is_authentication_command(const Sqe& sqe) {
    return sqe.is_fabrics() && (sqe.fctype() == nvme_fabrics_type_auth_send ||
                                sqe.fctype() == nvme_fabrics_type_auth_receive);
}

NvmeStatus check_fabrics_command(Request& request) {
    Connection& connection = request.connection();
    switch (request.sqe.fctype()) {
        case nvme_fabrics_type_connect:
            if (connection.phase() != Connection::Phase::kAwaitingConnect) {
                return status::kCommandSequenceError.with_dnr();
            }
            if (ConnectView(request.sqe).record_format() != 0) {
                return status::kConnectIncompatibleFormat.with_dnr();
            }
            return request.data_bytes == kConnectDataBytes
                       ? status::kSuccess
                       : status::kDataSglLengthInvalid.with_dnr();
        case nvme_fabrics_type_property_get:
        case nvme_fabrics_type_property_set:
            if (!connection.is_live() || !connection.is_admin_queue()) {
                return status::kCommandSequenceError.with_dnr();
            }
            request.data_bytes = 0;
            return status::kSuccess;
        case nvme_fabrics_type_disconnect:
            if (!connection.is_live()) {
                return status::kCommandSequenceError.with_dnr();
            }
            if (connection.is_admin_queue()) {
                return status::kDisconnectInvalidQueueType.with_dnr();
            }
            request.data_bytes = 0;
            return DisconnectView(request.sqe).record_format() == 0
                       ? status::kSuccess
                       : status::kConnectIncompatibleFormat.with_dnr();
        case nvme_fabrics_type_auth_send:
        case nvme_fabrics_type_auth_receive:
            if (!connection.is_live() && !connection.is_authenticating()) {
                return status::kCommandSequenceError.with_dnr();
            }
            return connection.authentication().check(request);
        default: return status::kInvalidOpcode.with_dnr();
    }
}

void execute_fabrics_command(Request& request) {
    switch (request.sqe.fctype()) {
        case nvme_fabrics_type_connect: execute_connect(request); break;
        case nvme_fabrics_type_property_get: execute_property_get(request); break;
        case nvme_fabrics_type_property_set: execute_property_set(request); break;
        case nvme_fabrics_type_auth_send:
        case nvme_fabrics_type_auth_receive:
            request.connection().authentication().execute(request);
            break;
        default:
            BASALT_ASSERT(request.sqe.fctype() == nvme_fabrics_type_disconnect);
            // The host closes the connection when it has the response; it is no queue any more.
            request.connection().link.is_disconnected = true;
            request.connection().complete(request, status::kSuccess);
            break;
    }
}

}  // namespace basalt::nvmf
