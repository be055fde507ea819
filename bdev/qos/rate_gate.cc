#include "bdev/qos/rate_gate.h"

#include <algorithm>

#include "reactor/base/assert.h"

namespace basalt::qos {

namespace {

// 30 years: moments of a clock that has just begun still fit 64 bits.
constexpr double kLongestDepthNs = 1e18;

}  // namespace

void RateGate::Line::set(const Limit& limit, uint32_t burst_seconds, uint64_t now_ns) {
    uint64_t depth_ns = burst_seconds * kNsPerSecond;
    if (limit.burst_rate > limit.rate) {
        // Tokens come in during the burst as well, so that it lasts just as long with these.
        const uint64_t seconds = std::max(burst_seconds, 1U);
        const double ratio =
            static_cast<double>(limit.burst_rate - limit.rate) / static_cast<double>(limit.rate);
        depth_ns = static_cast<uint64_t>(
            std::min(ratio * static_cast<double>(seconds * kNsPerSecond), kLongestDepthNs));
    }
    sustained.change(limit.rate, std::max(depth_ns, kDepthNs), now_ns);
    peak.change(limit.burst_rate, kDepthNs, now_ns);
}

void RateGate::set_limits(const Policy& policy, uint64_t now_ns) {
    lines_[kIos].set(policy.rw_ios, policy.burst_seconds, now_ns);
    lines_[kBytes].set(policy.rw_bytes, policy.burst_seconds, now_ns);
    lines_[kReadBytes].set(policy.r_bytes, policy.burst_seconds, now_ns);
    lines_[kWriteBytes].set(policy.w_bytes, policy.burst_seconds, now_ns);
}

void RateGate::set_minimum(const Policy& policy, uint64_t now_ns) {
    lines_[kIos].set({.rate = policy.min_ios}, 0, now_ns);
    lines_[kBytes].set({.rate = policy.min_bytes}, 0, now_ns);
}

std::array<uint64_t, RateGate::kKinds> RateGate::amounts(const Cost& cost) {
    BASALT_ASSERT(cost.ios >= 0 && cost.read_bytes >= 0 && cost.write_bytes >= 0);
    return {static_cast<uint64_t>(cost.ios),
            static_cast<uint64_t>(cost.bytes()),
            static_cast<uint64_t>(cost.read_bytes),
            static_cast<uint64_t>(cost.write_bytes)};
}

uint64_t RateGate::ready_ns(const Cost& cost, uint64_t now_ns) const {
    const auto wanted = amounts(cost);
    uint64_t ready = now_ns;
    for (uint32_t kind = 0; kind < kKinds; ++kind) {
        ready = std::max({ready,
                          lines_[kind].sustained.ready_ns(wanted[kind], now_ns),
                          lines_[kind].peak.ready_ns(wanted[kind], now_ns)});
    }
    return ready;
}

void RateGate::take(const Cost& cost, uint64_t now_ns) {
    const auto wanted = amounts(cost);
    for (uint32_t kind = 0; kind < kKinds; ++kind) {
        lines_[kind].sustained.take(wanted[kind], now_ns);
        lines_[kind].peak.take(wanted[kind], now_ns);
    }
}

void RateGate::give_back(const Cost& cost) {
    const auto wanted = amounts(cost);
    for (uint32_t kind = 0; kind < kKinds; ++kind) {
        lines_[kind].sustained.give_back(wanted[kind]);
        lines_[kind].peak.give_back(wanted[kind]);
    }
}

}  // namespace basalt::qos
