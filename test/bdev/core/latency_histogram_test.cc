#include "bdev/core/latency_histogram.h"

#include <memory>

#include <gtest/gtest.h>

namespace basalt::bdev {
namespace {

TEST(LatencyHistogram, BucketsCoverAllValuesWithoutGapOrOverlap) {
    size_t previous = 0;
    for (size_t bucket = 1; bucket < LatencyHistogram::kBuckets; ++bucket) {
        const uint64_t start = LatencyHistogram::bucket_start(bucket);
        EXPECT_EQ(LatencyHistogram::bucket_of(start), bucket);
        EXPECT_EQ(LatencyHistogram::bucket_of(start - 1), previous);
        previous = bucket;
    }
    EXPECT_EQ(LatencyHistogram::bucket_of(0), 0U);
    EXPECT_EQ(LatencyHistogram::bucket_of(UINT64_MAX), LatencyHistogram::kBuckets - 1);
}

TEST(LatencyHistogram, HasTheLayoutThatSpdksScriptsRead) {
    EXPECT_EQ(LatencyHistogram::kBuckets, 58U * 128);
    EXPECT_EQ(LatencyHistogram::bucket_of(127), 127U);
    EXPECT_EQ(LatencyHistogram::bucket_of(128), 128U);
    EXPECT_EQ(LatencyHistogram::bucket_of(255), 255U);
    EXPECT_EQ(LatencyHistogram::bucket_of(256), 256U);
    EXPECT_EQ(LatencyHistogram::bucket_of(257), 256U);
    EXPECT_EQ(LatencyHistogram::bucket_of(258), 257U);
}

TEST(LatencyHistogram, PercentilesComeFromTheRightBucket) {
    auto histogram = std::make_unique<LatencyHistogram>();
    EXPECT_EQ(histogram->percentile(500), 0U);
    for (uint64_t i = 1; i <= 100; ++i) {
        histogram->record(i);
    }
    EXPECT_EQ(histogram->total(), 100U);
    EXPECT_EQ(histogram->percentile(10), 1U);
    EXPECT_EQ(histogram->percentile(500), 50U);
    EXPECT_EQ(histogram->percentile(990), 99U);
    EXPECT_EQ(histogram->percentile(999), 100U);
    EXPECT_EQ(histogram->percentile(1000), 100U);
    auto sum = std::make_unique<LatencyHistogram>();
    sum->add(*histogram);
    sum->add(*histogram);
    EXPECT_EQ(sum->total(), 200U);
}

}  // namespace
}  // namespace basalt::bdev
