#include "nvmf/target/log_pages.h"

#include <algorithm>
#include <array>

#include "nvmf/target/admin_commands.h"
#include "nvmf/target/connection.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/reservation/reservation_commands.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"

// Get Log Page, NVMe Base Specification, "Get Log Page command": which pages there are.

namespace basalt::nvmf {

namespace {

constexpr std::array kLogPages{
    // Page, of I/O controllers, of discovery controllers, who writes it, needs health.
    LogPage{NVME_LOG_LID_SUPPORTED_LOG_PAGES, true, true, &write_supported_log_pages},
    LogPage{NVME_LOG_LID_ERROR, true, false, &write_error_log, true},
    LogPage{NVME_LOG_LID_SMART, true, false, &write_health_log, true},
    LogPage{NVME_LOG_LID_FW_SLOT, true, false, &write_firmware_slots},
    LogPage{NVME_LOG_LID_CHANGED_NS, true, false, &write_changed_namespaces},
    LogPage{NVME_LOG_LID_CMD_EFFECTS, true, false, &write_command_effects},
    LogPage{NVME_LOG_LID_FID_SUPPORTED_EFFECTS, true, false, &write_feature_effects},
    LogPage{NVME_LOG_LID_MI_CMD_SUPPORTED_EFFECTS, true, false, &write_management_effects},
    LogPage{NVME_LOG_LID_ANA, true, false, &write_ana_log},
    LogPage{NVME_LOG_LID_RESERVATION, true, false, &write_reservation_notices},
    LogPage{NVME_LOG_LID_DISCOVER, false, true, &write_discovery_log},
};

/// Null if this controller has no such page.
const LogPage* find_page(const Request& request) {
    const uint8_t lid = GetLogPageView(request.sqe).lid();
    const bool is_discovery = request.connection().link.subsystem->is_discovery();
    const auto found = std::find_if(kLogPages.begin(), kLogPages.end(), [&](const LogPage& page) {
        return page.lid == lid && (is_discovery ? page.is_for_discovery : page.is_for_io);
    });
    return found == kLogPages.end() ? nullptr : &*found;
}

NvmeStatus write_page(Request& request, const LogPage& found) {
    PageWindow page(request.payload(), GetLogPageView(request.sqe).offset());
    if (const NvmeStatus written = found.write(request, page); !written.ok()) {
        return written;
    }
    return page.is_missed() ? status::kInvalidField.with_dnr() : status::kSuccess;
}

}  // namespace

std::span<const LogPage> log_pages() {
    return kLogPages;
}

void get_log_page(Request& request) {
    const GetLogPageView command(request.sqe);
    const LogPage* found = find_page(request);
    if (found == nullptr) {
        request.connection().complete(request, status::kInvalidLogPage.with_dnr());
    } else if (command.is_index_offset() || command.offset() % 4 != 0) {
        request.connection().complete(request, status::kInvalidField.with_dnr());
    } else if (found->needs_health) {
        request.connection().group().gather_health(request);
    } else {
        request.connection().complete(request, write_page(request, *found));
    }
}

void finish_log_page(Request& request, const HealthCounters& health) {
    Controller* controller = request.connection().link.controller;
    if (controller == nullptr) {
        request.connection().complete(request, status::kAbortedSqDeletion);  // Its queue is gone.
        return;
    }
    controller->gathered_health = health;
    request.connection().complete(request, write_page(request, *find_page(request)));
}

}  // namespace basalt::nvmf
