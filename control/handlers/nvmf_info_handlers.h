#pragma once

#include "control/handlers/context.h"
#include "rpc/proto/nvmf.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::control {

/// Methods that tell about the NVMe/TCP target. Owner: the daemon. Thread: the control thread.
class NvmfInfoHandlers {
  public:
    explicit NvmfInfoHandlers(Context& context) : context_(context) {}
    NvmfInfoHandlers(const NvmfInfoHandlers&) = delete;
    NvmfInfoHandlers& operator=(const NvmfInfoHandlers&) = delete;

    void add_to(rpc::MethodTable& table);

  private:
    void get_transports(const v1::NvmfGetTransportsRequest& request,
                        rpc::Reply<v1::NvmfGetTransportsResponse> reply);
    void get_subsystems(const v1::NvmfGetSubsystemsRequest& request,
                        rpc::Reply<v1::NvmfGetSubsystemsResponse> reply);
    void get_listeners(const v1::NvmfSubsystemGetListenersRequest& request,
                       rpc::Reply<v1::NvmfSubsystemGetListenersResponse> reply);
    void get_controllers(const v1::NvmfSubsystemGetControllersRequest& request,
                         rpc::Reply<v1::NvmfSubsystemGetControllersResponse> reply);
    void get_qpairs(const v1::NvmfSubsystemGetQpairsRequest& request,
                    rpc::Reply<v1::NvmfSubsystemGetQpairsResponse> reply);
    void move_qpair(const v1::NvmfSubsystemMoveQpairRequest& request, rpc::Reply<v1::Done> reply);
    void get_stats(const v1::NvmfGetStatsRequest& request,
                   rpc::Reply<v1::NvmfGetStatsResponse> reply);

    Task<void> read_controllers(std::string nqn,
                                rpc::Reply<v1::NvmfSubsystemGetControllersResponse> reply);
    Task<void> read_qpairs(std::string nqn, rpc::Reply<v1::NvmfSubsystemGetQpairsResponse> reply);
    Task<void> move_now(v1::NvmfSubsystemMoveQpairRequest request, rpc::Reply<v1::Done> reply);
    Task<void> read_stats(rpc::Reply<v1::NvmfGetStatsResponse> reply);

    Context& context_;
};

}  // namespace basalt::control
