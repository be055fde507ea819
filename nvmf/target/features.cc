#include "nvmf/target/features.h"

#include <algorithm>

#include "nvmf/target/admin_commands.h"
#include "nvmf/target/connection.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/io/write_protection.h"
#include "nvmf/target/reservation/reservation_commands.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"

// Get and Set Features, NVMe Base Specification, "Get Features command" and "Set Features command":
// which features there are, and what holds for all of them.

namespace basalt::nvmf {

namespace {

constexpr uint32_t kHostBehaviorBytes = 512;
constexpr uint32_t kHostIdBytes = 16;

constexpr std::array kFeatures{
    // Feature, of I/O controllers, of discovery controllers, per namespace, bytes of data.
    Feature{NVME_FEAT_FID_ARBITRATION, true, false, false, 0, &get_arbitration, &set_arbitration},
    Feature{NVME_FEAT_FID_POWER_MGMT,
            true,
            false,
            false,
            0,
            &get_power_management,
            &set_power_management},
    Feature{NVME_FEAT_FID_TEMP_THRESH,
            true,
            false,
            false,
            0,
            &get_temperature_threshold,
            &set_temperature_threshold},
    Feature{NVME_FEAT_FID_ERR_RECOVERY,
            true,
            false,
            false,
            0,
            &get_error_recovery,
            &set_error_recovery},
    Feature{NVME_FEAT_FID_VOLATILE_WC,
            true,
            false,
            false,
            0,
            &get_volatile_write_cache,
            &set_volatile_write_cache,
            true},
    Feature{NVME_FEAT_FID_NUM_QUEUES, true, false, false, 0, &get_queue_count, &set_queue_count},
    // NVMe over Fabrics knows no interrupts: they are for suites that ask every controller.
    Feature{NVME_FEAT_FID_IRQ_COALESCE, true, false, false, 0, &get_interrupt_coalescing, nullptr},
    Feature{NVME_FEAT_FID_IRQ_CONFIG, true, false, false, 0, &get_interrupt_vector, nullptr},
    Feature{NVME_FEAT_FID_WRITE_ATOMIC,
            true,
            false,
            false,
            0,
            &get_write_atomicity,
            &set_write_atomicity},
    Feature{NVME_FEAT_FID_ASYNC_EVENT, true, true, false, 0, &get_async_events, &set_async_events},
    Feature{NVME_FEAT_FID_KATO, true, true, false, 0, &get_keep_alive, &set_keep_alive},
    Feature{NVME_FEAT_FID_HOST_BEHAVIOR,
            true,
            false,
            false,
            kHostBehaviorBytes,
            &get_host_behavior,
            &set_host_behavior,
            true},
    Feature{NVME_FEAT_FID_WRITE_PROTECT,
            true,
            false,
            true,
            0,
            &get_write_protection,
            &set_write_protection},
    // On a fabric the host identifier comes with Connect and does not change.
    Feature{NVME_FEAT_FID_HOST_ID,
            true,
            true,
            false,
            kHostIdBytes,
            &get_host_id,
            nullptr,
            false,
            status::kCommandSequenceError},  // NVMe over Fabrics, "Set Features command".
    Feature{NVME_FEAT_FID_RESV_MASK,
            true,
            false,
            true,
            0,
            &get_reservation_notice_mask,
            &set_reservation_notice_mask},
    Feature{NVME_FEAT_FID_RESV_PERSIST,
            true,
            false,
            true,
            0,
            &get_reservation_persistence,
            &set_reservation_persistence},
};

// The SEL field of Get Features and what it answers for "supported capabilities".
constexpr uint8_t kSelectCurrent = 0;
constexpr uint8_t kSelectCapabilities = 3;
constexpr uint32_t kCapabilityPerNamespace = 1U << 1U;
constexpr uint32_t kCapabilityChangeable = 1U << 2U;

/// Null if this controller has no such feature.
const Feature* find_feature(const Request& request) {
    const uint8_t fid = FeaturesView(request.sqe).fid();
    const bool is_discovery = request.connection().link.subsystem->is_discovery();
    const auto found = std::find_if(kFeatures.begin(), kFeatures.end(), [&](const Feature& each) {
        return each.fid == fid && (is_discovery ? each.is_for_discovery : each.is_for_io);
    });
    return found == kFeatures.end() ? nullptr : &*found;
}

}  // namespace

std::span<const Feature> features() {
    return kFeatures;
}

uint32_t feature_data_bytes(const Request& request) {
    const Feature* feature = find_feature(request);
    const bool asks_for_capabilities = request.sqe.opcode == nvme_admin_get_features &&
                                       FeaturesView(request.sqe).select() == kSelectCapabilities;
    return feature == nullptr || asks_for_capabilities ? 0 : feature->data_bytes;
}

NvmeStatus get_features(Request& request) {
    const Feature* feature = find_feature(request);
    const uint8_t select = FeaturesView(request.sqe).select();
    if (feature == nullptr || select > kSelectCapabilities) {
        return status::kInvalidField.with_dnr();
    }
    if (select == kSelectCapabilities) {
        request.cqe.dw0.set((feature->set != nullptr ? kCapabilityChangeable : 0) |
                            (feature->is_per_namespace ? kCapabilityPerNamespace : 0));
        return status::kSuccess;
    }
    // Nothing can be saved, and what has no saved value answers with its default.
    return feature->get(request, select != kSelectCurrent);
}

namespace {

NvmeStatus set_feature(Request& request, const Feature* feature) {
    if (feature == nullptr) {
        return status::kInvalidField.with_dnr();
    }
    if (FeaturesView(request.sqe).save()) {
        return status::kFeatureNotSaveable.with_dnr();
    }
    const Nsid nsid = request.sqe.nsid();
    if (!feature->is_per_namespace && nsid != Nsid(0) && nsid != kNsidAll) {
        return status::kFeatureNotPerNamespace.with_dnr();
    }
    if (feature->set == nullptr) {
        return feature->set_refusal.with_dnr();
    }
    return feature->set(request);
}

}  // namespace

void set_features(Request& request) {
    const Feature* feature = find_feature(request);
    const NvmeStatus outcome = set_feature(request, feature);
    if (outcome.ok() && feature->is_for_queues) {
        request.connection().link.controller->tell_queues(request);
    } else if (!request.completes_later) {
        request.connection().complete(request, outcome);
    }
}

}  // namespace basalt::nvmf
