#include <cstdio>
#include <cstring>

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

/// Nobody knows what the other target allows; 32 is the least that the specification lets it.
constexpr uint16_t kReferralAdminQueueEntries = 32;

void set_address(nvmf_disc_log_entry& entry, const SocketAddress& address) {
    entry.trtype = NVMF_TRTYPE_TCP;
    entry.adrfam = address.is_ipv6() ? NVMF_ADDR_FAMILY_IP6 : NVMF_ADDR_FAMILY_IP4;
    std::snprintf(entry.trsvcid, sizeof(entry.trsvcid), "%u", unsigned{address.port()});
    std::snprintf(entry.traddr, sizeof(entry.traddr), "%s", address.host().c_str());
    entry.cntlid = kControllerIdAny.raw();
}

nvmf_disc_log_entry subsystem_entry(const SubsystemConfig& subsystem,
                                    const ListenerConfig& listener,
                                    Connection& reader) {
    nvmf_disc_log_entry entry{};
    // A listener on every address is told as the one that the host has come by.
    const std::string bound = listener.address.host();
    const bool is_any = bound == "0.0.0.0" || bound == "::";
    set_address(entry, listener.address);
    if (is_any) {
        std::snprintf(entry.traddr, sizeof(entry.traddr), "%s", reader.local().host().c_str());
    }
    entry.subtype = NVME_NQN_NVME;
    if (subsystem.type == SubsystemType::kDiscovery) {
        entry.subtype = NVME_NQN_CURR;
        // Who filters by address tells other things on other ports.
        const bool is_same = subsystem.discovery_filter == DiscoveryFilter{};
        entry.eflags = static_cast<uint16_t>(NVMF_DISC_EFLAGS_EPCSD |
                                             (is_same ? NVMF_DISC_EFLAGS_DUPRETINFO : 0));
    }
    const bool is_tls = requires_tls(subsystem, &listener, reader.link.host_nqn);
    entry.treq = static_cast<uint8_t>(NVMF_TREQ_DISABLE_SQFLOW |
                                      (is_tls ? NVMF_TREQ_REQUIRED : NVMF_TREQ_NOT_SPECIFIED));
    entry.tsas.tcp.sectype = is_tls ? NVMF_TCP_SECTYPE_TLS13 : NVMF_TCP_SECTYPE_NONE;
    entry.portid = static_cast<uint16_t>(listener.id.raw());
    entry.asqsz = static_cast<uint16_t>(reader.group().options().admin_queue_entries_max);
    write_nqn_field(entry.subnqn, subsystem.nqn);
    return entry;
}

nvmf_disc_log_entry referral_entry(const Referral& referral) {
    nvmf_disc_log_entry entry{};
    set_address(entry, referral.address);
    entry.subtype = referral.subsystem_nqn == kDiscoveryNqn ? NVME_NQN_DISC : NVME_NQN_NVME;
    entry.treq = referral.secure_channel ? NVMF_TREQ_REQUIRED : NVMF_TREQ_NOT_REQUIRED;
    entry.tsas.tcp.sectype =
        referral.secure_channel ? NVMF_TCP_SECTYPE_TLS13 : NVMF_TCP_SECTYPE_NONE;
    entry.asqsz = kReferralAdminQueueEntries;
    write_nqn_field(entry.subnqn, referral.subsystem_nqn);
    return entry;
}

/// All that this host may use: the discovery service by which it asks, the subsystems with each of
/// their addresses, and the referrals.
template <typename Visit>
void for_each_discovery_entry(Connection& connection, Visit visit) {
    const SubsystemConfig& discovery = connection.link.subsystem->config();
    const SocketAddress& reached_at = connection.local();
    if (discovery.find_listener(connection.listener()) == nullptr) {
        const ListenerConfig here{connection.listener(), reached_at};
        visit(subsystem_entry(discovery, here, connection));
    }
    for (const auto& subsystem : connection.group().subsystems()) {
        const SubsystemConfig& config = subsystem->config();
        if (subsystem->is_closing() || !config.allows(connection.link.host_nqn)) {
            continue;
        }
        for (const ListenerConfig& listener : config.listeners) {
            if (discovery.discovery_filter.shows(listener.address, reached_at)) {
                visit(subsystem_entry(config, listener, connection));
            }
        }
    }
    for (const Referral& referral : discovery.referrals) {
        visit(referral_entry(referral));
    }
}

}  // namespace

NvmeStatus write_discovery_log(Request& request, PageWindow& page) {
    Connection& connection = request.connection();
    uint64_t count = 0;
    for_each_discovery_entry(connection, [&](const nvmf_disc_log_entry&) { ++count; });
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): cleared by memset.
    nvmf_discovery_log head;  // Ends in an array without members, as others of libnvme's do.
    std::memset(&head, 0, sizeof(head));
    head.genctr = connection.group().discovery_generation();
    head.numrec = count;
    page.add(head);
    for_each_discovery_entry(connection,
                             [&](const nvmf_disc_log_entry& entry) { page.add(entry); });
    if (!GetLogPageView(request.sqe).rae() && !page.is_missed()) {
        connection.link.controller->rearm(AsyncEvent::kDiscoveryChanged);
    }
    return status::kSuccess;
}

}  // namespace basalt::nvmf
