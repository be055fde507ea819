#pragma once

#include "reactor/base/log.h"
#include "test/sim/replication/cluster_run.h"
#include "test/sim/seeds.h"

namespace basalt::replication::test {

/// One seed, which tells what happens in it only when BASALT_FOLLOW_SEED names it.
inline ClusterRunResult run_quietly(const ClusterRunOptions& options) {
    const LogLevel before = Log::level();
    Log::set_level(is_followed(options.seed) ? LogLevel::kInfo : LogLevel::kOff);
    ClusterRunResult result = ClusterRun(options).run();
    Log::set_level(before);
    return result;
}

}  // namespace basalt::replication::test
