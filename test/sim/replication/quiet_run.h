#pragma once

#include <cstdlib>

#include "reactor/base/log.h"
#include "test/sim/replication/cluster_run.h"

namespace basalt::replication::test {

/// One seed, which tells what happens in it only when BASALT_FOLLOW_SEED names it.
inline ClusterRunResult run_quietly(const ClusterRunOptions& options) {
    const char* followed = std::getenv("BASALT_FOLLOW_SEED");
    const bool is_followed =
        followed != nullptr && std::strtoull(followed, nullptr, 10) == options.seed;
    const LogLevel before = Log::level();
    Log::set_level(is_followed ? LogLevel::kInfo : LogLevel::kOff);
    ClusterRunResult result = ClusterRun(options).run();
    Log::set_level(before);
    return result;
}

}  // namespace basalt::replication::test
