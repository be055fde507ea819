#include "nvmf/target/identify.h"

#include "nvmf/target/admin_commands.h"
#include "nvmf/target/connection.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"

// Identify, NVMe Base Specification, "Identify command": which structure the host asks for.

namespace basalt::nvmf {

namespace {

/// The structures of a command set other than NVM are not ours to give.
bool is_nvm_command_set(const IdentifyView& command) {
    return command.csi() == 0;
}

}  // namespace

NvmeStatus identify(Request& request) {
    const IdentifyView command(request.sqe);
    std::memset(request.payload().data(), 0, request.payload().size());
    if (request.connection().link.subsystem->is_discovery()) {
        return command.cns() == NVME_IDENTIFY_CNS_CTRL ? identify_controller(request)
                                                       : status::kInvalidField.with_dnr();
    }
    switch (command.cns()) {
        case NVME_IDENTIFY_CNS_NS: return identify_namespace(request);
        case NVME_IDENTIFY_CNS_CTRL: return identify_controller(request);
        case NVME_IDENTIFY_CNS_NS_ACTIVE_LIST: return identify_active_namespaces(request);
        case NVME_IDENTIFY_CNS_NS_DESC_LIST: return identify_descriptors(request);
        case NVME_IDENTIFY_CNS_CSI_INDEPENDENT_ID_NS:
            return identify_independent_namespace(request);
        case NVME_IDENTIFY_CNS_NS_CTRL_LIST:
        case NVME_IDENTIFY_CNS_CTRL_LIST: return identify_controllers(request);
        case NVME_IDENTIFY_CNS_COMMAND_SET_STRUCTURE: return identify_command_sets(request);
        default: break;
    }
    if (!is_nvm_command_set(command)) {
        return status::kInvalidField.with_dnr();
    }
    switch (command.cns()) {
        case NVME_IDENTIFY_CNS_CSI_NS: return identify_nvm_namespace(request);
        case NVME_IDENTIFY_CNS_CSI_CTRL: return identify_nvm_controller(request);
        case NVME_IDENTIFY_CNS_CSI_NS_ACTIVE_LIST: return identify_active_namespaces(request);
        default: return status::kInvalidField.with_dnr();
    }
}

}  // namespace basalt::nvmf
