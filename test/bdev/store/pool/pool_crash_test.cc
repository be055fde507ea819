#include <string>

#include <gtest/gtest.h>

#include "test/bdev/store/crash_runs.h"
#include "test/bdev/store/pool/pool_crash_run.h"

/// A pool under random work, with everything that its administration can do, whose machine loses
/// its power: at every write to the device of short runs in turn, and again and again in long ones.
namespace basalt::bdev::store {
namespace {

using test::PoolCrashRun;

TEST(PoolCrash, AtEveryWriteToTheDeviceInTurn) {
    for (uint64_t seed = 1; seed <= 5; ++seed) {
        for (uint64_t at = 1; at <= 160; ++at) {
            SCOPED_TRACE("seed " + std::to_string(seed) + " write " + std::to_string(at));
            PoolCrashRun run(seed);
            run.work(at);
            run.crash_and_verify();
            ASSERT_FALSE(testing::Test::HasFailure());
        }
    }
}

TEST(PoolCrash, AtRandomMomentsOfLongRuns) {
    test::for_crash_runs(8, [](uint64_t seed) {
        PoolCrashRun run(seed);
        uint64_t crashes = 0;
        for (; crashes < 40 && !testing::Test::HasFailure(); ++crashes) {
            SCOPED_TRACE("crash " + std::to_string(crashes));
            run.work(1 + run.random().below(crashes % 5 == 0 ? 300 : 60));
            run.crash_and_verify();
        }
        return crashes;
    });
}

TEST(PoolCrash, WithoutACrashTheSameWorkComesToTheSame) {
    for (uint64_t seed = 1000; seed < 1003; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        PoolCrashRun run(seed);
        run.work(800);
        run.end_and_verify();
        ASSERT_FALSE(testing::Test::HasFailure());
    }
}

}  // namespace
}  // namespace basalt::bdev::store
