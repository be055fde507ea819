#pragma once

#include <cstring>
#include <vector>

#include "nvmf/target/request.h"
#include "nvmf/wire/limits.h"
#include "nvmf/wire/status.h"

// The structures of Identify, one function a CNS value. Each writes the request's payload, which is
// 4096 bytes and all zero, and returns the status of the command. identify.cc chooses.

namespace basalt::nvmf {

/// Copies a structure to the front of the payload.
template <typename T>
void put_identify_data(Request& request, const T& data) {
    static_assert(sizeof(T) <= kIdentifyBytes);
    std::memcpy(request.payload().data(), &data, sizeof(data));
}

// --- The controller: identify_controller.cc.

/// CNS 01h.
[[nodiscard]] NvmeStatus identify_controller(Request& request);
/// CNS 06h, NVM command set: limits that MDTS does not cover.
[[nodiscard]] NvmeStatus identify_nvm_controller(Request& request);
/// CNS 12h, the controllers whose hosts see a namespace, and 13h, all controllers of the subsystem:
/// those that this target has made. Completes later, when all cores have been asked.
[[nodiscard]] NvmeStatus identify_controllers(Request& request);
/// They have been asked, and these are the controllers, in no order.
void finish_controller_list(Request& request, std::vector<uint16_t> found);
/// CNS 1Ch: the combinations of command sets, of which there is one.
[[nodiscard]] NvmeStatus identify_command_sets(Request& request);

// --- Namespaces: identify_namespace.cc.

/// CNS 00h.
[[nodiscard]] NvmeStatus identify_namespace(Request& request);
/// CNS 02h and 07h: the active namespaces above the one given, in order.
[[nodiscard]] NvmeStatus identify_active_namespaces(Request& request);
/// CNS 03h. Ids that are all zero are left out: a host would take them for an identity.
[[nodiscard]] NvmeStatus identify_descriptors(Request& request);
/// CNS 05h, NVM command set.
[[nodiscard]] NvmeStatus identify_nvm_namespace(Request& request);
/// CNS 08h: what does not depend on the command set.
[[nodiscard]] NvmeStatus identify_independent_namespace(Request& request);

}  // namespace basalt::nvmf
