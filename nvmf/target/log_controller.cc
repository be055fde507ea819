#include <cstring>

#include "nvmf/target/connection.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/log_pages.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"

// The log pages about the controller and its subsystem, NVMe Base Specification, "Get Log Page
// command".

namespace basalt::nvmf {

namespace {

constexpr uint32_t kLogSupported = 1U;       // LSUPP of the Supported Log Pages page.
constexpr uint32_t kEffectSupported = 1U;    // CSUPP of the Commands Supported and Effects page.
constexpr uint32_t kEffectChangesData = 2U;  // LBCC.

}  // namespace

NvmeStatus write_supported_log_pages(Request& request, PageWindow& page) {
    const Subsystem& subsystem = *request.connection.link.subsystem;
    const bool is_discovery = subsystem.is_discovery();
    std::array<uint32_t, 256> supported{};
    for (const LogPage& each : log_pages()) {
        if (is_discovery ? each.is_for_discovery : each.is_for_io) {
            supported[each.lid] = kLogSupported;
        }
    }
    if (!subsystem.config().ana_reporting) {
        supported[NVME_LOG_LID_ANA] = 0;
    }
    page.add(supported);
    return status::kSuccess;
}

NvmeStatus write_error_log(Request&, PageWindow& page) {
    const std::array<nvme_error_log_page, kErrorLogEntries> none{};
    page.add(none);
    return status::kSuccess;
}

NvmeStatus write_health_log(Request&, PageWindow& page) {
    nvme_smart_log data{};
    std::memcpy(data.temperature, &kRoomTemperatureKelvin, sizeof(kRoomTemperatureKelvin));
    data.avail_spare = 100;
    data.spare_thresh = 10;
    page.add(data);
    return status::kSuccess;
}

NvmeStatus write_firmware_slots(Request&, PageWindow& page) {
    nvme_firmware_slot data{};
    data.afi = 1;
    std::memcpy(data.frs[0], "0.1.0   ", sizeof(data.frs[0]));
    page.add(data);
    return status::kSuccess;
}

NvmeStatus write_changed_namespaces(Request& request, PageWindow& page) {
    Controller& controller = *request.connection.link.controller;
    std::array<uint32_t, kChangedNamespacesMax> changed{};
    controller.read_changed_namespaces(changed, GetLogPageView(request.sqe).rae());
    page.add(changed);
    return status::kSuccess;
}

NvmeStatus write_command_effects(Request&, PageWindow& page) {
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
    for (const uint8_t opcode : {nvme_cmd_flush,
                                 nvme_cmd_read,
                                 nvme_cmd_compare,
                                 nvme_cmd_resv_register,
                                 nvme_cmd_resv_report,
                                 nvme_cmd_resv_acquire,
                                 nvme_cmd_resv_release}) {
        data.iocs[opcode] = kEffectSupported;
    }
    for (const uint8_t opcode : {nvme_cmd_write, nvme_cmd_write_zeroes, nvme_cmd_dsm}) {
        data.iocs[opcode] = kEffectSupported | kEffectChangesData;
    }
    page.add(data);
    return status::kSuccess;
}

}  // namespace basalt::nvmf
