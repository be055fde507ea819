#pragma once

#include "bdev/leaf/linux_nvme_finder.h"
#include "control/handlers/context.h"
#include "rpc/proto/bdev.pb.h"
#include "rpc/proto/bdev_nvme.pb.h"
#include "rpc/server/method_table.h"

namespace basalt::control {

/// Methods that make and remove block devices with something durable behind them: files, block
/// devices, NVMe namespaces. Owner: the daemon. Thread: the control thread.
class BdevDriveHandlers {
  public:
    explicit BdevDriveHandlers(Context& context) : context_(context) {}
    BdevDriveHandlers(const BdevDriveHandlers&) = delete;
    BdevDriveHandlers& operator=(const BdevDriveHandlers&) = delete;

    void add_to(rpc::MethodTable& table);

  private:
    void aio_create(const v1::BdevAioCreateRequest& request,
                    rpc::Reply<v1::BdevAioCreateResponse> reply);
    void aio_delete(const v1::BdevAioDeleteRequest& request, rpc::Reply<v1::Done> reply);
    void aio_rescan(const v1::BdevAioRescanRequest& request, rpc::Reply<v1::Done> reply);
    void uring_create(const v1::BdevUringCreateRequest& request,
                      rpc::Reply<v1::BdevUringCreateResponse> reply);
    void uring_delete(const v1::BdevUringDeleteRequest& request, rpc::Reply<v1::Done> reply);
    void uring_rescan(const v1::BdevUringRescanRequest& request, rpc::Reply<v1::Done> reply);
    void nvme_attach(const v1::BdevNvmeAttachPassthroughRequest& request,
                     rpc::Reply<v1::BdevNvmeAttachPassthroughResponse> reply);

    // The id by which a request names its namespace. Errors: kInvalidArgument, those of Identify.
    [[nodiscard]] Result<bdev::NvmeId> id_of(const v1::BdevNvmeAttachPassthroughRequest& request);

    Context& context_;
    bdev::LinuxNvmeFinder finder_;
};

}  // namespace basalt::control
