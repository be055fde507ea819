#pragma once

#include <optional>
#include <string>

#include "control/handlers/context.h"
#include "rpc/proto/bdev_nvme.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::control {

/// Methods about controllers of other targets and the devices that their namespaces are. Owner: the
/// daemon. Thread: the control thread.
class BdevNvmeHandlers {
  public:
    explicit BdevNvmeHandlers(Context& context) : context_(context) {}
    BdevNvmeHandlers(const BdevNvmeHandlers&) = delete;
    BdevNvmeHandlers& operator=(const BdevNvmeHandlers&) = delete;

    void add_to(rpc::MethodTable& table);

  private:
    template <typename Response>
    using Reply = rpc::Reply<Response>;

    void set_options(const v1::BdevNvmeSetOptionsRequest& request, Reply<v1::Done> reply);
    void attach(const v1::BdevNvmeAttachControllerRequest& request,
                Reply<v1::BdevNvmeAttachControllerResponse> reply);
    void detach(const v1::BdevNvmeDetachControllerRequest& request, Reply<v1::Done> reply);
    void get_controllers(const v1::BdevNvmeGetControllersRequest& request,
                         Reply<v1::BdevNvmeGetControllersResponse> reply);
    void set_keys(const v1::BdevNvmeSetKeysRequest& request, rpc::Reply<v1::Done> reply);
    void reset(const v1::BdevNvmeResetControllerRequest& request, Reply<v1::Done> reply);
    void get_io_paths(const v1::BdevNvmeGetIoPathsRequest& request,
                      Reply<v1::BdevNvmeGetIoPathsResponse> reply);
    void set_preferred_path(const v1::BdevNvmeSetPreferredPathRequest& request,
                            Reply<v1::Done> reply);
    void set_multipath_policy(const v1::BdevNvmeSetMultipathPolicyRequest& request,
                              Reply<v1::Done> reply);
    void start_discovery(const v1::BdevNvmeStartDiscoveryRequest& request, Reply<v1::Done> reply);
    void stop_discovery(const v1::BdevNvmeStopDiscoveryRequest& request, Reply<v1::Done> reply);
    void get_discovery_info(const v1::BdevNvmeGetDiscoveryInfoRequest& request,
                            Reply<v1::BdevNvmeGetDiscoveryInfoResponse> reply);

    Context& context_;
};

}  // namespace basalt::control
