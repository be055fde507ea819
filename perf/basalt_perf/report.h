#pragma once

#include <string>

#include "perf/basalt_perf/options.h"
#include "perf/basalt_perf/session.h"

namespace basalt::perf {

/// The table for people.
[[nodiscard]] std::string describe_result(const PerfOptions& options, const SessionResult& result);

/// The controller and its namespaces, for --identify.
[[nodiscard]] std::string describe_identity(const PerfOptions& options,
                                            const SessionResult& result);

/// The same as JSON: see perf/README.md for its members.
[[nodiscard]] std::string result_as_json(const PerfOptions& options, const SessionResult& result);

/// True if no I/O failed and every block checked was right.
[[nodiscard]] bool is_clean(const SessionResult& result);

}  // namespace basalt::perf
