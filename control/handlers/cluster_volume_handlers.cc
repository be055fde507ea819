#include <array>
#include <cerrno>

#include "control/cluster/volume_plan.h"
#include "control/config/size_text.h"
#include "control/handlers/cluster_convert.h"
#include "control/handlers/cluster_handlers.h"
#include "control/placement/rule.h"

namespace basalt::control {

namespace {

using cluster::ControlPlane;
using cluster::PlaneParts;
using cluster::Revision;
using cluster::to_uuid;
using cluster::Uuid;
using cluster::Versioned;
using cluster::Volume;
using cluster::VolumeWish;
using rpc::Reply;
using rpc::RpcCode;
using rpc::RpcError;

constexpr uint64_t kBytesAMib = uint64_t{1} << 20U;
constexpr uint32_t kReplicasDefault = 3;

RpcError wrong(std::string problem) {
    return {RpcCode::kInvalidParams, std::move(problem)};
}

Uuid make_uuid(Reactor& here) {
    std::array<uint8_t, 16> bytes{};
    for (uint8_t& byte : bytes) {
        byte = static_cast<uint8_t>(here.random().next());
    }
    return Uuid::from_random(bytes);
}

/// What a request asks for. What is wrong with it goes to `problem`.
VolumeWish read_wish(const v1::ClusterCreateVolumeRequest& request, std::string& problem) {
    VolumeWish wish;
    wish.name = request.name();
    wish.request_id = request.request_id();
    const Result<uint64_t> size = parse_size(request.size());
    if (!size || *size % kBytesAMib != 0) {
        problem = "size: '" + request.size() +
                  "' is no size in whole MiB; write for example \"100G\" or \"512MiB\"";
        return wish;
    }
    wish.size_bytes = *size;
    if (!request.chunk_size().empty()) {
        const Result<uint64_t> chunk = parse_size(request.chunk_size());
        if (!chunk || (*chunk & (*chunk - 1)) != 0 || *chunk < cluster::kChunkBytesMin ||
            *chunk > cluster::kChunkBytesMax) {
            problem =
                "chunk_size: '" + request.chunk_size() + "' is no power of two from 1M to 16G";
            return wish;
        }
        wish.chunk_bytes = *chunk;
    }
    wish.replicas = request.has_replicas() ? request.replicas() : kReplicasDefault;
    wish.write_quorum = request.write_quorum();
    wish.read_quorum = request.has_read_quorum() ? request.read_quorum() : 1;
    wish.stride = request.has_stride() ? request.stride() : wish.replicas;
    wish.placement_rule = request.placement_rule();
    if (wish.write_quorum > wish.replicas || wish.read_quorum > wish.replicas) {
        problem = "write_quorum and read_quorum: at most as many as replicas, " +
                  std::to_string(wish.replicas);
    } else if (wish.stride != 0 && wish.stride < wish.replicas) {
        problem = "stride: at least as many as replicas, " + std::to_string(wish.replicas);
    } else if (!wish.placement_rule.empty() &&
               !placement::PlacementRule::parse(wish.placement_rule)) {
        problem = "placement_rule: '" + wish.placement_rule +
                  "' is none; write for example \"rack:3\" or \"strict, host:3\"";
    } else if (!cluster::is_name(wish.name)) {
        problem = "name: 1 to 253 bytes, without control characters";
    } else if (Uuid::parse(wish.name)) {
        problem = "name: must not look like a UUID";
    }
    return wish;
}

RpcError creation_error(Error error, const VolumeWish& wish) {
    const std::string words = "volume '" + wish.name + "'";
    if (error.code == Errc::kNoSpace) {
        return {-ENOSPC,
                words + ": there are not enough drives for " + std::to_string(wish.replicas) +
                    " copies by its rule: drives that are online, of nodes that are up and active "
                    "(cluster_get_drives, cluster_get_nodes)"};
    }
    if (error.code == Errc::kExists) {
        return {-EEXIST,
                "another volume has the name '" + wish.name +
                    "', or this one was made "
                    "otherwise"};
    }
    return cluster::to_failure(error, words);
}

/// What it would be, and where.
void try_wish(const PlaneParts& parts, const VolumeWish& wish, Reply<v1::ClusterVolume>& reply) {
    const Result<Volume> volume = cluster::to_volume(wish, make_uuid(parts.here));
    if (!volume) {
        reply.fail(creation_error(volume.error(), wish));
        return;
    }
    const Result<cluster::VolumePlan> plan = cluster::plan_volume(parts.view, *volume);
    if (!plan) {
        reply.fail(creation_error(plan.error(), wish));
        return;
    }
    // It has no UUID and number until it is made.
    v1::ClusterVolume& out = reply.result();
    out.set_name(volume->name());
    out.set_size_bytes(volume->size_bytes());
    out.set_chunk_bytes(volume->chunk_bytes());
    out.set_chunks(plan->chunks.chunks());
    out.set_replicas(volume->replicas());
    out.set_write_quorum(volume->write_quorum());
    out.set_read_quorum(volume->read_quorum());
    out.set_stride(volume->stride());
    out.set_placement_rule(volume->placement_rule());
    constexpr uint64_t kChunksShown = 1;
    for (uint64_t chunk = 0; chunk < kChunksShown; ++chunk) {
        for (const uint32_t number : plan->chunks.drives(chunk)) {
            out.add_drives(drive_text(parts.view, number));
        }
    }
    reply.send();
}

Task<void> create_volume(ControlPlane& plane,
                         const v1::ClusterCreateVolumeRequest& request,
                         Reply<v1::ClusterVolume> reply) {
    const PlaneParts parts = plane.parts();
    std::string problem;
    const VolumeWish wish = read_wish(request, problem);
    if (!problem.empty()) {
        reply.fail(wrong(problem));
        co_return;
    }
    if (request.dry_run()) {
        try_wish(parts, wish, reply);
        co_return;
    }
    Task<Result<Versioned<Volume>>> creating =
        cluster::create_volume(parts.store, parts.view, wish, make_uuid(parts.here));
    const Result<Versioned<Volume>> created = co_await creating;
    if (!created) {
        reply.fail(creation_error(created.error(), wish));
        co_return;
    }
    co_await cluster::wait_until_seen(parts.here, parts.view, created->version);
    fill(parts, plane.attachments(), *created, reply.result());
    reply.send();
}

Task<void> get_volumes(ControlPlane& plane,
                       const v1::ClusterGetVolumesRequest& request,
                       Reply<v1::ClusterGetVolumesResponse> reply) {
    const PlaneParts parts = plane.parts();
    v1::ClusterGetVolumesResponse& out = reply.result();
    if (!request.volume().empty()) {
        const Uuid uuid = find_volume(parts.view, request.volume(), reply);
        if (!uuid.is_nil()) {
            fill(parts, plane.attachments(), parts.view.volumes().at(uuid), *out.add_volumes());
            reply.send();
        }
        co_return;
    }
    out.set_next(make_page(
        parts.view.volumes(),
        request.after(),
        request.has_limit() ? request.limit() : kPageDefault,
        [](const Uuid&, const auto&) { return true; },
        [&](const Uuid&, const auto& volume) {
            fill(parts, plane.attachments(), volume, *out.add_volumes());
        }));
    reply.send();
}

Task<void> get_chunks(ControlPlane& plane,
                      const v1::ClusterGetChunksRequest& request,
                      Reply<v1::ClusterGetChunksResponse> reply) {
    const PlaneParts parts = plane.parts();
    const Uuid uuid = find_volume(parts.view, request.volume(), reply);
    if (uuid.is_nil()) {
        co_return;
    }
    std::map<uint32_t, std::string> drives;
    for (const auto& [key, drive] : parts.view.drives()) {
        drives.emplace(drive.record.number(), key.to_string());
    }
    const Volume& volume = parts.view.volumes().at(uuid).record;
    const cluster::ChunkMap* map = parts.view.chunks(uuid);
    const uint64_t total = map == nullptr ? 0 : map->chunks();
    const uint64_t limit = request.has_limit() ? request.limit() : kPageDefault;
    v1::ClusterGetChunksResponse& out = reply.result();
    out.set_total(total);
    for (uint64_t chunk = request.first(); chunk < total && chunk - request.first() < limit;
         ++chunk) {
        v1::ClusterChunk& shown = *out.add_chunks();
        shown.set_chunk(chunk);
        shown.set_offset_bytes(chunk * volume.chunk_bytes());
        for (const uint32_t number : map->drives(chunk)) {
            if (const auto drive = drives.find(number); drive != drives.end()) {
                shown.add_drives(drive->second);
            }
        }
    }
    reply.send();
}

Task<void> rename_volume(ControlPlane& plane,
                         const v1::ClusterRenameVolumeRequest& request,
                         Reply<v1::ClusterVolume> reply) {
    const PlaneParts parts = plane.parts();
    const Uuid uuid = find_volume(parts.view, request.volume(), reply);
    if (uuid.is_nil()) {
        co_return;
    }
    if (Uuid::parse(request.new_name())) {
        reply.fail(wrong("new_name: must not look like a UUID"));
        co_return;
    }
    const Result<Versioned<Volume>> renamed =
        co_await cluster::rename_volume(parts.store, uuid, request.new_name(), version_of(request));
    if (!renamed) {
        reply.fail(cluster::to_failure(renamed.error(),
                                       renamed.error().code == Errc::kExists
                                           ? "the name '" + request.new_name() + "'"
                                           : "volume '" + request.volume() + "'"));
        co_return;
    }
    co_await cluster::wait_until_seen(parts.here, parts.view, renamed->version);
    fill(parts, plane.attachments(), *renamed, reply.result());
    reply.send();
}

Task<void> delete_volume(ControlPlane& plane,
                         const v1::ClusterDeleteVolumeRequest& request,
                         Reply<v1::ClusterRemoval> reply) {
    const PlaneParts parts = plane.parts();
    const Uuid uuid = find_volume(parts.view, request.volume(), reply);
    if (uuid.is_nil()) {
        co_return;
    }
    v1::ClusterRemoval& out = reply.result();
    out.add_volumes(parts.view.volumes().at(uuid).record.name());
    for (const uint32_t number : cluster::drives_of(parts.view, uuid)) {
        out.add_drives(drive_text(parts.view, number));
    }
    if (!request.dry_run()) {
        const cluster::Failure failure =
            co_await plane.attachments().remove(uuid, request.force(), version_of(request));
        if (failure) {
            reply.fail(*failure);
            co_return;
        }
        out.set_removed(true);
    }
    reply.send();
}

Task<void> attach_volume(ControlPlane& plane,
                         const v1::ClusterAttachVolumeRequest& request,
                         Reply<v1::ClusterAttachment> reply) {
    const PlaneParts parts = plane.parts();
    cluster::AttachWish wish;
    wish.volume = find_volume(parts.view, request.volume(), reply);
    if (wish.volume.is_nil()) {
        co_return;
    }
    wish.node = find_node(parts.view, request.node(), reply);
    if (wish.node.is_nil()) {
        co_return;
    }
    wish.hosts = {request.hosts().begin(), request.hosts().end()};
    wish.allow_any_host = request.allow_any_host();
    const auto known = parts.view.attachments().find(wish.volume);
    if (wish.hosts.empty() && !wish.allow_any_host && known == parts.view.attachments().end()) {
        reply.fail(
            wrong("hosts: name the NQNs of the hosts that may use the volume (on a host: cat "
                  "/etc/nvme/hostnqn), or set allow_any_host"));
        co_return;
    }
    const Uuid volume = wish.volume;
    Task<cluster::Failure> attaching = plane.attachments().attach(std::move(wish));
    const cluster::Failure failure = co_await attaching;
    if (failure) {
        reply.fail(*failure);
        co_return;
    }
    const auto attached = parts.view.attachments().find(volume);
    if (attached != parts.view.attachments().end()) {
        fill(parts, plane.attachments(), attached->second.record, reply.result());
    }
    reply.send();
}

Task<void> detach_volume(ControlPlane& plane,
                         const v1::ClusterDetachVolumeRequest& request,
                         Reply<v1::Done> reply) {
    const PlaneParts parts = plane.parts();
    const Uuid uuid = find_volume(parts.view, request.volume(), reply);
    if (uuid.is_nil()) {
        co_return;
    }
    const cluster::Failure failure = co_await plane.attachments().detach(uuid);
    if (failure) {
        reply.fail(*failure);
        co_return;
    }
    reply.send();
}

}  // namespace

void ClusterVolumeHandlers::add_to(rpc::MethodTable& table) {
    add<&create_volume>(table, "cluster_create_volume", &create_volume);
    add<&get_volumes>(table, "cluster_get_volumes", &get_volumes);
    add<&get_chunks>(table, "cluster_get_chunks", &get_chunks);
    add<&rename_volume>(table, "cluster_rename_volume", &rename_volume);
    add<&delete_volume>(table, "cluster_delete_volume", &delete_volume);
    add<&attach_volume>(table, "cluster_attach_volume", &attach_volume);
    add<&detach_volume>(table, "cluster_detach_volume", &detach_volume);
}

}  // namespace basalt::control
