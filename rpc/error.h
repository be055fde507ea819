#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "reactor/base/result.h"

namespace basalt::rpc {

/// The error codes that JSON-RPC 2.0 section 5.1 defines. Handlers use kInvalidParams for what the
/// caller can put right in the parameters, and negative errno values (as SPDK does) for the rest.
enum class RpcCode : int32_t {
    kParseError = -32700,
    kInvalidRequest = -32600,
    kMethodNotFound = -32601,
    kInvalidParams = -32602,
    kInternalError = -32603,
};

/// Why a call failed. `code` is an RpcCode or a negative errno; `message` is for the person who
/// made the call: it names the parameter or object, and says what to do if that is not obvious.
struct RpcError {
    int32_t code = static_cast<int32_t>(RpcCode::kInternalError);
    std::string message;

    RpcError(RpcCode c, std::string m) : code(static_cast<int32_t>(c)), message(std::move(m)) {}
    RpcError(int32_t c, std::string m) : code(c), message(std::move(m)) {}
};

/// The RpcError for a failed operation on `what` ("bdev 'Malloc0'"): the errno of the system call
/// if there was one, else the errno that stands for the Errc, and a message of both.
[[nodiscard]] RpcError to_rpc_error(Error error, std::string_view what);

/// The gRPC status code (grpc::StatusCode as a number) that stands for an RpcError's code.
[[nodiscard]] int grpc_status_code(int32_t rpc_code);

}  // namespace basalt::rpc
