#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "bdev/core/uuid.h"
#include "control/handlers/context.h"
#include "rpc/proto/app.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::control {

/// "bdev 'Malloc0'", for messages.
[[nodiscard]] std::string bdev_words(std::string_view name);

/// "bdev 'Malloc0', used by a namespace", if somebody uses it.
[[nodiscard]] std::string used_words(Context& context, std::string_view name);

/// Opens the pool that may be on `device`; the log tells why it can't be opened.
Task<void> open_pool_on(Context& context, bdev::Device& device);

/// The uuid of a request, which its rules have checked already; nil if it has none.
template <typename Request>
[[nodiscard]] bdev::Uuid uuid_of(const Request& request) {
    if (!request.has_uuid()) {
        return {};
    }
    const Result<bdev::Uuid> parsed = bdev::Uuid::parse(request.uuid());
    return parsed ? *parsed : bdev::Uuid{};
}

/// Opens the pool that may be on the device, tells the log if it can't be opened, and answers.
template <typename Response>
Task<void> finish_examined(Context& context, std::string name, rpc::Reply<Response> reply) {
    const RunningCall running(context);
    co_await context.device_sequences.acquire();
    const AsyncMutex::Turn turn(context.device_sequences);
    if (bdev::Device* device = context.devices.find(name)) {
        co_await open_pool_on(context, *device);
    }
    reply.send();
}

/// Adds a device that was made, opens the pool that may be on it, and answers with its name; or
/// answers why not.
template <typename Device, typename Response>
void finish_create(Context& context,
                   Result<std::unique_ptr<Device>> made,
                   const std::string& name,
                   rpc::Reply<Response>& reply) {
    if (!made) {
        reply.fail(made.error(), bdev_words(name));
        return;
    }
    const bdev::Bdev* base = (*made)->base();
    const Result<bdev::Device*> added = context.devices.add(std::move(*made));
    if (!added) {
        // What is in use is not the device that is to be made.
        const bool is_base_busy = base != nullptr && added.error().code == Errc::kBusy;
        reply.fail(added.error(),
                   is_base_busy ? used_words(context, base->info().name) : bdev_words(name));
        return;
    }
    if constexpr (!std::is_same_v<Response, v1::Done>) {
        reply.result().set_name((*added)->info().name);
    }
    if ((*added)->info().is_memory) {
        reply.send();  // What was just made of memory holds nothing.
    } else {
        finish_examined(context, name, std::move(reply)).detach();
    }
}

/// The device `name` if `method` made it; else answers, and returns null.
[[nodiscard]] bdev::Device* find_made_by(Context& context,
                                         const std::string& name,
                                         std::string_view method,
                                         rpc::Reply<v1::Done>& reply);

/// Runs `resize` with the device `name`, if `method` made it: `Status resize(bdev::Device&)`. Tells
/// hosts of it, and answers.
template <typename Resize>
Task<void> resize_device(Context& context,
                         std::string name,
                         std::string method,
                         Resize resize,
                         rpc::Reply<v1::Done> reply) {
    const RunningCall running(context);
    co_await context.device_sequences.acquire();
    const AsyncMutex::Turn turn(context.device_sequences);
    bdev::Device* device = find_made_by(context, name, method, reply);
    if (device == nullptr) {
        co_return;
    }
    const Status resized = resize(*device);
    if (!resized) {
        reply.fail(resized.error(), bdev_words(name));
        co_return;
    }
    auto told = context.target.device_changed(*device);
    co_await told;
    reply.send();
}

/// Removes the device `name` if `method` made it and nobody uses it, and answers.
Task<void> remove_device(Context& context,
                         std::string name,
                         std::string method,
                         rpc::Reply<v1::Done> reply);

}  // namespace basalt::control
