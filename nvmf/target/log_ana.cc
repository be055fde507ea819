#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "nvmf/target/connection.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/log_pages.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"

// The Asymmetric Namespace Access log page, NVMe Base Specification, "Asymmetric Namespace Access
// log page".

namespace basalt::nvmf {

namespace {

/// Group and NSID of each namespace that the host of this controller sees, by group, then by NSID:
/// hosts insist on that order.
std::vector<std::pair<uint32_t, uint32_t>> namespaces_by_group(const Connection& connection) {
    std::vector<std::pair<uint32_t, uint32_t>> found;
    for (const NamespaceConfig& space : connection.link.subsystem->config().namespaces) {
        if (connection.link.access.is_visible(space.nsid)) {
            found.emplace_back(space.ana_group, space.nsid.raw());
        }
    }
    std::sort(found.begin(), found.end());
    return found;
}

}  // namespace

NvmeStatus write_ana_log(Request& request, PageWindow& page) {
    const Connection& connection = request.connection();
    const SubsystemConfig& config = connection.link.subsystem->config();
    const ListenerConfig* path = config.find_listener(connection.listener());
    if (!config.ana_reporting || path == nullptr) {
        return status::kInvalidLogPage.with_dnr();
    }
    Controller& controller = *connection.link.controller;
    const GetLogPageView command(request.sqe);
    const bool groups_only = (command.lsp() & NVME_LOG_ANA_LSP_RGO_GROUPS_ONLY) != 0;
    const auto members = namespaces_by_group(connection);
    const auto end_of_group = [&](auto first) {
        return std::find_if(
            first, members.end(), [&](const auto& each) { return each.first != first->first; });
    };
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): cleared by memset.
    nvme_ana_log head;  // Ends in an array without members, which clang does not initialize.
    std::memset(&head, 0, sizeof(head));
    head.chgcnt = path->ana_changes - controller.ana_changes_at_reset;
    for (auto at = members.begin(); at != members.end(); at = end_of_group(at)) {
        ++head.ngrps;
    }
    page.add(&head, sizeof(head));
    for (auto at = members.begin(); at != members.end();) {
        const auto end = end_of_group(at);
        const AnaGroupState& group = path->ana_groups[at->first - 1];
        nvme_ana_group_desc descriptor{};
        descriptor.grpid = at->first;
        descriptor.nnsids = groups_only ? 0 : static_cast<uint32_t>(end - at);
        descriptor.chgcnt = group.changes;
        descriptor.state = static_cast<uint8_t>(group.state);
        page.add(&descriptor, sizeof(descriptor));
        for (; at != end; ++at) {
            if (!groups_only) {
                page.add(at->second);
            }
        }
    }
    if (!command.rae() && !page.is_missed()) {
        controller.rearm(AsyncEvent::kAnaChanged);
    }
    return status::kSuccess;
}

}  // namespace basalt::nvmf
