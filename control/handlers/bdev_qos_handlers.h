#pragma once

#include "control/handlers/context.h"
#include "rpc/proto/bdev.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::control {

/// Methods that limit what may be done to block devices in a second. Owner: the daemon. Thread: the
/// control thread.
class BdevQosHandlers {
  public:
    explicit BdevQosHandlers(Context& context) : context_(context) {}
    BdevQosHandlers(const BdevQosHandlers&) = delete;
    BdevQosHandlers& operator=(const BdevQosHandlers&) = delete;

    void add_to(rpc::MethodTable& table);

  private:
    void set_limit(const v1::BdevSetQosLimitRequest& request, rpc::Reply<v1::Done> reply);
    void group_create(const v1::BdevQosGroupCreateRequest& request, rpc::Reply<v1::Done> reply);
    void group_set_limit(const v1::BdevQosGroupSetLimitRequest& request,
                         rpc::Reply<v1::Done> reply);
    void group_delete(const v1::BdevQosGroupDeleteRequest& request, rpc::Reply<v1::Done> reply);
    void get_groups(const v1::BdevQosGetGroupsRequest& request,
                    rpc::Reply<v1::BdevQosGetGroupsResponse> reply);

    Task<void> change_device(const v1::BdevSetQosLimitRequest& request, rpc::Reply<v1::Done> reply);
    Task<void> change_group(const v1::BdevQosGroupSetLimitRequest& request,
                            rpc::Reply<v1::Done> reply);

    Context& context_;
};

}  // namespace basalt::control
