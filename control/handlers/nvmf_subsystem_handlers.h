#pragma once

#include <string>

#include "control/handlers/context.h"
#include "rpc/proto/nvmf.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::control {

/// Methods that change the NVMe/TCP target. Owner: the daemon. Thread: the control thread; the
/// target puts changes that overlap in order.
class NvmfSubsystemHandlers {
  public:
    explicit NvmfSubsystemHandlers(Context& context) : context_(context) {}
    NvmfSubsystemHandlers(const NvmfSubsystemHandlers&) = delete;
    NvmfSubsystemHandlers& operator=(const NvmfSubsystemHandlers&) = delete;

    void add_to(rpc::MethodTable& table);

  private:
    void create_transport(const v1::NvmfCreateTransportRequest& request,
                          rpc::Reply<v1::Done> reply);
    void create_subsystem(const v1::NvmfCreateSubsystemRequest& request,
                          rpc::Reply<v1::Done> reply);
    void delete_subsystem(const v1::NvmfDeleteSubsystemRequest& request,
                          rpc::Reply<v1::Done> reply);
    void add_ns(const v1::NvmfSubsystemAddNsRequest& request,
                rpc::Reply<v1::NvmfSubsystemAddNsResponse> reply);
    void remove_ns(const v1::NvmfSubsystemRemoveNsRequest& request, rpc::Reply<v1::Done> reply);
    void add_listener(const v1::NvmfSubsystemAddListenerRequest& request,
                      rpc::Reply<v1::Done> reply);
    void remove_listener(const v1::NvmfSubsystemRemoveListenerRequest& request,
                         rpc::Reply<v1::Done> reply);
    void add_host(const v1::NvmfSubsystemAddHostRequest& request, rpc::Reply<v1::Done> reply);
    void remove_host(const v1::NvmfSubsystemRemoveHostRequest& request, rpc::Reply<v1::Done> reply);
    void allow_any_host(const v1::NvmfSubsystemAllowAnyHostRequest& request,
                        rpc::Reply<v1::Done> reply);

    Task<void> add_namespace(std::string nqn,
                             nvmf::NamespaceOptions options,
                             rpc::Reply<v1::NvmfSubsystemAddNsResponse> reply);
    Task<void> add_listener_at(std::string nqn,
                               SocketAddress address,
                               Task<Result<SocketAddress>> adding,
                               rpc::Reply<v1::Done> reply);

    Context& context_;
};

}  // namespace basalt::control
