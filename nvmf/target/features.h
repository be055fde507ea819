#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "nvmf/target/request.h"
#include "nvmf/wire/status.h"

// The features, a row each. features.cc has the table of them and what is common to all; what one
// means lies with its kin: features_controller.cc.

namespace basalt::nvmf {

/// What a host has set, in the layout of the commands' dword 11. As it is here after every reset.
/// A part of Controller.
struct FeatureValues {
    uint32_t arbitration = 0;
    uint32_t power_management = 0;
    uint32_t temperature_over;       ///< Kelvin: from here on it is too hot.
    uint32_t temperature_under = 0;  ///< Kelvin: down from here it is too cold.
    uint32_t error_recovery = 0;
    uint32_t volatile_write_cache = 1;
    uint32_t write_atomicity = 0;
    uint32_t async_event_configuration = 0;
    std::array<uint8_t, 512> host_behavior{};

    FeatureValues();
};

/// Writes the current or the default value to the completion or the payload. Status of the command;
/// of no account if it sets Request::completes_later. `request` has Get Features.
using FeatureGetter = NvmeStatus (*)(Request& request, bool wants_default);
/// Takes the value in dword 11 or the payload. Status as above. `request` has Set Features.
using FeatureSetter = NvmeStatus (*)(Request& request);

/// One feature of the target.
struct Feature {
    uint8_t fid = 0;
    bool is_for_io = false;         ///< I/O controllers have it.
    bool is_for_discovery = false;  ///< Discovery controllers have it.
    bool is_per_namespace = false;  ///< Its functions look at the namespace identifier themselves.
    uint32_t data_bytes = 0;        ///< Data that Get and Set move; 0: the value is a dword.
    FeatureGetter get = nullptr;
    FeatureSetter set = nullptr;  ///< Null: not changeable.
    bool is_for_queues = false;   ///< All queues must hear of it: see QueueSettings.
    NvmeStatus set_refusal = status::kFeatureNotChangeable;  ///< Of Set where that is null.
};

/// All features, for whoever tells which there are.
[[nodiscard]] std::span<const Feature> features();

// --- The controller: features_controller.cc.

[[nodiscard]] NvmeStatus get_arbitration(Request& request, bool wants_default);
[[nodiscard]] NvmeStatus set_arbitration(Request& request);
[[nodiscard]] NvmeStatus get_power_management(Request& request, bool wants_default);
[[nodiscard]] NvmeStatus set_power_management(Request& request);
[[nodiscard]] NvmeStatus get_temperature_threshold(Request& request, bool wants_default);
[[nodiscard]] NvmeStatus set_temperature_threshold(Request& request);
[[nodiscard]] NvmeStatus get_error_recovery(Request& request, bool wants_default);
[[nodiscard]] NvmeStatus set_error_recovery(Request& request);
[[nodiscard]] NvmeStatus get_volatile_write_cache(Request& request, bool wants_default);
[[nodiscard]] NvmeStatus set_volatile_write_cache(Request& request);
[[nodiscard]] NvmeStatus get_queue_count(Request& request, bool wants_default);
[[nodiscard]] NvmeStatus set_queue_count(Request& request);
[[nodiscard]] NvmeStatus get_interrupt_coalescing(Request& request, bool wants_default);
[[nodiscard]] NvmeStatus get_interrupt_vector(Request& request, bool wants_default);
[[nodiscard]] NvmeStatus get_write_atomicity(Request& request, bool wants_default);
[[nodiscard]] NvmeStatus set_write_atomicity(Request& request);
[[nodiscard]] NvmeStatus get_async_events(Request& request, bool wants_default);
[[nodiscard]] NvmeStatus set_async_events(Request& request);
[[nodiscard]] NvmeStatus get_keep_alive(Request& request, bool wants_default);
[[nodiscard]] NvmeStatus set_keep_alive(Request& request);
[[nodiscard]] NvmeStatus get_host_behavior(Request& request, bool wants_default);
[[nodiscard]] NvmeStatus set_host_behavior(Request& request);
[[nodiscard]] NvmeStatus get_host_id(Request& request, bool wants_default);

}  // namespace basalt::nvmf
