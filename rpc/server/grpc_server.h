#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "reactor/base/result.h"
#include "rpc/server/method_table.h"

namespace basalt::rpc {

/// Serves the MethodTable as gRPC, for all methods without code for any of them.
///
/// gRPC's own threads receive and parse; a bounded queue and an eventfd bring each call to the
/// control thread, which starts it, and whose answer goes back to gRPC. An RpcError becomes a gRPC
/// status (grpc_status_code) with its message, and its code as trailing metadata "basalt-rpc-code".
///
/// Life: started by main if a gRPC port is configured, driven by the control thread (poll_fd(),
/// process_ready()), destroyed before the table. Owner: main. Thread: the control thread, except
/// what gRPC calls. No TLS: bind it to loopback or a network that is trusted.
class GrpcServer {
  public:
    virtual ~GrpcServer() = default;

    /// Listens at "ADDRESS:PORT" ("127.0.0.1:0" for any port). `table` is filled and outlives the
    /// server. Errors: kAddressInUse if gRPC can't listen there, else the system call's.
    [[nodiscard]] static Result<std::unique_ptr<GrpcServer>> start(const MethodTable& table,
                                                                   const std::string& address);

    [[nodiscard]] virtual uint16_t port() const = 0;

    /// Readable when process_ready() has calls to start. Level triggered.
    [[nodiscard]] virtual int poll_fd() const = 0;

    /// Starts the calls that have arrived.
    virtual void process_ready() = 0;

    /// From now on calls that arrive are answered UNAVAILABLE; those in progress go on.
    virtual void stop_accepting() = 0;

    /// Calls started and not yet answered.
    [[nodiscard]] virtual size_t outstanding() const = 0;

    /// Answers what is outstanding UNAVAILABLE and ends gRPC; waits kGrpcShutdownMs at most for
    /// clients that do not take their answers. The destructor does it too.
    virtual void stop() = 0;
};

}  // namespace basalt::rpc
