#include "control/handlers/bdev_device_handlers.h"

#include <array>
#include <optional>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "bdev/layer/delay_bdev.h"
#include "bdev/layer/error_bdev.h"
#include "bdev/layer/passthrough_bdev.h"
#include "bdev/leaf/block_sizes.h"
#include "bdev/leaf/malloc_bdev.h"
#include "bdev/leaf/null_bdev.h"
#include "control/handlers/device_calls.h"
#include "nvmf/wire/status.h"

namespace basalt::control {

namespace {

using rpc::Reply;
using rpc::RpcCode;
using rpc::RpcError;

std::string free_malloc_name(bdev::BdevRegistry& devices) {
    for (uint32_t i = 0;; ++i) {
        std::string name = "Malloc" + std::to_string(i);
        if (devices.find(name) == nullptr) {
            return name;
        }
    }
}

// Which parameter can't be, for a device of null or malloc; empty if all can.
std::string problem_of_blocks(uint32_t block_bytes, uint64_t blocks) {
    if (!bdev::are_block_sizes(block_bytes, 0)) {
        return fmt::format("block_size: must be a power of two from {} to {}, not {}",
                           bdev::kBlockBytesMin,
                           bdev::kBlockBytesMax,
                           block_bytes);
    }
    const uint64_t blocks_max = UINT64_MAX / block_bytes;
    return blocks >= 1 && blocks <= blocks_max
               ? ""
               : fmt::format("num_blocks: must be from 1 to {}, not {}", blocks_max, blocks);
}

// The same for the latencies of a delay, whose bounds the rules of the request have checked.
std::string problem_of_latencies(const bdev::DelayLatencies& latencies) {
    const auto problem_of = [](const char* kind, uint64_t average, uint64_t p99) -> std::string {
        return average <= p99
                   ? ""
                   : fmt::format(
                         "avg_{0}_latency: must be at most p99_{0}_latency, {1} us, not {2}",
                         kind,
                         p99,
                         average);
    };
    const std::string of_reads = problem_of("read", latencies.avg_read_us, latencies.p99_read_us);
    return !of_reads.empty() ? of_reads
                             : problem_of("write", latencies.avg_write_us, latencies.p99_write_us);
}

// The device that a layer is to stand on; answers and returns null if there is none.
template <typename Response>
bdev::Device* find_base(Context& context, const std::string& name, Reply<Response>& reply) {
    bdev::Device* base = context.devices.find(name);
    if (base == nullptr) {
        reply.fail(Error(Errc::kNotFound), bdev_words(name));
    }
    return base;
}

// Nothing stands for all operations.
std::optional<bdev::IoOp> operation_of(const v1::BdevErrorInjectErrorRequest& request) {
    using Request = v1::BdevErrorInjectErrorRequest;
    constexpr std::array<std::pair<Request::IoType, bdev::IoOp>, 4> kOperations{
        {{Request::IO_TYPE_READ, bdev::IoOp::kRead},
         {Request::IO_TYPE_WRITE, bdev::IoOp::kWrite},
         {Request::IO_TYPE_UNMAP, bdev::IoOp::kUnmap},
         {Request::IO_TYPE_FLUSH, bdev::IoOp::kFlush}}};
    for (const auto& [type, operation] : kOperations) {
        if (type == request.io_type()) {
            return operation;
        }
    }
    return std::nullopt;
}

bdev::InjectedError error_of(const v1::BdevErrorInjectErrorRequest& request) {
    using Request = v1::BdevErrorInjectErrorRequest;
    if (request.error_type() == Request::ERROR_TYPE_PENDING) {
        return bdev::InjectedError::kPending;
    }
    if (request.error_type() == Request::ERROR_TYPE_CORRUPT_DATA) {
        return bdev::InjectedError::kCorruptData;
    }
    return request.error_type() == Request::ERROR_TYPE_NOMEM ? bdev::InjectedError::kNoMemory
                                                             : bdev::InjectedError::kFailure;
}

bdev::ErrorInjection to_injection(const v1::BdevErrorInjectErrorRequest& request) {
    bdev::ErrorInjection injection;
    injection.op = operation_of(request);
    injection.error = error_of(request);
    if (request.error_type() == v1::BdevErrorInjectErrorRequest::ERROR_TYPE_NVME_FAILURE) {
        injection.failure =
            nvmf::to_error(nvmf::NvmeStatus{.sct = static_cast<uint8_t>(request.nvme_sct()),
                                            .sc = static_cast<uint8_t>(request.nvme_sc())});
    }
    injection.count = request.has_num() ? request.num() : 1;
    injection.queue_depth = static_cast<uint32_t>(request.queue_depth());
    injection.corrupt_offset = request.corrupt_offset();
    injection.corrupt_value = static_cast<uint8_t>(request.corrupt_value());
    return injection;
}

// The one of four that a request names.
uint64_t& latency_in(bdev::DelayLatencies& latencies,
                     v1::BdevDelayUpdateLatencyRequest::LatencyType type) {
    using Request = v1::BdevDelayUpdateLatencyRequest;
    if (type == Request::LATENCY_TYPE_P99_READ) {
        return latencies.p99_read_us;
    }
    if (type == Request::LATENCY_TYPE_AVG_WRITE) {
        return latencies.avg_write_us;
    }
    return type == Request::LATENCY_TYPE_P99_WRITE ? latencies.p99_write_us : latencies.avg_read_us;
}

}  // namespace

void BdevDeviceHandlers::add_to(rpc::MethodTable& table) {
    table.add("bdev_null_create", *this, &BdevDeviceHandlers::null_create);
    table.add("bdev_null_resize", *this, &BdevDeviceHandlers::null_resize);
    table.add("bdev_null_delete", *this, &BdevDeviceHandlers::null_delete);
    table.add("bdev_malloc_create", *this, &BdevDeviceHandlers::malloc_create);
    table.add("bdev_malloc_delete", *this, &BdevDeviceHandlers::malloc_delete);
    table.add("bdev_passthru_create", *this, &BdevDeviceHandlers::passthru_create);
    table.add("bdev_passthru_delete", *this, &BdevDeviceHandlers::passthru_delete);
    table.add("bdev_delay_create", *this, &BdevDeviceHandlers::delay_create);
    table.add("bdev_delay_delete", *this, &BdevDeviceHandlers::delay_delete);
    table.add("bdev_delay_update_latency", *this, &BdevDeviceHandlers::delay_update_latency);
    table.add("bdev_error_create", *this, &BdevDeviceHandlers::error_create);
    table.add("bdev_error_delete", *this, &BdevDeviceHandlers::error_delete);
    table.add("bdev_error_inject_error", *this, &BdevDeviceHandlers::error_inject_error);
}

void BdevDeviceHandlers::null_create(const v1::BdevNullCreateRequest& request,
                                     Reply<v1::BdevNullCreateResponse> reply) {
    const std::string problem = problem_of_blocks(request.block_size(), request.num_blocks());
    if (!problem.empty()) {
        reply.fail(RpcError(RpcCode::kInvalidParams, problem));
        return;
    }
    finish_create(context_,
                  bdev::NullBdev::make({.name = request.name(),
                                        .uuid = uuid_of(request),
                                        .block_size_bytes = request.block_size(),
                                        .block_count = BlockCount(request.num_blocks())}),
                  request.name(),
                  reply);
}

void BdevDeviceHandlers::null_resize(const v1::BdevNullResizeRequest& request,
                                     Reply<v1::Done> reply) {
    constexpr uint64_t kBytesAMib = 1U << 20U;
    const uint64_t mib = request.new_size();
    const auto resize = [mib](bdev::Device& device) {
        const uint64_t blocks = mib * (kBytesAMib / device.info().block_size_bytes);
        static_cast<bdev::NullBdev&>(device.inner()).resize(BlockCount(blocks));
        return kOk;
    };
    resize_device(context_, request.name(), "bdev_null_create", resize, std::move(reply)).detach();
}

void BdevDeviceHandlers::null_delete(const v1::BdevNullDeleteRequest& request,
                                     Reply<v1::Done> reply) {
    remove_device(context_, request.name(), "bdev_null_create", std::move(reply)).detach();
}

void BdevDeviceHandlers::malloc_create(const v1::BdevMallocCreateRequest& request,
                                       Reply<v1::BdevMallocCreateResponse> reply) {
    const std::string problem = problem_of_blocks(request.block_size(), request.num_blocks());
    if (!problem.empty()) {
        reply.fail(RpcError(RpcCode::kInvalidParams, problem));
        return;
    }
    const std::string name = request.has_name() && !request.name().empty()
                                 ? request.name()
                                 : free_malloc_name(context_.devices);
    finish_create(context_,
                  bdev::MallocBdev::make({.name = name,
                                          .uuid = uuid_of(request),
                                          .block_size_bytes = request.block_size(),
                                          .block_count = BlockCount(request.num_blocks())},
                                         context_.device_memory),
                  name,
                  reply);
}

void BdevDeviceHandlers::malloc_delete(const v1::BdevMallocDeleteRequest& request,
                                       Reply<v1::Done> reply) {
    remove_device(context_, request.name(), "bdev_malloc_create", std::move(reply)).detach();
}

void BdevDeviceHandlers::passthru_create(const v1::BdevPassthruCreateRequest& request,
                                         Reply<v1::BdevPassthruCreateResponse> reply) {
    bdev::Device* base = find_base(context_, request.base_bdev_name(), reply);
    if (base == nullptr) {
        return;
    }
    Result<std::unique_ptr<bdev::PassthroughBdev>> made = std::make_unique<bdev::PassthroughBdev>(
        bdev::PassthroughOptions{.name = request.name(), .uuid = uuid_of(request)}, *base);
    finish_create(context_, std::move(made), request.name(), reply);
}

void BdevDeviceHandlers::passthru_delete(const v1::BdevPassthruDeleteRequest& request,
                                         Reply<v1::Done> reply) {
    remove_device(context_, request.name(), "bdev_passthru_create", std::move(reply)).detach();
}

void BdevDeviceHandlers::delay_create(const v1::BdevDelayCreateRequest& request,
                                      Reply<v1::BdevDelayCreateResponse> reply) {
    bdev::Device* base = find_base(context_, request.base_bdev_name(), reply);
    if (base == nullptr) {
        return;
    }
    const bdev::DelayLatencies latencies{.avg_read_us = request.avg_read_latency(),
                                         .p99_read_us = request.p99_read_latency(),
                                         .avg_write_us = request.avg_write_latency(),
                                         .p99_write_us = request.p99_write_latency()};
    const std::string problem = problem_of_latencies(latencies);
    if (!problem.empty()) {
        reply.fail(RpcError(RpcCode::kInvalidParams, problem));
        return;
    }
    finish_create(
        context_,
        bdev::DelayBdev::make(
            {.name = request.name(), .uuid = uuid_of(request), .latencies = latencies}, *base),
        request.name(),
        reply);
}

void BdevDeviceHandlers::delay_delete(const v1::BdevDelayDeleteRequest& request,
                                      Reply<v1::Done> reply) {
    remove_device(context_, request.name(), "bdev_delay_create", std::move(reply)).detach();
}

void BdevDeviceHandlers::delay_update_latency(const v1::BdevDelayUpdateLatencyRequest& request,
                                              Reply<v1::Done> reply) {
    update_latency(request, std::move(reply)).detach();
}

Task<void> BdevDeviceHandlers::update_latency(const v1::BdevDelayUpdateLatencyRequest& request,
                                              Reply<v1::Done> reply) {
    const RunningCall running(context_);
    co_await context_.device_sequences.acquire();
    const AsyncMutex::Turn turn(context_.device_sequences);
    bdev::Device* device =
        find_made_by(context_, request.delay_bdev_name(), "bdev_delay_create", reply);
    if (device == nullptr) {
        co_return;
    }
    auto& delay = static_cast<bdev::DelayBdev&>(device->inner());
    bdev::DelayLatencies latencies = delay.latencies();
    latency_in(latencies, request.latency_type()) = request.latency_us();
    const std::string problem = problem_of_latencies(latencies);
    if (!problem.empty()) {
        reply.fail(RpcError(RpcCode::kInvalidParams,
                            bdev_words(request.delay_bdev_name()) + ": " + problem));
        co_return;
    }
    auto update = delay.update(context_.control(), context_.devices.cores(), latencies);
    const Status updated = co_await update;
    if (!updated) {
        reply.fail(updated.error(), bdev_words(request.delay_bdev_name()));
        co_return;
    }
    reply.send();
}

void BdevDeviceHandlers::error_create(const v1::BdevErrorCreateRequest& request,
                                      Reply<v1::Done> reply) {
    bdev::Device* base = find_base(context_, request.base_name(), reply);
    if (base == nullptr) {
        return;
    }
    const std::string name = "EE_" + base->info().name;
    Result<std::unique_ptr<bdev::ErrorBdev>> made = std::make_unique<bdev::ErrorBdev>(
        bdev::ErrorOptions{.name = name, .uuid = uuid_of(request)}, *base);
    finish_create(context_, std::move(made), name, reply);
}

void BdevDeviceHandlers::error_delete(const v1::BdevErrorDeleteRequest& request,
                                      Reply<v1::Done> reply) {
    remove_device(context_, request.name(), "bdev_error_create", std::move(reply)).detach();
}

void BdevDeviceHandlers::error_inject_error(const v1::BdevErrorInjectErrorRequest& request,
                                            Reply<v1::Done> reply) {
    if (request.error_type() == v1::BdevErrorInjectErrorRequest::ERROR_TYPE_NVME_FAILURE &&
        request.nvme_sct() == 0 && request.nvme_sc() == 0) {
        reply.fail(RpcError(RpcCode::kInvalidParams,
                            "nvme_sc: must not be 0 where nvme_sct is, for that is success"));
        return;
    }
    inject(request, std::move(reply)).detach();
}

Task<void> BdevDeviceHandlers::inject(const v1::BdevErrorInjectErrorRequest& request,
                                      Reply<v1::Done> reply) {
    const RunningCall running(context_);
    co_await context_.device_sequences.acquire();
    const AsyncMutex::Turn turn(context_.device_sequences);
    bdev::Device* device = find_made_by(context_, request.name(), "bdev_error_create", reply);
    if (device == nullptr) {
        co_return;
    }
    auto& error = static_cast<bdev::ErrorBdev&>(device->inner());
    if (request.io_type() == v1::BdevErrorInjectErrorRequest::IO_TYPE_CLEAR) {
        auto clearing = error.clear(context_.control(), context_.devices.cores());
        co_await clearing;
        reply.send();
        co_return;
    }
    auto injecting =
        error.inject(context_.control(), context_.devices.cores(), to_injection(request));
    const Status injected = co_await injecting;
    if (!injected) {
        reply.fail(injected.error(), bdev_words(request.name()));
        co_return;
    }
    reply.send();
}

}  // namespace basalt::control
