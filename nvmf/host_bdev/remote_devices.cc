#include "nvmf/host_bdev/remote_devices.h"

#include <algorithm>
#include <utility>

#include "reactor/base/log.h"

namespace basalt::nvmf {

namespace {

constexpr uint64_t kEndPollNs = kNsPerMs;

}  // namespace

bool PathFilter::fits(const HostOptions& options) const {
    return (!host || *host == options.address.host()) &&
           (!port || *port == options.address.port()) && (!nqn || *nqn == options.subsystem_nqn) &&
           (!is_ipv6 || *is_ipv6 == options.address.is_ipv6());
}

RemoteDevices::~RemoteDevices() {
    BASALT_ASSERT(running_ == 0 || context_.control.is_abandoned());
}

RemoteSubsystem* RemoteDevices::find(const std::string& name) const {
    const auto found = std::find_if(subsystems_.begin(), subsystems_.end(), [&](const auto& one) {
        return one->name() == name;
    });
    return found != subsystems_.end() ? found->get() : nullptr;
}

RemoteDevices::Found RemoteDevices::find_device(const std::string& device) const {
    for (const auto& subsystem : subsystems_) {
        for (const auto& [nsid, space] : subsystem->namespaces()) {
            if (space.device == device) {
                return {.subsystem = subsystem.get(), .space = &space};
            }
        }
    }
    return {};
}

// --- Attaching -------------------------------------------------------------------------------

Status RemoteDevices::may_add(const RemoteSubsystem& subsystem,
                              const AttachOptions& options,
                              std::string& problem) const {
    const std::string name = "a controller named '" + options.name + "' exists already";
    if (options.mode == MultipathMode::kDisable) {
        problem = name + " and multipath is disabled";
        return Errc::kExists;
    }
    if (subsystem.nqn() != options.host.subsystem_nqn) {
        problem = name + " and is of another subsystem, " + subsystem.nqn();
        return Errc::kInvalidArgument;
    }
    for (const auto& session : subsystem.sessions()) {
        if (session == nullptr) {
            continue;
        }
        const HostOptions& host = session->options().host;
        if (host.address == options.host.address) {
            problem = name + " with that path";
            return Errc::kExists;
        }
        if (host.host_nqn != options.host.host_nqn) {
            problem = name + " with another host NQN, " + host.host_nqn;
            return Errc::kInvalidArgument;
        }
    }
    return kOk;
}

// tidy: allow(coroutine): `problem` outlives the call, as its comment says
Task<Result<std::vector<std::string>>> RemoteDevices::attach(AttachOptions options,
                                                             std::string& problem,
                                                             SessionKeys keys) {
    using Names = std::vector<std::string>;
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    if (is_ending_) {
        co_return Result<Names>(Errc::kCancelled);
    }
    RemoteSubsystem* subsystem = find(options.name);
    if (subsystem != nullptr) {
        const Status allowed = may_add(*subsystem, options, problem);
        if (!allowed) {
            co_return Result<Names>(allowed.error());
        }
    } else {
        const RemoteSubsystem::Settings settings{.rules = options.rules,
                                                 .retries_max = defaults_.retries_max,
                                                 .discovered_by = options.discovered_by};
        RemoteSubsystemUser& hearer = *this;  // The base is private, so only we can name it.
        subsystems_.push_back(std::make_unique<RemoteSubsystem>(
            context_, options.name, options.host.subsystem_nqn, settings, hearer));
        subsystem = subsystems_.back().get();
        co_await subsystem->start();
    }
    SessionOptions session{.host = std::move(options.host),
                           .reconnect = options.reconnect,
                           .queue_entries = options.queue_entries,
                           .algorithms = defaults_.algorithms,
                           .psk_name = std::move(options.psk_name)};
    session.host.keep_alive_ms = defaults_.keep_alive_ms;
    session.host.command_timeout_ns = defaults_.command_timeout_ns;
    Result<Names> names = co_await subsystem->attach(session, std::move(keys));
    if (!names) {
        problem = session.host.subsystem_nqn + " at " + session.host.address.to_string();
        co_await forget_pathless();
    }
    co_return names;
}

// tidy: allow(coroutine): `problem` outlives the call, as its comment says
Task<Status> RemoteDevices::detach(std::string name, PathFilter filter, std::string& problem) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    RemoteSubsystem* subsystem = find(name);
    if (subsystem == nullptr) {
        problem = "controller '" + name + "'";
        co_return Errc::kNotFound;
    }
    std::vector<uint32_t> paths;
    uint32_t others = 0;
    for (const auto& session : subsystem->sessions()) {
        if (session != nullptr && filter.fits(session->options().host)) {
            paths.push_back(session->index());
        } else if (session != nullptr) {
            ++others;
        }
    }
    if (paths.empty()) {
        problem = "controller '" + name + "' has no such path";
        co_return Errc::kNotFound;
    }
    problem = subsystem->user_of_devices();
    if (others == 0 && !problem.empty()) {
        co_return Errc::kBusy;
    }
    Status detached;
    for (const uint32_t path : paths) {
        detached = co_await subsystem->detach(path);
    }
    co_await forget_pathless();
    co_return detached;
}

/// Subsystems without paths end when none of their devices is used.
Task<void> RemoteDevices::forget_pathless() {
    for (size_t i = 0; i < subsystems_.size();) {
        RemoteSubsystem& subsystem = *subsystems_[i];
        if (!subsystem.has_paths()) {
            co_await subsystem.sweep();
        }
        if (subsystem.has_paths() || !subsystem.namespaces().empty()) {
            ++i;
            continue;
        }
        co_await subsystem.end();
        subsystems_.erase(subsystems_.begin() + static_cast<ptrdiff_t>(i));
    }
}

Task<Status> RemoteDevices::reset(std::string name, std::optional<ControllerId> cntlid) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    RemoteSubsystem* subsystem = find(name);
    if (subsystem == nullptr) {
        co_return Errc::kNotFound;
    }
    Status status = Errc::kNotFound;
    for (uint32_t i = 0; i < kPathsMax; ++i) {
        ControllerSession* session = subsystem->sessions()[i].get();
        if (session != nullptr && (!cntlid || session->cntlid() == *cntlid)) {
            status = co_await session->reset();
        }
    }
    co_return status;
}

Task<Status> RemoteDevices::set_keys(std::string name, SessionKeys keys) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    RemoteSubsystem* subsystem = find(name);
    if (subsystem == nullptr) {
        co_return Errc::kNotFound;
    }
    Status status;
    for (uint32_t i = 0; i < kPathsMax; ++i) {
        ControllerSession* session = subsystem->sessions()[i].get();
        if (session == nullptr) {
            continue;
        }
        SessionKeys same = keys.again();
        auto setting = session->set_keys(std::move(same));
        const Status set = co_await setting;
        if (!set) {
            status = set;
        }
    }
    co_return status;
}

// --- How devices use their paths -------------------------------------------------------------

Task<Status> RemoteDevices::set_rules(std::string device,
                                      MultipathPolicy policy,
                                      MultipathSelector selector,
                                      uint32_t rr_min_io) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const Found found = find_device(device);
    if (found.space == nullptr) {
        co_return Errc::kNotFound;
    }
    PathRules rules = found.space->rules;
    rules.policy = policy;
    rules.selector = selector;
    rules.rr_min_io = rr_min_io;
    co_await found.subsystem->set_rules(found.space->identity.nsid, rules);
    co_return kOk;
}

Task<Status> RemoteDevices::set_preferred(std::string device, ControllerId cntlid) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    const Found found = find_device(device);
    if (found.space == nullptr) {
        co_return Errc::kNotFound;
    }
    for (const auto& session : found.subsystem->sessions()) {
        if (session != nullptr && session->cntlid() == cntlid) {
            PathRules rules = found.space->rules;
            rules.preferred = static_cast<uint8_t>(session->index());
            co_await found.subsystem->set_rules(found.space->identity.nsid, rules);
            co_return kOk;
        }
    }
    co_return Errc::kNotFound;
}

// --- Discovery -------------------------------------------------------------------------------

Task<Status> RemoteDevices::start_discovery(std::string name,
                                            SessionOptions options,
                                            uint64_t attach_timeout_ns) {
    const bool is_taken = std::any_of(
        discoveries_.begin(), discoveries_.end(), [&](auto& one) { return one->name() == name; });
    if (is_taken || is_ending_) {
        co_return is_taken ? Errc::kExists : Errc::kCancelled;
    }
    options.host.keep_alive_ms = defaults_.keep_alive_ms;
    DiscoveryUser& hearer = *this;  // As in attach().
    discoveries_.push_back(
        std::make_unique<DiscoveryService>(context_.control, name, options, hearer));
    DiscoveryService& service = *discoveries_.back();
    ++running_;
    const Status started = co_await service.start(attach_timeout_ns);
    --running_;
    co_return started;
}

Task<void> RemoteDevices::end_discovery(size_t index) {
    const std::unique_ptr<DiscoveryService> service = std::move(discoveries_[index]);
    discoveries_.erase(discoveries_.begin() + static_cast<ptrdiff_t>(index));
    co_await service->stop();
}

// tidy: allow(coroutine): the caller awaits it, and keeps what it refers to
Task<Status> RemoteDevices::detach_all_of(const std::string& service, std::string& problem) {
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    Status outcome;
    for (const auto& subsystem : subsystems_) {
        if (subsystem->settings().discovered_by != service) {
            continue;
        }
        for (uint32_t path = 0; path < kPathsMax; ++path) {
            const Status detached = co_await subsystem->detach(path);
            if (!detached && detached.error().code == Errc::kBusy) {
                problem = subsystem->user_of_devices();
                outcome = detached;
            }
        }
    }
    co_await forget_pathless();
    co_return outcome;
}

// tidy: allow(coroutine): `problem` outlives the call, as its comment says
Task<Status> RemoteDevices::stop_discovery(std::string name, std::string& problem) {
    const auto found = std::find_if(
        discoveries_.begin(), discoveries_.end(), [&](auto& one) { return one->name() == name; });
    if (found == discoveries_.end()) {
        problem = "discovery service '" + name + "'";
        co_return Errc::kNotFound;
    }
    for (const auto& subsystem : subsystems_) {
        if (subsystem->settings().discovered_by == name) {
            problem = subsystem->user_of_devices();
            if (!problem.empty()) {
                co_return Errc::kBusy;
            }
        }
    }
    // The service first: it would attach again what is detached.
    co_await end_discovery(static_cast<size_t>(found - discoveries_.begin()));
    co_return co_await detach_all_of(name, problem);
}

bool RemoteDevices::is_discovered(const RemoteSubsystem& subsystem) const {
    const std::string& service = subsystem.settings().discovered_by;
    return !service.empty() && std::any_of(discoveries_.begin(),
                                           discoveries_.end(),
                                           [&](const auto& one) { return one->name() == service; });
}

/// SPDK's: the service's name and a number, the same for all paths of a subsystem.
std::string RemoteDevices::discovered_name(const std::string& service,
                                           const std::string& nqn) const {
    for (const auto& subsystem : subsystems_) {
        if (subsystem->nqn() == nqn && subsystem->settings().discovered_by == service) {
            return subsystem->name();
        }
    }
    for (uint32_t i = 0;; ++i) {
        std::string name = service + std::to_string(i);
        if (find(name) == nullptr) {
            return name;
        }
    }
}

// tidy: allow(coroutine): the caller awaits it, and keeps what it refers to
Task<Status> RemoteDevices::attach_discovered(const std::string& service,
                                              const DiscoveredPath& path) {
    const auto found = std::find_if(discoveries_.begin(), discoveries_.end(), [&](auto& one) {
        return one->name() == service;
    });
    const Result<SocketAddress> address = SocketAddress::parse(path.host, path.port);
    if (found == discoveries_.end() || !address) {
        co_return Errc::kNotFound;
    }
    AttachOptions options{.name = discovered_name(service, path.nqn),
                          .host = (*found)->options().host,
                          .reconnect = (*found)->options().reconnect,
                          .rules = defaults_.rules,
                          .discovered_by = service};
    options.host.address = *address;
    options.host.subsystem_nqn = path.nqn;
    std::string problem;
    const auto names = co_await attach(std::move(options), problem);
    if (names) {
        co_return kOk;
    }
    BASALT_LOG(kWarn,
               "nvmf",
               "discovered by '{}', not attached: {}: {}",
               service,
               problem,
               describe(names.error().code));
    co_return names.error();
}

// tidy: allow(coroutine): the caller awaits it, and keeps what it refers to
Task<Status> RemoteDevices::detach_discovered(const std::string& service,
                                              const DiscoveredPath& path) {
    const std::string name = discovered_name(service, path.nqn);
    const PathFilter filter{.host = path.host, .port = path.port};
    std::string problem;
    co_return co_await detach(name, filter, problem);
}

// --- The end ---------------------------------------------------------------------------------

void RemoteDevices::on_sweep_wanted(RemoteSubsystem& /*subsystem*/) {
    if (!sweep_timer_.is_running() && !is_ending_) {
        context_.control.start_timer(sweep_timer_, 0);
    }
}

void RemoteDevices::on_subsystem_gone(RemoteSubsystem& subsystem) {
    BASALT_LOG(kError, "nvmf", "no path to '{}' is left", subsystem.name());
    on_sweep_wanted(subsystem);
}

Task<void> RemoteDevices::sweep() {
    ++running_;
    {
        co_await changes_.acquire();
        const AsyncMutex::Turn turn(changes_);
        for (size_t i = 0; i < subsystems_.size() && !is_ending_; ++i) {
            if (subsystems_[i]->needs_sweep()) {
                co_await subsystems_[i]->sweep();
            }
        }
        co_await forget_pathless();
        const bool is_pending = std::any_of(subsystems_.begin(),
                                            subsystems_.end(),
                                            [](const auto& one) { return one->needs_sweep(); });
        if (is_pending && !is_ending_ && !sweep_timer_.is_running()) {
            context_.control.start_timer(sweep_timer_, kSweepPeriodNs);
        }
    }
    --running_;
}

Task<void> RemoteDevices::shut_down() {
    is_ending_ = true;
    context_.control.stop_timer(sweep_timer_);
    while (!discoveries_.empty()) {
        co_await end_discovery(discoveries_.size() - 1);
    }
    while (running_ > 0) {
        co_await sleep_for(context_.control, kEndPollNs);
    }
    co_await changes_.acquire();
    const AsyncMutex::Turn turn(changes_);
    context_.control.stop_timer(sweep_timer_);
    for (const auto& subsystem : subsystems_) {
        co_await subsystem->end();
    }
    subsystems_.clear();
}

}  // namespace basalt::nvmf
