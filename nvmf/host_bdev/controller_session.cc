#include "nvmf/host_bdev/controller_session.h"

#include <algorithm>
#include <utility>

#include "reactor/base/log.h"

namespace basalt::nvmf {

namespace {

constexpr uint64_t kStopPollNs = kNsPerMs;

// Feature 0Bh and OAES: NVMe Base Specification, Asynchronous Event Configuration.
constexpr uint32_t kNamespaceNotices = 1U << 8U;
constexpr uint32_t kAnaNotices = 1U << 11U;
// Completion dword 0 of an event: type in bits 2:0, information in 15:8.
constexpr uint32_t kNoticeType = 2;
constexpr uint32_t kNamespaceChanged = 0;
constexpr uint32_t kAnaChanged = 3;
// Since that version a namespace may say that it has no volatile cache, whatever the controller
// says (NSFEAT of CNS 08h: VWCNP).
constexpr uint32_t kVersion2 = 0x20000;
constexpr uint8_t kNoVolatileCache = 1U << 5U;

struct ConnectVisit {
    bdev::PerCore<std::unique_ptr<CorePaths>>& paths;
    PathConnect options;
    Status status{};
};

Task<void> connect_there(Reactor& there, ConnectVisit& request) {
    request.status = co_await request.paths.on(there)->connect(request.options);
}

struct AuthVisit {
    bdev::PerCore<std::unique_ptr<CorePaths>>& paths;
    uint32_t path = 0;
    Status status{};
};

Task<void> authenticate_there(Reactor& there, AuthVisit& request) {
    request.status = co_await request.paths.on(there)->authenticate(request.path);
}

SessionOptions with_authenticator(SessionOptions options, HostAuthenticator& authenticator) {
    options.host.authenticator = &authenticator;
    return options;
}

}  // namespace

// NOLINTNEXTLINE(readability-function-size): one thing more than a function should be given.
ControllerSession::ControllerSession(Reactor& control,
                                     std::span<const CoreId> cores,
                                     bdev::PerCore<std::unique_ptr<CorePaths>>& paths,
                                     uint32_t index,
                                     const SessionOptions& options,
                                     SessionKeys keys,
                                     SessionUser& user)
    : control_(control),
      cores_(cores),
      paths_(paths),
      index_(index),
      keys_(std::move(keys)),
      authenticator_(control, keys_, random_, options.algorithms),
      options_(with_authenticator(options, authenticator_)),
      user_(user),
      policy_(options.reconnect) {
    timer_.set(
        [](Timer&, void* self) {
            auto& session = *static_cast<ControllerSession*>(self);
            const uint64_t now_ns = session.control_.now_ns();
            session.perform(session.policy_.apply(ReconnectPolicy::Event::kTimer, now_ns));
        },
        this);
    disable_timer_.set(
        [](Timer&, void* self) {
            static_cast<ControllerSession*>(self)->controller_->admin().close(
                Error(Errc::kTimedOut));
        },
        this);
    fence_timer_.set(
        [](Timer&, void* self) { static_cast<ControllerSession*>(self)->lift_later().detach(); },
        this);
    transition_timer_.set(
        [](Timer&, void* self) { static_cast<ControllerSession*>(self)->refresh_ana(); }, this);
    retry_timer_.set(
        [](Timer&, void* self) { static_cast<ControllerSession*>(self)->refresh().detach(); },
        this);
}

ControllerSession::~ControllerSession() {
    if (control_.is_abandoned()) {
        return;
    }
    BASALT_ASSERT(running_ == 0);
    BASALT_ASSERT(state_ == State::kGone);
    BASALT_ASSERT(ended_.is_empty());
}

// --- Connecting ------------------------------------------------------------------------------

Task<Status> ControllerSession::attach() {
    co_await sequence_.acquire();
    const AsyncMutex::Turn turn(sequence_);
    const Status up = co_await bring_up();
    if (!up || is_stopping_) {
        state_ = State::kGone;
        co_return up ? Status(Errc::kCancelled) : up;
    }
    state_ = State::kLive;
    perform(policy_.apply(ReconnectPolicy::Event::kConnected, control_.now_ns()));
    user_.on_session_changed(*this);
    co_return kOk;
}

/// All of an association. On failure all of it is closed when this returns.
Task<Status> ControllerSession::bring_up() {
    epoch_ = user_.next_epoch(index_);
    has_queues_ = false;
    has_early_loss_ = false;
    HostControllerUser& hearer = *this;  // The base is private, so only we can name it.
    controller_ = std::make_unique<HostController>(control_, options_.host, &hearer);
    Status status = co_await controller_->connect();
    if (!status) {
        controller_.reset();
        co_return status;
    }
    identity_ = controller_->identity();
    cntlid_ = controller_->id();
    // Before anything is read, so that a change after that is told.
    const Status events = co_await controller_->configure_events(kNamespaceNotices | kAnaNotices);
    if (!events) {
        BASALT_LOG(kInfo, "nvmf", "controller {}: it tells no events", cntlid_.raw());
    }
    status = co_await scan();
    if (status) {
        status = co_await connect_queues();
    }
    if (status && !controller_->admin().is_live()) {
        status = controller_->admin().close_reason();
    }
    if (status && has_early_loss_) {
        status = Errc::kConnectionClosed;
    }
    if (!status) {
        stop_watching();
        co_await end_association();
    }
    co_return status;
}

Task<Status> ControllerSession::connect_queues() {
    const auto wanted = static_cast<uint32_t>(cores_.size());
    const Result<uint32_t> granted = co_await controller_->set_io_queue_count(wanted);
    if (!granted) {
        co_return granted.error();
    }
    if (*granted < wanted) {
        BASALT_LOG(kError,
                   "nvmf",
                   "the controller at {} offers {} I/O queues, and {} reactors need one each",
                   options_.host.address.to_string(),
                   *granted,
                   wanted);
        co_return Errc::kNotSupported;
    }
    for (uint32_t i = 0; i < wanted; ++i) {
        const QueueId qid(static_cast<uint16_t>(i + 1));
        ConnectVisit request{
            .paths = paths_,
            .options = {.queue = controller_->io_queue_options(qid, options_.queue_entries),
                        .path = index_,
                        .epoch = epoch_,
                        .transfer_bytes_max = controller_->transfer_bytes_max(),
                        .retry_delays = {0, identity_.crdt1, identity_.crdt2, identity_.crdt3}}};
        has_queues_ = true;  // One that comes up may be used at once.
        visit<ConnectVisit> there(control_, cores_[i], request, &connect_there);
        co_await there;
        if (!request.status) {
            co_return request.status;
        }
    }
    co_return kOk;
}

Task<void> ControllerSession::attempt() {
    ++running_;
    co_await sequence_.acquire();
    const AsyncMutex::Turn turn(sequence_);
    if (!is_stopping_) {
        state_ = State::kConnecting;
        last_attempt_ = co_await bring_up();
        const bool is_wanted = policy_.state() != ReconnectPolicy::State::kGone;
        if (last_attempt_ && (is_stopping_ || !is_wanted)) {
            co_await end_association();
            last_attempt_ = Errc::kCancelled;
        }
        using Event = ReconnectPolicy::Event;
        const Event event = last_attempt_ ? Event::kConnected : Event::kAttemptFailed;
        state_ = last_attempt_ ? State::kLive : is_wanted ? State::kWaiting : State::kGone;
        if (!is_stopping_ && is_wanted) {
            if (last_attempt_) {
                is_failing_ = false;
                BASALT_LOG(kInfo,
                           "nvmf",
                           "connected again to {} at {}",
                           options_.host.subsystem_nqn,
                           options_.host.address.to_string());
            }
            perform(policy_.apply(event, control_.now_ns()));
            if (last_attempt_) {
                user_.on_session_changed(*this);
            }
        }
    }
    --running_;
}

// --- What there is ---------------------------------------------------------------------------

Task<Status> ControllerSession::scan() {
    const Result<std::vector<Nsid>> list = co_await controller_->list_namespaces();
    if (!list) {
        co_return list.error();
    }
    std::map<uint32_t, SessionNamespace> found;
    for (const Nsid nsid : *list) {
        Result<SessionNamespace> one = co_await identify(nsid);
        if (!one) {
            if (one.error().code == Errc::kNotFound) {
                continue;  // Gone meanwhile; an event will follow.
            }
            co_return one.error();
        }
        found.emplace(nsid.raw(), std::move(one).value());
    }
    namespaces_ = std::move(found);
    co_return co_await read_ana();
}

Task<Result<SessionNamespace>> ControllerSession::identify(Nsid nsid) {
    nvme_id_ns id{};
    const Status identified = co_await controller_->identify_raw(nsid, id);
    if (!identified) {
        co_return identified.error();
    }
    if (id.nsze == 0) {
        co_return Errc::kNotFound;
    }
    std::vector<std::byte> descriptors(kIdentifyBytes);
    const std::span<std::byte> list(descriptors);
    const Status described = co_await controller_->read_descriptors(nsid, list);
    SessionNamespace space;
    space.identity = bdev::parse_identify(
        identity_, id, described ? std::span<const std::byte>(descriptors) : list.first(0));
    space.identity.nsid = nsid.raw();
    if (space.identity.has_volatile_cache && identity_.ver >= kVersion2) {
        nvme_id_independent_id_ns common{};
        const Status told = co_await controller_->identify_common(nsid, common);
        space.identity.has_volatile_cache = !told || (common.nsfeat & kNoVolatileCache) == 0;
    }
    space.ana_group = id.anagrpid;
    co_return space;
}

void ControllerSession::on_async_event(uint32_t result) {
    const uint32_t info = (result >> 8U) & 0xffU;
    if ((result & 7U) != kNoticeType) {
        BASALT_LOG(kWarn, "nvmf", "controller {} reports event {:#x}", cntlid_.raw(), result);
        return;
    }
    wants_scan_ |= info == kNamespaceChanged;
    wants_ana_ |= info == kAnaChanged;
    refresh().detach();
}

void ControllerSession::set_timer(uint64_t at_ns) {
    control_.stop_timer(timer_);
    if (at_ns != UINT64_MAX) {
        const uint64_t now_ns = control_.now_ns();
        control_.start_timer(timer_, at_ns > now_ns ? at_ns - now_ns : 0);
    }
}

void ControllerSession::perform(const ReconnectPolicy::Actions& actions) {
    set_timer(actions.timer_ns);
    if (actions.connect) {
        attempt().detach();
    }
    if (actions.fail_commands) {
        is_failing_ = true;
        user_.on_session_failing(*this);
    }
    if (actions.give_up) {
        BASALT_LOG(kError,
                   "nvmf",
                   "{} at {} is given up",
                   options_.host.subsystem_nqn,
                   options_.host.address.to_string());
        if (state_ == State::kConnecting && controller_) {
            controller_->admin().close(Error(Errc::kCancelled));
        } else {
            state_ = State::kGone;
        }
        user_.on_session_gone(*this);
    }
}

// --- The end ---------------------------------------------------------------------------------

Task<void> ControllerSession::stop() {
    is_stopping_ = true;
    control_.stop_timer(timer_);
    stop_watching();
    if (state_ == State::kConnecting && controller_) {
        controller_->admin().close(Error(Errc::kCancelled));
    }
    if (is_live() && resets_ == 0) {
        // All that can be under way is a refresh. New commands need not meet a controller that may
        // not answer that, and it gets no longer than a shutdown.
        co_await drop_queues();
        control_.start_timer(disable_timer_, kShutdownTimeoutNs);
    }
    while (running_ > 0 || resets_ > 0) {
        co_await sleep_for(control_, kStopPollNs);
    }
    co_await sequence_.acquire();
    const AsyncMutex::Turn turn(sequence_);
    control_.stop_timer(timer_);
    control_.stop_timer(disable_timer_);
    if (controller_) {
        co_await drop_queues();
        const uint64_t dropped_ns = control_.now_ns();
        co_await controller_->end();
        co_await forget_controller(dropped_ns);
    }
    // Other paths go on, with what was lost on this one.
    control_.stop_timer(fence_timer_);
    while (!ended_.is_empty()) {
        const uint64_t now_ns = control_.now_ns();
        if (ended_.next_ns() > now_ns) {
            co_await sleep_for(control_, ended_.next_ns() - now_ns);
        }
        co_await lift_fences();
        control_.stop_timer(fence_timer_);
    }
    state_ = State::kGone;
}

Task<Status> ControllerSession::reset() {
    if (is_stopping_) {
        co_return Errc::kCancelled;
    }
    ++resets_;
    if (is_live()) {
        lost(Error(Errc::kCancelled));
        co_await settled();
    }
    if (!is_live() && !is_stopping_) {
        perform(policy_.apply(ReconnectPolicy::Event::kRetryNow, control_.now_ns()));
        co_await settled();
    }
    --resets_;
    if (is_live()) {
        co_return kOk;
    }
    co_return last_attempt_ ? Status(Errc::kCancelled) : last_attempt_;
}

Task<Status> ControllerSession::set_keys(SessionKeys keys) {
    if (is_stopping_) {
        co_return Errc::kCancelled;
    }
    ++resets_;
    Status status;
    {
        co_await sequence_.acquire();
        const AsyncMutex::Turn turn(sequence_);
        keys_ = std::move(keys);
        if (is_live() && !is_stopping_ && !keys_.empty()) {
            status = co_await authenticate_queues();
        }
    }
    --resets_;
    co_return status;
}

Task<Status> ControllerSession::authenticate_queues() {
    Status status = co_await controller_->admin().authenticate_again();
    for (size_t i = 0; i < cores_.size() && status; ++i) {
        AuthVisit request{.paths = paths_, .path = index_};
        visit<AuthVisit> there(control_, cores_[i], request, &authenticate_there);
        co_await there;
        status = request.status;
    }
    co_return status;
}

/// Goes on when no sequence is under way.
Task<void> ControllerSession::settled() {
    while (running_ > 0) {
        co_await sleep_for(control_, kStopPollNs);
    }
}

}  // namespace basalt::nvmf
