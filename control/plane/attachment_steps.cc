// What attachments are made of at nodes. Each step may be made twice.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "control/plane/attachments.h"
#include "control/plane/limits.h"
#include "replication/limits.h"
#include "rpc/proto/nvmf.pb.h"
#include "rpc/proto/replication.pb.h"

namespace basalt::cluster {
namespace {

using rpc::RpcError;

constexpr uint64_t kBytesAMib = uint64_t{1} << 20U;

bool is_there_already(const Failure& failure) {
    return failure && failure->code == -EEXIST;
}

bool is_gone_already(const Failure& failure) {
    return failure && failure->code == -ENODEV;
}

std::string serial_of(const Uuid& volume) {
    std::string digits = volume.to_string();
    std::erase(digits, '-');
    return digits.substr(0, 20);
}

/// The host and port of "10.0.0.1:4420" or "[::1]:4420".
v1::ListenAddress listen_address(const std::string& text) {
    const size_t colon = text.rfind(':');
    std::string host = text.substr(0, colon);
    const bool is_ipv6 = host.starts_with('[');
    if (is_ipv6) {
        host = host.substr(1, host.size() - 2);
    }
    v1::ListenAddress address;
    address.set_trtype("TCP");
    address.set_adrfam(is_ipv6 ? "IPv6" : "IPv4");
    address.set_traddr(host);
    address.set_trsvcid(text.substr(colon + 1));
    return address;
}

}  // namespace

/// Whether the drive has a copy of that number that no head ever had. Numbers are never given
/// twice: such a one was made by a call that was broken off. Unless the metadata was lost, and the
/// cluster begun anew: then what others have written may have this volume's number.
Task<Failure> Attachments::look_for_fresh_copy(std::string address,
                                               Uuid drive,
                                               Volume volume,
                                               bool& is_there) {
    is_there = false;
    v1::ReplicationGetReplicasRequest request;
    request.set_uuid(drive.to_string());
    v1::ReplicationGetReplicasResponse response;
    Failure failure = co_await parts_.api.call(
        address, "replication_get_replicas", request, response, kChangeTimeoutNs);
    for (const v1::ReplicationReplica& one : response.replicas()) {
        const bool is_fresh = one.open() && one.fence_epoch() == 0 && one.agreed_epoch() == 0 &&
                              one.num_blocks() == volume.size_bytes() / replication::kBlockBytes;
        is_there = is_there || (one.volume() == volume.number() && is_fresh);
    }
    co_return failure;
}

/// A copy that is there already becomes the volume's only if it is fresh.
Task<Failure> Attachments::check_copy(std::string address, Uuid drive, Volume volume) {
    bool is_fresh = false;
    Failure failure = co_await look_for_fresh_copy(address, drive, volume, is_fresh);
    if (failure || is_fresh) {
        co_return failure;
    }
    co_return RpcError(-EEXIST,
                       "drive " + drive.to_string() + " has a copy of a volume " +
                           std::to_string(volume.number()) + " already, which is not " +
                           words_of(volume) +
                           ": was the metadata of the cluster lost? If nobody needs that copy, "
                           "delete it there (replication_delete_replica)");
}

/// The head and its device, at the node.
Task<Failure> Attachments::make_head(Volume volume, Attachment attachment) {
    const Uuid uuid = to_uuid(volume.uuid());
    done_.erase(uuid);
    v1::BdevReplicatedCreateRequest request;
    request.set_name(device_of(uuid));
    request.set_uuid(uuid.to_string());
    request.set_volume(volume.number());
    request.set_size_in_mib(volume.size_bytes() / kBytesAMib);
    request.set_cluster(parts_.cluster.to_string());
    request.set_map_file(volume.map_file());
    request.set_write_quorum(volume.write_quorum());
    request.set_read_quorum(volume.read_quorum());
    for (const std::string& field : volume.replica_drives()) {
        const auto drive = parts_.view.drives().find(to_uuid(field));
        if (drive == parts_.view.drives().end()) {
            co_return RpcError(-ENODEV,
                               "drive " + to_uuid(field).to_string() + " of " + words_of(volume) +
                                   ", which has left the cluster");
        }
        request.add_replicas(drive->second.record.address() + "/" + to_uuid(field).to_string());
    }
    const std::string address = address_of(to_uuid(attachment.node()));
    v1::BdevReplicatedCreateResponse made;
    Failure failure = co_await parts_.api.call(
        address, "bdev_replicated_create", request, made, kChangeTimeoutNs);
    if (is_there_already(failure)) {
        // The name has the volume's UUID: if there is a device of that name it is the one.
        v1::BdevReplicatedGetRequest look;
        look.set_name(request.name());
        v1::BdevReplicatedGetResponse found;
        Failure looked =
            co_await parts_.api.call(address, "bdev_replicated_get", look, found, kChangeTimeoutNs);
        if (!is_gone_already(looked)) {
            failure = std::move(looked);
        }
    }
    co_return failure;
}

/// One call of several, of which an object that is there already is no failure.
struct Attachments::Step {
    const char* method;
    const google::protobuf::Message& request;
};

Task<Failure> Attachments::make_subsystem(Volume record, Attachment attachment) {
    const Uuid volume = to_uuid(record.uuid());
    const std::string address = address_of(to_uuid(attachment.node()));
    v1::NvmfCreateTransportRequest transport;
    transport.set_trtype("TCP");
    v1::NvmfCreateSubsystemRequest subsystem;
    subsystem.set_nqn(attachment.nqn());
    subsystem.set_serial_number(serial_of(volume));
    subsystem.set_allow_any_host(attachment.allow_any_host());
    subsystem.set_ana_reporting(true);
    v1::NvmfSubsystemAddNsRequest add_namespace;
    add_namespace.set_nqn(attachment.nqn());
    add_namespace.mutable_namespace_()->set_bdev_name(device_of(volume));
    add_namespace.mutable_namespace_()->set_nsid(attachment.nsid());
    add_namespace.mutable_namespace_()->set_uuid(volume.to_string());
    std::vector<Step> steps{{"nvmf_create_transport", transport},
                            {"nvmf_create_subsystem", subsystem}};
    std::vector<v1::NvmfSubsystemAddHostRequest> hosts(
        static_cast<size_t>(attachment.hosts_size()));
    for (size_t i = 0; i < hosts.size(); ++i) {
        hosts[i].set_nqn(attachment.nqn());
        hosts[i].set_host(attachment.hosts(static_cast<int>(i)));
        steps.push_back({"nvmf_subsystem_add_host", hosts[i]});
    }
    v1::NvmfSubsystemAllowAnyHostRequest any_host;
    any_host.set_nqn(attachment.nqn());
    any_host.set_allow_any_host(true);
    if (attachment.allow_any_host()) {
        steps.push_back({"nvmf_subsystem_allow_any_host", any_host});
    }
    steps.push_back({"nvmf_subsystem_add_ns", add_namespace});
    // The ways in come last: a host finds all of it, or nothing.
    std::vector<v1::NvmfSubsystemAddListenerRequest> listeners;
    for (const std::string& one : attachment.addresses()) {
        listeners.emplace_back().set_nqn(attachment.nqn());
        *listeners.back().mutable_listen_address() = listen_address(one);
    }
    for (const v1::NvmfSubsystemAddListenerRequest& one : listeners) {
        steps.push_back({"nvmf_subsystem_add_listener", one});
    }
    for (const Step& step : steps) {
        const bool is_namespace = &step.request == &add_namespace;
        v1::Done done;
        v1::NvmfSubsystemAddNsResponse added;
        google::protobuf::Message& response =
            is_namespace ? static_cast<google::protobuf::Message&>(added) : done;
        const Failure failure = co_await parts_.api.call(
            address, step.method, step.request, response, kChangeTimeoutNs);
        if (failure && !is_there_already(failure)) {
            co_return failure;
        }
    }
    done_.insert(volume);
    co_return std::nullopt;
}

Task<Failure> Attachments::serve(Volume volume, Attachment attachment) {
    Failure failure = co_await make_head(volume, attachment);
    if (!failure) {
        failure = co_await make_subsystem(volume, attachment);
    }
    co_return failure;
}

Task<Failure> Attachments::unserve(Uuid volume, Attachment attachment) {
    const std::string address = address_of(to_uuid(attachment.node()));
    if (address.empty()) {
        co_return std::nullopt;  // The node is none of the cluster's any more.
    }
    v1::NvmfDeleteSubsystemRequest subsystem;
    subsystem.set_nqn(attachment.nqn());
    v1::Done done;
    Failure failure = co_await parts_.api.call(
        address, "nvmf_delete_subsystem", subsystem, done, kChangeTimeoutNs);
    if (failure && !is_gone_already(failure)) {
        co_return failure;
    }
    v1::BdevReplicatedDeleteRequest head;
    head.set_name(device_of(volume));
    failure =
        co_await parts_.api.call(address, "bdev_replicated_delete", head, done, kChangeTimeoutNs);
    if (failure && !is_gone_already(failure)) {
        co_return failure;
    }
    co_return std::nullopt;
}

/// Without copies on record there may be some all the same, of an attachment that was broken off;
/// but what a head had is somebody else's then, and stays.
Task<Failure> Attachments::delete_copy(Volume volume, Uuid drive) {
    const auto known = parts_.view.drives().find(drive);
    const std::string address =
        known == parts_.view.drives().end() ? "" : address_of(to_uuid(known->second.record.node()));
    if (address.empty()) {
        co_return std::nullopt;
    }
    const auto& recorded = volume.replica_drives();
    if (std::ranges::find(recorded, to_field(drive)) == recorded.end()) {
        bool is_fresh = false;
        Failure failure = co_await look_for_fresh_copy(address, drive, volume, is_fresh);
        if (failure || !is_fresh) {
            co_return failure;
        }
    }
    v1::ReplicationDeleteReplicaRequest request;
    request.set_volume(volume.number());
    request.set_uuid(drive.to_string());
    v1::Done done;
    Failure failure = co_await parts_.api.call(
        address, "replication_delete_replica", request, done, kChangeTimeoutNs);
    if (is_gone_already(failure)) {
        failure.reset();
    }
    co_return failure;
}

}  // namespace basalt::cluster
