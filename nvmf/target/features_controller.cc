#include <algorithm>
#include <cstring>

#include "nvmf/target/connection.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/features.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"

// The features of a controller, NVMe Base Specification, "Feature specific information".

namespace basalt::nvmf {

namespace {

constexpr uint32_t kPowerStateMask = 0x1f;
constexpr uint32_t kDeallocatedBlockErrors = 1U << 16U;  // DULBE of Error Recovery.
constexpr uint32_t kHostIdExtended = 1;  // Set in the value: the identifier is 128 bits long.

FeatureValues& values_of(Request& request) {
    return request.connection().link.controller->features;
}

uint32_t value_of(const Request& request) {
    return FeaturesView(request.sqe).value();
}

NvmeStatus give(Request& request, bool wants_default, uint32_t FeatureValues::*value) {
    const FeatureValues defaults;
    request.cqe.dw0.set((wants_default ? defaults : values_of(request)).*value);
    return status::kSuccess;
}

NvmeStatus take(Request& request, uint32_t FeatureValues::*value, uint32_t taken) {
    values_of(request).*value = taken;
    return status::kSuccess;
}

}  // namespace

FeatureValues::FeatureValues() : temperature_over(kWarningTemperatureKelvin) {}

NvmeStatus get_arbitration(Request& request, bool wants_default) {
    return give(request, wants_default, &FeatureValues::arbitration);
}

NvmeStatus set_arbitration(Request& request) {
    return take(request, &FeatureValues::arbitration, value_of(request));
}

NvmeStatus get_power_management(Request& request, bool wants_default) {
    return give(request, wants_default, &FeatureValues::power_management);
}

NvmeStatus set_power_management(Request& request) {
    if ((value_of(request) & kPowerStateMask) != 0) {
        return status::kInvalidField.with_dnr();  // There is one power state, number 0.
    }
    return take(request, &FeatureValues::power_management, value_of(request));
}

// --- Temperature Threshold -----------------------------------------------------------------------

namespace {

/// The value that dword 11 selects; null: a sensor or a type that there is not.
uint32_t FeatureValues::*temperature_threshold(const Request& request, bool is_set) {
    constexpr uint32_t kComposite = 0;
    constexpr uint32_t kAllSensors = 0xf;
    const uint32_t value = value_of(request);
    const uint32_t sensor = (value >> 16U) & 0xfU;
    if (sensor != kComposite && !(is_set && sensor == kAllSensors)) {
        return nullptr;
    }
    switch ((value >> 20U) & 3U) {
        case 0: return &FeatureValues::temperature_over;
        case 1: return &FeatureValues::temperature_under;
        default: return nullptr;
    }
}

}  // namespace

NvmeStatus get_temperature_threshold(Request& request, bool wants_default) {
    uint32_t FeatureValues::*const selected = temperature_threshold(request, false);
    return selected == nullptr ? status::kInvalidField.with_dnr()
                               : give(request, wants_default, selected);
}

NvmeStatus set_temperature_threshold(Request& request) {
    uint32_t FeatureValues::*const selected = temperature_threshold(request, true);
    if (selected == nullptr) {
        return status::kInvalidField.with_dnr();
    }
    Controller& controller = *request.connection().link.controller;
    controller.features.*selected = value_of(request) & 0xffffU;
    if ((controller.critical_warning() & NVME_SMART_CRIT_TEMPERATURE) != 0) {
        controller.raise(AsyncEvent::kTemperature);
    }
    return status::kSuccess;
}

// --- Errors and the write cache ------------------------------------------------------------------

NvmeStatus get_error_recovery(Request& request, bool wants_default) {
    return give(request, wants_default, &FeatureValues::error_recovery);
}

NvmeStatus set_error_recovery(Request& request) {
    if ((value_of(request) & kDeallocatedBlockErrors) != 0) {
        return status::kInvalidField.with_dnr();  // NSFEAT of no namespace offers it.
    }
    return take(request, &FeatureValues::error_recovery, value_of(request) & 0xffffU);
}

NvmeStatus get_volatile_write_cache(Request& request, bool wants_default) {
    return give(request, wants_default, &FeatureValues::volatile_write_cache);
}

NvmeStatus set_volatile_write_cache(Request& request) {
    return take(request, &FeatureValues::volatile_write_cache, value_of(request) & 1U);
}

NvmeStatus get_write_atomicity(Request& request, bool wants_default) {
    return give(request, wants_default, &FeatureValues::write_atomicity);
}

NvmeStatus set_write_atomicity(Request& request) {
    return take(request, &FeatureValues::write_atomicity, value_of(request) & 1U);
}

// --- Queues, events, keep alive ------------------------------------------------------------------

namespace {

/// Both numbers of queues in one dword, each counted from 0.
uint32_t queue_counts(uint32_t allowed) {
    const uint32_t value = allowed - 1;
    return value | (value << 16U);
}

}  // namespace

NvmeStatus get_queue_count(Request& request, bool wants_default) {
    const uint32_t offered = request.connection().group().options().io_queues_max;
    const Controller& controller = *request.connection().link.controller;
    request.cqe.dw0.set(queue_counts(wants_default ? offered : controller.io_queues_allowed()));
    return status::kSuccess;
}

NvmeStatus set_queue_count(Request& request) {
    Controller& controller = *request.connection().link.controller;
    const uint32_t value = value_of(request);
    const uint32_t wanted_sq = (value & 0xffffU) + 1;
    const uint32_t wanted_cq = (value >> 16U) + 1;
    if (wanted_sq == 0x10000 || wanted_cq == 0x10000) {
        return status::kInvalidField.with_dnr();
    }
    if (controller.io_queue_count() > 0) {
        return status::kCommandSequenceError.with_dnr();
    }
    const uint32_t offered = request.connection().group().options().io_queues_max;
    controller.allow_io_queues(std::min({wanted_sq, wanted_cq, offered}));
    request.cqe.dw0.set(queue_counts(controller.io_queues_allowed()));
    return status::kSuccess;
}

NvmeStatus get_interrupt_coalescing(Request& request, bool /*wants_default*/) {
    request.cqe.dw0.set(0);
    return status::kSuccess;
}

NvmeStatus get_interrupt_vector(Request& request, bool /*wants_default*/) {
    // One for each completion queue that there may be, the admin queue's, 0, included.
    constexpr uint32_t kVectorMask = 0xffff;
    constexpr uint32_t kCoalescingDisabled = 1U << 16U;
    const uint32_t vector = value_of(request) & kVectorMask;
    if (vector > request.connection().link.controller->io_queues_allowed()) {
        return status::kInvalidField.with_dnr();
    }
    request.cqe.dw0.set(vector | kCoalescingDisabled);
    return status::kSuccess;
}

NvmeStatus get_async_events(Request& request, bool wants_default) {
    return give(request, wants_default, &FeatureValues::async_event_configuration);
}

NvmeStatus set_async_events(Request& request) {
    return take(request, &FeatureValues::async_event_configuration, value_of(request));
}

NvmeStatus get_keep_alive(Request& request, bool wants_default) {
    const Controller& controller = *request.connection().link.controller;
    request.cqe.dw0.set(wants_default ? 0 : controller.keep_alive_ms());
    return status::kSuccess;
}

NvmeStatus set_keep_alive(Request& request) {
    // 0 would switch off by what a host that has gone is noticed. It may connect without (then its
    // TCP connection is all there is), but not get there later. As SPDK has it.
    if (value_of(request) == 0) {
        return status::kKeepAliveInvalid.with_dnr();
    }
    request.connection().link.controller->set_keep_alive(value_of(request));
    return status::kSuccess;
}

// --- Hosts ---------------------------------------------------------------------------------------

NvmeStatus get_host_behavior(Request& request, bool wants_default) {
    const FeatureValues defaults;
    const FeatureValues& values = wants_default ? defaults : values_of(request);
    std::memcpy(request.payload().data(), values.host_behavior.data(), values.host_behavior.size());
    return status::kSuccess;
}

NvmeStatus set_host_behavior(Request& request) {
    // ACRE, ETDAS, LBAFEE and HDISNS are 0 or 1; what else they may be is reserved.
    constexpr std::byte kEnabledMax{1};
    constexpr size_t kSwitches = 4;
    for (const std::byte each : request.payload().first(kSwitches)) {
        if (each > kEnabledMax) {
            return status::kInvalidField.with_dnr();
        }
    }
    FeatureValues& values = values_of(request);
    std::memcpy(values.host_behavior.data(), request.payload().data(), values.host_behavior.size());
    return status::kSuccess;
}

NvmeStatus get_host_id(Request& request, bool wants_default) {
    const ControllerLink& link = request.connection().link;
    if ((value_of(request) & 1U) != kHostIdExtended) {
        return status::kInvalidField.with_dnr();  // Fabrics know the long form alone.
    }
    if (wants_default) {
        std::fill(request.payload().begin(), request.payload().end(), std::byte{0});
    } else {
        std::memcpy(request.payload().data(), link.host_id.data(), link.host_id.size());
    }
    return status::kSuccess;
}

}  // namespace basalt::nvmf
