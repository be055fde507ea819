#include "control/handlers/bdev_lvol_handlers.h"

#include <string>
#include <vector>

#include "bdev/store/transfer/transfers.h"
#include "control/handlers/pool_calls.h"

namespace basalt::control {

namespace {

using bdev::store::Pool;
using bdev::store::Pools;
using rpc::Reply;
using rpc::RpcCode;
using rpc::RpcError;

constexpr uint64_t kBlocksAMib = 256;
constexpr uint64_t kBlockBytes = bdev::store::kBlockBytes;

/// Answers with the outcome of a change of `name`.
void answer(const Pool& pool, Status status, const std::string& name, Reply<v1::Done>& reply) {
    if (status) {
        reply.send();
    } else {
        fail_change(pool, status.error(), volume_words(name), reply);
    }
}

/// Whether `found` may become smaller or read-only; answers if not.
bool may_take_away(Context& context,
                   const Pools::Found& found,
                   const std::string& name,
                   Reply<v1::Done>& reply) {
    const bdev::Device* device = found.pool->device_of(found.name);
    const Pool* above = device == nullptr ? nullptr : pool_above(context, *device);
    if (above != nullptr) {
        reply.fail(Error(Errc::kBusy),
                   volume_words(name) + ", on which the pool '" + above->identity().name + "' is");
    }
    return above == nullptr;
}

/// Tells hosts that a volume has changed under them.
Task<void> tell_hosts(Context& context, const Pool& pool, std::string name) {
    if (const bdev::Device* device = pool.device_of(name)) {
        auto told = context.target.device_changed(*device);
        co_await told;
    }
}

Task<void> create_volume(Context& context,
                         const v1::BdevLvolCreateRequest& request,
                         Reply<v1::BdevLvolCreateResponse> reply) {
    Pool* pool = find_pool(context, request, reply);
    if (pool == nullptr) {
        co_return;
    }
    bdev::store::VolumeOptions options;
    options.name = request.lvol_name();
    options.uuid = bdev::Uuid::make_random();
    options.size_blocks = request.size_in_mib() * kBlocksAMib;
    if (request.has_block_size()) {
        options.block_bytes = request.block_size();
    }
    const Status made = co_await pool->create_volume(options);
    if (!made) {
        fail_change(*pool, made.error(), volume_words(request.lvol_name()), reply);
        co_return;
    }
    reply.result().set_uuid(options.uuid.to_string());
    reply.send();
}

Task<void> take_snapshot(Context& context,
                         const v1::BdevLvolSnapshotRequest& request,
                         Reply<v1::BdevLvolSnapshotResponse> reply) {
    const Pools::Found found = find_volume(context, request.lvol_name(), reply);
    if (found.pool == nullptr) {
        co_return;
    }
    const bdev::store::SnapshotOptions options{.volume = found.name,
                                               .name = request.snapshot_name(),
                                               .uuid = bdev::Uuid::make_random(),
                                               .created_ns = wall_clock_ns()};
    const std::vector<bdev::store::SnapshotOptions> all{options};
    const Status taken = co_await found.pool->snapshot(all);
    if (!taken) {
        fail_change(
            *found.pool, taken.error(), "snapshot '" + request.snapshot_name() + "'", reply);
        co_return;
    }
    reply.result().set_uuid(options.uuid.to_string());
    reply.send();
}

Task<void> take_group(Context& context,
                      const v1::BdevStoreSnapshotGroupRequest& request,
                      Reply<v1::BdevStoreSnapshotGroupResponse> reply) {
    std::vector<bdev::store::SnapshotOptions> all;
    Pool* pool = nullptr;
    for (const std::string& name : request.lvol_names()) {
        const Pools::Found found = find_volume(context, name, reply);
        if (found.pool == nullptr) {
            co_return;
        }
        if (pool != nullptr && pool != found.pool) {
            reply.fail(RpcError(RpcCode::kInvalidParams,
                                "lvol_names: volumes of one pool, which '" + name + "' is not in"));
            co_return;
        }
        pool = found.pool;
        all.push_back({.volume = found.name,
                       .name = found.name + "@" + request.snapshot_name(),
                       .uuid = bdev::Uuid::make_random(),
                       .created_ns = wall_clock_ns()});
        reply.result().add_uuids(all.back().uuid.to_string());
    }
    if (pool == nullptr) {
        reply.fail(RpcError(RpcCode::kInvalidParams, "lvol_names: at least one volume"));
        co_return;
    }
    const Status taken = co_await pool->snapshot(all);
    if (taken) {
        reply.send();
    } else {
        fail_change(*pool, taken.error(), "snapshots '" + request.snapshot_name() + "'", reply);
    }
}

Task<void> clone(Context& context,
                 const v1::BdevLvolCloneRequest& request,
                 Reply<v1::BdevLvolCloneResponse> reply) {
    const Pools::Found found = find_volume(context, request.snapshot_name(), reply);
    if (found.pool == nullptr) {
        co_return;
    }
    bdev::store::VolumeOptions options;
    options.name = request.clone_name();
    options.uuid = bdev::Uuid::make_random();
    const Status made = co_await found.pool->clone(found.name, options);
    if (!made) {
        fail_change(*found.pool, made.error(), volume_words(request.clone_name()), reply);
        co_return;
    }
    reply.result().set_uuid(options.uuid.to_string());
    reply.send();
}

Task<void> resize(Context& context,
                  const v1::BdevLvolResizeRequest& request,
                  Reply<v1::Done> reply) {
    const Pools::Found found = find_volume(context, request.name(), reply);
    if (found.pool == nullptr) {
        co_return;
    }
    const uint64_t size_blocks = request.size_in_mib() * kBlocksAMib;
    const bdev::store::VolumeEntry* volume = found.pool->catalogue().find_volume(found.name);
    const bool is_smaller = volume != nullptr && size_blocks < volume->size_blocks;
    if (is_smaller && !may_take_away(context, found, request.name(), reply)) {
        co_return;
    }
    const Status resized = co_await found.pool->resize(found.name, size_blocks);
    co_await tell_hosts(context, *found.pool, found.name);  // If it failed it may have changed too.
    answer(*found.pool, resized, request.name(), reply);
}

Task<void> delete_volume(Context& context,
                         const v1::BdevLvolDeleteRequest& request,
                         Reply<v1::Done> reply) {
    const Pools::Found found = find_volume(context, request.name(), reply);
    if (found.pool == nullptr) {
        co_return;
    }
    Status deleted = kOk;
    if (found.pool->catalogue().find_snapshot(found.name) != nullptr) {
        deleted = co_await found.pool->delete_snapshot(found.name,
                                                       request.refuse_with_clones()
                                                           ? bdev::store::WithClones::kRefuse
                                                           : bdev::store::WithClones::kDelete);
    } else {
        deleted = co_await found.pool->delete_volume(found.name);
    }
    answer(*found.pool, deleted, request.name(), reply);
}

Task<void> set_read_only(Context& context,
                         const v1::BdevLvolSetReadOnlyRequest& request,
                         Reply<v1::Done> reply) {
    const Pools::Found found = find_volume(context, request.name(), reply);
    if (found.pool == nullptr) {
        co_return;
    }
    if (!may_take_away(context, found, request.name(), reply)) {
        co_return;
    }
    const Status changed = co_await found.pool->set_read_only(found.name);
    if (changed) {
        co_await tell_hosts(context, *found.pool, found.name);
    }
    answer(*found.pool, changed, request.name(), reply);
}

Task<void> rename(Context& context,
                  const v1::BdevLvolRenameRequest& request,
                  Reply<v1::Done> reply) {
    const Pools::Found found = find_volume(context, request.old_name(), reply);
    if (found.pool == nullptr) {
        co_return;
    }
    const Status renamed = co_await found.pool->rename(found.name, request.new_name());
    answer(*found.pool, renamed, request.old_name(), reply);
}

Task<void> roll_back(Context& context,
                     const v1::BdevStoreRollbackRequest& request,
                     Reply<v1::Done> reply) {
    const Pools::Found volume = find_volume(context, request.lvol_name(), reply);
    if (volume.pool == nullptr) {
        co_return;
    }
    const Pools::Found snapshot = find_volume(context, request.snapshot_name(), reply);
    if (snapshot.pool == nullptr) {
        co_return;
    }
    if (snapshot.pool != volume.pool) {
        reply.fail(
            RpcError(RpcCode::kInvalidParams, "snapshot_name: not a snapshot of that volume"));
        co_return;
    }
    const Status rolled = co_await volume.pool->roll_back(volume.name, snapshot.name);
    answer(*volume.pool, rolled, request.lvol_name(), reply);
}

// ---- what there is

void describe(const Pool& pool,
              const std::string& name,
              const bdev::Uuid& uuid,
              v1::LvolInfo& out) {
    out.set_alias(pool.identity().name + "/" + name);
    out.set_uuid(uuid.to_string());
    out.set_name(name);
    out.set_is_thin_provisioned(true);
    out.mutable_lvs()->set_name(pool.identity().name);
    out.mutable_lvs()->set_uuid(pool.identity().pool_uuid.to_string());
    const bdev::Device* device = pool.device_of(name);
    if (device == nullptr) {
        return;  // Something else has its name or UUID; the log tells.
    }
    const uint64_t bytes = device->allocated_blocks().raw() * device->info().block_size_bytes;
    out.set_num_allocated_clusters(bytes / kBlockBytes);
    out.set_size_bytes(device->info().block_count.raw() * device->info().block_size_bytes);
}

/// Volumes, then snapshots, each with its name's order.
void list(const Pool& pool, v1::BdevLvolGetLvolsResponse& out) {
    const bdev::store::Catalogue& catalogue = pool.catalogue();
    for (const auto& [uuid, volume] : catalogue.volumes()) {
        v1::LvolInfo& info = *out.add_lvols();
        describe(pool, volume.name, uuid, info);
        if (volume.is_receiving) {
            info.set_resume_token(bdev::store::resume_token_of(catalogue, volume).to_string());
            continue;
        }
        const bdev::store::NodeEntry* node = catalogue.find_node(volume.head);
        const bdev::Uuid* parent = catalogue.user_of(node->parent);
        const auto origin =
            parent == nullptr ? catalogue.snapshots().end() : catalogue.snapshots().find(*parent);
        info.set_is_clone(origin != catalogue.snapshots().end() && origin->second.volume != uuid);
    }
    for (const auto& [uuid, snapshot] : catalogue.snapshots()) {
        v1::LvolInfo& info = *out.add_lvols();
        describe(pool, snapshot.name, uuid, info);
        info.set_is_snapshot(true);
        info.set_created(snapshot.created_ns / kNsPerSecond);
    }
}

Task<void> get_lvols(Context& context,
                     const v1::BdevLvolGetLvolsRequest& request,
                     Reply<v1::BdevLvolGetLvolsResponse> reply) {
    const bool is_named = request.has_lvs_uuid() || request.has_lvs_name();
    const std::string& name = request.has_lvs_uuid() ? request.lvs_uuid() : request.lvs_name();
    Pool* only = is_named ? context.pools.find(name) : nullptr;
    if (is_named && only == nullptr) {
        reply.fail(Error(Errc::kNotFound), "pool '" + name + "'");
        co_return;
    }
    for (const auto& pool : context.pools.all()) {
        if (only == nullptr || only == pool.get()) {
            list(*pool, reply.result());
        }
    }
    if (request.with_exclusive()) {
        for (v1::LvolInfo& info : *reply.result().mutable_lvols()) {
            Pool* pool = context.pools.find(info.lvs().name());
            const std::string volume = info.name();
            const Result<uint64_t> blocks = co_await pool->exclusive_blocks(volume);
            if (!blocks) {
                reply.fail(blocks.error(), volume_words(info.alias()));
                co_return;
            }
            info.set_exclusive_bytes(*blocks * kBlockBytes);
        }
    }
    reply.send();
}

}  // namespace

void BdevLvolHandlers::add_to(rpc::MethodTable& table) {
    add_change<&create_volume>(table, "bdev_lvol_create", &create_volume);
    add_change<&take_snapshot>(table, "bdev_lvol_snapshot", &take_snapshot);
    add_change<&clone>(table, "bdev_lvol_clone", &clone);
    add_change<&resize>(table, "bdev_lvol_resize", &resize);
    add_change<&delete_volume>(table, "bdev_lvol_delete", &delete_volume);
    add_change<&set_read_only>(table, "bdev_lvol_set_read_only", &set_read_only);
    add_change<&rename>(table, "bdev_lvol_rename", &rename);
    add_change<&get_lvols>(table, "bdev_lvol_get_lvols", &get_lvols);
    add_change<&take_group>(table, "bdev_store_snapshot_group", &take_group);
    add_change<&roll_back>(table, "bdev_store_rollback", &roll_back);
}

}  // namespace basalt::control
