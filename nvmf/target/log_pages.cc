#include "nvmf/target/log_pages.h"

#include <algorithm>
#include <array>

#include "nvmf/target/admin_commands.h"
#include "nvmf/target/connection.h"
#include "nvmf/target/reservation/reservation_commands.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"

// Get Log Page, NVMe Base Specification, "Get Log Page command": which pages there are.

namespace basalt::nvmf {

namespace {

constexpr std::array kLogPages{
    // Page, of I/O controllers, of discovery controllers, who writes it.
    LogPage{NVME_LOG_LID_SUPPORTED_LOG_PAGES, true, true, &write_supported_log_pages},
    LogPage{NVME_LOG_LID_ERROR, true, false, &write_error_log},
    LogPage{NVME_LOG_LID_SMART, true, false, &write_health_log},
    LogPage{NVME_LOG_LID_FW_SLOT, true, false, &write_firmware_slots},
    LogPage{NVME_LOG_LID_CHANGED_NS, true, false, &write_changed_namespaces},
    LogPage{NVME_LOG_LID_CMD_EFFECTS, true, false, &write_command_effects},
    LogPage{NVME_LOG_LID_ANA, true, false, &write_ana_log},
    LogPage{NVME_LOG_LID_RESERVATION, true, false, &write_reservation_notices},
    LogPage{NVME_LOG_LID_DISCOVER, false, true, &write_discovery_log},
};

}  // namespace

std::span<const LogPage> log_pages() {
    return kLogPages;
}

NvmeStatus get_log_page(Request& request) {
    const GetLogPageView command(request.sqe);
    const bool is_discovery = request.connection.link.subsystem->is_discovery();
    const auto found = std::find_if(kLogPages.begin(), kLogPages.end(), [&](const LogPage& page) {
        return page.lid == command.lid() && (is_discovery ? page.is_for_discovery : page.is_for_io);
    });
    if (found == kLogPages.end()) {
        return status::kInvalidLogPage.with_dnr();
    }
    if (command.is_index_offset() || command.offset() % 4 != 0) {
        return status::kInvalidField.with_dnr();
    }
    PageWindow page(request.payload(), command.offset());
    if (const NvmeStatus written = found->write(request, page); !written.ok()) {
        return written;
    }
    return command.offset() > page.size() ? status::kInvalidField.with_dnr() : status::kSuccess;
}

}  // namespace basalt::nvmf
