#include "nvmf/host_bdev/remote_subsystem.h"

#include <algorithm>
#include <utility>

#include "reactor/base/log.h"

namespace basalt::nvmf {

namespace {

constexpr uint64_t kEndPollNs = kNsPerMs;

template <size_t N>
bool is_set(const std::array<uint8_t, N>& bytes) {
    return std::any_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte != 0; });
}

/// True if both speak of the same namespace, as far as they say.
bool is_same(const bdev::NvmeIdentity& a, const bdev::NvmeIdentity& b) {
    return a.uuid == b.uuid && a.nguid == b.nguid && a.eui64 == b.eui64 &&
           a.block_bytes == b.block_bytes;
}

struct StartVisit {
    bdev::PerCore<std::unique_ptr<CorePaths>>& paths;
    CoreId control;
    CorePathsUser& user;
};

Task<void> start_there(Reactor& there, StartVisit& request) {
    request.paths.on(there) = std::make_unique<CorePaths>(there, request.control, request.user);
    co_return;
}

Task<void> retire_there(Reactor& there, StartVisit& request) {
    co_await request.paths.on(there)->retire();
    request.paths.on(there).reset();
}

}  // namespace

struct RemoteSubsystem::Publication {
    std::vector<std::pair<RemoteBdev*, NamespaceTable>> tables{};
    bdev::PerCore<std::unique_ptr<CorePaths>>& paths;

    static Task<void> run(Reactor& there, Publication& self) {
        for (const auto& [bdev, table] : self.tables) {
            bdev->set_table_on(there, table);
        }
        self.paths.on(there)->kick();
        co_return;
    }
};

RemoteSubsystem::RemoteSubsystem(RemoteContext& context,
                                 std::string name,
                                 std::string nqn,
                                 const Settings& settings,
                                 RemoteSubsystemUser& user)
    : context_(context),
      name_(std::move(name)),
      nqn_(std::move(nqn)),
      settings_(settings),
      user_(user) {}

RemoteSubsystem::~RemoteSubsystem() {
    BASALT_ASSERT(running_ == 0 || context_.control.is_abandoned());
}

Task<void> RemoteSubsystem::start() {
    StartVisit request{.paths = core_paths_, .control = context_.control.core(), .user = *this};
    co_await bdev::visit_cores(context_.control, context_.devices.cores(), request, &start_there);
}

bool RemoteSubsystem::has_paths() const {
    return std::any_of(
        sessions_.begin(), sessions_.end(), [](const auto& one) { return one != nullptr; });
}

// --- Paths -----------------------------------------------------------------------------------

Task<Result<std::vector<std::string>>> RemoteSubsystem::attach(const SessionOptions& options,
                                                               SessionKeys keys) {
    using Names = std::vector<std::string>;
    const auto free = std::find(sessions_.begin(), sessions_.end(), nullptr);
    if (free == sessions_.end()) {
        co_return Result<Names>(Errc::kNoMemory);
    }
    const auto index = static_cast<uint32_t>(free - sessions_.begin());
    SessionUser& hearer = *this;  // The base is private, so only we can name it.
    *free = std::make_unique<ControllerSession>(context_.control,
                                                context_.devices.cores(),
                                                core_paths_,
                                                index,
                                                options,
                                                std::move(keys),
                                                hearer);
    ControllerSession& session = **free;
    ++running_;
    const Status attached = co_await session.attach();
    --running_;
    if (!attached) {
        sessions_[index].reset();
        co_return Result<Names>(attached.error());
    }
    Names names;
    for (const auto& [nsid, space] : namespaces_) {
        if (space.access[index] != PathAccess::kNone) {
            names.push_back(space.device);
        }
    }
    co_return Result<Names>(std::move(names));
}

Task<void> RemoteSubsystem::remove_path(uint32_t path) {
    ControllerSession& session = *sessions_[path];
    co_await session.stop();
    sessions_[path].reset();
    merge();
    co_await publish();
}

Task<Status> RemoteSubsystem::detach(uint32_t path) {
    if (path >= kPathsMax || sessions_[path] == nullptr || is_ending_) {
        co_return Errc::kNotFound;
    }
    const auto others = std::count_if(
        sessions_.begin(), sessions_.end(), [](const auto& one) { return one != nullptr; });
    if (others == 1 && !user_of_devices().empty()) {
        co_return Errc::kBusy;
    }
    ++running_;
    co_await remove_path(path);
    --running_;
    co_return kOk;
}

void RemoteSubsystem::on_session_changed(ControllerSession& /*session*/) {
    merge();
    publish_later();
}

void RemoteSubsystem::on_session_failing(ControllerSession& /*session*/) {
    publish_later();
}

void RemoteSubsystem::on_session_gone(ControllerSession& session) {
    // A path that is never tried again is kept where the operator wants to try it by hand.
    if (session.options().reconnect.ctrlr_loss_timeout_sec == 0) {
        publish_later();
        return;
    }
    remove_gone(session.index()).detach();
}

Task<void> RemoteSubsystem::remove_gone(uint32_t path) {
    ++running_;
    if (!is_ending_) {
        co_await remove_path(path);
    }
    --running_;
    if (!is_ending_ && !has_paths()) {
        user_.on_subsystem_gone(*this);
    }
}

void RemoteSubsystem::on_queue_lost(uint32_t path, uint32_t epoch, Error reason) {
    if (sessions_[path] != nullptr) {
        sessions_[path]->on_queue_lost(epoch, reason);
    }
}

void RemoteSubsystem::on_ana_hint(uint32_t path) {
    if (sessions_[path] != nullptr) {
        sessions_[path]->refresh_ana();
    }
}

// --- Namespaces ------------------------------------------------------------------------------

bdev::Uuid RemoteSubsystem::uuid_of(const bdev::NvmeIdentity& identity) const {
    bdev::Uuid uuid;
    if (is_set(identity.uuid)) {
        uuid.bytes = identity.uuid;
        return uuid;
    }
    if (is_set(identity.nguid)) {
        uuid.bytes = identity.nguid;
        return uuid;
    }
    return bdev::Uuid::from_name(nqn_, std::to_string(identity.nsid));
}

std::string RemoteSubsystem::why_no_device(const Namespace& space, Error error) const {
    if (error.code == Errc::kExists) {
        const std::string uuid = uuid_of(space.identity).to_string();
        const bdev::Device* other = context_.devices.find(space.device);
        if (other != nullptr) {
            return "there is a device of that name";
        }
        other = context_.devices.find(uuid);
        return "its UUID, " + uuid + ", is that of " +
               (other != nullptr ? "'" + other->info().name + "'" : "a device to come");
    }
    if (error.code == Errc::kNotSupported) {
        return "blocks of " + std::to_string(space.identity.block_bytes) + " bytes with " +
               std::to_string(space.identity.metadata_bytes) + " of metadata are not supported";
    }
    return std::string(describe(error.code));
}

bool RemoteSubsystem::add_device(Namespace& space) {
    space.device = name_ + "n" + std::to_string(space.identity.nsid);
    auto made =
        RemoteBdev::make(space.device, uuid_of(space.identity), space.identity, core_paths_);
    Status outcome = made ? kOk : Status(made.error());
    if (made) {
        RemoteBdev* bdev = made->get();
        bdev->set_table(table_of(space));
        const Result<bdev::Device*> added = context_.devices.add(std::move(*made));
        if (added) {
            space.bdev = bdev;
            refused_.erase(space.identity.nsid);
            return true;
        }
        outcome = added.error();
    }
    // Once, not again with each path and each change.
    if (refused_.insert(space.identity.nsid).second) {
        BASALT_LOG(kError,
                   "nvmf",
                   "{} can't be a device: {}",
                   space.device,
                   why_no_device(space, outcome.error()));
    }
    return false;
}

void RemoteSubsystem::merge_path(const ControllerSession& session) {
    const uint32_t path = session.index();
    for (const auto& [nsid, seen] : session.namespaces()) {
        auto found = namespaces_.find(nsid);
        if (found == namespaces_.end()) {
            Namespace space{.identity = seen.identity, .rules = settings_.rules};
            space.access[path] = seen.access;
            if (add_device(space)) {
                namespaces_.emplace(nsid, std::move(space));
            }
            continue;
        }
        Namespace& space = found->second;
        if (!is_same(space.identity, seen.identity)) {
            BASALT_LOG(kError,
                       "nvmf",
                       "{}: what {} shows as namespace {} is another one; it is not used",
                       space.device,
                       session.options().host.address.to_string(),
                       nsid);
            continue;
        }
        space.access[path] = seen.access;
        const bool is_resized = space.identity.block_count != seen.identity.block_count;
        if (is_resized && space.new_block_count != seen.identity.block_count) {
            BASALT_LOG(kWarn,
                       "nvmf",
                       "{}: its namespace has {} blocks now, and had {}; the device follows when "
                       "nobody uses it",
                       space.device,
                       seen.identity.block_count,
                       space.identity.block_count);
        }
        space.new_block_count = is_resized ? seen.identity.block_count : 0;
    }
}

/// Brings namespaces_ in line with what the sessions know.
void RemoteSubsystem::merge() {
    for (auto& [nsid, space] : namespaces_) {
        // What a path that is down last said holds until it says something else.
        space.access.fill(PathAccess::kNone);
    }
    for (const auto& session : sessions_) {
        if (session != nullptr && session->cntlid() != kControllerIdAny) {
            merge_path(*session);
        }
    }
    for (auto& [nsid, space] : namespaces_) {
        const bool is_gone =
            std::all_of(space.access.begin(), space.access.end(), [](PathAccess access) {
                return access == PathAccess::kNone;
            });
        if (is_gone && !space.is_gone) {
            BASALT_LOG(kWarn, "nvmf", "the namespace of {} has gone", space.device);
        }
        space.is_gone = is_gone;
    }
    if (!is_ending_ && needs_sweep()) {
        user_.on_sweep_wanted(*this);
    }
}

NamespaceTable RemoteSubsystem::table_of(const Namespace& space) const {
    NamespaceTable table{.access = space.access,
                         .rules = space.rules,
                         .retries_max = settings_.retries_max,
                         .is_gone = space.is_gone};
    table.fails_now = true;
    for (const auto& session : sessions_) {
        if (session != nullptr && !session->is_failing()) {
            table.fails_now = false;
        }
    }
    return table;
}

void RemoteSubsystem::publish_later() {
    has_news_ = true;
    publish().detach();
}

Task<void> RemoteSubsystem::publish() {
    has_news_ = true;
    ++running_;
    co_await publishing_.acquire();
    const AsyncMutex::Turn turn(publishing_);
    while (std::exchange(has_news_, false)) {
        Publication news{.paths = core_paths_};
        for (const auto& [nsid, space] : namespaces_) {
            news.tables.emplace_back(space.bdev, table_of(space));
        }
        co_await bdev::visit_cores(
            context_.control, context_.devices.cores(), news, &Publication::run);
    }
    --running_;
}

Task<void> RemoteSubsystem::set_rules(uint32_t nsid, PathRules rules) {
    const auto found = namespaces_.find(nsid);
    if (found != namespaces_.end()) {
        found->second.rules = rules;
        co_await publish();
    }
}

std::string RemoteSubsystem::user_of_devices() const {
    for (const auto& [nsid, space] : namespaces_) {
        const bdev::Device* device = context_.devices.find(space.device);
        if (device != nullptr && !device->user().empty()) {
            return "'" + space.device + "', used by " + device->user();
        }
    }
    return {};
}

bool RemoteSubsystem::needs_sweep() const {
    return std::any_of(namespaces_.begin(), namespaces_.end(), [](const auto& one) {
        return one.second.is_gone || one.second.new_block_count != 0;
    });
}

Task<void> RemoteSubsystem::sweep() {
    ++running_;
    co_await context_.device_sequences.acquire();
    const AsyncMutex::Turn sequence(context_.device_sequences);
    co_await publishing_.acquire();
    const AsyncMutex::Turn turn(publishing_);
    for (auto at = namespaces_.begin(); at != namespaces_.end();) {
        Namespace& space = at->second;
        const bool is_over = space.is_gone || space.new_block_count != 0;
        bdev::Device* device = is_over ? context_.devices.find(space.device) : nullptr;
        if (device != nullptr && device->user().empty()) {
            // What its limits hold on the cores goes before it does.
            auto clearing = device->limits().clear(context_.control);
            co_await clearing;
        }
        if (!is_over || !context_.devices.remove(space.device)) {
            ++at;
            continue;
        }
        if (!space.is_gone) {
            space.identity.block_count = std::exchange(space.new_block_count, 0);
            if (add_device(space)) {
                ++at;
                continue;
            }
        }
        at = namespaces_.erase(at);
    }
    --running_;
}

Task<void> RemoteSubsystem::end() {
    is_ending_ = true;
    while (running_ > 0) {
        co_await sleep_for(context_.control, kEndPollNs);
    }
    for (uint32_t i = 0; i < kPathsMax; ++i) {
        if (sessions_[i] != nullptr) {
            co_await remove_path(i);
        }
    }
    co_await sweep();
    StartVisit request{.paths = core_paths_, .control = context_.control.core(), .user = *this};
    co_await bdev::visit_cores(context_.control, context_.devices.cores(), request, &retire_there);
}

}  // namespace basalt::nvmf
