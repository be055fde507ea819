#pragma once

#include <cstdint>
#include <string_view>

#include "reactor/base/result.h"

namespace basalt::metadata::etcd {

/// What a failed call means. A value.
struct Verdict {
    Error error;
    bool is_elsewhere = false;  ///< Another member may do better.
    bool was_refused = false;   ///< Nothing was done: any call may be made again.
};

/// Of a gRPC status that is not OK. etcd's are those of api/v3rpc/rpctypes/error.go; a member that
/// can't say what became of a request answers UNAVAILABLE, too.
[[nodiscard]] Verdict judge(int grpc_code, std::string_view message);

}  // namespace basalt::metadata::etcd
