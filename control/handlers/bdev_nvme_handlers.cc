#include "control/handlers/bdev_nvme_handlers.h"

#include <array>
#include <cerrno>
#include <utility>

#include "control/handlers/bdev_nvme_convert.h"
#include "control/handlers/device_calls.h"
#include "control/handlers/nvmf_auth_handlers.h"
#include "control/handlers/transport_words.h"
#include "nvmf/wire/nqn.h"

namespace basalt::control {

namespace {

using rpc::RpcCode;
using rpc::RpcError;

constexpr uint64_t kAttachTimeoutMs = 60'000;

template <typename Request>
std::optional<std::string> hostnqn_of(const Request& request) {
    return request.has_hostnqn() ? std::optional(request.hostnqn()) : std::nullopt;
}

RpcError wrong(std::string problem) {
    return {RpcCode::kInvalidParams, std::move(problem)};
}

// A path in a state that SPDK has a word for.
const char* state_word(nvmf::ControllerSession::State state) {
    using State = nvmf::ControllerSession::State;
    switch (state) {
        case State::kLive: return "enabled";
        case State::kConnecting:
        case State::kRecovering: return "resetting";
        case State::kWaiting: return "reconnect_is_delayed";
        case State::kGone: break;
    }
    return "failed";
}

RpcError attach_error(Error error, const std::string& problem) {
    if (error.code == Errc::kExists) {
        return {-EALREADY, problem};
    }
    if (error.code == Errc::kInvalidArgument && error.detail == 0) {
        return {-EINVAL, problem};
    }
    if (error.code == Errc::kPermissionDenied && error.detail == 0) {
        return {-EACCES, problem + ": it refuses our key, or has not proved to have its own"};
    }
    if (error.code == Errc::kNotSupported) {
        return {-ENOTSUP,
                problem +
                    ": it lacks something that is needed: digests that were asked for, or "
                    "an I/O queue for each reactor"};
    }
    return rpc::to_rpc_error(error, problem);
}

Task<void> attach_now(Context& context,
                      nvmf::AttachOptions options,
                      nvmf::SessionKeys keys,
                      rpc::Reply<v1::BdevNvmeAttachControllerResponse> reply) {
    const RunningCall running(context);
    std::string problem;
    auto attaching = context.remote.attach(std::move(options), problem, std::move(keys));
    const Result<std::vector<std::string>> names = co_await attaching;
    if (!names) {
        reply.fail(attach_error(names.error(), problem));
        co_return;
    }
    for (const std::string& name : *names) {
        reply.result().add_names(name);
    }
    reply.send();
}

Task<void> detach_now(Context& context,
                      std::string name,
                      nvmf::PathFilter filter,
                      rpc::Reply<v1::Done> reply) {
    const RunningCall running(context);
    std::string problem;
    auto detaching = context.remote.detach(std::move(name), std::move(filter), problem);
    const Status detached = co_await detaching;
    if (!detached) {
        reply.fail(detached.error(), problem);
        co_return;
    }
    reply.send();
}

Task<void> stop_discovery_now(Context& context, std::string name, rpc::Reply<v1::Done> reply) {
    const RunningCall running(context);
    std::string problem;
    auto stopping = context.remote.stop_discovery(std::move(name), problem);
    const Status stopped = co_await stopping;
    if (!stopped) {
        reply.fail(stopped.error(), problem);
        co_return;
    }
    reply.send();
}

/// Answers with the outcome of a sequence about `what`.
Task<void> answer(Context& context,
                  Task<Status> sequence,
                  std::string what,
                  rpc::Reply<v1::Done> reply) {
    const RunningCall running(context);
    const Status outcome = co_await sequence;
    if (!outcome) {
        reply.fail(outcome.error(), what);
        co_return;
    }
    reply.send();
}

// Which queues of a core are there: by subsystem and path.
struct PathsVisit {
    const nvmf::RemoteDevices& remote;
    std::vector<std::array<bool, nvmf::kPathsMax>> connected{};
};

Task<void> look_at_paths(Reactor& there, PathsVisit& request) {
    request.connected.clear();
    for (const auto& subsystem : request.remote.subsystems()) {
        std::array<bool, nvmf::kPathsMax> connected{};
        nvmf::CorePaths* paths = subsystem->core_paths().on(there).get();
        for (uint32_t i = 0; i < nvmf::kPathsMax && paths != nullptr; ++i) {
            connected[i] = paths->live_queue(i) != nullptr;
        }
        request.connected.push_back(connected);
    }
    co_return;
}

bool is_accessible(nvmf::PathAccess access) {
    return access == nvmf::PathAccess::kOptimized || access == nvmf::PathAccess::kNonOptimized;
}

// The paths that I/O of a namespace takes, if `connected` are there.
std::array<bool, nvmf::kPathsMax> current_paths(
    const nvmf::RemoteSubsystem::Namespace& space,
    const std::array<bool, nvmf::kPathsMax>& connected) {
    std::array<nvmf::PathView, nvmf::kPathsMax> views;
    for (uint32_t i = 0; i < nvmf::kPathsMax; ++i) {
        views[i] = {.access = space.access[i], .is_connected = connected[i], .in_flight = 0};
    }
    nvmf::PathCursor cursor;
    std::array<bool, nvmf::kPathsMax> current{};
    const std::optional<uint8_t> first = nvmf::select_path(views, space.rules, cursor);
    const bool takes_all = space.rules.policy == nvmf::MultipathPolicy::kActiveActive;
    for (uint8_t i = 0; i < nvmf::kPathsMax && first; ++i) {
        const bool is_as_good = connected[i] && space.access[i] == space.access[*first];
        current[i] = i == *first || (takes_all && is_as_good);
    }
    return current;
}

void list_paths(const nvmf::RemoteSubsystem& subsystem,
                const nvmf::RemoteSubsystem::Namespace& space,
                const std::array<bool, nvmf::kPathsMax>& connected,
                v1::BdevNvmeGetIoPathsResponse::PollGroup& out) {
    const auto current = current_paths(space, connected);
    for (const auto& session : subsystem.sessions()) {
        if (session == nullptr || space.access[session->index()] == nvmf::PathAccess::kNone) {
            continue;
        }
        auto& path = *out.add_io_paths();
        path.set_bdev_name(space.device);
        path.set_cntlid(session->cntlid().raw());
        path.set_current(current[session->index()]);
        path.set_connected(connected[session->index()]);
        path.set_accessible(is_accessible(space.access[session->index()]));
        fill(session->options().host, *path.mutable_transport());
        path.mutable_transport()->clear_subnqn();
    }
}

Task<void> read_io_paths(Context& context,
                         std::optional<std::string> name,
                         rpc::Reply<v1::BdevNvmeGetIoPathsResponse> reply) {
    const RunningCall running(context);
    // No subsystem comes or goes meanwhile.
    co_await context.remote.changes().acquire();
    const AsyncMutex::Turn turn(context.remote.changes());
    for (const CoreId core : context.devices.cores()) {
        PathsVisit request{.remote = context.remote};
        visit<PathsVisit> there(context.control(), core, request, &look_at_paths);
        co_await there;
        auto& group = *reply.result().add_poll_groups();
        group.set_thread(thread_name_of(core));
        size_t index = 0;
        for (const auto& subsystem : context.remote.subsystems()) {
            for (const auto& [nsid, space] : subsystem->namespaces()) {
                if (!name || *name == space.device) {
                    list_paths(*subsystem, space, request.connected[index], group);
                }
            }
            ++index;
        }
    }
    reply.send();
}

}  // namespace

void BdevNvmeHandlers::add_to(rpc::MethodTable& table) {
    using Self = BdevNvmeHandlers;
    table.add("bdev_nvme_set_options", *this, &Self::set_options);
    table.add("bdev_nvme_attach_controller", *this, &Self::attach);
    table.add("bdev_nvme_detach_controller", *this, &Self::detach);
    table.add("bdev_nvme_get_controllers", *this, &Self::get_controllers);
    table.add("bdev_nvme_reset_controller", *this, &Self::reset);
    table.add("bdev_nvme_set_keys", *this, &Self::set_keys);
    table.add("bdev_nvme_get_io_paths", *this, &Self::get_io_paths);
    table.add("bdev_nvme_set_preferred_path", *this, &Self::set_preferred_path);
    table.add("bdev_nvme_set_multipath_policy", *this, &Self::set_multipath_policy);
    table.add("bdev_nvme_start_discovery", *this, &Self::start_discovery);
    table.add("bdev_nvme_stop_discovery", *this, &Self::stop_discovery);
    table.add("bdev_nvme_get_discovery_info", *this, &Self::get_discovery_info);
}

void BdevNvmeHandlers::set_options(const v1::BdevNvmeSetOptionsRequest& request,
                                   Reply<v1::Done> reply) {
    nvmf::RemoteDefaults defaults = context_.remote.defaults();
    std::string problem;
    if (!read_reconnect(request, defaults.reconnect, problem)) {
        reply.fail(wrong(problem));
        return;
    }
    if (request.has_timeout_us()) {
        defaults.command_timeout_ns = request.timeout_us() * kNsPerUs;
    }
    if (request.has_action_on_timeout() &&
        request.action_on_timeout() == v1::BdevNvmeSetOptionsRequest::ACTION_ON_TIMEOUT_NONE) {
        defaults.command_timeout_ns = 0;
    }
    if (request.has_keep_alive_timeout_ms()) {
        defaults.keep_alive_ms = request.keep_alive_timeout_ms();
    }
    if (request.has_bdev_retry_count()) {
        defaults.retries_max = request.bdev_retry_count();
    }
    if (request.has_disable_auto_failback()) {
        defaults.rules.no_failback = request.disable_auto_failback();
    }
    read_multipath(request.multipath_opts(), defaults.rules);
    if (!read_algorithms(request, defaults.algorithms, problem)) {
        reply.fail(wrong(problem));
        return;
    }
    context_.remote.defaults() = defaults;
    reply.send();
}

void BdevNvmeHandlers::attach(const v1::BdevNvmeAttachControllerRequest& request,
                              Reply<v1::BdevNvmeAttachControllerResponse> reply) {
    using Request = v1::BdevNvmeAttachControllerRequest;
    const nvmf::RemoteDefaults& defaults = context_.remote.defaults();
    nvmf::AttachOptions options{
        .name = request.name(), .reconnect = defaults.reconnect, .rules = defaults.rules};
    std::string problem;
    const auto address = parse_transport(words_of(request), nvmf::kIoPort, problem);
    if (is_word(request.trtype(), "PCIe")) {
        problem += " (bdev_nvme_attach_passthrough is for drives of this machine)";
    }
    if (!address || !read_reconnect(request, options.reconnect, problem)) {
        reply.fail(wrong(problem));
        return;
    }
    if (request.multipath() == Request::MULTIPATH_DISABLE && request.has_multipath()) {
        options.mode = nvmf::MultipathMode::kDisable;
    }
    options.host.address = *address;
    options.host.subsystem_nqn = request.subnqn();
    options.host.header_digest = request.hdgst();
    options.host.data_digest = request.ddgst();
    set_host_name(context_, hostnqn_of(request), options.host);
    if (!nvmf::is_valid_nqn(request.subnqn()) || !nvmf::is_valid_nqn(options.host.host_nqn)) {
        reply.fail(wrong("subnqn and hostnqn must be like nqn.2026-01.io.basalt:vol1"));
        return;
    }
    read_multipath(request.multipath_opts(), options.rules);
    std::optional<nvmf::SessionKeys> keys =
        find_session_keys(context_.keyring, request, options, problem);
    if (!keys) {
        reply.fail(wrong(problem));
        return;
    }
    attach_now(context_, std::move(options), std::move(*keys), std::move(reply)).detach();
}

void BdevNvmeHandlers::set_keys(const v1::BdevNvmeSetKeysRequest& request, Reply<v1::Done> reply) {
    std::string problem;
    std::optional<nvmf::HostKeys> keys =
        find_host_keys(context_.keyring, request.dhchap_key(), request.dhchap_ctrlr_key(), problem);
    if (!keys) {
        reply.fail(wrong(problem));
        return;
    }
    answer(context_,
           context_.remote.set_keys(
               request.name(),
               nvmf::SessionKeys(std::move(keys->dhchap), std::move(keys->dhchap_controller))),
           "controller '" + request.name() + "'",
           std::move(reply))
        .detach();
}

void BdevNvmeHandlers::detach(const v1::BdevNvmeDetachControllerRequest& request,
                              Reply<v1::Done> reply) {
    const bool is_remote = context_.remote.find(request.name()) != nullptr;
    const bool names_path = request.has_trtype() || request.has_traddr() || request.has_adrfam() ||
                            request.has_trsvcid() || request.has_subnqn();
    if (!is_remote && !names_path) {
        remove_device(context_, request.name(), "bdev_nvme_attach_passthrough", std::move(reply))
            .detach();
        return;
    }
    nvmf::PathFilter filter;
    const std::string trtype = request.has_trtype() ? request.trtype() : "tcp";
    const std::string traddr = request.has_traddr() ? request.traddr() : "0.0.0.0";
    const std::optional<std::string> port =
        request.has_trsvcid() ? std::optional(request.trsvcid()) : std::nullopt;
    const TransportWords words{.trtype = trtype, .traddr = traddr, .adrfam = {}, .trsvcid = port};
    std::string problem;
    const auto address = parse_transport(words, nvmf::kIoPort, problem);
    if (!address) {
        reply.fail(wrong(problem));
        return;
    }
    if (request.has_traddr()) {
        filter.host = address->host();
    }
    if (request.has_trsvcid()) {
        filter.port = address->port();
    }
    if (request.has_subnqn()) {
        filter.nqn = request.subnqn();
    }
    if (request.has_adrfam()) {
        filter.is_ipv6 = request.adrfam().ends_with('6');
    }
    detach_now(context_, request.name(), std::move(filter), std::move(reply)).detach();
}

void BdevNvmeHandlers::get_controllers(const v1::BdevNvmeGetControllersRequest& request,
                                       Reply<v1::BdevNvmeGetControllersResponse> reply) {
    if (request.has_name() && context_.remote.find(request.name()) == nullptr) {
        reply.fail(Error(Errc::kNotFound), "controller '" + request.name() + "'");
        return;
    }
    for (const auto& subsystem : context_.remote.subsystems()) {
        if (request.has_name() && subsystem->name() != request.name()) {
            continue;
        }
        auto& controller = *reply.result().add_controllers();
        controller.set_name(subsystem->name());
        for (const auto& session : subsystem->sessions()) {
            if (session == nullptr) {
                continue;
            }
            auto& path = *controller.add_ctrlrs();
            path.set_state(state_word(session->state()));
            fill(session->options().host, *path.mutable_trid());
            path.set_cntlid(session->cntlid().raw());
            path.mutable_host()->set_nqn(session->options().host.host_nqn);
        }
    }
    reply.send();
}

void BdevNvmeHandlers::reset(const v1::BdevNvmeResetControllerRequest& request,
                             Reply<v1::Done> reply) {
    std::optional<nvmf::ControllerId> cntlid;
    if (request.has_cntlid()) {
        cntlid = nvmf::ControllerId(static_cast<uint16_t>(request.cntlid()));
    }
    answer(context_,
           context_.remote.reset(request.name(), cntlid),
           "controller '" + request.name() + "'",
           std::move(reply))
        .detach();
}

void BdevNvmeHandlers::get_io_paths(const v1::BdevNvmeGetIoPathsRequest& request,
                                    Reply<v1::BdevNvmeGetIoPathsResponse> reply) {
    std::optional<std::string> name;
    if (request.has_name()) {
        name = request.name();
        if (context_.remote.find_device(*name).space == nullptr) {
            reply.fail(Error(Errc::kNotFound), bdev_words(*name));
            return;
        }
    }
    read_io_paths(context_, std::move(name), std::move(reply)).detach();
}

void BdevNvmeHandlers::set_preferred_path(const v1::BdevNvmeSetPreferredPathRequest& request,
                                          Reply<v1::Done> reply) {
    const nvmf::ControllerId cntlid(static_cast<uint16_t>(request.cntlid()));
    answer(context_,
           context_.remote.set_preferred(request.name(), cntlid),
           bdev_words(request.name()) + " by controller " + std::to_string(request.cntlid()),
           std::move(reply))
        .detach();
}

void BdevNvmeHandlers::set_multipath_policy(const v1::BdevNvmeSetMultipathPolicyRequest& request,
                                            Reply<v1::Done> reply) {
    v1::NvmeMultipathOptions wanted;
    wanted.set_policy(request.policy());
    wanted.set_selector(request.selector());
    wanted.set_min_io(request.has_rr_min_io() ? request.rr_min_io() : 1);
    nvmf::PathRules rules;
    read_multipath(wanted, rules);
    answer(context_,
           context_.remote.set_rules(request.name(), rules.policy, rules.selector, rules.rr_min_io),
           bdev_words(request.name()),
           std::move(reply))
        .detach();
}

void BdevNvmeHandlers::start_discovery(const v1::BdevNvmeStartDiscoveryRequest& request,
                                       Reply<v1::Done> reply) {
    nvmf::SessionOptions options{.reconnect = context_.remote.defaults().reconnect};
    std::string problem;
    const auto address = parse_transport(words_of(request), nvmf::kDiscoveryPort, problem);
    if (!address || !read_reconnect(request, options.reconnect, problem)) {
        reply.fail(wrong(problem));
        return;
    }
    options.host.address = *address;
    options.host.subsystem_nqn = std::string(nvmf::kDiscoveryNqn);
    set_host_name(context_, hostnqn_of(request), options.host);
    if (!nvmf::is_valid_nqn(options.host.host_nqn)) {
        reply.fail(wrong("hostnqn must be like nqn.2026-01.io.basalt:host1"));
        return;
    }
    uint64_t timeout_ms = request.attach_timeout_ms();
    if (request.wait_for_attach() && timeout_ms == 0) {
        timeout_ms = kAttachTimeoutMs;
    }
    answer(context_,
           context_.remote.start_discovery(request.name(), options, timeout_ms * kNsPerMs),
           "discovery service '" + request.name() + "'",
           std::move(reply))
        .detach();
}

void BdevNvmeHandlers::stop_discovery(const v1::BdevNvmeStopDiscoveryRequest& request,
                                      Reply<v1::Done> reply) {
    stop_discovery_now(context_, request.name(), std::move(reply)).detach();
}

void BdevNvmeHandlers::get_discovery_info(const v1::BdevNvmeGetDiscoveryInfoRequest& /*request*/,
                                          Reply<v1::BdevNvmeGetDiscoveryInfoResponse> reply) {
    for (const auto& service : context_.remote.discoveries()) {
        auto& out = *reply.result().add_services();
        out.set_name(service->name());
        fill(service->options().host, *out.mutable_trid());
        for (const nvmf::DiscoveredPath& path : service->subsystems()) {
            const Result<SocketAddress> address = SocketAddress::parse(path.host, path.port);
            nvmf::HostOptions host;
            host.address = address ? *address : SocketAddress{};
            host.subsystem_nqn = path.nqn;
            fill(host, *out.add_referrals()->mutable_trid());
        }
    }
    reply.send();
}

}  // namespace basalt::control
