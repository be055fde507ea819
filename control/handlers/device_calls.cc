#include "control/handlers/device_calls.h"

#include "reactor/base/log.h"

namespace basalt::control {

std::string bdev_words(std::string_view name) {
    return "bdev '" + std::string(name) + "'";
}

std::string used_words(Context& context, std::string_view name) {
    const bdev::Device* device = context.devices.find(name);
    const std::string user = device != nullptr ? device->user() : "";
    return bdev_words(name) + (user.empty() ? "" : ", used by " + user);
}

Task<void> open_pool_on(Context& context, bdev::Device& device) {
    std::string problem;
    const auto found = co_await context.pools.examine(device, problem);
    if (!found) {
        BASALT_LOG(kError,
                   "control",
                   "{}: the pool on it is not opened: {} ({})",
                   bdev_words(device.info().name),
                   describe(found.error().code),
                   problem);
    }
}

bdev::Device* find_made_by(Context& context,
                           const std::string& name,
                           std::string_view method,
                           rpc::Reply<v1::Done>& reply) {
    bdev::Device* device = context.devices.find(name);
    if (device == nullptr) {
        reply.fail(Error(Errc::kNotFound), bdev_words(name));
        return nullptr;
    }
    if (device->describe().method != method) {
        reply.fail(rpc::RpcError(
            rpc::RpcCode::kInvalidParams,
            bdev_words(name) + " is a " + device->info().product_name + ", not of that kind"));
        return nullptr;
    }
    return device;
}

// tidy: allow(coroutine): `method` is a literal
Task<void> remove_device(Context& context,
                         std::string name,
                         std::string method,
                         rpc::Reply<v1::Done> reply) {
    const RunningCall running(context);
    co_await context.device_sequences.acquire();
    const AsyncMutex::Turn turn(context.device_sequences);
    bdev::Device* device = find_made_by(context, name, method, reply);
    if (device == nullptr) {
        co_return;
    }
    if (device->user().empty() && device->open_channels() == 0) {
        auto clearing = device->limits().clear(context.control());
        co_await clearing;
    }
    const Status removed = context.devices.remove(name);
    if (!removed) {
        reply.fail(removed.error(), used_words(context, name));
        co_return;
    }
    reply.send();
}

}  // namespace basalt::control
