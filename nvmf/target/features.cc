#include <algorithm>
#include <cstring>

#include "nvmf/target/admin_commands.h"
#include "nvmf/target/connection.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"

// Get and Set Features, NVMe Base Specification, "Features".

namespace basalt::nvmf {

namespace {

constexpr uint32_t kHostBehaviorBytes = 512;
constexpr uint32_t kHostIdBytes = 16;
constexpr uint32_t kHostIdExtended = 1;  // Set in the value: the identifier is 128 bits long.
constexpr uint8_t kSelectCurrent = 0;
constexpr uint8_t kSelectCapabilities = 3;
constexpr uint32_t kCapabilityChangeable = 1U << 2U;

/// Both numbers of queues in one dword, each counted from 0.
uint32_t queue_counts(const Controller& controller) {
    const uint32_t value = controller.io_queues_allowed() - 1;
    return value | (value << 16U);
}

bool is_changeable(uint8_t feature) {
    return feature != NVME_FEAT_FID_HOST_ID;
}

bool is_known(uint8_t feature, bool is_discovery) {
    switch (feature) {
        case NVME_FEAT_FID_ASYNC_EVENT:
        case NVME_FEAT_FID_KATO:
        case NVME_FEAT_FID_HOST_ID: return true;
        case NVME_FEAT_FID_ARBITRATION:
        case NVME_FEAT_FID_POWER_MGMT:
        case NVME_FEAT_FID_TEMP_THRESH:
        case NVME_FEAT_FID_ERR_RECOVERY:
        case NVME_FEAT_FID_VOLATILE_WC:
        case NVME_FEAT_FID_NUM_QUEUES:
        case NVME_FEAT_FID_WRITE_ATOMIC:
        case NVME_FEAT_FID_HOST_BEHAVIOR: return !is_discovery;
        default: return false;
    }
}

NvmeStatus set_queue_count(Request& request, Controller& controller, uint32_t value) {
    const uint32_t wanted_sq = (value & 0xffffU) + 1;
    const uint32_t wanted_cq = (value >> 16U) + 1;
    if (wanted_sq == 0x10000 || wanted_cq == 0x10000) {
        return status::kInvalidField.with_dnr();
    }
    if (controller.io_queue_count() > 0) {
        return status::kCommandSequenceError.with_dnr();
    }
    const uint32_t offered = request.connection.group().options().io_queues_max;
    controller.allow_io_queues(std::min({wanted_sq, wanted_cq, offered}));
    request.cqe.dw0.set(queue_counts(controller));
    return status::kSuccess;
}

}  // namespace

uint32_t feature_data_bytes(uint8_t feature) {
    switch (feature) {
        case NVME_FEAT_FID_HOST_ID: return kHostIdBytes;
        case NVME_FEAT_FID_HOST_BEHAVIOR: return kHostBehaviorBytes;
        default: return 0;
    }
}

NvmeStatus get_features(Request& request) {
    const Connection& connection = request.connection;
    Controller& controller = *connection.link.controller;
    const FeaturesView command(request.sqe);
    if (!is_known(command.fid(), connection.link.subsystem->is_discovery())) {
        return status::kInvalidField.with_dnr();
    }
    if (command.select() == kSelectCapabilities) {
        request.data_bytes = 0;
        request.cqe.dw0.set(is_changeable(command.fid()) ? kCapabilityChangeable : 0);
        return status::kSuccess;
    }
    if (command.select() != kSelectCurrent) {
        // Nothing is saved, and the default of each is what a fresh controller has.
        return status::kInvalidField.with_dnr();
    }
    uint32_t value = 0;
    switch (command.fid()) {
        case NVME_FEAT_FID_ARBITRATION: value = controller.arbitration; break;
        case NVME_FEAT_FID_TEMP_THRESH: value = controller.temperature_threshold; break;
        case NVME_FEAT_FID_ERR_RECOVERY: value = controller.error_recovery; break;
        case NVME_FEAT_FID_VOLATILE_WC: value = controller.volatile_write_cache; break;
        case NVME_FEAT_FID_NUM_QUEUES: value = queue_counts(controller); break;
        case NVME_FEAT_FID_WRITE_ATOMIC: value = controller.write_atomicity; break;
        case NVME_FEAT_FID_ASYNC_EVENT: value = controller.async_event_configuration; break;
        case NVME_FEAT_FID_KATO: value = controller.keep_alive_ms(); break;
        case NVME_FEAT_FID_HOST_ID:
            if ((command.value() & 1U) != kHostIdExtended) {
                return status::kInvalidField.with_dnr();
            }
            std::memcpy(request.payload().data(), connection.link.host_id.data(), kHostIdBytes);
            break;
        case NVME_FEAT_FID_HOST_BEHAVIOR:
            std::memcpy(
                request.payload().data(), controller.host_behavior.data(), kHostBehaviorBytes);
            break;
        default: BASALT_ASSERT(command.fid() == NVME_FEAT_FID_POWER_MGMT); break;
    }
    request.cqe.dw0.set(value);
    return status::kSuccess;
}

NvmeStatus set_features(Request& request) {
    const Connection& connection = request.connection;
    Controller& controller = *connection.link.controller;
    const FeaturesView command(request.sqe);
    const uint32_t value = command.value();
    if (!is_known(command.fid(), connection.link.subsystem->is_discovery())) {
        return status::kInvalidField.with_dnr();
    }
    if (command.save()) {
        return status::kFeatureNotSaveable.with_dnr();
    }
    switch (command.fid()) {
        case NVME_FEAT_FID_ARBITRATION: controller.arbitration = value; break;
        case NVME_FEAT_FID_POWER_MGMT:
            // One power state, number 0.
            return (value & 0x1fU) == 0 ? status::kSuccess : status::kInvalidField.with_dnr();
        case NVME_FEAT_FID_TEMP_THRESH: controller.temperature_threshold = value; break;
        case NVME_FEAT_FID_ERR_RECOVERY: controller.error_recovery = value; break;
        case NVME_FEAT_FID_VOLATILE_WC: controller.volatile_write_cache = value & 1U; break;
        case NVME_FEAT_FID_NUM_QUEUES: return set_queue_count(request, controller, value);
        case NVME_FEAT_FID_WRITE_ATOMIC: controller.write_atomicity = value & 1U; break;
        case NVME_FEAT_FID_ASYNC_EVENT: controller.async_event_configuration = value; break;
        case NVME_FEAT_FID_KATO: controller.set_keep_alive(value); break;
        case NVME_FEAT_FID_HOST_BEHAVIOR:
            std::memcpy(
                controller.host_behavior.data(), request.payload().data(), kHostBehaviorBytes);
            break;
        default:
            // On a fabric the host identifier comes with Connect and does not change.
            BASALT_ASSERT(command.fid() == NVME_FEAT_FID_HOST_ID);
            return status::kCommandSequenceError.with_dnr();
    }
    return status::kSuccess;
}

}  // namespace basalt::nvmf
