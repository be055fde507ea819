#include <cstdio>

#include "nvmf/target/connection.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/log_pages.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"
#include "nvmf/wire/nqn.h"

// The discovery log page, NVMe over Fabrics, "Discovery Log Page".

namespace basalt::nvmf {

namespace {

nvmf_disc_log_entry discovery_entry(const SubsystemConfig& subsystem,
                                    const ListenerConfig& listener,
                                    const Connection& reader) {
    nvmf_disc_log_entry entry{};
    entry.trtype = NVMF_TRTYPE_TCP;
    entry.adrfam = listener.address.is_ipv6() ? NVMF_ADDR_FAMILY_IP6 : NVMF_ADDR_FAMILY_IP4;
    entry.subtype = subsystem.type == SubsystemType::kDiscovery ? NVME_NQN_CURR : NVME_NQN_NVME;
    const bool is_tls = requires_tls(subsystem, &listener, reader.link.host_nqn);
    entry.treq = static_cast<uint8_t>(NVMF_TREQ_DISABLE_SQFLOW |
                                      (is_tls ? NVMF_TREQ_REQUIRED : NVMF_TREQ_NOT_SPECIFIED));
    entry.tsas.tcp.sectype = is_tls ? NVMF_TCP_SECTYPE_TLS13 : NVMF_TCP_SECTYPE_NONE;
    entry.portid = static_cast<uint16_t>(listener.id.raw());
    entry.cntlid = kControllerIdAny.raw();
    entry.asqsz = kAdminQueueEntriesMax;
    std::snprintf(entry.trsvcid, sizeof(entry.trsvcid), "%u", unsigned{listener.address.port()});
    // A listener on every address is told as the one that the host has come by.
    const std::string bound = listener.address.host();
    const std::string host = bound == "0.0.0.0" || bound == "::" ? reader.local().host() : bound;
    std::snprintf(entry.traddr, sizeof(entry.traddr), "%s", host.c_str());
    write_nqn_field(entry.subnqn, subsystem.nqn);
    return entry;
}

/// The subsystems that this host may connect to, each with each of its addresses.
template <typename Visit>
void for_each_discovery_entry(Connection& connection, Visit visit) {
    for (const auto& subsystem : connection.group().subsystems()) {
        const SubsystemConfig& config = subsystem->config();
        if (subsystem->is_closing() || !config.allows(connection.link.host_nqn)) {
            continue;
        }
        for (const ListenerConfig& listener : config.listeners) {
            visit(config, listener);
        }
    }
}

}  // namespace

NvmeStatus write_discovery_log(Request& request, PageWindow& page) {
    Connection& connection = request.connection;
    uint64_t count = 0;
    for_each_discovery_entry(connection,
                             [&](const SubsystemConfig&, const ListenerConfig&) { ++count; });
    nvmf_discovery_log head{};
    head.genctr = connection.group().discovery_generation();
    head.numrec = count;
    page.add(head);
    for_each_discovery_entry(connection,
                             [&](const SubsystemConfig& subsystem, const ListenerConfig& listener) {
                                 page.add(discovery_entry(subsystem, listener, connection));
                             });
    if (!GetLogPageView(request.sqe).rae()) {
        connection.link.controller->rearm(AsyncEvent::kDiscoveryChanged);
    }
    return status::kSuccess;
}

}  // namespace basalt::nvmf
