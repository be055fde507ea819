#include "control/handlers/bdev_store_handlers.h"

#include <string>
#include <vector>

#include "control/handlers/device_calls.h"
#include "control/handlers/pool_calls.h"

namespace basalt::control {

namespace {

using bdev::store::Pool;
using rpc::Reply;
using rpc::RpcError;

/// What a call failed for, with the words that the pool had for it.
RpcError error_of(Error error, std::string what, const std::string& problem) {
    if (!problem.empty()) {
        what += " (" + problem + ")";
    }
    return rpc::to_rpc_error(error, what);
}

/// Makes a pool and answers with its UUID.
template <typename Request, typename Response>
Task<void> make_pool(Context& context,
                     bdev::Device& device,
                     const Request& request,
                     Reply<Response> reply) {
    bdev::store::PoolOptions options;
    options.name = request.lvs_name();
    options.uuid = bdev::Uuid::make_random();
    options.created_ns = wall_clock_ns();
    options.partition_count = request.partitions();
    std::string problem;
    const Result<Pool*> made = co_await context.pools.create(device, options, problem);
    if (!made) {
        reply.fail(error_of(made.error(), "pool '" + request.lvs_name() + "'", problem));
        co_return;
    }
    reply.result().set_uuid((*made)->identity().pool_uuid.to_string());
    reply.send();
}

Task<void> create_lvstore(Context& context,
                          const v1::BdevLvolCreateLvstoreRequest& request,
                          Reply<v1::BdevLvolCreateLvstoreResponse> reply) {
    bdev::Device* device = context.devices.find(request.bdev_name());
    if (device == nullptr) {
        reply.fail(Error(Errc::kNotFound), bdev_words(request.bdev_name()));
        co_return;
    }
    Task<void> making = make_pool(context, *device, request, std::move(reply));
    co_await making;
}

/// The open pool on `device`; null if there is none.
Pool* pool_on(Context& context, const bdev::Device& device) {
    for (const auto& pool : context.pools.all()) {
        if (&pool->device() == &device) {
            return pool.get();
        }
    }
    return nullptr;
}

Task<void> open_store(Context& context,
                      const v1::BdevStoreOpenRequest& request,
                      Reply<v1::BdevStoreOpenResponse> reply) {
    bdev::Device* device = context.devices.find(request.bdev_name());
    if (device == nullptr) {
        reply.fail(Error(Errc::kNotFound), bdev_words(request.bdev_name()));
        co_return;
    }
    Pool* pool = pool_on(context, *device);
    if (pool == nullptr) {
        std::string problem;
        const Result<Pool*> found = co_await context.pools.examine(*device, problem);
        if (!found) {
            reply.fail(error_of(found.error(), bdev_words(request.bdev_name()), problem));
            co_return;
        }
        pool = *found;
    }
    if (pool != nullptr && pool->identity().name == request.lvs_name()) {
        reply.result().set_uuid(pool->identity().pool_uuid.to_string());
        reply.send();
    } else if (pool != nullptr) {
        reply.fail(Error(Errc::kExists),
                   bdev_words(request.bdev_name()) + ", on which the pool is '" +
                       pool->identity().name + "'");
    } else if (!request.create()) {
        reply.fail(Error(Errc::kNotFound),
                   "a pool on " + bdev_words(request.bdev_name()) + ", and it is not to be made");
    } else {
        Task<void> making = make_pool(context, *device, request, std::move(reply));
        co_await making;
    }
}

Task<void> delete_lvstore(Context& context,
                          const v1::BdevLvolDeleteLvstoreRequest& request,
                          Reply<v1::Done> reply) {
    Pool* pool = find_pool(context, request, reply);
    if (pool == nullptr || refuse_drive(context, *pool, reply)) {
        co_return;
    }
    const std::string words = "pool '" + pool->identity().name + "'";
    const Status destroyed = co_await context.pools.destroy(*pool);
    if (destroyed) {
        reply.send();
    } else {
        reply.fail(destroyed.error(), words);
    }
}

Task<void> close_lvstore(Context& context,
                         const v1::BdevStoreCloseRequest& request,
                         Reply<v1::Done> reply) {
    Pool* pool = find_pool(context, request, reply);
    if (pool == nullptr || refuse_drive(context, *pool, reply)) {
        co_return;
    }
    const std::string words = "pool '" + pool->identity().name + "'";
    const Status closed = co_await context.pools.close(*pool);
    if (closed) {
        reply.send();
    } else {
        reply.fail(closed.error(), words);
    }
}

Task<void> grow_lvstore(Context& context,
                        const v1::BdevLvolGrowLvstoreRequest& request,
                        Reply<v1::Done> reply) {
    Pool* pool = find_pool(context, request, reply);
    if (pool == nullptr) {
        co_return;
    }
    const Result<uint64_t> grown = co_await pool->grow();
    if (grown) {
        reply.send();
    } else {
        reply.fail(grown.error(), "pool '" + pool->identity().name + "'");
    }
}

Task<void> set_low_space(Context& context,
                         const v1::BdevStoreSetLowSpaceRequest& request,
                         Reply<v1::Done> reply) {
    Pool* pool = find_pool(context, request, reply);
    if (pool != nullptr) {
        pool->set_low_space(request.percent());
        reply.send();
    }
    co_return;
}

Task<void> get_lvstores(Context& context,
                        const v1::BdevLvolGetLvstoresRequest& request,
                        Reply<v1::BdevLvolGetLvstoresResponse> reply) {
    std::vector<Pool*> wanted;
    if (request.has_uuid() || request.has_lvs_name()) {
        Pool* pool = find_pool(context, request, reply);
        if (pool == nullptr) {
            co_return;
        }
        wanted.push_back(pool);
    } else {
        for (const auto& pool : context.pools.all()) {
            wanted.push_back(pool.get());
        }
    }
    for (Pool* pool : wanted) {
        const bdev::store::PoolUsage usage = co_await pool->usage();
        v1::LvstoreInfo& info = *reply.result().add_lvstores();
        info.set_uuid(pool->identity().pool_uuid.to_string());
        info.set_name(pool->identity().name);
        info.set_base_bdev(pool->device().info().name);
        info.set_total_data_clusters(usage.total);
        info.set_free_clusters(usage.free);
        info.set_block_size(pool->device().info().block_size_bytes);
        info.set_cluster_size(bdev::store::kBlockBytes);
        info.set_low_space_percent(pool->low_space_percent());
        info.set_low_on_space(pool->is_low_on_space());
        info.set_low_space_events(pool->low_space_events());
    }
    reply.send();
}

Task<void> examine(Context& context, const v1::BdevExamineRequest& request, Reply<v1::Done> reply) {
    bdev::Device* device = context.devices.find(request.name());
    if (device == nullptr) {
        reply.fail(Error(Errc::kNotFound), bdev_words(request.name()));
        co_return;
    }
    std::string problem;
    const Result<Pool*> found = co_await context.pools.examine(*device, problem);
    if (found) {
        reply.send();
    } else {
        reply.fail(error_of(found.error(), bdev_words(request.name()), problem));
    }
}

/// Its turn comes when all devices that were made before have been looked at.
Task<void> wait_for_examine(Context& /*context*/,
                            const v1::BdevWaitForExamineRequest& /*request*/,
                            Reply<v1::Done> reply) {
    reply.send();
    co_return;
}

Task<void> check(Context& context,
                 const v1::BdevStoreCheckRequest& request,
                 Reply<v1::BdevStoreCheckResponse> reply) {
    Pool* pool = find_pool(context, request, reply);
    if (pool == nullptr) {
        co_return;
    }
    // Others may call meanwhile: the pool stays while it is looked at.
    const Result<bdev::store::CheckReport> report = co_await pool->check();
    if (!report) {
        reply.fail(report.error(), "the check");
        co_return;
    }
    v1::BdevStoreCheckResponse& out = reply.result();
    out.set_clean(report->is_clean());
    out.set_data_blocks(report->data_blocks);
    out.set_page_blocks(report->page_blocks);
    out.set_leaked_blocks(report->leaked_blocks);
    out.set_missing_blocks(report->missing_blocks);
    out.set_doubled_blocks(report->doubled_blocks);
    out.set_broken_pages(report->broken_pages);
    out.set_wrong_counts(report->wrong_counts);
    reply.send();
}

void fill(const bdev::store::PartitionStats& stats, v1::StorePartitionStats& out) {
    out.set_reads(stats.reads);
    out.set_writes(stats.writes);
    out.set_unmaps(stats.unmaps);
    out.set_blocks_read(stats.blocks_read);
    out.set_blocks_written(stats.blocks_written);
    out.set_log_blocks_written(stats.log_blocks_written);
    out.set_log_records_written(stats.log_records_written);
    out.set_log_depth(stats.log_depth);
    out.set_checkpoints(stats.checkpoints);
    out.set_checkpoint_age_us(stats.checkpoint_age_ns / kNsPerUs);
    out.set_checkpoint_last_us(stats.checkpoint_last_ns / kNsPerUs);
    out.set_checkpoint_hold_us_max(stats.checkpoint_hold_ns_max / kNsPerUs);
    out.set_checkpoint_pages(stats.checkpoint_pages);
    out.set_page_hits(stats.page_hits);
    out.set_page_loads(stats.page_loads);
    out.set_pages_cached(stats.pages_cached);
    out.set_pages_dirty(stats.pages_dirty);
    out.set_damaged_blocks(stats.damaged_blocks);
    out.set_failed(stats.is_failed);
    out.set_data_slabs(stats.data_slabs);
    out.set_page_slabs(stats.page_slabs);
    out.set_data_blocks_used(stats.data_blocks_used);
    out.set_data_blocks_free(stats.data_blocks_free);
    out.set_page_blocks_used(stats.page_blocks_used);
    out.set_page_blocks_free(stats.page_blocks_free);
    out.set_write_pieces(stats.write_pieces);
    out.set_mapping_bytes(stats.mapping_bytes);
    out.set_mapping_bytes_max(stats.mapping_bytes_max);
}

Task<void> get_stats(Context& context,
                     const v1::BdevStoreGetStatsRequest& request,
                     Reply<v1::BdevStoreGetStatsResponse> reply) {
    Pool* pool = find_pool(context, request, reply);
    if (pool == nullptr) {
        co_return;
    }
    const std::vector<bdev::store::PartitionStats> all = co_await pool->stats();
    for (const bdev::store::PartitionStats& stats : all) {
        fill(stats, *reply.result().add_partitions());
    }
    reply.send();
}

}  // namespace

void BdevStoreHandlers::add_to(rpc::MethodTable& table) {
    add_change<&create_lvstore>(table, "bdev_lvol_create_lvstore", &create_lvstore);
    add_change<&open_store>(table, "bdev_store_open", &open_store);
    add_change<&delete_lvstore>(table, "bdev_lvol_delete_lvstore", &delete_lvstore);
    add<&set_low_space>(table, "bdev_store_set_low_space", &set_low_space);
    add_change<&grow_lvstore>(table, "bdev_lvol_grow_lvstore", &grow_lvstore);
    add_change<&close_lvstore>(table, "bdev_store_close", &close_lvstore);
    add_change<&get_lvstores>(table, "bdev_lvol_get_lvstores", &get_lvstores);
    add_change<&examine>(table, "bdev_examine", &examine);
    add_change<&wait_for_examine>(table, "bdev_wait_for_examine", &wait_for_examine);
    add<&check>(table, "bdev_store_check", &check);
    add<&get_stats>(table, "bdev_store_get_stats", &get_stats);
}

}  // namespace basalt::control
