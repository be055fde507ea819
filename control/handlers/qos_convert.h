#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "bdev/qos/policy.h"

namespace basalt::control {

/// What the API calls a megabyte, as SPDK does.
inline constexpr uint32_t kMbyteShift = 20;

/// The limit that a request sets: what it does not give stays, and no limit has no burst.
inline void set_rate(qos::Limit& limit, bool is_given, uint64_t rate, uint32_t shift) {
    if (is_given) {
        limit.rate = rate << shift;
        limit.burst_rate = rate == 0 ? 0 : limit.burst_rate;
    }
}
inline void set_burst(qos::Limit& limit, bool is_given, uint64_t rate, uint32_t shift) {
    if (is_given) {
        limit.burst_rate = rate << shift;
    }
}

/// What `request` says of limits that a group has.
template <typename Request>
void merge_capacity(const Request& request, qos::Policy& policy) {
    set_rate(policy.rw_ios, request.has_rw_ios_per_sec(), request.rw_ios_per_sec(), 0);
    set_rate(
        policy.rw_bytes, request.has_rw_mbytes_per_sec(), request.rw_mbytes_per_sec(), kMbyteShift);
}

/// What `request` says of limits, bursts, minimums and weight.
template <typename Request>
void merge_policy(const Request& request, qos::Policy& policy) {
    merge_capacity(request, policy);
    set_rate(
        policy.r_bytes, request.has_r_mbytes_per_sec(), request.r_mbytes_per_sec(), kMbyteShift);
    set_rate(
        policy.w_bytes, request.has_w_mbytes_per_sec(), request.w_mbytes_per_sec(), kMbyteShift);
    set_burst(policy.rw_ios, request.has_rw_ios_per_sec_max(), request.rw_ios_per_sec_max(), 0);
    set_burst(policy.rw_bytes,
              request.has_rw_mbytes_per_sec_max(),
              request.rw_mbytes_per_sec_max(),
              kMbyteShift);
    set_burst(policy.r_bytes,
              request.has_r_mbytes_per_sec_max(),
              request.r_mbytes_per_sec_max(),
              kMbyteShift);
    set_burst(policy.w_bytes,
              request.has_w_mbytes_per_sec_max(),
              request.w_mbytes_per_sec_max(),
              kMbyteShift);
    policy.burst_seconds =
        request.has_burst_seconds() ? request.burst_seconds() : policy.burst_seconds;
    if (!policy.has_limits() && !request.has_burst_seconds()) {
        policy.burst_seconds = 0;
    }
    policy.min_ios =
        request.has_rw_ios_per_sec_min() ? request.rw_ios_per_sec_min() : policy.min_ios;
    policy.min_bytes = request.has_rw_mbytes_per_sec_min()
                           ? request.rw_mbytes_per_sec_min() << kMbyteShift
                           : policy.min_bytes;
    policy.weight = request.has_weight() ? request.weight() : policy.weight;
}

/// The policy in the API's names and units, as a call that makes it again: what is not 0.
[[nodiscard]] nlohmann::json policy_params(const qos::Policy& policy);

/// The same for people, where `out` has such a field for each.
template <typename Out>
void describe_policy(const qos::Policy& policy, Out& out) {
    const auto show = [&out](uint64_t value, void (Out::*set)(uint64_t)) {
        if (value != 0) {
            (out.*set)(value);
        }
    };
    show(policy.rw_ios.rate, &Out::set_rw_ios_per_sec);
    show(policy.rw_bytes.rate >> kMbyteShift, &Out::set_rw_mbytes_per_sec);
    show(policy.r_bytes.rate >> kMbyteShift, &Out::set_r_mbytes_per_sec);
    show(policy.w_bytes.rate >> kMbyteShift, &Out::set_w_mbytes_per_sec);
    show(policy.rw_ios.burst_rate, &Out::set_rw_ios_per_sec_max);
    show(policy.rw_bytes.burst_rate >> kMbyteShift, &Out::set_rw_mbytes_per_sec_max);
    show(policy.r_bytes.burst_rate >> kMbyteShift, &Out::set_r_mbytes_per_sec_max);
    show(policy.w_bytes.burst_rate >> kMbyteShift, &Out::set_w_mbytes_per_sec_max);
    show(policy.min_ios, &Out::set_rw_ios_per_sec_min);
    show(policy.min_bytes >> kMbyteShift, &Out::set_rw_mbytes_per_sec_min);
    if (policy.burst_seconds != 0) {
        out.set_burst_seconds(policy.burst_seconds);
    }
    if (policy.weight != qos::kWeightDefault) {
        out.set_weight(policy.weight);
    }
}

/// Which policies can't be, in the API's words.
[[nodiscard]] std::string policy_problem(Error error);

}  // namespace basalt::control
