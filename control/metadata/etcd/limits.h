#pragma once

#include <cstdint>

namespace basalt::metadata::etcd {

/// After which an endpoint that does not answer one call is left for the next one. etcd itself
/// waits 5 s and twice its election timeout before it gives a request up.
inline constexpr uint64_t kAttemptTimeoutNs = 3'000'000'000;

/// After which a call that goes from endpoint to endpoint ends.
inline constexpr uint64_t kCallTimeoutNs = 10'000'000'000;

/// Between two rounds through all endpoints, and before a watch is begun again.
inline constexpr uint64_t kRetryPauseNs = 100'000'000;

/// How long an idle connection is believed in, and how long it has to prove itself then. etcd ends
/// connections that ask more often than every 5 s (--grpc-keepalive-min-time).
inline constexpr int kKeepAliveMs = 10'000;
inline constexpr int kKeepAliveTimeoutMs = 3'000;

/// For a TCP connection to be made, and between two tries of one endpoint.
inline constexpr int kConnectTimeoutMs = 2'000;
inline constexpr int kReconnectFirstMs = 100;
inline constexpr int kReconnectMaxMs = 1'000;

/// Endpoints of one store: members of a cluster, of which etcd recommends seven at most.
inline constexpr uint32_t kEndpointsMax = 16;

}  // namespace basalt::metadata::etcd
