#include "perf/load/workload.h"

#include <map>
#include <set>

#include <gtest/gtest.h>

namespace basalt::perf {
namespace {

TEST(Workload, NeverHasTwoIosOfOneUnitUnderWayWhenVerifying) {
    Workload workload({.unit_count = 5, .read_percent = 50, .verifies = true, .queue_depth = 8});
    workload.begin(LoadPhase::kTimed);
    std::map<uint64_t, UnitIo> under_way;
    Random random(1);
    for (int i = 0; i < 10'000; ++i) {
        const std::optional<UnitIo> io = workload.next();
        ASSERT_EQ(io.has_value(), under_way.size() < 5);
        if (io) {
            ASSERT_TRUE(under_way.emplace(io->unit, *io).second);
        }
        if (!io || random.chance(1, 2)) {
            auto at = under_way.begin();
            std::advance(at, static_cast<ptrdiff_t>(random.below(under_way.size())));
            workload.finished(at->second, true);
            under_way.erase(at);
        }
    }
}

TEST(Workload, AReadKnowsTheGenerationLastAcknowledged) {
    Workload workload({.unit_count = 3, .read_percent = 50, .verifies = true});
    workload.begin(LoadPhase::kTimed);
    std::map<uint64_t, uint32_t> acknowledged;
    for (int i = 0; i < 1000; ++i) {
        const UnitIo io = *workload.next();
        if (io.is_write) {
            EXPECT_GT(io.generation, acknowledged[io.unit]);
            const bool succeeds = i % 7 != 0;
            workload.finished(io, succeeds);
            acknowledged[io.unit] = succeeds ? io.generation : 0;
        } else {
            EXPECT_EQ(io.generation, acknowledged[io.unit]);
            workload.finished(io, true);
        }
    }
}

TEST(Workload, FillsAndChecksEachUnitOnce) {
    Workload workload({.unit_count = 100, .verifies = true});
    for (const LoadPhase phase : {LoadPhase::kFill, LoadPhase::kCheck}) {
        workload.begin(phase);
        std::set<uint64_t> seen;
        while (const std::optional<UnitIo> io = workload.next()) {
            EXPECT_EQ(io->is_write, phase == LoadPhase::kFill);
            EXPECT_EQ(io->generation, 1U);
            EXPECT_TRUE(seen.insert(io->unit).second);
            workload.finished(*io, true);
        }
        EXPECT_EQ(seen.size(), 100U);
    }
}

TEST(Workload, KeepsToTheMixAndTheOrder) {
    Workload mixed({.unit_count = 1000, .read_percent = 70, .seed = 3});
    mixed.begin(LoadPhase::kTimed);
    int reads = 0;
    for (int i = 0; i < 10'000; ++i) {
        reads += mixed.next()->is_write ? 0 : 1;
    }
    EXPECT_NEAR(reads, 7000, 300);
    Workload in_order({.unit_count = 3, .read_percent = 0, .is_random = false});
    in_order.begin(LoadPhase::kTimed);
    for (uint64_t i = 0; i < 10; ++i) {
        const UnitIo io = *in_order.next();
        EXPECT_EQ(io.unit, i % 3);
        EXPECT_TRUE(io.is_write);
    }
}

}  // namespace
}  // namespace basalt::perf
