#include "bdev/core/latency_histogram.h"

#include "reactor/base/assert.h"

namespace basalt::bdev {

void LatencyHistogram::add(const LatencyHistogram& other) {
    for (size_t i = 0; i < kBuckets; ++i) {
        counts_[i] += other.counts_[i];
    }
}

uint64_t LatencyHistogram::total() const {
    uint64_t sum = 0;
    for (const uint64_t count : counts_) {
        sum += count;
    }
    return sum;
}

uint64_t LatencyHistogram::percentile(uint32_t per_mille) const {
    BASALT_ASSERT(per_mille <= 1000);
    const uint64_t all = total();
    // Rounded up, so that the 99.9th of 10 values is the largest and not the ninth.
    const uint64_t wanted = all / 1000 * per_mille + (all % 1000 * per_mille + 999) / 1000;
    uint64_t seen = 0;
    for (size_t i = 0; i < kBuckets; ++i) {
        seen += counts_[i];
        if (counts_[i] > 0 && seen >= wanted) {
            return bucket_start(i);
        }
    }
    return 0;
}

}  // namespace basalt::bdev
