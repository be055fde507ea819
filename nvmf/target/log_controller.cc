#include <cstring>

#include "nvmf/target/connection.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/features.h"
#include "nvmf/target/io/command_table.h"
#include "nvmf/target/log_pages.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"

// The log pages about the controller and its subsystem, NVMe Base Specification, "Get Log Page
// command".

namespace basalt::nvmf {

namespace {

constexpr uint32_t kLogSupported = 1U;       // LSUPP of the Supported Log Pages page.
constexpr uint32_t kEffectSupported = 1U;    // CSUPP of the Commands Supported and Effects page.
constexpr uint32_t kEffectChangesData = 2U;  // LBCC.

constexpr uint64_t kNsPerMinute = 60 * kNsPerSecond;

/// A counter of 128 bits.
void put_counter(std::span<uint8_t, 16> field, uint64_t value) {
    std::memcpy(field.data(), &value, sizeof(value));
}

/// Thousands of 512 bytes, rounded up.
uint64_t data_units(uint64_t bytes) {
    constexpr uint64_t kUnitBytes = 512'000;
    return (bytes + kUnitBytes - 1) / kUnitBytes;
}

}  // namespace

NvmeStatus write_supported_log_pages(Request& request, PageWindow& page) {
    const Subsystem& subsystem = *request.connection().link.subsystem;
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

NvmeStatus write_error_log(Request& request, PageWindow& page) {
    const ErrorLog& log = request.connection().link.controller->error_log;
    for (uint32_t i = 0; i < kErrorLogEntries; ++i) {
        page.add(log.entry(i));
    }
    return status::kSuccess;
}

NvmeStatus write_health_log(Request& request, PageWindow& page) {
    const Nsid nsid = request.sqe.nsid();
    if (nsid != Nsid(0) && nsid != kNsidAll &&
        find_visible_namespace(request.connection().link, nsid) == nullptr) {
        return status::kInvalidNamespace.with_dnr();
    }
    Controller& controller = *request.connection().link.controller;
    const HealthCounters& health = controller.gathered_health;
    const PollGroup& group = request.connection().group();
    nvme_smart_log data{};
    data.critical_warning = controller.critical_warning();
    // There is no thermometer in a socket.
    std::memcpy(data.temperature, &kRoomTemperatureKelvin, sizeof(kRoomTemperatureKelvin));
    data.avail_spare = 100;
    data.spare_thresh = 10;
    put_counter(data.data_units_read, data_units(health.bytes_read));
    put_counter(data.data_units_written, data_units(health.bytes_written));
    put_counter(data.host_reads, health.read_commands);
    put_counter(data.host_writes, health.write_commands);
    put_counter(data.ctrl_busy_time, health.busy_ns / kNsPerMinute);
    put_counter(data.power_cycles, 1);  // This run: nothing is known of others.
    put_counter(data.power_on_hours,
                (controller.now_ns() - group.started_ns()) / (60 * kNsPerMinute));
    put_counter(data.media_errors, health.media_errors);
    put_counter(data.num_err_log_entries, controller.error_log.count());
    page.add(data);
    if (!GetLogPageView(request.sqe).rae() && !page.is_missed()) {
        controller.rearm(AsyncEvent::kTemperature);
        controller.rearm(AsyncEvent::kReliability);
    }
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
    Controller& controller = *request.connection().link.controller;
    std::array<uint32_t, kChangedNamespacesMax> changed{};
    const GetLogPageView command(request.sqe);
    controller.read_changed_namespaces(changed,
                                       command.rae() || command.offset() > sizeof(changed));
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
                                 nvme_admin_keep_alive,
                                 nvme_admin_fabrics}) {
        data.acs[opcode] = kEffectSupported;
    }
    data.iocs[nvme_admin_fabrics] = kEffectSupported;  // Connect and Disconnect among them.
    for (const IoCommandKind& each : kIoCommands) {
        data.iocs[each.opcode] = kEffectSupported | (each.changes_blocks ? kEffectChangesData : 0U);
    }
    page.add(data);
    return status::kSuccess;
}

NvmeStatus write_feature_effects(Request&, PageWindow& page) {
    constexpr uint32_t kOfNamespace = NVME_FID_SUPPORTED_EFFECTS_SCOPE_NS
                                      << NVME_FID_SUPPORTED_EFFECTS_SCOPE_SHIFT;
    constexpr uint32_t kOfController = NVME_FID_SUPPORTED_EFFECTS_SCOPE_CTRL
                                       << NVME_FID_SUPPORTED_EFFECTS_SCOPE_SHIFT;
    nvme_fid_supported_effects_log data{};
    for (const Feature& feature : features()) {
        if (feature.is_for_io) {
            data.fid_support[feature.fid] =
                NVME_FID_SUPPORTED_EFFECTS_FSUPP |
                (feature.is_per_namespace ? kOfNamespace : kOfController);
        }
    }
    page.add(data);
    return status::kSuccess;
}

NvmeStatus write_management_effects(Request&, PageWindow& page) {
    const nvme_mi_cmd_supported_effects_log none{};  // There is no management interface.
    page.add(none);
    return status::kSuccess;
}

}  // namespace basalt::nvmf
