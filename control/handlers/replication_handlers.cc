#include "control/handlers/replication_handlers.h"

#include <optional>
#include <string>

#include "control/config/endpoint.h"
#include "control/handlers/replication_convert.h"

namespace basalt::control {

namespace {

using bdev::store::Pool;
using replication::HeldReplica;
using replication::ReplicaHostReport;
using replication::ReplicaKey;
using rpc::Reply;
using rpc::RpcCode;
using rpc::RpcError;

constexpr uint64_t kBlocksAMib = (uint64_t{1} << 20U) / replication::kBlockBytes;

std::string pool_words(const Pool& pool) {
    return "pool '" + pool.identity().name + "'";
}

std::string replica_words(uint64_t volume, const Pool& pool) {
    return "the replica of volume " + std::to_string(volume) + " in " + pool_words(pool);
}

template <typename Response>
void answer(const Status& outcome, const std::string& words, Reply<Response>& reply) {
    if (outcome) {
        reply.send();
    } else {
        reply.fail(outcome.error(), words);
    }
}

/// The pool that a request names, if it is a drive; else answers, and returns null.
template <typename Request, typename Response>
Pool* find_drive(Context& context, const Request& request, Reply<Response>& reply) {
    Pool* pool = find_pool(context, request, reply);
    if (pool != nullptr && !context.replica_host.has_drive(pool->identity().pool_uuid)) {
        reply.fail(Error(Errc::kNotFound),
                   pool_words(*pool) + " as a drive of replicas (replication_add_drive)");
        return nullptr;
    }
    return pool;
}

// ---- the server

Task<void> start_server(Context& context,
                        const v1::ReplicationStartServerRequest& request,
                        Reply<v1::Done> reply) {
    const Result<SocketAddress> address = parse_endpoint(request.address(), std::nullopt);
    if (!address) {
        reply.fail(
            RpcError(RpcCode::kInvalidParams,
                     "address: '" + request.address() +
                         "' is no address with a port; write for example \"10.0.0.1:4500\""));
        co_return;
    }
    if (request.core() >= context.threads.count()) {
        reply.fail(RpcError(RpcCode::kInvalidParams,
                            "core: there are " + std::to_string(context.threads.count()) +
                                " reactors, counted from 0"));
        co_return;
    }
    const replication::ReplicaHostOptions options{
        .address = *address,
        .cluster = *bdev::Uuid::parse(request.cluster()),
        .core = CoreId(request.core()),
    };
    const Status started = co_await context.replica_host.start(options);
    answer(started, "the server of replicas on " + request.address(), reply);
}

Task<void> stop_server(Context& context,
                       const v1::ReplicationStopServerRequest& /*request*/,
                       Reply<v1::Done> reply) {
    const Status over = co_await context.replica_host.stop();
    answer(over,
           "the server of replicas, which must run, have no drives, and no head of this daemon",
           reply);
}

Task<void> get_server(Context& context,
                      const v1::ReplicationGetServerRequest& /*request*/,
                      Reply<v1::ReplicationGetServerResponse> reply) {
    const ReplicaHostReport report = co_await context.replica_host.report();
    if (!context.replica_host.is_running()) {
        reply.fail(Error(Errc::kNotFound), "the server of replicas (replication_start_server)");
        co_return;
    }
    const replication::ReplicaHostOptions& options = context.replica_host.options();
    v1::ReplicationGetServerResponse& out = reply.result();
    out.set_address(options.address.to_string());
    out.set_cluster(options.cluster.to_string());
    out.set_core(options.core.raw());
    out.set_connections(report.connections);
    out.set_requests_outstanding(report.outstanding);
    for (const auto& [uuid, pool] : context.replica_host.drives()) {
        out.add_drives(uuid.to_string());
    }
    reply.send();
}

// ---- drives

Task<void> add_drive(Context& context,
                     const v1::ReplicationAddDriveRequest& request,
                     Reply<v1::ReplicationAddDriveResponse> reply) {
    Pool* pool = find_pool(context, request, reply);
    if (pool == nullptr) {
        co_return;
    }
    if (stands_on_replicated(context, *pool)) {
        reply.fail(Error(Errc::kNotSupported),
                   pool_words(*pool) + ", which is on a replicated volume itself");
        co_return;
    }
    const Status added = co_await context.replica_host.add_drive(*pool);
    reply.result().set_uuid(pool->identity().pool_uuid.to_string());
    answer(added,
           context.replica_host.is_running()
               ? pool_words(*pool) + " as a drive of replicas"
               : "the server of replicas, which comes first (replication_start_server)",
           reply);
}

Task<void> remove_drive(Context& context,
                        const v1::ReplicationRemoveDriveRequest& request,
                        Reply<v1::Done> reply) {
    const Pool* pool = find_drive(context, request, reply);
    if (pool == nullptr) {
        co_return;
    }
    const bdev::Uuid drive = pool->identity().pool_uuid;
    const Status removed = co_await context.replica_host.remove_drive(drive);
    answer(removed, pool_words(*pool), reply);
}

// ---- replicas

Task<void> create_replica(Context& context,
                          const v1::ReplicationCreateReplicaRequest& request,
                          Reply<v1::Done> reply) {
    const Pool* pool = find_drive(context, request, reply);
    if (pool == nullptr) {
        co_return;
    }
    const ReplicaKey key{.drive = pool->identity().pool_uuid, .volume = request.volume()};
    const auto origin = request.replacement() ? replication::ReplicaOrigin::kReplacement
                                              : replication::ReplicaOrigin::kNewVolume;
    const uint64_t blocks = request.size_in_mib() * kBlocksAMib;
    const Status made = co_await context.replica_host.create(key, blocks, origin);
    answer(made, replica_words(request.volume(), *pool), reply);
}

Task<void> delete_replica(Context& context,
                          const v1::ReplicationDeleteReplicaRequest& request,
                          Reply<v1::Done> reply) {
    const Pool* pool = find_drive(context, request, reply);
    if (pool == nullptr) {
        co_return;
    }
    const ReplicaKey key{.drive = pool->identity().pool_uuid, .volume = request.volume()};
    const Status removed = co_await context.replica_host.remove(key);
    answer(removed, replica_words(request.volume(), *pool), reply);
}

void fill(const replication::ReplicaReport& report, v1::ReplicationReplica& out) {
    out.set_num_blocks(report.blocks);
    out.set_fence_epoch(report.marks.fence.raw());
    out.set_agreed_epoch(report.marks.agreed.raw());
    out.set_joining_epoch(report.marks.joining.raw());
    out.mutable_watermark()->set_epoch(report.marks.watermark.epoch.raw());
    out.mutable_watermark()->set_count(report.marks.watermark.count);
    out.set_blank(report.marks.is_blank);
    out.set_dirty_blocks(report.dirty_blocks);
    out.set_window_entries(report.window_entries);
    out.set_connections(report.connections);
    out.set_messages_under_way(report.messages_under_way);
    out.set_writes(report.counters.writes);
    out.set_copies(report.counters.copies);
    out.set_reads(report.counters.reads);
    out.set_blocks_written(report.counters.blocks_written);
    out.set_blocks_read(report.counters.blocks_read);
    out.set_buffer_waits(report.counters.buffer_waits);
    out.set_errors(report.counters.errors);
    out.set_refused(report.counters.refused);
}

Task<void> get_replicas(Context& context,
                        const v1::ReplicationGetReplicasRequest& request,
                        Reply<v1::ReplicationGetReplicasResponse> reply) {
    std::optional<bdev::Uuid> wanted;
    if (request.has_uuid() || request.has_lvs_name()) {
        const Pool* pool = find_drive(context, request, reply);
        if (pool == nullptr) {
            co_return;
        }
        wanted = pool->identity().pool_uuid;
    }
    const ReplicaHostReport report = co_await context.replica_host.report();
    for (const HeldReplica& held : report.replicas) {
        const auto drive = context.replica_host.drives().find(held.key.drive);
        if ((wanted && *wanted != held.key.drive) || drive == context.replica_host.drives().end()) {
            continue;
        }
        v1::ReplicationReplica& out = *reply.result().add_replicas();
        out.set_volume(held.key.volume);
        out.set_drive(held.key.drive.to_string());
        out.set_lvs_name(drive->second->identity().name);
        out.set_open(held.is_open);
        if (held.is_open) {
            fill(held.report, out);
        }
    }
    reply.send();
}

}  // namespace

void ReplicationHandlers::add_to(rpc::MethodTable& table) {
    add_change<&start_server>(table, "replication_start_server", &start_server);
    add_change<&stop_server>(table, "replication_stop_server", &stop_server);
    add<&get_server>(table, "replication_get_server", &get_server);
    add_change<&add_drive>(table, "replication_add_drive", &add_drive);
    add_change<&remove_drive>(table, "replication_remove_drive", &remove_drive);
    add_change<&create_replica>(table, "replication_create_replica", &create_replica);
    add_change<&delete_replica>(table, "replication_delete_replica", &delete_replica);
    add<&get_replicas>(table, "replication_get_replicas", &get_replicas);
}

}  // namespace basalt::control
