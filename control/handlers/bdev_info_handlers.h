#pragma once

#include <string>
#include <vector>

#include "control/handlers/context.h"
#include "rpc/proto/bdev.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::control {

/// Methods that tell about block devices: what they are, and what they did. Owner: the daemon.
/// Thread: the control thread.
class BdevInfoHandlers {
  public:
    explicit BdevInfoHandlers(Context& context) : context_(context) {}
    BdevInfoHandlers(const BdevInfoHandlers&) = delete;
    BdevInfoHandlers& operator=(const BdevInfoHandlers&) = delete;

    void add_to(rpc::MethodTable& table);

  private:
    void get_bdevs(const v1::BdevGetBdevsRequest& request,
                   rpc::Reply<v1::BdevGetBdevsResponse> reply);
    void get_iostat(const v1::BdevGetIostatRequest& request,
                    rpc::Reply<v1::BdevGetIostatResponse> reply);
    void reset_iostat(const v1::BdevResetIostatRequest& request, rpc::Reply<v1::Done> reply);
    void enable_histogram(const v1::BdevEnableHistogramRequest& request,
                          rpc::Reply<v1::Done> reply);
    void get_histogram(const v1::BdevGetHistogramRequest& request,
                       rpc::Reply<v1::BdevGetHistogramResponse> reply);

    Task<void> wait_for_bdev(const v1::BdevGetBdevsRequest& request,
                             rpc::Reply<v1::BdevGetBdevsResponse> reply);
    Task<void> read_iostat(const v1::BdevGetIostatRequest& request,
                           rpc::Reply<v1::BdevGetIostatResponse> reply);
    Task<void> reset(const v1::BdevResetIostatRequest& request, rpc::Reply<v1::Done> reply);
    Task<void> switch_histogram(const v1::BdevEnableHistogramRequest& request,
                                rpc::Reply<v1::Done> reply);
    Task<void> read_histogram(const v1::BdevGetHistogramRequest& request,
                              rpc::Reply<v1::BdevGetHistogramResponse> reply);

    // The devices of those names, or all without names. Answers and returns nothing for one that is
    // not there.
    template <typename Response>
    [[nodiscard]] std::vector<bdev::Device*> find(const std::vector<std::string>& names,
                                                  rpc::Reply<Response>& reply);

    Context& context_;
};

}  // namespace basalt::control
