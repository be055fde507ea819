#include <algorithm>
#include <cerrno>

#include "control/config/endpoint.h"
#include "control/handlers/cluster_convert.h"
#include "control/handlers/cluster_handlers.h"
#include "control/plane/limits.h"
#include "control/plane/settings.h"

namespace basalt::control {

namespace {

using cluster::ControlPlane;
using cluster::Drive;
using cluster::Node;
using cluster::PlaneParts;
using cluster::Revision;
using cluster::to_field;
using cluster::to_uuid;
using cluster::Uuid;
using cluster::Versioned;
using rpc::Reply;
using rpc::RpcCode;
using rpc::RpcError;

constexpr int kVolumesShown = 1000;

RpcError wrong(std::string problem) {
    return {RpcCode::kInvalidParams, std::move(problem)};
}

std::string node_words(const std::string& text) {
    return "node '" + text + "'";
}

bool has_drives(const cluster::ClusterView& view, const Uuid& node) {
    return std::ranges::any_of(view.drives(), [&node](const auto& one) {
        return to_uuid(one.second.record.node()) == node;
    });
}

bool is_same_place(const Node& a, const Node& b) {
    return a.datacenter() == b.datacenter() && a.rack() == b.rack() && a.host() == b.host();
}

/// Why a node can't become what `next` says; nothing: it can.
std::optional<RpcError> check_change(const cluster::ClusterView& view,
                                     const Uuid& uuid,
                                     const Node& next) {
    for (const auto& [other, node] : view.nodes()) {
        const bool is_taken = !next.name().empty() && node.record.name() == next.name();
        if (other != uuid && is_taken) {
            return RpcError(-EEXIST, "another node has the name '" + next.name() + "'");
        }
    }
    const auto known = view.nodes().find(uuid);
    if (known != view.nodes().end() && !is_same_place(known->second.record, next) &&
        has_drives(view, uuid)) {
        return RpcError(-EBUSY,
                        "the node has drives, on which volumes were placed by where they are: its "
                        "datacenter, rack and host stay");
    }
    return std::nullopt;
}

/// Changes a node's record as a request wants it; an address that is empty stays.
Task<Result<Versioned<Node>>> change_node(PlaneParts parts,
                                          Uuid node,
                                          std::string address,
                                          google::protobuf::RepeatedPtrField<std::string> labels,
                                          std::optional<Node::State> state,
                                          Revision version) {
    std::function<Status(Node&)> change = [&](Node& record) -> Status {
        record.set_address(address.empty() ? record.address() : address);
        record.set_state(state.value_or(record.state()));
        return set_labels(labels, record).empty() ? kOk : Status(Errc::kInvalidArgument);
    };
    Task<Result<Versioned<Node>>> updating = cluster::update_record<Node>(
        parts.store, cluster::key_of(cluster::kNodes, node), version, std::move(change));
    Result<Versioned<Node>> updated = co_await updating;
    if (updated) {
        co_await cluster::wait_until_seen(parts.here, parts.view, updated->version);
    }
    co_return updated;
}

// ---- nodes

/// What the daemon at an address says of itself, if it can be a node of this cluster.
Task<cluster::Failure> ask(PlaneParts parts, std::string address, v1::NodeGetInfoResponse& info) {
    const v1::NodeGetInfoRequest request;
    cluster::Failure failure =
        co_await parts.api.call(address, "node_get_info", request, info, cluster::kInfoTimeoutNs);
    if (failure) {
        co_return failure;
    }
    if (!Uuid::parse(info.uuid())) {
        co_return RpcError(-EINVAL,
                           "the daemon at " + address +
                               " has no UUID: give its configuration one (uuid = \"...\", made by "
                               "uuidgen), and start it again");
    }
    if (!info.cluster().empty() && info.cluster() != parts.cluster.to_string()) {
        co_return RpcError(-EINVAL,
                           "the daemon at " + address + " is a store of cluster " + info.cluster() +
                               ", and this is " + parts.cluster.to_string() +
                               " (cluster in [replication] there, in [control_plane] here)");
    }
    co_return std::nullopt;
}

Task<void> register_node(ControlPlane& plane,
                         const v1::ClusterRegisterNodeRequest& request,
                         Reply<v1::ClusterNode> reply) {
    const PlaneParts parts = plane.parts();
    if (!cluster::is_node_address(request.address())) {
        reply.fail(wrong("address: '" + request.address() +
                         "' is no HOST:PORT; write for example \"10.0.0.1:9101\""));
        co_return;
    }
    v1::NodeGetInfoResponse info;
    if (const cluster::Failure failure = co_await ask(parts, request.address(), info)) {
        reply.fail(*failure);
        co_return;
    }
    const Uuid uuid = *Uuid::parse(info.uuid());
    Node node;
    const auto known = parts.view.nodes().find(uuid);
    if (known != parts.view.nodes().end()) {
        node = known->second.record;
    } else {
        node.set_uuid(to_field(uuid));
        node.set_datacenter("default");
        node.set_rack("default");
        node.set_host(info.host_name().empty() ? "default" : info.host_name());
    }
    node.set_address(request.address());
    const std::string problem = set_labels(request.labels(), node);
    if (!problem.empty()) {
        reply.fail(wrong(problem));
        co_return;
    }
    if (const std::optional<RpcError> refusal = check_change(parts.view, uuid, node)) {
        reply.fail(*refusal);
        co_return;
    }
    Result<Versioned<Node>> put = co_await cluster::register_node(parts.store, node);
    if (put) {
        Task<Result<Versioned<Node>>> changing =
            change_node(parts, uuid, request.address(), request.labels(), std::nullopt, Revision());
        put = co_await changing;
    }
    if (!put) {
        reply.fail(cluster::to_failure(put.error(), node_words(info.uuid())));
        co_return;
    }
    parts.watch.tick(parts.view, cluster::read_settings(parts.view.settings()).health);
    co_await parts.watch.ask(uuid);
    fill(parts, usage_of(parts.view), *put, reply.result());
    reply.send();
}

Task<void> get_nodes(ControlPlane& plane,
                     const v1::ClusterGetNodesRequest& request,
                     Reply<v1::ClusterGetNodesResponse> reply) {
    const PlaneParts parts = plane.parts();
    const ClusterUsage usage = usage_of(parts.view);
    v1::ClusterGetNodesResponse& out = reply.result();
    if (!request.node().empty()) {
        const Uuid uuid = find_node(parts.view, request.node(), reply);
        if (!uuid.is_nil()) {
            fill(parts, usage, parts.view.nodes().at(uuid), *out.add_nodes());
            reply.send();
        }
        co_return;
    }
    out.set_next(make_page(
        parts.view.nodes(),
        request.after(),
        request.has_limit() ? request.limit() : kPageDefault,
        [](const Uuid&, const auto&) { return true; },
        [&](const Uuid&, const auto& node) { fill(parts, usage, node, *out.add_nodes()); }));
    reply.send();
}

Task<void> set_node(ControlPlane& plane,
                    const v1::ClusterSetNodeRequest& request,
                    Reply<v1::ClusterNode> reply) {
    const PlaneParts parts = plane.parts();
    const Uuid uuid = find_node(parts.view, request.node(), reply);
    if (uuid.is_nil()) {
        co_return;
    }
    Node next = parts.view.nodes().at(uuid).record;
    const std::string problem = set_labels(request.labels(), next);
    if (!problem.empty()) {
        reply.fail(wrong(problem));
        co_return;
    }
    const std::optional<Node::State> state = parse_node_state(request.state());
    if (!state && !request.state().empty()) {
        reply.fail(wrong("state: must be \"active\" or \"draining\""));
        co_return;
    }
    if (const std::optional<RpcError> refusal = check_change(parts.view, uuid, next)) {
        reply.fail(*refusal);
        co_return;
    }
    Task<Result<Versioned<Node>>> changing =
        change_node(parts, uuid, "", request.labels(), state, version_of(request));
    const Result<Versioned<Node>> put = co_await changing;
    if (!put) {
        reply.fail(cluster::to_failure(put.error(), node_words(request.node())));
        co_return;
    }
    fill(parts, usage_of(parts.view), *put, reply.result());
    reply.send();
}

/// What is lost with drives: volumes that have copies there, or are attached to the node.
void tell_impact(const cluster::ClusterView& view,
                 const std::vector<uint32_t>& numbers,
                 const Uuid& node,
                 v1::ClusterRemoval& out) {
    std::vector<Uuid> volumes = cluster::volumes_on(view, numbers);
    for (const auto& [uuid, attachment] : view.attachments()) {
        if (to_uuid(attachment.record.node()) == node) {
            volumes.push_back(uuid);
        }
    }
    std::ranges::sort(volumes);
    volumes.erase(std::unique(volumes.begin(), volumes.end()), volumes.end());
    for (const Uuid& one : volumes) {
        const auto volume = view.volumes().find(one);
        if (out.volumes_size() < kVolumesShown && volume != view.volumes().end()) {
            out.add_volumes(volume->second.record.name());
        }
    }
    for (const uint32_t number : numbers) {
        out.add_drives(drive_text(view, number));
    }
}

/// Answers what became of a removal.
Task<void> finish_removal(PlaneParts parts,
                          Result<Revision> removed,
                          std::string words,
                          Reply<v1::ClusterRemoval> reply) {
    if (!removed && removed.error().code == Errc::kBusy) {
        std::string list;
        for (int i = 0; i < std::min(reply.result().volumes_size(), 5); ++i) {
            list += (i == 0 ? "" : ", ") + reply.result().volumes(i);
        }
        reply.fail(RpcError(-EBUSY,
                            words + " is used by volumes (" + list +
                                (reply.result().volumes_size() > 5 ? ", ..." : "") +
                                "): detach or delete them first"));
        co_return;
    }
    if (!removed) {
        reply.fail(cluster::to_failure(removed.error(), words));
        co_return;
    }
    co_await cluster::wait_until_seen(parts.here, parts.view, *removed);
    reply.result().set_removed(true);
    reply.send();
}

Task<void> remove_node(ControlPlane& plane,
                       const v1::ClusterRemoveNodeRequest& request,
                       Reply<v1::ClusterRemoval> reply) {
    const PlaneParts parts = plane.parts();
    const Uuid uuid = find_node(parts.view, request.node(), reply);
    if (uuid.is_nil()) {
        co_return;
    }
    std::vector<uint32_t> numbers;
    for (const auto& [key, drive] : parts.view.drives()) {
        if (to_uuid(drive.record.node()) == uuid) {
            numbers.push_back(drive.record.number());
        }
    }
    tell_impact(parts.view, numbers, uuid, reply.result());
    if (request.dry_run()) {
        reply.send();
        co_return;
    }
    const Result<Revision> removed =
        co_await cluster::remove_node(parts.store, parts.view, uuid, version_of(request));
    Task<void> finishing =
        finish_removal(parts, removed, node_words(request.node()), std::move(reply));
    co_await finishing;
}

// ---- drives

/// The record of a drive as its node tells of it; what is wrong with it goes to `problem`.
Drive to_drive(const v1::NodeGetInfoResponse& info,
               const v1::NodeDriveInfo& told,
               const Node& node,
               std::string& problem) {
    Drive drive;
    drive.set_uuid(to_field(*Uuid::parse(told.uuid())));
    drive.set_node(node.uuid());
    drive.set_pool(told.name());
    drive.set_capacity_bytes(told.capacity_bytes());
    drive.set_address(reachable(info.replication_address(), node.address()));
    if (!parse_endpoint(drive.address(), std::nullopt)) {
        problem = "the node's server of replicas listens on " + info.replication_address() +
                  ", and its address here, " + node.address() +
                  ", is a name: give [replication] listen there the address that heads connect to";
    }
    return drive;
}

Task<void> add_drive(ControlPlane& plane,
                     const v1::ClusterAddDriveRequest& request,
                     Reply<v1::ClusterAddDriveResponse> reply) {
    const PlaneParts parts = plane.parts();
    const Uuid uuid = find_node(parts.view, request.node(), reply);
    if (uuid.is_nil()) {
        co_return;
    }
    const Node node = parts.view.nodes().at(uuid).record;
    v1::NodeGetInfoResponse info;
    if (const cluster::Failure failure = co_await ask(parts, node.address(), info)) {
        reply.fail(*failure);
        co_return;
    }
    std::vector<Drive> wanted;
    std::string problem;
    for (const v1::NodeDriveInfo& one : info.drives()) {
        const bool is_named = one.uuid() == request.drive() || one.name() == request.drive();
        if (request.drive().empty() || is_named) {
            wanted.push_back(to_drive(info, one, node, problem));
        }
    }
    if (wanted.empty()) {
        reply.fail(RpcError(
            -ENODEV,
            node_words(request.node()) + " has no such drive of replicas" +
                (info.drives().empty() ? ": it needs [replication] listen, and a [[pool]] with "
                                         "replicas = true"
                                       : "")));
        co_return;
    }
    if (!problem.empty()) {
        reply.fail(RpcError(-EINVAL, problem));
        co_return;
    }
    for (const Drive& one : wanted) {
        const Result<Versioned<Drive>> added = co_await cluster::add_drive(parts.store, one);
        if (!added) {
            const std::string words = "drive " + to_uuid(one.uuid()).to_string();
            reply.fail(added.error().code == Errc::kExists
                           ? RpcError(-EEXIST, words + " is another node's")
                           : cluster::to_failure(added.error(), words));
            co_return;
        }
        co_await cluster::wait_until_seen(parts.here, parts.view, added->version);
        fill(parts, usage_of(parts.view), *added, *reply.result().add_drives());
    }
    co_await parts.watch.ask(uuid);
    reply.send();
}

Task<void> get_drives(ControlPlane& plane,
                      const v1::ClusterGetDrivesRequest& request,
                      Reply<v1::ClusterGetDrivesResponse> reply) {
    const PlaneParts parts = plane.parts();
    const ClusterUsage usage = usage_of(parts.view);
    v1::ClusterGetDrivesResponse& out = reply.result();
    if (!request.drive().empty()) {
        const Uuid uuid = find_drive(parts.view, request.drive(), reply);
        if (!uuid.is_nil()) {
            fill(parts, usage, parts.view.drives().at(uuid), *out.add_drives());
            reply.send();
        }
        co_return;
    }
    Uuid node;
    if (!request.node().empty()) {
        node = find_node(parts.view, request.node(), reply);
        if (node.is_nil()) {
            co_return;
        }
    }
    out.set_next(make_page(
        parts.view.drives(),
        request.after(),
        request.has_limit() ? request.limit() : kPageDefault,
        [&node](const Uuid&, const Versioned<Drive>& drive) {
            return node.is_nil() || to_uuid(drive.record.node()) == node;
        },
        [&](const Uuid&, const auto& drive) { fill(parts, usage, drive, *out.add_drives()); }));
    reply.send();
}

Task<void> set_drive(ControlPlane& plane,
                     const v1::ClusterSetDriveRequest& request,
                     Reply<v1::ClusterDrive> reply) {
    const PlaneParts parts = plane.parts();
    const Uuid uuid = find_drive(parts.view, request.drive(), reply);
    if (uuid.is_nil()) {
        co_return;
    }
    const std::optional<Drive::State> state = parse_drive_state(request.state());
    if (!state) {
        reply.fail(wrong("state: must be \"online\", \"draining\" or \"down\""));
        co_return;
    }
    std::function<Status(Drive&)> change = [state](Drive& drive) -> Status {
        drive.set_state(*state);
        return kOk;
    };
    Task<Result<Versioned<Drive>>> updating =
        cluster::update_record<Drive>(parts.store,
                                      cluster::key_of(cluster::kDrives, uuid),
                                      version_of(request),
                                      std::move(change));
    const Result<Versioned<Drive>> updated = co_await updating;
    if (!updated) {
        reply.fail(cluster::to_failure(updated.error(), "drive " + request.drive()));
        co_return;
    }
    co_await cluster::wait_until_seen(parts.here, parts.view, updated->version);
    fill(parts, usage_of(parts.view), *updated, reply.result());
    reply.send();
}

Task<void> remove_drive(ControlPlane& plane,
                        const v1::ClusterRemoveDriveRequest& request,
                        Reply<v1::ClusterRemoval> reply) {
    const PlaneParts parts = plane.parts();
    const Uuid uuid = find_drive(parts.view, request.drive(), reply);
    if (uuid.is_nil()) {
        co_return;
    }
    tell_impact(parts.view, {parts.view.drives().at(uuid).record.number()}, Uuid{}, reply.result());
    if (request.dry_run()) {
        reply.send();
        co_return;
    }
    const Result<Revision> removed =
        co_await cluster::remove_drive(parts.store, parts.view, uuid, version_of(request));
    Task<void> finishing =
        finish_removal(parts, removed, "drive " + request.drive(), std::move(reply));
    co_await finishing;
}

}  // namespace

void ClusterNodeHandlers::add_to(rpc::MethodTable& table) {
    add<&register_node>(table, "cluster_register_node", &register_node);
    add<&get_nodes>(table, "cluster_get_nodes", &get_nodes);
    add<&set_node>(table, "cluster_set_node", &set_node);
    add<&remove_node>(table, "cluster_remove_node", &remove_node);
    add<&add_drive>(table, "cluster_add_drive", &add_drive);
    add<&get_drives>(table, "cluster_get_drives", &get_drives);
    add<&set_drive>(table, "cluster_set_drive", &set_drive);
    add<&remove_drive>(table, "cluster_remove_drive", &remove_drive);
}

}  // namespace basalt::control
