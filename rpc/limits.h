#pragma once

#include <cstddef>
#include <cstdint>

namespace basalt::rpc {

/// The largest request, in bytes. A saved configuration with 10,000 devices is about 3 MB; ten
/// times that is room enough. A larger request is answered with -32600 and the connection closed.
inline constexpr size_t kRequestBytesMax = size_t{32} << 20;

/// How deep JSON may nest. The API needs 8 (load_config with driver options); deeper input is
/// answered with -32700 and the connection closed, before a recursive destructor ever sees it.
inline constexpr uint32_t kJsonDepthMax = 64;

/// JSON-RPC connections at once. Scripts open one for each call; at the limit further ones wait in
/// the kernel's queue until one closes.
inline constexpr size_t kConnectionsMax = 64;

/// Requests of one connection in progress or answered but not yet read by the client. At the limit
/// the server stops reading from that connection, so that a client that never reads can't fill
/// memory.
inline constexpr size_t kOutstandingPerConnectionMax = 64;

/// Requests in one JSON-RPC batch. More are answered with -32600.
inline constexpr size_t kBatchMax = 1024;

/// Bytes waiting to be sent to one client before the server stops reading its requests.
inline constexpr size_t kOutputBytesMax = size_t{4} << 20;

/// Bytes read from a connection in one go, so that one busy client can't hold up the others.
inline constexpr size_t kReadBytes = size_t{64} << 10;

/// Backlog of listening sockets.
inline constexpr int kListenBacklog = 64;

/// gRPC calls waiting for the control thread. More are answered with RESOURCE_EXHAUSTED.
inline constexpr size_t kGrpcQueueMax = 1024;

/// Milliseconds that a stopping gRPC server waits for calls in progress before it cancels them.
inline constexpr int64_t kGrpcShutdownMs = 2000;

static_assert(kReadBytes <= kRequestBytesMax);
static_assert(kOutstandingPerConnectionMax >= 1);

}  // namespace basalt::rpc
