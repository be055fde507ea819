#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace basalt::bdev {

/// How often each latency occurred: counters on a log-linear scale. Below 128 ns each nanosecond
/// has a counter; above, each power of two is cut into 128, so a value is known to 0.8 %. The
/// layout is that of SPDK's histograms (bucket_shift 7), whose scripts read what we print.
///
/// A value of 58 KiB. Owner and core: the statistics of a device on one core, or a reader's sum.
class LatencyHistogram {
  public:
    static constexpr uint32_t kBucketShift = 7;
    static constexpr uint32_t kBucketsPerRange = 1U << kBucketShift;
    static constexpr uint32_t kRanges = 64 - kBucketShift + 1;
    static constexpr size_t kBuckets = size_t{kRanges} * kBucketsPerRange;

    void record(uint64_t value) { ++counts_[bucket_of(value)]; }
    void add(const LatencyHistogram& other);

    /// The counter that `value` belongs to.
    [[nodiscard]] static constexpr size_t bucket_of(uint64_t value) {
        // Range 0 has the values below 2^7; range r > 0 those with 7 + r bits, shifted to 8 bits of
        // which the highest is always set and so left out.
        const auto width = static_cast<uint32_t>(std::bit_width(value));
        const uint32_t range = width > kBucketShift ? width - kBucketShift : 0;
        const uint32_t shift = range == 0 ? 0 : range - 1;
        return size_t{range} * kBucketsPerRange + ((value >> shift) & (kBucketsPerRange - 1));
    }

    /// The smallest value of a bucket.
    [[nodiscard]] static constexpr uint64_t bucket_start(size_t bucket) {
        const size_t range = bucket / kBucketsPerRange;
        const uint64_t index = bucket % kBucketsPerRange;
        return range == 0 ? index : (kBucketsPerRange + index) << (range - 1);
    }

    [[nodiscard]] std::span<const uint64_t, kBuckets> counts() const { return counts_; }
    [[nodiscard]] uint64_t total() const;

    /// The smallest bucket start such that `per_mille` of 1000 of the values are in that bucket or
    /// below; 0 without values.
    [[nodiscard]] uint64_t percentile(uint32_t per_mille) const;

  private:
    std::array<uint64_t, kBuckets> counts_{};
};

}  // namespace basalt::bdev
