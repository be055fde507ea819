#include "control/handlers/bdev_qos_handlers.h"

#include <string>
#include <utility>

#include "control/handlers/device_calls.h"
#include "control/handlers/qos_convert.h"

namespace basalt::control {

namespace {

using rpc::Reply;
using rpc::RpcCode;
using rpc::RpcError;

std::string group_words(const std::string& name) {
    return "QoS group '" + name + "'";
}

bool says_something(const v1::BdevSetQosLimitRequest& request) {
    return request.has_rw_ios_per_sec() || request.has_rw_mbytes_per_sec() ||
           request.has_r_mbytes_per_sec() || request.has_w_mbytes_per_sec() ||
           request.has_rw_ios_per_sec_max() || request.has_rw_mbytes_per_sec_max() ||
           request.has_r_mbytes_per_sec_max() || request.has_w_mbytes_per_sec_max() ||
           request.has_burst_seconds() || request.has_qos_group() ||
           request.has_rw_ios_per_sec_min() || request.has_rw_mbytes_per_sec_min() ||
           request.has_weight();
}

}  // namespace

void BdevQosHandlers::add_to(rpc::MethodTable& table) {
    table.add("bdev_set_qos_limit", *this, &BdevQosHandlers::set_limit);
    table.add("bdev_qos_group_create", *this, &BdevQosHandlers::group_create);
    table.add("bdev_qos_group_set_limit", *this, &BdevQosHandlers::group_set_limit);
    table.add("bdev_qos_group_delete", *this, &BdevQosHandlers::group_delete);
    table.add("bdev_qos_get_groups", *this, &BdevQosHandlers::get_groups);
}

void BdevQosHandlers::set_limit(const v1::BdevSetQosLimitRequest& request, Reply<v1::Done> reply) {
    if (!says_something(request)) {
        reply.fail(RpcError(RpcCode::kInvalidParams, "no limit is given"));
        return;
    }
    change_device(request, std::move(reply)).detach();
}

Task<void> BdevQosHandlers::change_device(const v1::BdevSetQosLimitRequest& request,
                                          Reply<v1::Done> reply) {
    const RunningCall running(context_);
    co_await context_.device_sequences.acquire();
    const AsyncMutex::Turn turn(context_.device_sequences);
    bdev::Device* device = context_.devices.find(request.name());
    if (device == nullptr) {
        reply.fail(Error(Errc::kNotFound), bdev_words(request.name()));
        co_return;
    }
    const std::string group_name =
        request.has_qos_group() ? request.qos_group()
                                : std::string(context_.groups.name_of(device->limits().group()));
    qos::Domain* group = context_.groups.find(group_name);
    if (group == nullptr && !group_name.empty()) {
        reply.fail(Error(Errc::kNotFound), group_words(group_name));
        co_return;
    }
    qos::Policy policy = device->limits().policy();
    merge_policy(request, policy);
    if (const Status possible = device->limits().can_set(policy, group); !possible) {
        reply.fail(RpcError(RpcCode::kInvalidParams,
                            bdev_words(request.name()) + ": " + policy_problem(possible.error())));
        co_return;
    }
    auto setting = device->limits().set(context_.control(), policy, group);
    co_await setting;
    reply.send();
}

void BdevQosHandlers::group_create(const v1::BdevQosGroupCreateRequest& request,
                                   Reply<v1::Done> reply) {
    qos::Policy capacity;
    merge_capacity(request, capacity);
    if (!capacity.has_limits()) {
        reply.fail(RpcError(RpcCode::kInvalidParams, "no limit is given"));
        return;
    }
    const Status created = context_.groups.create(request.name(), capacity);
    if (!created) {
        reply.fail(created.error(), group_words(request.name()));
        return;
    }
    reply.send();
}

void BdevQosHandlers::group_set_limit(const v1::BdevQosGroupSetLimitRequest& request,
                                      Reply<v1::Done> reply) {
    change_group(request, std::move(reply)).detach();
}

Task<void> BdevQosHandlers::change_group(const v1::BdevQosGroupSetLimitRequest& request,
                                         Reply<v1::Done> reply) {
    const RunningCall running(context_);
    co_await context_.device_sequences.acquire();
    const AsyncMutex::Turn turn(context_.device_sequences);
    qos::Domain* group = context_.groups.find(request.name());
    if (group == nullptr) {
        reply.fail(Error(Errc::kNotFound), group_words(request.name()));
        co_return;
    }
    qos::Policy capacity = group->capacity();
    merge_capacity(request, capacity);
    if (const Status possible = group->can_offer(capacity); !possible) {
        reply.fail(RpcError(RpcCode::kInvalidParams,
                            group_words(request.name()) + ": " + policy_problem(possible.error())));
        co_return;
    }
    auto changing = group->set_capacity(capacity);
    co_await changing;
    reply.send();
}

void BdevQosHandlers::group_delete(const v1::BdevQosGroupDeleteRequest& request,
                                   Reply<v1::Done> reply) {
    const Status removed = context_.groups.remove(request.name());
    if (!removed) {
        reply.fail(removed.error(), group_words(request.name()));
        return;
    }
    reply.send();
}

void BdevQosHandlers::get_groups(const v1::BdevQosGetGroupsRequest& request,
                                 Reply<v1::BdevQosGetGroupsResponse> reply) {
    if (request.has_name() && context_.groups.find(request.name()) == nullptr) {
        reply.fail(Error(Errc::kNotFound), group_words(request.name()));
        return;
    }
    for (const qos::Groups::Group& group : context_.groups.all()) {
        if (request.has_name() && group.name != request.name()) {
            continue;
        }
        auto& out = *reply.result().add_groups();
        out.set_name(group.name);
        out.set_rw_ios_per_sec(group.domain->capacity().rw_ios.rate);
        out.set_rw_mbytes_per_sec(group.domain->capacity().rw_bytes.rate >> kMbyteShift);
        for (const auto& device : context_.devices.devices()) {
            if (device->limits().group() == group.domain.get()) {
                out.add_bdevs(device->info().name);
            }
        }
    }
    reply.send();
}

}  // namespace basalt::control
