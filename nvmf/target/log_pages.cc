#include <algorithm>
#include <cstdio>
#include <cstring>

#include "nvmf/target/admin_commands.h"
#include "nvmf/target/connection.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"
#include "nvmf/wire/nqn.h"

// Get Log Page, NVMe Base Specification, "Get Log Page command"; the discovery log page is NVMe
// over Fabrics'.

namespace basalt::nvmf {

namespace {

/// A window of a log page that is made piece by piece: what lies outside of what the host asked for
/// is not kept, so that a page of any length needs no memory of its own.
class PageWindow {
  public:
    PageWindow(std::span<std::byte> out, uint64_t offset_bytes) : out_(out), offset_(offset_bytes) {
        std::memset(out.data(), 0, out.size());
    }

    /// Adds `bytes` at the end of the page.
    void add(const void* bytes, size_t count) {
        const uint64_t begin = std::max(position_, offset_);
        const uint64_t end = std::min(position_ + count, offset_ + out_.size());
        if (begin < end) {
            std::memcpy(out_.data() + (begin - offset_),
                        static_cast<const std::byte*>(bytes) + (begin - position_),
                        end - begin);
        }
        position_ += count;
    }
    template <typename T>
    void add(const T& part) {
        add(&part, sizeof(part));
    }

    [[nodiscard]] uint64_t size() const { return position_; }

  private:
    std::span<std::byte> out_;
    uint64_t offset_;
    uint64_t position_ = 0;
};

constexpr uint32_t kLogSupported = 1U;       // LSUPP of the Supported Log Pages page.
constexpr uint32_t kEffectSupported = 1U;    // CSUPP of the Commands Supported and Effects page.
constexpr uint32_t kEffectChangesData = 2U;  // LBCC.

bool is_io_log(uint8_t page) {
    switch (page) {
        case NVME_LOG_LID_SUPPORTED_LOG_PAGES:
        case NVME_LOG_LID_ERROR:
        case NVME_LOG_LID_SMART:
        case NVME_LOG_LID_FW_SLOT:
        case NVME_LOG_LID_CHANGED_NS:
        case NVME_LOG_LID_CMD_EFFECTS: return true;
        default: return false;
    }
}

bool is_discovery_log(uint8_t page) {
    return page == NVME_LOG_LID_DISCOVER || page == NVME_LOG_LID_SUPPORTED_LOG_PAGES;
}

void add_supported_pages(PageWindow& page, bool is_discovery) {
    for (uint32_t id = 0; id < 256; ++id) {
        const auto lid = static_cast<uint8_t>(id);
        const bool has = is_discovery ? is_discovery_log(lid) : is_io_log(lid);
        page.add(has ? kLogSupported : 0U);
    }
}

void add_smart(PageWindow& page) {
    nvme_smart_log data{};
    constexpr uint16_t kRoomTemperatureKelvin = 298;  // There is no thermometer in a socket.
    std::memcpy(data.temperature, &kRoomTemperatureKelvin, sizeof(kRoomTemperatureKelvin));
    data.avail_spare = 100;
    data.spare_thresh = 10;
    page.add(data);
}

void add_firmware_slots(PageWindow& page) {
    nvme_firmware_slot data{};
    data.afi = 1;
    std::memcpy(data.frs[0], "0.1.0   ", sizeof(data.frs[0]));
    page.add(data);
}

void add_changed_namespaces(PageWindow& page, Controller& controller, bool retain) {
    std::array<uint32_t, kChangedNamespacesMax> changed{};
    controller.read_changed_namespaces(changed, retain);
    page.add(changed);
}

void add_effects(PageWindow& page) {
    nvme_cmd_effects_log data{};
    for (const uint8_t opcode : {nvme_admin_get_log_page,
                                 nvme_admin_identify,
                                 nvme_admin_abort_cmd,
                                 nvme_admin_set_features,
                                 nvme_admin_get_features,
                                 nvme_admin_async_event,
                                 nvme_admin_keep_alive}) {
        data.acs[opcode] = kEffectSupported;
    }
    for (const uint8_t opcode : {nvme_cmd_flush, nvme_cmd_read, nvme_cmd_compare}) {
        data.iocs[opcode] = kEffectSupported;
    }
    for (const uint8_t opcode : {nvme_cmd_write, nvme_cmd_write_zeroes, nvme_cmd_dsm}) {
        data.iocs[opcode] = kEffectSupported | kEffectChangesData;
    }
    page.add(data);
}

// --- Discovery ---------------------------------------------------------------------------------

nvmf_disc_log_entry discovery_entry(const SubsystemConfig& subsystem,
                                    const ListenerConfig& listener,
                                    const SocketAddress& reached_at) {
    nvmf_disc_log_entry entry{};
    entry.trtype = NVMF_TRTYPE_TCP;
    entry.adrfam = listener.address.is_ipv6() ? NVMF_ADDR_FAMILY_IP6 : NVMF_ADDR_FAMILY_IP4;
    entry.subtype = subsystem.type == SubsystemType::kDiscovery ? NVME_NQN_CURR : NVME_NQN_NVME;
    entry.treq = NVMF_TREQ_NOT_SPECIFIED | NVMF_TREQ_DISABLE_SQFLOW;
    entry.portid = static_cast<uint16_t>(listener.id.raw());
    entry.cntlid = kControllerIdAny.raw();
    entry.asqsz = kAdminQueueEntriesMax;
    std::snprintf(entry.trsvcid, sizeof(entry.trsvcid), "%u", unsigned{listener.address.port()});
    // A listener on every address is told as the one that the host has come by.
    const std::string bound = listener.address.host();
    const std::string host = bound == "0.0.0.0" || bound == "::" ? reached_at.host() : bound;
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

void add_discovery(PageWindow& page, Request& request) {
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
                                 page.add(discovery_entry(subsystem, listener, connection.local()));
                             });
}

}  // namespace

NvmeStatus get_log_page(Request& request) {
    Connection& connection = request.connection;
    Controller& controller = *connection.link.controller;
    const GetLogPageView command(request.sqe);
    const bool is_discovery = connection.link.subsystem->is_discovery();
    const uint8_t lid = command.lid();
    if (is_discovery ? !is_discovery_log(lid) : !is_io_log(lid)) {
        return status::kInvalidLogPage.with_dnr();
    }
    if (command.is_index_offset() || command.offset() % 4 != 0) {
        return status::kInvalidField.with_dnr();
    }
    PageWindow page(request.payload(), command.offset());
    switch (lid) {
        case NVME_LOG_LID_SUPPORTED_LOG_PAGES: add_supported_pages(page, is_discovery); break;
        case NVME_LOG_LID_SMART: add_smart(page); break;
        case NVME_LOG_LID_FW_SLOT: add_firmware_slots(page); break;
        case NVME_LOG_LID_CHANGED_NS:
            add_changed_namespaces(page, controller, command.rae());
            break;
        case NVME_LOG_LID_CMD_EFFECTS: add_effects(page); break;
        case NVME_LOG_LID_DISCOVER:
            add_discovery(page, request);
            if (!command.rae()) {
                controller.rearm(AsyncEvent::kDiscoveryChanged);
            }
            break;
        default: {
            BASALT_ASSERT(lid == NVME_LOG_LID_ERROR);
            const std::array<nvme_error_log_page, kErrorLogEntries> none{};
            page.add(none);
            break;
        }
    }
    if (command.offset() > page.size()) {
        return status::kInvalidField.with_dnr();
    }
    return status::kSuccess;
}

}  // namespace basalt::nvmf
