#include "control/handlers/bdev_info_handlers.h"

#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "bdev/core/latency_histogram.h"
#include "control/handlers/bdev_nvme_convert.h"
#include "control/handlers/convert.h"
#include "control/handlers/device_calls.h"
#include "control/handlers/qos_convert.h"
#include "rpc/codec/json_codec.h"

namespace basalt::control {

namespace {

using rpc::Reply;
using rpc::RpcCode;
using rpc::RpcError;

constexpr uint64_t kAppearancePollNs = 10 * kNsPerMs;

struct IoTypeName {
    const char* name;
    bdev::IoOp op;
};

// SPDK's names of what we can do.
constexpr std::array<IoTypeName, 6> kIoTypes{{{"read", bdev::IoOp::kRead},
                                              {"write", bdev::IoOp::kWrite},
                                              {"unmap", bdev::IoOp::kUnmap},
                                              {"flush", bdev::IoOp::kFlush},
                                              {"write_zeroes", bdev::IoOp::kWriteZeroes},
                                              {"compare", bdev::IoOp::kCompare}}};
// And of what we can't, which its scripts look up as well.
constexpr std::array<const char*, 10> kOtherIoTypes{"reset",
                                                    "nvme_admin",
                                                    "nvme_io",
                                                    "nvme_io_md",
                                                    "zcopy",
                                                    "zone_append",
                                                    "compare_and_write",
                                                    "abort",
                                                    "seek_hole",
                                                    "copy"};

// "bdev_aio_create" -> "aio".
std::string kind_of(std::string method) {
    if (method.starts_with("bdev_")) {
        method.erase(0, 5);
    }
    for (const std::string_view suffix : {"_create", "_attach_passthrough"}) {
        if (method.ends_with(suffix)) {
            method.erase(method.size() - suffix.size());
        }
    }
    return method;
}

void describe(const Context& context, const bdev::Device& device, v1::BdevInfo& out) {
    const bdev::BdevInfo& info = device.info();
    out.set_name(info.name);
    out.add_aliases(info.uuid.to_string());
    out.set_product_name(info.product_name);
    out.set_block_size(info.block_size_bytes);
    out.set_num_blocks(info.block_count.raw());
    out.set_uuid(info.uuid.to_string());
    describe_policy(device.limits().policy(), *out.mutable_assigned_rate_limits());
    if (device.limits().group() != nullptr) {
        out.mutable_assigned_rate_limits()->set_qos_group(
            std::string(context.groups.name_of(device.limits().group())));
    }
    out.set_claimed(!device.user().empty());
    if (!device.user().empty()) {
        out.set_claim_type("exclusive_write");
    }
    auto& types = *out.mutable_supported_io_types();
    for (const IoTypeName& type : kIoTypes) {
        types[type.name] = info.can(type.op);
    }
    for (const char* name : kOtherIoTypes) {
        types[name] = false;
    }
    const bdev::BdevConfig config = device.describe();
    if (!config.method.empty()) {
        nlohmann::json specific;
        specific[kind_of(config.method)] = to_json(config);
        rpc::to_struct(specific, *out.mutable_driver_specific());
    }
    const nvmf::RemoteDevices::Found remote = context.remote.find_device(info.name);
    if (remote.space != nullptr) {
        rpc::to_struct(describe_remote(*remote.subsystem, *remote.space),
                       *out.mutable_driver_specific());
    }
}

// Latencies of operations that never happened have no minimum.
uint64_t least(const bdev::OpStats& stats) {
    return stats.count == 0 ? 0 : stats.latency_min_ns;
}

void fill(const bdev::IoStats& stats, uint64_t block_bytes, v1::IoStat& out) {
    const bdev::OpStats& read = stats.of(bdev::IoOp::kRead);
    out.set_bytes_read(read.blocks * block_bytes);
    out.set_num_read_ops(read.count);
    out.set_read_latency_ticks(read.latency_ns);
    out.set_max_read_latency_ticks(read.latency_max_ns);
    out.set_min_read_latency_ticks(least(read));
    const bdev::OpStats& write = stats.of(bdev::IoOp::kWrite);
    out.set_bytes_written(write.blocks * block_bytes);
    out.set_num_write_ops(write.count);
    out.set_write_latency_ticks(write.latency_ns);
    out.set_max_write_latency_ticks(write.latency_max_ns);
    out.set_min_write_latency_ticks(least(write));
    const bdev::OpStats& unmap = stats.of(bdev::IoOp::kUnmap);
    out.set_bytes_unmapped(unmap.blocks * block_bytes);
    out.set_num_unmap_ops(unmap.count);
    out.set_unmap_latency_ticks(unmap.latency_ns);
    out.set_max_unmap_latency_ticks(unmap.latency_max_ns);
    out.set_min_unmap_latency_ticks(least(unmap));
    uint64_t errors = 0;
    for (const bdev::OpStats& op : stats.ops) {
        errors += op.errors;
    }
    if (errors > 0) {
        (*out.mutable_io_error())["failed"] = errors;
    }
}

}  // namespace

void BdevInfoHandlers::add_to(rpc::MethodTable& table) {
    table.add("bdev_get_bdevs", *this, &BdevInfoHandlers::get_bdevs);
    table.add("bdev_get_iostat", *this, &BdevInfoHandlers::get_iostat);
    table.add("bdev_reset_iostat", *this, &BdevInfoHandlers::reset_iostat);
    table.add("bdev_enable_histogram", *this, &BdevInfoHandlers::enable_histogram);
    table.add("bdev_get_histogram", *this, &BdevInfoHandlers::get_histogram);
}

template <typename Response>
std::vector<bdev::Device*> BdevInfoHandlers::find(const std::vector<std::string>& names,
                                                  Reply<Response>& reply) {
    std::vector<bdev::Device*> found;
    if (names.empty()) {
        for (const auto& device : context_.devices.devices()) {
            found.push_back(device.get());
        }
        return found;
    }
    for (const std::string& name : names) {
        bdev::Device* device = context_.devices.find(name);
        if (device == nullptr) {
            reply.fail(Error(Errc::kNotFound), bdev_words(name));
            return {};
        }
        found.push_back(device);
    }
    return found;
}

void BdevInfoHandlers::get_bdevs(const v1::BdevGetBdevsRequest& request,
                                 Reply<v1::BdevGetBdevsResponse> reply) {
    if (request.has_name() && request.timeout() > 0) {
        wait_for_bdev(request, std::move(reply)).detach();
        return;
    }
    std::vector<std::string> names;
    if (request.has_name()) {
        names.push_back(request.name());
    }
    const std::vector<bdev::Device*> devices = find(names, reply);
    if (!reply.pending()) {
        return;
    }
    for (const bdev::Device* device : devices) {
        describe(context_, *device, *reply.result().add_bdevs());
    }
    reply.send();
}

Task<void> BdevInfoHandlers::wait_for_bdev(const v1::BdevGetBdevsRequest& request,
                                           Reply<v1::BdevGetBdevsResponse> reply) {
    const RunningCall running(context_);
    const uint64_t deadline_ns = context_.control().clock().now_ns() + request.timeout() * kNsPerMs;
    const bdev::Device* device = context_.devices.find(request.name());
    while (device == nullptr && context_.control().clock().now_ns() < deadline_ns &&
           !context_.is_stopping) {
        co_await sleep_for(context_.control(), kAppearancePollNs);
        device = context_.devices.find(request.name());
    }
    if (device == nullptr) {
        reply.fail(Error(Errc::kNotFound), bdev_words(request.name()));
        co_return;
    }
    describe(context_, *device, *reply.result().add_bdevs());
    reply.send();
}

void BdevInfoHandlers::get_iostat(const v1::BdevGetIostatRequest& request,
                                  Reply<v1::BdevGetIostatResponse> reply) {
    if (request.has_name() && request.names_size() > 0) {
        reply.fail(RpcError(RpcCode::kInvalidParams, "name and names can't go together"));
        return;
    }
    if (request.reset_mode() != v1::RESET_MODE_NONE && request.reset_mode() != v1::RESET_MODE_ALL) {
        reply.fail(RpcError(RpcCode::kInvalidParams, "reset_mode: only none and all are possible"));
        return;
    }
    if (request.per_channel() && !request.has_name()) {
        reply.fail(RpcError(RpcCode::kInvalidParams, "per_channel: needs the name of one bdev"));
        return;
    }
    read_iostat(request, std::move(reply)).detach();
}

Task<void> BdevInfoHandlers::read_iostat(const v1::BdevGetIostatRequest& request,
                                         Reply<v1::BdevGetIostatResponse> reply) {
    const RunningCall running(context_);
    co_await context_.device_sequences.acquire();
    const AsyncMutex::Turn turn(context_.device_sequences);
    std::vector<std::string> names(request.names().begin(), request.names().end());
    if (request.has_name()) {
        names.push_back(request.name());
    }
    const std::vector<bdev::Device*> devices = find(names, reply);
    if (!reply.pending()) {
        co_return;
    }
    v1::BdevGetIostatResponse& result = reply.result();
    result.set_tick_rate(kTicksPerSecond);
    result.set_ticks(context_.control().clock().now_ns());
    for (bdev::Device* device : devices) {
        const uint64_t block_bytes = device->info().block_size_bytes;
        if (request.per_channel()) {
            result.set_name(device->info().name);
            for (const CoreId core : context_.devices.cores()) {
                auto reading = device->read_stats_on(context_.control(), core);
                const bdev::IoStats stats = co_await reading;
                v1::IoStat& out = *result.add_channels();
                out.set_thread_id(thread_id_of(core));
                fill(stats, block_bytes, out);
            }
        } else {
            auto reading = device->read_stats(context_.control());
            const bdev::IoStats stats = co_await reading;
            v1::IoStat& out = *result.add_bdevs();
            out.set_name(device->info().name);
            fill(stats, block_bytes, out);
        }
        if (request.reset_mode() == v1::RESET_MODE_ALL) {
            auto resetting = device->reset_stats(context_.control());
            co_await resetting;
        }
    }
    reply.send();
}

void BdevInfoHandlers::reset_iostat(const v1::BdevResetIostatRequest& request,
                                    Reply<v1::Done> reply) {
    if (request.has_mode() && request.mode() != v1::RESET_MODE_ALL) {
        reply.fail(RpcError(RpcCode::kInvalidParams, "mode: only all is possible"));
        return;
    }
    reset(request, std::move(reply)).detach();
}

Task<void> BdevInfoHandlers::reset(const v1::BdevResetIostatRequest& request,
                                   Reply<v1::Done> reply) {
    const RunningCall running(context_);
    co_await context_.device_sequences.acquire();
    const AsyncMutex::Turn turn(context_.device_sequences);
    std::vector<std::string> names;
    if (request.has_name()) {
        names.push_back(request.name());
    }
    const std::vector<bdev::Device*> devices = find(names, reply);
    if (!reply.pending()) {
        co_return;
    }
    for (bdev::Device* device : devices) {
        auto resetting = device->reset_stats(context_.control());
        co_await resetting;
    }
    reply.send();
}

void BdevInfoHandlers::enable_histogram(const v1::BdevEnableHistogramRequest& request,
                                        Reply<v1::Done> reply) {
    if (request.has_opc() && !request.opc().empty()) {
        reply.fail(RpcError(RpcCode::kInvalidParams,
                            "opc: the histogram counts all operations; leave it out"));
        return;
    }
    switch_histogram(request, std::move(reply)).detach();
}

Task<void> BdevInfoHandlers::switch_histogram(const v1::BdevEnableHistogramRequest& request,
                                              Reply<v1::Done> reply) {
    const RunningCall running(context_);
    co_await context_.device_sequences.acquire();
    const AsyncMutex::Turn turn(context_.device_sequences);
    bdev::Device* device = context_.devices.find(request.name());
    if (device == nullptr) {
        reply.fail(Error(Errc::kNotFound), bdev_words(request.name()));
        co_return;
    }
    auto switching = device->enable_histogram(context_.control(), request.enable());
    co_await switching;
    reply.send();
}

void BdevInfoHandlers::get_histogram(const v1::BdevGetHistogramRequest& request,
                                     Reply<v1::BdevGetHistogramResponse> reply) {
    read_histogram(request, std::move(reply)).detach();
}

Task<void> BdevInfoHandlers::read_histogram(const v1::BdevGetHistogramRequest& request,
                                            Reply<v1::BdevGetHistogramResponse> reply) {
    const RunningCall running(context_);
    co_await context_.device_sequences.acquire();
    const AsyncMutex::Turn turn(context_.device_sequences);
    bdev::Device* device = context_.devices.find(request.name());
    if (device == nullptr) {
        reply.fail(Error(Errc::kNotFound), bdev_words(request.name()));
        co_return;
    }
    auto reading = device->read_histogram(context_.control());
    const Result<std::unique_ptr<bdev::LatencyHistogram>> read = co_await reading;
    if (!read) {
        reply.fail(RpcError(-EFAULT,
                            "the histogram of " + bdev_words(request.name()) +
                                " is switched off; bdev_enable_histogram switches it on"));
        co_return;
    }
    static_assert(std::endian::native == std::endian::little);
    const auto counts = (*read)->counts();
    std::vector<uint8_t> bytes(counts.size_bytes());
    std::memcpy(bytes.data(), counts.data(), bytes.size());
    v1::BdevGetHistogramResponse& result = reply.result();
    result.set_histogram(to_base64(bytes));
    result.set_granularity(bdev::LatencyHistogram::kBucketShift);
    result.set_min_range(0);
    result.set_max_range(bdev::LatencyHistogram::kRanges - 1);
    result.set_tsc_rate(kTicksPerSecond);
    reply.send();
}

}  // namespace basalt::control
