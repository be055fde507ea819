#include "control/handlers/bdev_store_transfer_handlers.h"

#include <string>

#include "bdev/store/transfer/transfers.h"
#include "control/handlers/pool_calls.h"

namespace basalt::control {

namespace {

using bdev::store::Pool;
using bdev::store::Pools;
using bdev::store::TransferReport;
using rpc::Reply;
using rpc::RpcCode;
using rpc::RpcError;

constexpr uint64_t kBlockBytes = bdev::store::kBlockBytes;
constexpr uint64_t kBytesAMbyte = 1'000'000;

Task<void> send(Context& context,
                const v1::BdevLvolSendRequest& request,
                Reply<v1::BdevLvolSendResponse> reply) {
    const Pools::Found found = find_volume(context, request.name(), reply);
    if (found.pool == nullptr) {
        co_return;
    }
    bdev::store::SendOptions options;
    options.snapshot = found.name;
    options.path = request.path();
    options.bytes_a_second = request.mbytes_per_sec() * kBytesAMbyte;
    if (request.has_since()) {
        const Pools::Found base = find_volume(context, request.since(), reply);
        if (base.pool == nullptr) {
            co_return;
        }
        if (base.pool != found.pool) {
            reply.fail(RpcError(RpcCode::kInvalidParams, "since: a snapshot of another pool"));
            co_return;
        }
        options.base = base.name;
    }
    if (request.has_resume()) {
        const Result<bdev::store::ResumeToken> token =
            bdev::store::ResumeToken::parse(request.resume());
        if (!token) {
            reply.fail(RpcError(RpcCode::kInvalidParams, "resume: not a resume token"));
            co_return;
        }
        options.resume = *token;
    }
    const Result<uint64_t> id = context.transfers.send(*found.pool, context.stream_files, options);
    if (id) {
        reply.result().set_id(*id);
        reply.send();
    } else if (id.error().code == Errc::kInvalidArgument) {
        reply.fail(RpcError(RpcCode::kInvalidParams,
                            "since, resume: not a snapshot that '" + request.name() +
                                "' has grown out of, or another stream's token"));
    } else {
        reply.fail(id.error(), "snapshot '" + request.name() + "'");
    }
}

Task<void> receive(Context& context,
                   const v1::BdevLvolReceiveRequest& request,
                   Reply<v1::BdevLvolReceiveResponse> reply) {
    Pool* pool = find_pool(context, request, reply);
    if (pool == nullptr) {
        co_return;
    }
    bdev::store::ReceiveOptions options;
    options.path = request.path();
    options.name = request.name();
    options.bytes_a_second = request.mbytes_per_sec() * kBytesAMbyte;
    const Result<uint64_t> id = context.transfers.receive(*pool, context.stream_files, options);
    if (id) {
        reply.result().set_id(*id);
        reply.send();
    } else {
        reply.fail(id.error(), "pool '" + pool->identity().name + "'");
    }
}

const char* word_of(TransferReport::State state) {
    switch (state) {
        case TransferReport::State::kRunning: return "running";
        case TransferReport::State::kDone: return "done";
        case TransferReport::State::kFailed: return "failed";
        case TransferReport::State::kStopped: break;
    }
    return "stopped";
}

Task<void> get_transfers(Context& context,
                         const v1::BdevStoreGetTransfersRequest& request,
                         Reply<v1::BdevStoreGetTransfersResponse> reply) {
    const uint64_t now_ns = context.control().now_ns();
    for (const TransferReport& report : context.transfers.reports()) {
        if (request.has_id() && report.id != request.id()) {
            continue;
        }
        v1::StoreTransfer& one = *reply.result().add_transfers();
        one.set_id(report.id);
        one.set_kind(report.is_send ? "send" : "receive");
        one.set_lvs_name(report.pool);
        one.set_snapshot(report.snapshot);
        one.set_path(report.path);
        one.set_state(word_of(report.state));
        one.set_size_bytes(report.size_blocks * kBlockBytes);
        one.set_passed_bytes(report.passed_blocks * kBlockBytes);
        one.set_data_bytes(report.data_blocks * kBlockBytes);
        const uint64_t end_ns = report.ended_ns != 0 ? report.ended_ns : now_ns;
        one.set_elapsed_ms((end_ns - report.began_ns) / kNsPerMs);
        one.set_problem(report.problem);
    }
    reply.send();
    co_return;
}

Task<void> stop_transfer(Context& context,
                         const v1::BdevStoreStopTransferRequest& request,
                         Reply<v1::Done> reply) {
    const uint64_t id = request.id();
    Task<Status> stopping = context.transfers.stop(id);
    const Status stopped = co_await stopping;
    if (stopped) {
        reply.send();
    } else {
        reply.fail(stopped.error(), "transfer " + std::to_string(id));
    }
}

}  // namespace

void BdevStoreTransferHandlers::add_to(rpc::MethodTable& table) {
    add<&send>(table, "bdev_lvol_send", &send);
    add<&receive>(table, "bdev_lvol_receive", &receive);
    add<&get_transfers>(table, "bdev_store_get_transfers", &get_transfers);
    add<&stop_transfer>(table, "bdev_store_stop_transfer", &stop_transfer);
}

}  // namespace basalt::control
