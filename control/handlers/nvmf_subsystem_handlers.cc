#include "control/handlers/nvmf_subsystem_handlers.h"

#include <cerrno>
#include <optional>
#include <utility>

#include "bdev/core/uuid.h"
#include "control/handlers/ana_follower.h"
#include "control/handlers/convert.h"
#include "control/handlers/device_calls.h"
#include "control/handlers/host_tls.h"
#include "control/handlers/nvmf_auth_handlers.h"
#include "control/handlers/nvmf_path_handlers.h"
#include "control/handlers/target_calls.h"
#include "control/handlers/transport_words.h"
#include "nvmf/target/reservation/file_reservation_store.h"
#include "nvmf/wire/limits.h"

namespace basalt::control {

namespace {

using rpc::Reply;
using rpc::RpcCode;
using rpc::RpcError;

void read_limits(const v1::NvmfCreateTransportRequest& request, nvmf::TransportOptions& options) {
    const auto read = [](bool is_given, uint32_t given, uint32_t& option) {
        option = is_given ? given : option;
    };
    read(request.has_handshake_timeout_ms(),
         request.handshake_timeout_ms(),
         options.handshake_timeout_ms);
    read(request.has_authentication_timeout_ms(),
         request.authentication_timeout_ms(),
         options.authentication_timeout_ms);
    read(request.has_max_opening_connections(),
         request.max_opening_connections(),
         options.opening_max);
    read(request.has_max_opening_per_address(),
         request.max_opening_per_address(),
         options.opening_per_address_max);
    read(request.has_max_connections_per_host(),
         request.max_connections_per_host(),
         options.host_connections_max);
    read(request.has_max_controllers_per_host(),
         request.max_controllers_per_host(),
         options.host_controllers_max);
}

nvmf::TransportOptions to_options(const v1::NvmfCreateTransportRequest& request,
                                  const Context& context) {
    nvmf::TransportOptions options;
    options.discovery_port = context.discovery_port;
    if (request.has_max_queue_depth()) {
        options.queue_entries_max = request.max_queue_depth();
    }
    if (request.has_max_io_qpairs_per_ctrlr()) {
        options.io_queues_max = request.max_io_qpairs_per_ctrlr();
    }
    if (request.has_in_capsule_data_size()) {
        options.capsule_data_bytes = request.in_capsule_data_size();
    }
    if (request.has_max_io_size()) {
        options.io_bytes_max = request.max_io_size();
    }
    if (request.has_c2h_success()) {
        options.c2h_success = request.c2h_success();
    }
    if (request.has_max_aq_depth()) {
        options.admin_queue_entries_max = request.max_aq_depth();
    }
    if (request.has_num_shared_buffers()) {
        nvmf::share_buffers(options, request.num_shared_buffers(), context.threads.count());
    }
    options.socket_priority = request.sock_priority();
    if (request.has_abort_timeout_sec()) {
        options.abort_patience_ms = request.abort_timeout_sec() * 1000;
    }
    read_limits(request, options);
    return options;
}

// What the target could not do, said with the names of the API's parameters.
RpcError transport_error(Error error) {
    if (error.code == Errc::kInvalidArgument) {
        return {RpcCode::kInvalidParams,
                "max_queue_depth must be 16 to 4096, max_io_qpairs_per_ctrlr 1 to 1024, "
                "max_io_size a power of two from 8192 to 131072, in_capsule_data_size a multiple "
                "of 16 up to 8192"};
    }
    if (error.code == Errc::kNoMemory) {
        return {-ENOMEM,
                "no memory for the I/O buffers, by default 32 MiB a reactor: take fewer "
                "num_shared_buffers, or more hugepages, or none"};
    }
    return rpc::to_rpc_error(error, "transport 'TCP'");
}

RpcError subsystem_error(Error error, const std::string& nqn) {
    if (error.code == Errc::kInvalidArgument) {
        return {
            RpcCode::kInvalidParams,
            subsystem_words(nqn) +
                ": nqn must be like nqn.2026-01.io.basalt:vol1, serial_number at most 20 and "
                "model_number at most 40 printable characters, max_namespaces at most 1024, "
                "min_cntlid not above max_cntlid, and in that range one id for each reactor; with "
                "ana_reporting the ANA log of max_namespaces must fit into max_io_size"};
    }
    return rpc::to_rpc_error(error, subsystem_words(nqn));
}

Task<void> begin_transport(Context& context,
                           nvmf::TransportOptions options,
                           Reply<v1::Done> reply) {
    const RunningCall running(context);
    auto creating = context.target.create_transport(options);
    const Status created = co_await creating;
    if (!created) {
        reply.fail(transport_error(created.error()));
        co_return;
    }
    reply.send();
}

Task<void> begin_subsystem(Context& context,
                           nvmf::SubsystemOptions options,
                           Reply<v1::Done> reply) {
    const RunningCall running(context);
    const std::string nqn = options.nqn;
    auto creating = context.target.create_subsystem(std::move(options));
    const Status created = co_await creating;
    if (!created) {
        reply.fail(subsystem_error(created.error(), nqn));
        co_return;
    }
    reply.send();
}

}  // namespace

void NvmfSubsystemHandlers::add_to(rpc::MethodTable& table) {
    using Self = NvmfSubsystemHandlers;
    table.add("nvmf_create_transport", *this, &Self::create_transport);
    table.add("nvmf_create_subsystem", *this, &Self::create_subsystem);
    table.add("nvmf_delete_subsystem", *this, &Self::delete_subsystem);
    table.add("nvmf_subsystem_add_ns", *this, &Self::add_ns);
    table.add("nvmf_subsystem_remove_ns", *this, &Self::remove_ns);
    table.add("nvmf_subsystem_add_listener", *this, &Self::add_listener);
    table.add("nvmf_subsystem_remove_listener", *this, &Self::remove_listener);
    table.add("nvmf_subsystem_add_host", *this, &Self::add_host);
    table.add("nvmf_subsystem_remove_host", *this, &Self::remove_host);
    table.add("nvmf_subsystem_allow_any_host", *this, &Self::allow_any_host);
}

void NvmfSubsystemHandlers::create_transport(const v1::NvmfCreateTransportRequest& request,
                                             Reply<v1::Done> reply) {
    if (refuse_other_target(request, reply)) {
        return;
    }
    if (!is_word(request.trtype(), "TCP")) {
        reply.fail(RpcError(RpcCode::kInvalidParams,
                            "trtype: must be TCP, not '" + request.trtype() + "'"));
        return;
    }
    begin_transport(context_, to_options(request, context_), std::move(reply)).detach();
}

void NvmfSubsystemHandlers::create_subsystem(const v1::NvmfCreateSubsystemRequest& request,
                                             Reply<v1::Done> reply) {
    if (refuse_other_target(request, reply)) {
        return;
    }
    nvmf::SubsystemOptions options;
    options.nqn = request.nqn();
    options.serial_number = request.serial_number();
    if (request.has_model_number() && !request.model_number().empty()) {
        options.model_number = request.model_number();
    }
    options.allow_any_host = request.allow_any_host();
    options.ana_reporting = request.ana_reporting();
    if (request.max_namespaces() > 0) {
        options.namespaces_max = request.max_namespaces();
    }
    if (request.has_min_cntlid()) {
        options.cntlid_min = static_cast<uint16_t>(request.min_cntlid());
    }
    if (request.has_max_cntlid()) {
        options.cntlid_max = static_cast<uint16_t>(request.max_cntlid());
    }
    begin_subsystem(context_, std::move(options), std::move(reply)).detach();
}

void NvmfSubsystemHandlers::delete_subsystem(const v1::NvmfDeleteSubsystemRequest& request,
                                             Reply<v1::Done> reply) {
    if (!refuse_other_target(request, reply)) {
        answer_with(context_,
                    context_.target.delete_subsystem(request.nqn()),
                    subsystem_words(request.nqn()),
                    std::move(reply))
            .detach();
    }
}

void NvmfSubsystemHandlers::add_ns(const v1::NvmfSubsystemAddNsRequest& request,
                                   Reply<v1::NvmfSubsystemAddNsResponse> reply) {
    if (refuse_other_target(request, reply)) {
        return;
    }
    const v1::NamespaceParams& params = request.namespace_();
    nvmf::NamespaceOptions options;
    options.device = context_.devices.find(params.bdev_name());
    if (options.device == nullptr) {
        reply.fail(Error(Errc::kNotFound), bdev_words(params.bdev_name()));
        return;
    }
    options.nsid = nvmf::Nsid(params.nsid());
    options.ana_group = params.anagrpid();
    options.is_auto_visible = !params.no_auto_visible();
    options.is_write_protected = params.write_protected();
    if (params.has_uuid()) {
        const Result<bdev::Uuid> uuid = bdev::Uuid::parse(params.uuid());
        options.uuid = uuid ? *uuid : bdev::Uuid{};
    }
    if (params.has_nguid() && !from_hex(params.nguid(), options.nguid)) {
        reply.fail(RpcError(RpcCode::kInvalidParams, "nguid: must be 32 hexadecimal digits"));
        return;
    }
    if (params.has_eui64() && !from_hex(params.eui64(), options.eui64)) {
        reply.fail(RpcError(RpcCode::kInvalidParams, "eui64: must be 16 hexadecimal digits"));
        return;
    }
    if (!params.ptpl_file().empty()) {
        auto store = nvmf::FileReservationStore::open(
            context_.threads.control(), context_.files, params.ptpl_file());
        if (!store) {
            reply.fail(store.error(), "ptpl_file '" + params.ptpl_file() + "'");
            return;
        }
        options.reservation_store = std::move(*store);
        options.reservation_file = params.ptpl_file();
    }
    Result<bdev::Claim> claim =
        context_.devices.claim(*options.device, "a namespace of " + subsystem_words(request.nqn()));
    if (!claim) {
        reply.fail(claim.error(),
                   bdev_words(params.bdev_name()) + ", used by " + options.device->user());
        return;
    }
    options.claim = std::move(*claim);
    add_namespace(request.nqn(), std::move(options), std::move(reply)).detach();
}

Task<void> NvmfSubsystemHandlers::add_namespace(std::string nqn,
                                                nvmf::NamespaceOptions options,
                                                Reply<v1::NvmfSubsystemAddNsResponse> reply) {
    const RunningCall running(context_);
    auto adding = context_.target.add_namespace(nqn, std::move(options));
    const Result<nvmf::Nsid> added = co_await adding;
    if (!added) {
        reply.fail(target_error(added.error(), "a namespace of " + subsystem_words(nqn)));
        co_return;
    }
    follow_heads(context_);
    reply.result().set_nsid(added->raw());
    reply.send();
}

void NvmfSubsystemHandlers::remove_ns(const v1::NvmfSubsystemRemoveNsRequest& request,
                                      Reply<v1::Done> reply) {
    if (!refuse_other_target(request, reply)) {
        answer_with(context_,
                    context_.target.remove_namespace(request.nqn(), nvmf::Nsid(request.nsid())),
                    namespace_words(request.nqn(), nvmf::Nsid(request.nsid())),
                    std::move(reply))
            .detach();
    }
}

void NvmfSubsystemHandlers::add_listener(const v1::NvmfSubsystemAddListenerRequest& request,
                                         Reply<v1::Done> reply) {
    if (refuse_other_target(request, reply)) {
        return;
    }
    const nvmf::AnaState ana = ana_state(request.ana_state());
    if (ana != nvmf::AnaState::kOptimized && refuse_without_ana(context_, request.nqn(), reply)) {
        return;
    }
    if (context_.target.transport() == nullptr) {
        reply.fail(RpcError(RpcCode::kInvalidParams,
                            "there is no TCP transport yet; nvmf_create_transport makes it"));
        return;
    }
    const std::optional<SocketAddress> address =
        read_address(request.listen_address(), nvmf::kIoPort, reply);
    if (address) {
        add_listener_at(
            request.nqn(),
            *address,
            context_.target.add_listener(request.nqn(), *address, ana, request.secure_channel()),
            std::move(reply))
            .detach();
    }
}

Task<void> NvmfSubsystemHandlers::add_listener_at(std::string nqn,
                                                  SocketAddress address,
                                                  Task<Result<SocketAddress>> adding,
                                                  Reply<v1::Done> reply) {
    const RunningCall running(context_);
    const Result<SocketAddress> added = co_await adding;
    if (!added) {
        reply.fail(target_error(added.error(), listener_words(nqn, address)));
        co_return;
    }
    follow_heads(context_);
    reply.send();
}

void NvmfSubsystemHandlers::remove_listener(const v1::NvmfSubsystemRemoveListenerRequest& request,
                                            Reply<v1::Done> reply) {
    if (refuse_other_target(request, reply)) {
        return;
    }
    const std::optional<SocketAddress> address =
        read_address(request.listen_address(), nvmf::kIoPort, reply);
    if (address) {
        answer_with(context_,
                    context_.target.remove_listener(request.nqn(), *address),
                    listener_words(request.nqn(), *address),
                    std::move(reply))
            .detach();
    }
}

void NvmfSubsystemHandlers::add_host(const v1::NvmfSubsystemAddHostRequest& request,
                                     Reply<v1::Done> reply) {
    if (refuse_other_target(request, reply)) {
        return;
    }
    std::optional<nvmf::HostTls> tls;
    if (!request.psk().empty()) {
        std::string problem;
        Result<nvmf::HostTls> read = read_host_tls(
            context_.keyring, request.psk(), {request.host(), request.nqn()}, problem);
        if (!read) {
            reply.fail(RpcError(RpcCode::kInvalidParams, problem));
            return;
        }
        tls = std::move(*read);
    }
    std::string problem;
    std::optional<nvmf::HostKeys> keys =
        find_host_keys(context_.keyring, request.dhchap_key(), request.dhchap_ctrlr_key(), problem);
    if (!keys) {
        reply.fail(RpcError(RpcCode::kInvalidParams, problem));
        return;
    }
    answer_with(
        context_,
        context_.target.add_host(request.nqn(), request.host(), std::move(tls), std::move(*keys)),
        "host '" + request.host() + "' of " + subsystem_words(request.nqn()),
        std::move(reply))
        .detach();
}

void NvmfSubsystemHandlers::remove_host(const v1::NvmfSubsystemRemoveHostRequest& request,
                                        Reply<v1::Done> reply) {
    if (!refuse_other_target(request, reply)) {
        answer_with(context_,
                    context_.target.remove_host(request.nqn(), request.host()),
                    "host '" + request.host() + "' of " + subsystem_words(request.nqn()),
                    std::move(reply))
            .detach();
    }
}

void NvmfSubsystemHandlers::allow_any_host(const v1::NvmfSubsystemAllowAnyHostRequest& request,
                                           Reply<v1::Done> reply) {
    if (!refuse_other_target(request, reply)) {
        answer_with(context_,
                    context_.target.allow_any_host(request.nqn(), request.allow_any_host()),
                    subsystem_words(request.nqn()),
                    std::move(reply))
            .detach();
    }
}

}  // namespace basalt::control
