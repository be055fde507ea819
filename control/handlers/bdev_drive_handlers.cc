#include "control/handlers/bdev_drive_handlers.h"

#include <algorithm>
#include <utility>

#include "bdev/leaf/file_bdev.h"
#include "bdev/leaf/nvme_bdev.h"
#include "control/handlers/convert.h"
#include "control/handlers/device_calls.h"

namespace basalt::control {

namespace {

using rpc::Reply;
using rpc::RpcCode;
using rpc::RpcError;

constexpr uint32_t kDefaultBlockBytes = 4096;

bool is_set(std::span<const uint8_t> bytes) {
    return std::any_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte != 0; });
}

// What bdev_aio_create and bdev_uring_create have in common.
template <typename Request>
bdev::FileOptions file_options(const Context& context, const Request& request, const char* method) {
    bdev::FileOptions options;
    options.name = request.name();
    options.path = request.filename();
    options.uuid = uuid_of(request);
    options.node = context.node;
    options.block_size_bytes =
        request.block_size() != 0 ? request.block_size() : kDefaultBlockBytes;
    options.method = method;
    return options;
}

// Opens the file and answers; the message names the path, which is where the trouble is.
template <typename Response>
void open_file(Context& context, const bdev::FileOptions& options, Reply<Response>& reply) {
    auto opened = bdev::FileBdev::open(options, context.files);
    if (!opened) {
        std::string what = bdev_words(options.name) + ": file '" + options.path + "'";
        if (opened.error().code == Errc::kInvalidArgument) {
            what +=
                " (it must be a file or block device, not empty, of a size that is a multiple "
                "of the block size, " +
                std::to_string(options.block_size_bytes) + ")";
        }
        reply.fail(opened.error(), what);
        return;
    }
    finish_create(context, std::move(opened), options.name, reply);
}

Status rescan(bdev::Device& device) {
    return static_cast<bdev::FileBdev&>(device.inner()).rescan();
}

}  // namespace

void BdevDriveHandlers::add_to(rpc::MethodTable& table) {
    table.add("bdev_aio_create", *this, &BdevDriveHandlers::aio_create);
    table.add("bdev_aio_delete", *this, &BdevDriveHandlers::aio_delete);
    table.add("bdev_aio_rescan", *this, &BdevDriveHandlers::aio_rescan);
    table.add("bdev_uring_create", *this, &BdevDriveHandlers::uring_create);
    table.add("bdev_uring_delete", *this, &BdevDriveHandlers::uring_delete);
    table.add("bdev_uring_rescan", *this, &BdevDriveHandlers::uring_rescan);
    table.add("bdev_nvme_attach_passthrough", *this, &BdevDriveHandlers::nvme_attach);
}

void BdevDriveHandlers::aio_create(const v1::BdevAioCreateRequest& request,
                                   Reply<v1::BdevAioCreateResponse> reply) {
    bdev::FileOptions options = file_options(context_, request, "bdev_aio_create");
    options.read_only = request.readonly();
    open_file(context_, options, reply);
}

void BdevDriveHandlers::aio_delete(const v1::BdevAioDeleteRequest& request, Reply<v1::Done> reply) {
    remove_device(context_, request.name(), "bdev_aio_create", std::move(reply)).detach();
}

void BdevDriveHandlers::aio_rescan(const v1::BdevAioRescanRequest& request, Reply<v1::Done> reply) {
    resize_device(context_, request.name(), "bdev_aio_create", &rescan, std::move(reply)).detach();
}

void BdevDriveHandlers::uring_rescan(const v1::BdevUringRescanRequest& request,
                                     Reply<v1::Done> reply) {
    resize_device(context_, request.name(), "bdev_uring_create", &rescan, std::move(reply))
        .detach();
}

void BdevDriveHandlers::uring_create(const v1::BdevUringCreateRequest& request,
                                     Reply<v1::BdevUringCreateResponse> reply) {
    open_file(context_, file_options(context_, request, "bdev_uring_create"), reply);
}

void BdevDriveHandlers::uring_delete(const v1::BdevUringDeleteRequest& request,
                                     Reply<v1::Done> reply) {
    remove_device(context_, request.name(), "bdev_uring_create", std::move(reply)).detach();
}

Result<bdev::NvmeId> BdevDriveHandlers::id_of(const v1::BdevNvmeAttachPassthroughRequest& request) {
    if (!request.has_path()) {
        return bdev::NvmeId::parse(request.has_nguid()   ? request.nguid()
                                   : request.has_eui64() ? request.eui64()
                                                         : request.uuid());
    }
    BASALT_TRY(const bdev::NvmeIdentity identity, finder_.identify(request.path()));
    if (is_set(identity.uuid)) {
        return bdev::NvmeId::parse(to_hex(identity.uuid));
    }
    return bdev::NvmeId::parse(is_set(identity.nguid) ? to_hex(identity.nguid)
                                                      : to_hex(identity.eui64));
}

void BdevDriveHandlers::nvme_attach(const v1::BdevNvmeAttachPassthroughRequest& request,
                                    Reply<v1::BdevNvmeAttachPassthroughResponse> reply) {
    const int named = int{request.has_nguid()} + int{request.has_eui64()} +
                      int{request.has_uuid()} + int{request.has_path()};
    if (named != 1) {
        reply.fail(RpcError(RpcCode::kInvalidParams,
                            "exactly one of nguid, eui64, uuid and path must say which namespace"));
        return;
    }
    const Result<bdev::NvmeId> id = id_of(request);
    if (!id) {
        reply.fail(id.error(),
                   bdev_words(request.name()) + ": the namespace's id" +
                       (request.has_path() ? ", from '" + request.path() + "'" : ""));
        return;
    }
    auto opened = bdev::NvmeBdev::open(
        {.name = request.name(), .id = *id, .uuid = {}}, finder_, context_.files);
    if (!opened) {
        reply.fail(opened.error(),
                   bdev_words(request.name()) + ": NVMe namespace " + id->to_string());
        return;
    }
    finish_create(context_, std::move(opened), request.name(), reply);
}

}  // namespace basalt::control
