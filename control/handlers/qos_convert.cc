#include "control/handlers/qos_convert.h"

namespace basalt::control {

namespace {

void put(nlohmann::json& params, const char* name, uint64_t value) {
    if (value != 0) {
        params[name] = value;
    }
}

uint64_t to_mbytes(uint64_t bytes) {
    return bytes >> kMbyteShift;
}

}  // namespace

nlohmann::json policy_params(const qos::Policy& policy) {
    nlohmann::json params = nlohmann::json::object();
    put(params, "rw_ios_per_sec", policy.rw_ios.rate);
    put(params, "rw_mbytes_per_sec", to_mbytes(policy.rw_bytes.rate));
    put(params, "r_mbytes_per_sec", to_mbytes(policy.r_bytes.rate));
    put(params, "w_mbytes_per_sec", to_mbytes(policy.w_bytes.rate));
    put(params, "rw_ios_per_sec_max", policy.rw_ios.burst_rate);
    put(params, "rw_mbytes_per_sec_max", to_mbytes(policy.rw_bytes.burst_rate));
    put(params, "r_mbytes_per_sec_max", to_mbytes(policy.r_bytes.burst_rate));
    put(params, "w_mbytes_per_sec_max", to_mbytes(policy.w_bytes.burst_rate));
    put(params, "burst_seconds", policy.burst_seconds);
    put(params, "rw_ios_per_sec_min", policy.min_ios);
    put(params, "rw_mbytes_per_sec_min", to_mbytes(policy.min_bytes));
    if (policy.weight != qos::kWeightDefault) {
        params["weight"] = policy.weight;
    }
    return params;
}

std::string policy_problem(Error error) {
    if (error.code == Errc::kNoSpace) {
        return "the minimums of all members are more than what they share, or there are 256 "
               "members already";
    }
    return "a burst limit needs a limit that is not above it, burst_seconds needs a limit, a "
           "minimum needs a shared limit of the same kind and must not be above the own limit";
}

}  // namespace basalt::control
