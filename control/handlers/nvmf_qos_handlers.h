#pragma once

#include <string>

#include "bdev/qos/policy.h"
#include "control/handlers/context.h"
#include "rpc/proto/nvmf.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::control {

/// Methods that limit what hosts may do with a subsystem in a second. Owner: the daemon. Thread:
/// the control thread.
class NvmfQosHandlers {
  public:
    explicit NvmfQosHandlers(Context& context) : context_(context) {}
    NvmfQosHandlers(const NvmfQosHandlers&) = delete;
    NvmfQosHandlers& operator=(const NvmfQosHandlers&) = delete;

    void add_to(rpc::MethodTable& table);

  private:
    void set_host_limit(const v1::NvmfSubsystemSetHostQosLimitRequest& request,
                        rpc::Reply<v1::Done> reply);
    void set_limit(const v1::NvmfSubsystemSetQosLimitRequest& request, rpc::Reply<v1::Done> reply);
    Task<void> change_host(const v1::NvmfSubsystemSetHostQosLimitRequest& request,
                           rpc::Reply<v1::Done> reply);
    Task<void> change_capacity(const v1::NvmfSubsystemSetQosLimitRequest& request,
                               rpc::Reply<v1::Done> reply);

    Context& context_;
};

}  // namespace basalt::control
