#include "control/handlers/node_handlers.h"

#include <array>
#include <utility>

#include <unistd.h>

#include "control/version.h"

namespace basalt::control {

namespace {

constexpr uint64_t kPoolBlockBytes = 4096;

/// A subsystem that listens has it as a namespace.
bool is_offered(const Context& context, const std::string& device) {
    for (const nvmf::SubsystemConfig* subsystem : context.target.subsystems()) {
        for (const nvmf::NamespaceConfig& each : subsystem->namespaces) {
            if (each.bdev->info().name == device && !subsystem->listeners.empty()) {
                return true;
            }
        }
    }
    return false;
}

const char* word_of(replication::ReplicatedVolume::Role role, bool is_offered_to_hosts) {
    switch (role) {
        case replication::ReplicatedVolume::Role::kBegins: return "begins";
        case replication::ReplicatedVolume::Role::kServes:
            return is_offered_to_hosts ? "serves" : "begins";
        case replication::ReplicatedVolume::Role::kStandby: return "standby";
    }
    return "";
}

}  // namespace

void NodeHandlers::add_to(rpc::MethodTable& table) {
    table.add("node_get_info", *this, &NodeHandlers::get_info);
}

void NodeHandlers::get_info(const v1::NodeGetInfoRequest& /*request*/,
                            rpc::Reply<v1::NodeGetInfoResponse> reply) {
    answer(std::move(reply)).detach();
}

Task<void> NodeHandlers::answer(rpc::Reply<v1::NodeGetInfoResponse> reply) {
    const RunningCall running(context_);
    v1::NodeGetInfoResponse& out = reply.result();
    out.set_uuid(uuid_);
    std::array<char, 256> host{};
    gethostname(host.data(), host.size() - 1);
    out.set_host_name(host.data());
    out.set_version(version_text());
    if (context_.replica_host.is_running()) {
        const replication::ReplicaHostOptions& options = context_.replica_host.options();
        out.set_replication_address(options.address.to_string());
        out.set_cluster(options.cluster.to_string());
    }
    std::vector<bdev::Uuid> drives;
    for (const auto& [uuid, pool] : context_.replica_host.drives()) {
        drives.push_back(uuid);
    }
    for (const bdev::Uuid& uuid : drives) {
        const auto drive = context_.replica_host.drives().find(uuid);
        if (drive == context_.replica_host.drives().end()) {
            continue;  // It went while another one was looked at.
        }
        v1::NodeDriveInfo& info = *out.add_drives();
        info.set_uuid(uuid.to_string());
        info.set_name(drive->second->identity().name);
        const bdev::store::PoolUsage usage = co_await drive->second->usage();
        info.set_capacity_bytes(usage.total * kPoolBlockBytes);
        info.set_used_bytes((usage.total - usage.free) * kPoolBlockBytes);
    }
    for (const SocketAddress& address : nvmf_listen_) {
        out.add_nvmf_addresses(address.to_string());
    }
    for (const auto& volume : context_.replicated.all()) {
        v1::NodeVolumeInfo& info = *out.add_volumes();
        info.set_name(volume->options().name);
        info.set_uuid(volume->options().uuid.to_string());
        info.set_role(word_of(volume->role(), is_offered(context_, info.name())));
    }
    reply.send();
}

}  // namespace basalt::control
