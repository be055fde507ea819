#include "control/handlers/nvmf_info_handlers.h"

#include <algorithm>
#include <utility>

#include "bdev/core/uuid.h"
#include "control/handlers/convert.h"
#include "control/handlers/nvmf_path_handlers.h"
#include "control/handlers/qos_convert.h"
#include "control/handlers/target_calls.h"
#include "control/handlers/transport_words.h"
#include "nvmf/wire/nqn.h"

namespace basalt::control {

namespace {

using rpc::Reply;

template <size_t Size>
bool is_zero(const std::array<uint8_t, Size>& bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

void fill(const nvmf::NamespaceConfig& config,
          bool ana_reporting,
          v1::SubsystemInfo::Namespace& out) {
    out.set_nsid(config.nsid.raw());
    out.set_bdev_name(config.bdev->info().name);
    out.set_name(config.bdev->info().name);
    if (!is_zero(config.nguid)) {
        out.set_nguid(to_hex(config.nguid));
    }
    if (!is_zero(config.eui64)) {
        out.set_eui64(to_hex(config.eui64));
    }
    out.set_uuid(config.uuid.to_string());
    if (ana_reporting) {
        out.set_anagrpid(config.ana_group);
    }
    if (!config.is_auto_visible) {
        out.set_no_auto_visible(true);
        for (const std::string& host : config.visible_hosts) {
            out.add_hosts(host);
        }
    }
    if (config.protection->is_protected()) {
        out.set_write_protected(true);
    }
}

void fill(const nvmf::Target& target, const nvmf::SubsystemConfig& config, v1::SubsystemInfo& out) {
    out.set_nqn(config.nqn);
    for (const nvmf::ListenerConfig& listener : config.listeners) {
        write_address(listener.address, *out.add_listen_addresses());
    }
    out.set_allow_any_host(config.allow_any_host);
    for (const std::string& host : config.hosts) {
        v1::SubsystemInfo::Host& entry = *out.add_hosts();
        entry.set_nqn(host);
        if (const nvmf::HostTls* tls = nvmf::find_host_tls(config, host)) {
            entry.set_psk(tls->key_name);
        }
        if (const nvmf::HostKeys* keys = target.host_keys(config.nqn, host)) {
            entry.set_dhchap_key(keys->dhchap.name());
            if (keys->dhchap_controller) {
                entry.set_dhchap_ctrlr_key(keys->dhchap_controller.name());
            }
        }
    }
    if (config.type == nvmf::SubsystemType::kDiscovery) {
        out.set_subtype("Discovery");
        return;
    }
    out.set_subtype("NVMe");
    out.set_serial_number(config.serial_number);
    out.set_model_number(config.model_number);
    out.set_max_namespaces(config.namespaces_max);
    out.set_min_cntlid(config.cntlid_min);
    out.set_max_cntlid(config.cntlid_max);
    out.set_ana_reporting(config.ana_reporting);
    for (const nvmf::NamespaceConfig& space : config.namespaces) {
        fill(space, config.ana_reporting, *out.add_namespaces());
    }
    for (const nvmf::HostRate& rate : config.host_rates) {
        v1::SubsystemInfo::HostLimits& limits = *out.add_host_qos_limits();
        limits.set_host(rate.host_nqn);
        describe_policy(rate.policy, limits);
    }
    if (config.capacity.rw_ios.rate != 0) {
        out.set_rw_ios_per_sec(config.capacity.rw_ios.rate);
    }
    if (config.capacity.rw_bytes.rate != 0) {
        out.set_rw_mbytes_per_sec(config.capacity.rw_bytes.rate >> kMbyteShift);
    }
}

}  // namespace

void NvmfInfoHandlers::add_to(rpc::MethodTable& table) {
    using Self = NvmfInfoHandlers;
    table.add("nvmf_get_transports", *this, &Self::get_transports);
    table.add("nvmf_get_subsystems", *this, &Self::get_subsystems);
    table.add("nvmf_subsystem_get_listeners", *this, &Self::get_listeners);
    table.add("nvmf_subsystem_get_controllers", *this, &Self::get_controllers);
    table.add("nvmf_subsystem_get_qpairs", *this, &Self::get_qpairs);
    table.add("nvmf_subsystem_move_qpair", *this, &Self::move_qpair);
    table.add("nvmf_get_stats", *this, &Self::get_stats);
}

void NvmfInfoHandlers::get_transports(const v1::NvmfGetTransportsRequest& request,
                                      Reply<v1::NvmfGetTransportsResponse> reply) {
    if (refuse_other_target(request, reply)) {
        return;
    }
    const nvmf::TransportOptions* options = context_.target.transport();
    if (request.has_trtype() && (options == nullptr || request.trtype() != "TCP")) {
        reply.fail(Error(Errc::kNotFound), "transport '" + request.trtype() + "'");
        return;
    }
    if (options != nullptr) {
        v1::NvmfGetTransportsResponse::Transport& out = *reply.result().add_transports();
        out.set_trtype("TCP");
        out.set_max_queue_depth(options->queue_entries_max);
        out.set_max_io_qpairs_per_ctrlr(options->io_queues_max);
        out.set_in_capsule_data_size(options->capsule_data_bytes);
        out.set_max_io_size(options->io_bytes_max);
        out.set_io_unit_size(options->io_bytes_max);
        out.set_max_aq_depth(options->admin_queue_entries_max);
        out.set_num_shared_buffers(options->shared_buffers != 0
                                       ? options->shared_buffers
                                       : context_.threads.count() * nvmf::kSharedBuffersPerReactor);
        out.set_c2h_success(options->c2h_success);
        out.set_sock_priority(options->socket_priority);
        out.set_abort_timeout_sec(options->abort_patience_ms / 1000);
        out.set_handshake_timeout_ms(options->handshake_timeout_ms);
        out.set_authentication_timeout_ms(options->authentication_timeout_ms);
        out.set_max_opening_connections(options->opening_max);
        out.set_max_opening_per_address(options->opening_per_address_max);
        out.set_max_connections_per_host(options->host_connections_max);
        out.set_max_controllers_per_host(options->host_controllers_max);
    }
    reply.send();
}

void NvmfInfoHandlers::get_subsystems(const v1::NvmfGetSubsystemsRequest& request,
                                      Reply<v1::NvmfGetSubsystemsResponse> reply) {
    if (refuse_other_target(request, reply)) {
        return;
    }
    if (request.has_nqn() && context_.target.find(request.nqn()) == nullptr) {
        reply.fail(Error(Errc::kNotFound), subsystem_words(request.nqn()));
        return;
    }
    for (const nvmf::SubsystemConfig* config : context_.target.subsystems()) {
        if (!request.has_nqn() || request.nqn() == config->nqn) {
            fill(context_.target, *config, *reply.result().add_subsystems());
        }
    }
    reply.send();
}

void NvmfInfoHandlers::get_listeners(const v1::NvmfSubsystemGetListenersRequest& request,
                                     Reply<v1::NvmfSubsystemGetListenersResponse> reply) {
    if (refuse_other_target(request, reply)) {
        return;
    }
    const nvmf::SubsystemConfig* config = context_.target.find(request.nqn());
    if (config == nullptr) {
        reply.fail(target_error(Error(Errc::kNotFound), subsystem_words(request.nqn())));
        return;
    }
    for (const nvmf::ListenerConfig& listener : config->listeners) {
        v1::NvmfSubsystemGetListenersResponse::Listener& out = *reply.result().add_listeners();
        write_address(listener.address, *out.mutable_address());
        for (uint32_t group = 1; group <= listener.ana_groups.size(); ++group) {
            auto& state = *out.add_ana_states();
            state.set_ana_group(group);
            state.set_ana_state(ana_word(listener.ana_state(group)));
        }
    }
    reply.send();
}

void NvmfInfoHandlers::get_controllers(const v1::NvmfSubsystemGetControllersRequest& request,
                                       Reply<v1::NvmfSubsystemGetControllersResponse> reply) {
    if (!refuse_other_target(request, reply)) {
        read_controllers(request.nqn(), std::move(reply)).detach();
    }
}

Task<void> NvmfInfoHandlers::read_controllers(
    std::string nqn, Reply<v1::NvmfSubsystemGetControllersResponse> reply) {
    const RunningCall running(context_);
    auto reading = context_.target.controllers(nqn);
    const Result<std::vector<nvmf::ControllerInfo>> read = co_await reading;
    if (!read) {
        reply.fail(target_error(read.error(), subsystem_words(nqn)));
        co_return;
    }
    const bool is_discovery = nqn == nvmf::kDiscoveryNqn;
    for (const nvmf::ControllerInfo& info : *read) {
        v1::NvmfSubsystemGetControllersResponse::Controller& out =
            *reply.result().add_controllers();
        out.set_cntlid(info.cntlid.raw());
        out.set_cntrltype(is_discovery ? "discovery" : "io");
        out.set_hostnqn(info.host_nqn);
        out.set_hostid(bdev::Uuid{info.host_id}.to_string());
        out.set_num_io_qpairs(info.io_queues);
    }
    reply.send();
}

void NvmfInfoHandlers::get_qpairs(const v1::NvmfSubsystemGetQpairsRequest& request,
                                  Reply<v1::NvmfSubsystemGetQpairsResponse> reply) {
    if (!refuse_other_target(request, reply)) {
        read_qpairs(request.nqn(), std::move(reply)).detach();
    }
}

Task<void> NvmfInfoHandlers::read_qpairs(std::string nqn,
                                         Reply<v1::NvmfSubsystemGetQpairsResponse> reply) {
    const RunningCall running(context_);
    auto reading = context_.target.queues(nqn);
    const Result<std::vector<nvmf::QueueInfo>> read = co_await reading;
    if (!read) {
        reply.fail(target_error(read.error(), subsystem_words(nqn)));
        co_return;
    }
    for (const nvmf::QueueInfo& info : *read) {
        v1::NvmfSubsystemGetQpairsResponse::Qpair& out = *reply.result().add_qpairs();
        out.set_cntlid(info.cntlid.raw());
        out.set_qid(info.qid.raw());
        out.set_state("enabled");
        out.set_thread(thread_name_of(info.core));
        out.set_hostnqn(info.host_nqn);
        write_address(info.local, *out.mutable_listen_address());
        write_address(info.peer, *out.mutable_peer_address());
    }
    reply.send();
}

void NvmfInfoHandlers::move_qpair(const v1::NvmfSubsystemMoveQpairRequest& request,
                                  Reply<v1::Done> reply) {
    if (!refuse_other_target(request, reply)) {
        move_now(request, std::move(reply)).detach();
    }
}

Task<void> NvmfInfoHandlers::move_now(v1::NvmfSubsystemMoveQpairRequest request,
                                      Reply<v1::Done> reply) {
    const RunningCall running(context_);
    auto moving =
        context_.target.move_queue(request.nqn(),
                                   nvmf::ControllerId(static_cast<uint16_t>(request.cntlid())),
                                   nvmf::QueueId(static_cast<uint16_t>(request.qid())),
                                   CoreId(request.reactor()));
    const Status moved = co_await moving;
    if (moved) {
        reply.send();
        co_return;
    }
    reply.fail(target_error(moved.error(),
                            "queue " + std::to_string(request.qid()) + " of controller " +
                                std::to_string(request.cntlid()) + " of " +
                                subsystem_words(request.nqn())));
}

void NvmfInfoHandlers::get_stats(const v1::NvmfGetStatsRequest& request,
                                 Reply<v1::NvmfGetStatsResponse> reply) {
    if (!refuse_other_target(request, reply)) {
        read_stats(std::move(reply)).detach();
    }
}

Task<void> NvmfInfoHandlers::read_stats(Reply<v1::NvmfGetStatsResponse> reply) {
    const RunningCall running(context_);
    auto reading = context_.target.stats();
    const std::vector<nvmf::PollGroupStats> groups = co_await reading;
    reply.result().set_tick_rate(kTicksPerSecond);
    for (uint32_t i = 0; i < groups.size(); ++i) {
        v1::NvmfGetStatsResponse::PollGroup& out = *reply.result().add_poll_groups();
        out.set_name(thread_name_of(CoreId(i)));
        out.set_admin_qpairs(static_cast<uint32_t>(groups[i].admin_queues_total));
        out.set_io_qpairs(static_cast<uint32_t>(groups[i].io_queues_total));
        out.set_current_admin_qpairs(groups[i].admin_queues);
        out.set_current_io_qpairs(groups[i].io_queues);
        out.set_completed_nvme_io(groups[i].completed_io);
        const nvmf::AdmissionStats& admission = groups[i].admission;
        out.set_refused_connections(admission.refused_connections);
        out.set_expired_connections(admission.expired_connections);
        out.set_evicted_connections(admission.evicted_connections);
        out.set_refused_connects(admission.refused_connects);
        out.set_failed_authentications(admission.failed_authentications);
        out.add_transports()->set_trtype("TCP");
    }
    reply.send();
}

}  // namespace basalt::control
