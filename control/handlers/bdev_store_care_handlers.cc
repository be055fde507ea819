#include "control/handlers/bdev_store_care_handlers.h"

#include <string>

#include "control/handlers/pool_calls.h"

namespace basalt::control {

namespace {

using bdev::store::Pool;
using bdev::store::Pools;
using bdev::store::ScrubReport;
using rpc::Reply;
using rpc::RpcCode;
using rpc::RpcError;

constexpr uint64_t kBlockBytes = bdev::store::kBlockBytes;
constexpr uint64_t kBytesAMbyte = 1'000'000;
constexpr uint64_t kScrubMbytes = 100;
constexpr uint32_t kRangesDefault = 1024;

std::string full_name(const Pool& pool, const std::string& name) {
    return name.empty() ? name : pool.identity().name + "/" + name;
}

// ---- scrub

Task<void> scrub(Context& context,
                 const v1::BdevStoreScrubRequest& request,
                 Reply<v1::Done> reply) {
    Pool* pool = find_pool(context, request, reply);
    if (pool == nullptr) {
        co_return;
    }
    const uint64_t mbytes = request.has_mbytes_per_sec() ? request.mbytes_per_sec() : kScrubMbytes;
    const Status begun = pool->start_scrub({.bytes_a_second = mbytes * kBytesAMbyte});
    if (begun) {
        reply.send();
    } else {
        reply.fail(begun.error(), "a scrub of pool '" + pool->identity().name + "'");
    }
}

Task<void> stop_scrub(Context& context,
                      const v1::BdevStoreStopScrubRequest& request,
                      Reply<v1::Done> reply) {
    Pool* pool = find_pool(context, request, reply);
    if (pool != nullptr) {
        co_await pool->stop_scrub();
        reply.send();
    }
}

const char* word_of(ScrubReport::State state) {
    switch (state) {
        case ScrubReport::State::kNone: return "none";
        case ScrubReport::State::kRunning: return "running";
        case ScrubReport::State::kDone: return "done";
        case ScrubReport::State::kStopped: break;
    }
    return "stopped";
}

void fill(const Pool& pool, uint64_t now_ns, v1::StoreScrub& out) {
    const ScrubReport& report = pool.scrub_report();
    const uint64_t end_ns = report.ended_ns != 0 ? report.ended_ns : now_ns;
    const bool has_begun = report.state != ScrubReport::State::kNone;
    out.set_state(word_of(report.state));
    out.set_total_bytes(report.blocks_total * kBlockBytes);
    out.set_read_bytes(report.blocks_read * kBlockBytes);
    out.set_mapping_bytes(report.pages_read * kBlockBytes);
    out.set_elapsed_ms(has_begun ? (end_ns - report.began_ns) / kNsPerMs : 0);
    out.set_damaged_blocks(report.blocks_damaged);
    out.set_damaged_pages(report.pages_damaged);
    for (const bdev::store::ScrubFinding& finding : report.findings) {
        v1::StoreScrub::Finding& one = *out.add_findings();
        one.set_lvol(full_name(pool, finding.name));
        one.set_offset(finding.first * kBlockBytes);
        one.set_length(finding.count * kBlockBytes);
        one.set_device_offset(finding.device_block * kBlockBytes);
        one.set_mapping(finding.is_page);
    }
}

Task<void> get_progress(Context& context,
                        const v1::BdevStoreGetProgressRequest& request,
                        Reply<v1::BdevStoreGetProgressResponse> reply) {
    Pool* pool = find_pool(context, request, reply);
    if (pool == nullptr) {
        co_return;
    }
    fill(*pool, context.control().now_ns(), *reply.result().mutable_scrub());
    for (const auto& [uuid, report] : pool->flattening()) {
        v1::StoreInflation& one = *reply.result().add_inflations();
        one.set_lvol(full_name(*pool, report.name));
        one.set_copied_bytes(report.blocks_copied * kBlockBytes);
        one.set_passed_bytes(report.blocks_passed * kBlockBytes);
        one.set_size_bytes(report.size_blocks * kBlockBytes);
    }
    reply.send();
}

// ---- comparison

Task<void> get_changed_ranges(Context& context,
                              const v1::BdevStoreGetChangedRangesRequest& request,
                              Reply<v1::BdevStoreGetChangedRangesResponse> reply) {
    const Pools::Found newer = find_volume(context, request.name(), reply);
    if (newer.pool == nullptr) {
        co_return;
    }
    Pools::Found older;
    if (request.has_since()) {
        older = find_volume(context, request.since(), reply);
        if (older.pool == nullptr) {
            co_return;
        }
    }
    if (request.offset() % kBlockBytes != 0) {
        reply.fail(RpcError(RpcCode::kInvalidParams, "offset: not a multiple of 4096"));
        co_return;
    }
    const std::string since =
        "since: not a snapshot that '" + request.name() + "' has grown out of";
    const bool is_snapshot =
        older.pool == nullptr || older.pool->catalogue().find_snapshot(older.name) != nullptr;
    if ((older.pool != nullptr && older.pool != newer.pool) || !is_snapshot) {
        reply.fail(RpcError(RpcCode::kInvalidParams, since));
        co_return;
    }
    const uint32_t ranges_max = request.has_max_ranges() ? request.max_ranges() : kRangesDefault;
    const Result<bdev::store::ChangedStep> step = co_await newer.pool->changed(
        older.name, newer.name, request.offset() / kBlockBytes, ranges_max);
    if (!step && step.error().code == Errc::kInvalidArgument) {
        reply.fail(RpcError(RpcCode::kInvalidParams, since));
        co_return;
    }
    if (!step) {
        reply.fail(step.error(), volume_words(request.name()));
        co_return;
    }
    for (const bdev::store::ChangedRange& range : step->ranges) {
        v1::StoreRange& one = *reply.result().add_ranges();
        one.set_offset(range.first * kBlockBytes);
        one.set_length(range.count * kBlockBytes);
        one.set_hole(range.is_hole);
    }
    if (!step->is_end) {
        reply.result().set_next_offset(step->next * kBlockBytes);
    }
    reply.send();
}

// ---- inflation

template <typename Request>
Task<void> flatten(Context& context,
                   const Request& request,
                   Reply<v1::Done> reply,
                   bdev::store::FlattenFrom from) {
    const Pools::Found found = find_volume(context, request.name(), reply);
    if (found.pool == nullptr) {
        co_return;
    }
    const Status flattened = co_await found.pool->flatten(found.name, from);
    if (flattened) {
        reply.send();
    } else if (flattened.error().code == Errc::kInvalidArgument) {
        reply.fail(RpcError(RpcCode::kInvalidParams, "name: a volume that has no parent"));
    } else {
        reply.fail(flattened.error(), volume_words(request.name()));
    }
}

Task<void> inflate(Context& context,
                   const v1::BdevLvolInflateRequest& request,
                   Reply<v1::Done> reply) {
    Task<void> run = flatten(context, request, std::move(reply), bdev::store::FlattenFrom::kAll);
    co_await run;
}

Task<void> decouple_parent(Context& context,
                           const v1::BdevLvolDecoupleParentRequest& request,
                           Reply<v1::Done> reply) {
    Task<void> run = flatten(context, request, std::move(reply), bdev::store::FlattenFrom::kParent);
    co_await run;
}

Task<void> stop_inflate(Context& context,
                        const v1::BdevLvolStopInflateRequest& request,
                        Reply<v1::Done> reply) {
    const Pools::Found found = find_volume(context, request.name(), reply);
    if (found.pool == nullptr) {
        co_return;
    }
    const Status stopped = found.pool->stop_flatten(found.name);
    if (stopped) {
        reply.send();
    } else {
        reply.fail(stopped.error(), "an inflation of " + volume_words(request.name()));
    }
}

}  // namespace

void BdevStoreCareHandlers::add_to(rpc::MethodTable& table) {
    add<&scrub>(table, "bdev_store_scrub", &scrub);
    add<&stop_scrub>(table, "bdev_store_stop_scrub", &stop_scrub);
    add<&get_progress>(table, "bdev_store_get_progress", &get_progress);
    add<&get_changed_ranges>(table, "bdev_store_get_changed_ranges", &get_changed_ranges);
    add<&inflate>(table, "bdev_lvol_inflate", &inflate);
    add<&stop_inflate>(table, "bdev_lvol_stop_inflate", &stop_inflate);
    add<&decouple_parent>(table, "bdev_lvol_decouple_parent", &decouple_parent);
}

}  // namespace basalt::control
