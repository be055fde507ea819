#include "bdev/qos/policy.h"

#include <algorithm>

namespace basalt::qos {

namespace {

bool is_good(const Limit& limit, uint64_t most) {
    return limit.rate <= most && limit.burst_rate <= most &&
           (limit.burst_rate == 0 || (limit.rate != 0 && limit.burst_rate >= limit.rate));
}

bool is_within(uint64_t minimum, const Limit& limit) {
    return limit.rate == 0 || minimum <= limit.rate;
}

void limit_slice(int64_t& slice, bool& counts, const Limit& limit) {
    if (limit.rate == 0) {
        return;
    }
    const uint64_t rate = std::max(limit.rate, limit.burst_rate);
    const auto part = static_cast<int64_t>(rate / (kNsPerSecond / kSliceNs));
    slice = counts ? std::min(slice, part) : part;
    counts = true;
}

int64_t smaller_slice(bool counts_a, int64_t a, bool counts_b, int64_t b) {
    if (!counts_a || !counts_b) {
        return counts_a ? a : b;
    }
    return std::min(a, b);
}

}  // namespace

Status check(const Policy& policy) {
    const bool is_ok =
        is_good(policy.rw_ios, kIosPerSecondMax) && is_good(policy.rw_bytes, kBytesPerSecondMax) &&
        is_good(policy.r_bytes, kBytesPerSecondMax) &&
        is_good(policy.w_bytes, kBytesPerSecondMax) && policy.burst_seconds <= kBurstSecondsMax &&
        (policy.burst_seconds == 0 || policy.has_limits()) && policy.weight > 0 &&
        policy.weight <= kWeightMax && is_within(policy.min_ios, policy.rw_ios) &&
        policy.min_ios <= kIosPerSecondMax && is_within(policy.min_bytes, policy.rw_bytes) &&
        policy.min_bytes <= kBytesPerSecondMax;
    return is_ok ? kOk : Status(Errc::kInvalidArgument);
}

Terms terms_of(const Policy& policy) {
    Terms terms;
    limit_slice(terms.slice.ios, terms.counts_ios, policy.rw_ios);
    limit_slice(terms.slice.read_bytes, terms.counts_reads, policy.rw_bytes);
    limit_slice(terms.slice.read_bytes, terms.counts_reads, policy.r_bytes);
    limit_slice(terms.slice.write_bytes, terms.counts_writes, policy.rw_bytes);
    limit_slice(terms.slice.write_bytes, terms.counts_writes, policy.w_bytes);
    return terms;
}

Terms both(const Terms& a, const Terms& b) {
    return {
        .counts_ios = a.counts_ios || b.counts_ios,
        .counts_reads = a.counts_reads || b.counts_reads,
        .counts_writes = a.counts_writes || b.counts_writes,
        .slice = {.ios = smaller_slice(a.counts_ios, a.slice.ios, b.counts_ios, b.slice.ios),
                  .read_bytes = smaller_slice(
                      a.counts_reads, a.slice.read_bytes, b.counts_reads, b.slice.read_bytes),
                  .write_bytes = smaller_slice(
                      a.counts_writes, a.slice.write_bytes, b.counts_writes, b.slice.write_bytes)}};
}

}  // namespace basalt::qos
