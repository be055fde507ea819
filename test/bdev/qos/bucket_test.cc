#include "bdev/qos/bucket.h"

#include <vector>

#include <gtest/gtest.h>

#include "bdev/qos/limits.h"
#include "bdev/qos/rate_gate.h"
#include "reactor/io/clock.h"
#include "reactor/io/random.h"

namespace basalt::qos {
namespace {

constexpr uint64_t kStartNs = 5 * kNsPerSecond;

/// Takes `amount` as soon as it is there, again and again until `end_ns`; how much that was.
uint64_t drain(Bucket& bucket, uint64_t amount, uint64_t start_ns, uint64_t end_ns) {
    uint64_t taken = 0;
    for (uint64_t now = start_ns;;) {
        now = bucket.ready_ns(amount, now);
        if (now >= end_ns) {
            return taken;
        }
        bucket.take(amount, now);
        taken += amount;
    }
}

TEST(Bucket, WithoutARateLetsAllPass) {
    Bucket bucket;
    EXPECT_EQ(bucket.ready_ns(UINT64_MAX, kStartNs), kStartNs);
    bucket.take(UINT64_MAX, kStartNs);
    EXPECT_EQ(bucket.ready_ns(1, kStartNs), kStartNs);
}

TEST(Bucket, GivesItsDepthAtOnceAndThenItsRate) {
    Bucket bucket(1000, 10 * kNsPerMs);
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(bucket.ready_ns(1, kStartNs), kStartNs);
        bucket.take(1, kStartNs);
    }
    EXPECT_EQ(bucket.ready_ns(1, kStartNs), kStartNs + kNsPerMs);
    EXPECT_EQ(bucket.ready_ns(3, kStartNs), kStartNs + 3 * kNsPerMs);
}

TEST(Bucket, KeepsEveryRateExactly) {
    for (const uint64_t rate : {1ULL, 3ULL, 7ULL, 1000ULL, 333'333ULL, 999'999'937ULL}) {
        Bucket bucket(rate, kDepthNs);
        static_cast<void>(drain(bucket, 1 + rate / 1000, kStartNs, kStartNs + kNsPerSecond));
        const uint64_t taken =
            drain(bucket, 1 + rate / 1000, kStartNs + kNsPerSecond, kStartNs + 101 * kNsPerSecond);
        // One piece more or less over a hundred seconds: there is no drift.
        EXPECT_NEAR(static_cast<double>(taken),
                    100.0 * static_cast<double>(rate),
                    1.0 + static_cast<double>(rate) / 1000)
            << rate;
    }
}

TEST(Bucket, LendsMoreThanItHoldsAndWaitsUntilThatIsPaid) {
    Bucket bucket(1'000'000, 10 * kNsPerMs);  // Holds 10,000.
    EXPECT_EQ(bucket.ready_ns(128 * 1024, kStartNs), kStartNs);
    bucket.take(100'000, kStartNs);
    EXPECT_EQ(bucket.ready_ns(1, kStartNs), kStartNs + 90 * kNsPerMs + 1000);
    // The next big one wants a full bucket.
    EXPECT_EQ(bucket.ready_ns(100'000, kStartNs), kStartNs + 100 * kNsPerMs);
}

TEST(Bucket, TakesBackWhatWasNotUsed) {
    Bucket bucket(1000, 10 * kNsPerMs);
    bucket.take(10, kStartNs);
    bucket.give_back(4);
    EXPECT_EQ(bucket.ready_ns(4, kStartNs), kStartNs);
    EXPECT_GT(bucket.ready_ns(5, kStartNs), kStartNs);
    bucket.give_back(1000);  // No more than it holds.
    EXPECT_GT(bucket.ready_ns(10, kStartNs) + 1, kStartNs);
    bucket.take(10, kStartNs);
    EXPECT_GT(bucket.ready_ns(1, kStartNs), kStartNs);
}

TEST(Bucket, KeepsWhatWasTakenWhenTheRateChanges) {
    Bucket bucket(10, kNsPerSecond);
    bucket.take(110, kStartNs);  // Owes 100 now: 10 seconds.
    EXPECT_EQ(bucket.ready_ns(1, kStartNs), kStartNs + 10'100 * kNsPerMs);
    bucket.change(1000, kNsPerSecond, kStartNs);
    // 110 lack of 1000: there is enough.
    EXPECT_EQ(bucket.ready_ns(890, kStartNs), kStartNs);
    EXPECT_EQ(bucket.ready_ns(891, kStartNs), kStartNs + kNsPerMs);
    bucket.change(0, 0, kStartNs);
    EXPECT_FALSE(bucket.is_set());
    EXPECT_EQ(bucket.ready_ns(UINT64_MAX, kStartNs), kStartNs);
}

// --- All limits of a policy --------------------------------------------------------------------

constexpr uint64_t kMib = 1024 * 1024;

Cost reads(int64_t count, int64_t bytes) {
    return {.ios = count, .read_bytes = count * bytes};
}

TEST(RateGate, PassesWhatPassesEachLimit) {
    RateGate gate;
    Policy policy;
    policy.rw_ios.rate = 1000;
    policy.r_bytes.rate = kMib;
    gate.set_limits(policy, kStartNs);
    EXPECT_EQ(gate.ready_ns(reads(1, 4096), kStartNs), kStartNs);
    gate.take(reads(1, 1024 * 1024), kStartNs);
    // Reads are a second behind, writes are not.
    EXPECT_NEAR(static_cast<double>(gate.ready_ns(reads(1, 4096), kStartNs)),
                static_cast<double>(kStartNs + kNsPerSecond),
                static_cast<double>(kDepthNs));
    const Cost write{.ios = 1, .write_bytes = 4096};
    EXPECT_EQ(gate.ready_ns(write, kStartNs), kStartNs);
    gate.give_back(reads(1, 1024 * 1024));
    EXPECT_EQ(gate.ready_ns(reads(1, 4096), kStartNs), kStartNs);
}

/// I/Os of a gate in each of `seconds`, one after the other as soon as they pass.
std::vector<uint64_t> ios_by_second(RateGate& gate, uint32_t seconds) {
    std::vector<uint64_t> by_second(seconds, 0);
    for (uint64_t now = kStartNs;;) {
        now = gate.ready_ns(reads(1, 0), now);
        const uint64_t second = (now - kStartNs) / kNsPerSecond;
        if (second >= seconds) {
            return by_second;
        }
        gate.take(reads(1, 0), now);
        ++by_second[second];
    }
}

TEST(RateGate, ABurstRateLastsForItsSecondsAndThenTheRateHolds) {
    RateGate gate;
    Policy policy;
    policy.rw_ios = {.rate = 1000, .burst_rate = 5000};
    policy.burst_seconds = 3;
    gate.set_limits(policy, kStartNs);
    const std::vector<uint64_t> ios = ios_by_second(gate, 6);
    for (uint32_t second = 0; second < 3; ++second) {
        EXPECT_NEAR(static_cast<double>(ios[second]), 5000, 100) << second;
    }
    for (uint32_t second = 3; second < 6; ++second) {
        EXPECT_NEAR(static_cast<double>(ios[second]), 1000, 20) << second;
    }
}

TEST(RateGate, ABurstWithoutARateIsTakenAtOnce) {
    RateGate gate;
    Policy policy;
    policy.rw_ios.rate = 1000;
    policy.burst_seconds = 2;
    gate.set_limits(policy, kStartNs);
    gate.take(reads(2000, 0), kStartNs);
    EXPECT_EQ(gate.ready_ns(reads(1, 0), kStartNs), kStartNs + kNsPerMs);
    // After two seconds of silence it is there again, and no more than that after ten.
    const uint64_t later = kStartNs + 10 * kNsPerSecond;
    EXPECT_EQ(gate.ready_ns(reads(2000, 0), later), later);
    gate.take(reads(2000, 0), later);
    EXPECT_GT(gate.ready_ns(reads(1, 0), later), later);
}

TEST(RateGate, NeverPassesMoreThanItsDepthAndItsRate) {
    Random random(20261128);
    for (int round = 0; round < 50; ++round) {
        RateGate gate;
        Policy policy;
        policy.rw_ios.rate = 1 + random.below(100'000);
        policy.rw_bytes.rate = 1 + random.below(uint64_t{1} << 30U);
        gate.set_limits(policy, kStartNs);
        uint64_t now = kStartNs;
        Cost total;
        for (int i = 0; i < 2000; ++i) {
            Cost cost{.ios = 1};
            const auto bytes = static_cast<int64_t>(random.below(128 * 1024));
            (random.below(2) == 0 ? cost.read_bytes : cost.write_bytes) = bytes;
            now = gate.ready_ns(cost, now + random.below(kNsPerMs));
            gate.take(cost, now);
            total.add(cost);
        }
        const double seconds =
            static_cast<double>(now - kStartNs + kDepthNs) / static_cast<double>(kNsPerSecond);
        EXPECT_LE(static_cast<double>(total.ios),
                  static_cast<double>(policy.rw_ios.rate) * seconds + 1);
        EXPECT_LE(static_cast<double>(total.bytes()),
                  static_cast<double>(policy.rw_bytes.rate) * seconds + 128 * 1024);
    }
}

TEST(Policy, RefusesWhatMakesNoSense) {
    Policy policy;
    EXPECT_TRUE(check(policy));
    policy.rw_ios = {.rate = 1000, .burst_rate = 999};
    EXPECT_FALSE(check(policy));
    policy.rw_ios = {.rate = 0, .burst_rate = 999};
    EXPECT_FALSE(check(policy));
    policy.rw_ios = {.rate = kIosPerSecondMax + 1};
    EXPECT_FALSE(check(policy));
    policy.rw_ios = {.rate = kIosPerSecondMax, .burst_rate = kIosPerSecondMax};
    EXPECT_TRUE(check(policy));
    policy.weight = 0;
    EXPECT_FALSE(check(policy));
    policy.weight = kWeightMax + 1;
    EXPECT_FALSE(check(policy));
    policy = {};
    policy.burst_seconds = 1;
    EXPECT_FALSE(check(policy));
    policy.rw_bytes.rate = kBytesPerSecondMax + 1;
    EXPECT_FALSE(check(policy));
    policy.rw_bytes.rate = 1000;
    EXPECT_TRUE(check(policy));
    policy.min_bytes = 1001;
    EXPECT_FALSE(check(policy));
}

}  // namespace
}  // namespace basalt::qos
