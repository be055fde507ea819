#include "nvmf/target/ana.h"

#include <algorithm>

#include "nvmf/target/options.h"

namespace basalt::nvmf {

namespace {

/// The features that belong to a namespace and not to the controller.
bool is_namespace_feature(uint8_t feature) {
    return feature == NVME_FEAT_FID_LBA_RANGE || feature == NVME_FEAT_FID_ERR_RECOVERY ||
           feature == NVME_FEAT_FID_WRITE_ATOMIC || feature == NVME_FEAT_FID_RESV_MASK ||
           feature == NVME_FEAT_FID_RESV_PERSIST || feature == NVME_FEAT_FID_WRITE_PROTECT;
}

}  // namespace

bool needs_namespace_access(uint8_t admin_opcode, uint8_t feature, AnaState state) {
    switch (admin_opcode) {
        case nvme_admin_get_features: return is_namespace_feature(feature);
        case nvme_admin_set_features:
            return state == AnaState::kPersistentLoss || is_namespace_feature(feature);
        case nvme_admin_format_nvm:
        case nvme_admin_ns_mgmt:
        case nvme_admin_ns_attach: return true;
        default: return false;  // Identify and the logs tell what they can.
    }
}

std::vector<uint32_t> groups_without_optimized_path(const SubsystemConfig& config) {
    std::vector<uint32_t> found;
    if (!config.ana_reporting || config.listeners.empty()) {
        return found;
    }
    for (const NamespaceConfig& space : config.namespaces) {
        const uint32_t group = space.ana_group;
        const bool has_path = std::any_of(
            config.listeners.begin(), config.listeners.end(), [&](const ListenerConfig& listener) {
                return listener.ana_state(group) == AnaState::kOptimized;
            });
        if (!has_path) {
            found.push_back(group);
        }
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
}

void count_ana_change(SubsystemConfig& config, std::initializer_list<uint32_t> groups) {
    for (ListenerConfig& listener : config.listeners) {
        if (listener.ana_groups.empty()) {
            continue;
        }
        ++listener.ana_changes;
        for (const uint32_t group : groups) {
            ++listener.ana_groups[group - 1].changes;
        }
    }
}

}  // namespace basalt::nvmf
