#pragma once

#include "control/handlers/context.h"
#include "rpc/proto/bdev.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::control {

/// Methods that make and remove block devices in memory, and layers. Owner: the daemon. Thread: the
/// control thread.
class BdevDeviceHandlers {
  public:
    explicit BdevDeviceHandlers(Context& context) : context_(context) {}
    BdevDeviceHandlers(const BdevDeviceHandlers&) = delete;
    BdevDeviceHandlers& operator=(const BdevDeviceHandlers&) = delete;

    void add_to(rpc::MethodTable& table);

  private:
    void null_create(const v1::BdevNullCreateRequest& request,
                     rpc::Reply<v1::BdevNullCreateResponse> reply);
    void null_resize(const v1::BdevNullResizeRequest& request, rpc::Reply<v1::Done> reply);
    void null_delete(const v1::BdevNullDeleteRequest& request, rpc::Reply<v1::Done> reply);
    void malloc_create(const v1::BdevMallocCreateRequest& request,
                       rpc::Reply<v1::BdevMallocCreateResponse> reply);
    void malloc_delete(const v1::BdevMallocDeleteRequest& request, rpc::Reply<v1::Done> reply);
    void passthru_create(const v1::BdevPassthruCreateRequest& request,
                         rpc::Reply<v1::BdevPassthruCreateResponse> reply);
    void passthru_delete(const v1::BdevPassthruDeleteRequest& request, rpc::Reply<v1::Done> reply);
    void delay_create(const v1::BdevDelayCreateRequest& request,
                      rpc::Reply<v1::BdevDelayCreateResponse> reply);
    void delay_delete(const v1::BdevDelayDeleteRequest& request, rpc::Reply<v1::Done> reply);
    void delay_update_latency(const v1::BdevDelayUpdateLatencyRequest& request,
                              rpc::Reply<v1::Done> reply);
    void error_create(const v1::BdevErrorCreateRequest& request, rpc::Reply<v1::Done> reply);
    void error_delete(const v1::BdevErrorDeleteRequest& request, rpc::Reply<v1::Done> reply);
    void error_inject_error(const v1::BdevErrorInjectErrorRequest& request,
                            rpc::Reply<v1::Done> reply);

    Task<void> update_latency(const v1::BdevDelayUpdateLatencyRequest& request,
                              rpc::Reply<v1::Done> reply);
    Task<void> inject(const v1::BdevErrorInjectErrorRequest& request, rpc::Reply<v1::Done> reply);

    Context& context_;
};

}  // namespace basalt::control
