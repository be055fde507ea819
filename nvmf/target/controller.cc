#include "nvmf/target/controller.h"

#include <algorithm>
#include <utility>

#include "nvmf/target/admin_commands.h"
#include "nvmf/target/connection.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/wire/command.h"
#include "reactor/base/log.h"

namespace basalt::nvmf {

namespace {

// CC and CSTS fields, NVMe Base Specification, "Controller Properties"; values from libnvme.
constexpr uint32_t kSubmissionEntrySizeLog2 = 6;
constexpr uint32_t kCompletionEntrySizeLog2 = 4;
constexpr uint32_t kReadyTimeoutHalfSeconds = 30;  // CAP.TO: as long as other targets say.
constexpr uint32_t kReadyWithMedia = 1;            // CAP.CRMS: ready is when the media are.

constexpr uint32_t field(uint32_t value, uint32_t shift, uint32_t mask) {
    return (value >> shift) & mask;
}

/// What an event looks like in a completion, and which bit of the Asynchronous Event Configuration
/// feature switches it on (0: it is always on).
struct EventTraits {
    uint8_t type;
    uint8_t info;
    uint8_t log_page;
    uint32_t enable_bit;
};
constexpr std::array<EventTraits, kAsyncEventKinds> kEventTraits{{
    {NVME_AER_NOTICE, 0x00, NVME_LOG_LID_CHANGED_NS, 1U << 8U},
    {NVME_AER_NOTICE, 0xf0, NVME_LOG_LID_DISCOVER, 1U << 31U},
    {NVME_AER_NOTICE, 0x03, NVME_LOG_LID_ANA, 1U << 11U},
    {NVME_AER_CSS, NVME_AER_CSS_NVM_RESERVATION, NVME_LOG_LID_RESERVATION, 0},
    {NVME_AER_SMART, 0x01, NVME_LOG_LID_SMART, NVME_SMART_CRIT_TEMPERATURE},
    {NVME_AER_SMART, 0x00, NVME_LOG_LID_SMART, NVME_SMART_CRIT_DEGRADED},
}};

}  // namespace

Controller::Controller(PollGroup& group, Subsystem& subsystem, Connection& admin, Identity identity)
    : group_(group),
      subsystem_(subsystem),
      admin_(&admin),
      identity_(std::move(identity)),
      io_queues_allowed_(group.options().io_queues_max),
      members_(group.options().io_queues_max + 1),
      keep_alive_ms_(0),
      last_keep_alive_ns_(group.reactor().now_ns()) {
    BASALT_ASSERT(members_.size() <= attached_.size());
    keep_alive_timer_.set(
        [](Timer&, void* self) { static_cast<Controller*>(self)->check_keep_alive(); }, this);
    // A discovery host that names no time-out, and then forgets us, would stay for ever.
    counts_all_as_alive_ = subsystem_.is_discovery() && identity_.keep_alive_ms == 0;
    set_keep_alive(identity_.keep_alive_ms);
    set_default_features();
}

Controller::~Controller() {
    BASALT_ASSERT(is_finished());
    group_.reactor().stop_timer(keep_alive_timer_);
}

uint64_t Controller::now_ns() const {
    return group_.reactor().now_ns();
}

// --- Properties --------------------------------------------------------------------------------

uint64_t Controller::capabilities() const {
    const uint64_t queue_entries = group_.options().queue_entries_max - 1;
    return (queue_entries << NVME_CAP_MQES_SHIFT) | (uint64_t{1} << NVME_CAP_CQR_SHIFT) |
           (uint64_t{kReadyTimeoutHalfSeconds} << NVME_CAP_TO_SHIFT) |
           (uint64_t{NVME_CAP_CSS_NVM} << NVME_CAP_CSS_SHIFT) |
           (uint64_t{kReadyWithMedia} << NVME_CAP_CRMS_SHIFT);
}

bool Controller::is_ready() const {
    return (status_ & 1U) != 0 && !is_resetting_;
}

NvmeStatus Controller::set_configuration(uint32_t value) {
    const bool was_enabled = field(configuration_, NVME_CC_EN_SHIFT, NVME_CC_EN_MASK) != 0;
    const bool is_enabled = field(value, NVME_CC_EN_SHIFT, NVME_CC_EN_MASK) != 0;
    if (is_enabled && !was_enabled) {
        const bool fits =
            field(value, NVME_CC_IOSQES_SHIFT, NVME_CC_IOSQES_MASK) == kSubmissionEntrySizeLog2 &&
            field(value, NVME_CC_IOCQES_SHIFT, NVME_CC_IOCQES_MASK) == kCompletionEntrySizeLog2 &&
            field(value, NVME_CC_MPS_SHIFT, NVME_CC_MPS_MASK) == 0 &&
            field(value, NVME_CC_AMS_SHIFT, NVME_CC_AMS_MASK) == 0 &&
            field(value, NVME_CC_CSS_SHIFT, NVME_CC_CSS_MASK) == 0;
        // A discovery host may leave the entry sizes at 0: it makes no I/O queues.
        if (!fits && !subsystem_.is_discovery()) {
            return status::kInvalidField.with_dnr();
        }
        status_ = 1U;  // CSTS.RDY
        is_resetting_ = false;
        is_shutting_down_ = false;
        const ListenerConfig* path = subsystem_.config().find_listener(admin_->listener());
        ana_changes_at_reset = path == nullptr ? 0 : path->ana_changes;
    }
    if (!is_enabled && was_enabled) {
        reset();
    }
    if (field(value, NVME_CC_SHN_SHIFT, NVME_CC_SHN_MASK) != NVME_CC_SHN_NONE) {
        close_io_queues();
        set_shutdown_status(NVME_CSTS_SHST_OCCUR);
        is_shutting_down_ = true;
        settle();
    }
    configuration_ = value;
    return status::kSuccess;
}

void Controller::reset() {
    close_io_queues();
    // The host takes all its commands for ended: it hears of none of them any more.
    ++resets_;
    while (Request* request = event_requests_.pop_front()) {
        request->connection().drop(*request);
    }
    event_request_count_ = 0;
    events_ = {};
    changed_namespaces_.clear();
    has_changed_too_many_ = false;
    reservation_notices.clear();
    set_default_features();
    is_resetting_ = true;
    is_shutting_down_ = false;
    settle();
}

void Controller::set_shutdown_status(uint32_t value) {
    status_ = (status_ & ~(3U << NVME_CSTS_SHST_SHIFT)) | (value << NVME_CSTS_SHST_SHIFT);
}

void Controller::settle() {
    if (attached_.any()) {
        return;
    }
    if (std::exchange(is_resetting_, false)) {
        status_ = 0;
    }
    if (std::exchange(is_shutting_down_, false)) {
        set_shutdown_status(NVME_CSTS_SHST_CMPLT);
    }
    if (std::exchange(is_closing_, false) && admin_ != nullptr) {
        admin_->close_socket();
    }
}

bool Controller::may_close() {
    close_io_queues();
    is_closing_ = attached_.any();
    return !is_closing_;
}

void Controller::set_default_features() {
    features = {};
    io_queues_allowed_ = group_.options().io_queues_max;
    // A discovery controller with a keep alive is a persistent one: its host wants to hear.
    if (subsystem_.is_discovery()) {
        features.async_event_configuration = kEventTraits[1].enable_bit;
    }
    admin_->link.settings = queue_settings();
}

// --- I/O queues --------------------------------------------------------------------------------

NvmeStatus Controller::attach(QueueId qid, const QueueMember& member) {
    if (qid.raw() == 0 || qid.raw() > io_queues_allowed_ || qid.raw() >= members_.size()) {
        return status::kConnectInvalidParameters.with_dnr();
    }
    // All of that may be otherwise in a moment: a queue that is there may be about to end.
    if (admin_ == nullptr || admin_->is_closing() || !is_ready() || attached_.test(qid.raw())) {
        return status::kConnectInvalidParameters;
    }
    attached_.set(qid.raw());
    members_[qid.raw()] = member;
    return status::kSuccess;
}

void Controller::detach(QueueId qid) {
    BASALT_ASSERT(attached_.test(qid.raw()));
    attached_.reset(qid.raw());
    settle();
    group_.controller_changed(*this);
}

void Controller::queue_moved(QueueId qid, uint64_t connection_id, CoreId core) {
    if (qid.raw() < members_.size() && attached_.test(qid.raw()) &&
        members_[qid.raw()].connection_id == connection_id) {
        members_[qid.raw()].core = core;
    }
}

void Controller::close_io_queues() {
    for_each_queue([this](QueueId, const QueueMember& member) {
        group_.close_remote(member.core, member.connection_id);
    });
}

void Controller::admin_gone() {
    // The requests are the connection's: it frees them when we let go.
    while (Request* request = event_requests_.pop_front()) {
        request->connection().complete(*request, status::kAbortedSqDeletion);
    }
    event_request_count_ = 0;
    admin_ = nullptr;
    group_.reactor().stop_timer(keep_alive_timer_);
    close_io_queues();
    group_.controller_changed(*this);
}

const QueueMember* Controller::find_queue(QueueId qid) const {
    return qid.raw() < members_.size() && attached_.test(qid.raw()) ? &members_[qid.raw()]
                                                                    : nullptr;
}

QueueSettings Controller::queue_settings() const {
    return {.is_write_through = features.volatile_write_cache == 0,
            .has_retry_delays = (features.host_behavior[0] & NVME_ENABLE_ACRE) != 0,
            .knows_copy_format_2 = (features.host_behavior[kHostBehaviorCdfe] & kCopyFormat2) != 0,
            .version = settings_version_};
}

void Controller::tell_queues(Request& request) {
    ++settings_version_;
    admin_->link.settings = queue_settings();
    request.scratch = io_queue_count();
    if (request.scratch == 0) {
        request.connection().complete(request, status::kSuccess);
        return;
    }
    for_each_queue([&](QueueId, const QueueMember& member) {
        group_.send_settings(request, member, queue_settings());
    });
}

// --- Abort -------------------------------------------------------------------------------------

void Controller::execute_abort(Request& request) {
    if (aborts_under_way_ == kAbortsMax) {
        request.connection().complete(request, status::kAbortLimitExceeded);
        return;
    }
    ++aborts_under_way_;
    const AbortView command(request.sqe);
    if (command.qid() == kAdminQueueId && abort_event_request(command.cid_to_abort())) {
        finish_abort(request, true);
    } else if (command.qid() == kAdminQueueId) {
        group_.abort_remote(request, {group_.reactor().core(), request.connection().id(), 0});
    } else if (const QueueMember* member = find_queue(command.qid())) {
        group_.abort_remote(request, *member);
    } else {
        finish_abort(request, false);
    }
}

bool Controller::abort_event_request(CommandId command) {
    for (Request* at = event_requests_.front(); at != nullptr; at = event_requests_.next(*at)) {
        if (at->sqe.cid() == command) {
            RequestList::remove(*at);
            --event_request_count_;
            at->connection().complete(*at, status::kAbortRequested);
            return true;
        }
    }
    return false;
}

// --- Keep alive --------------------------------------------------------------------------------

void Controller::set_keep_alive(uint32_t timeout_ms) {
    // Rounded up to the granularity that Identify gives.
    constexpr uint32_t kStepMs = kKeepAliveGranularity * 100;
    keep_alive_ms_ = timeout_ms > UINT32_MAX - kStepMs
                         ? timeout_ms
                         : (timeout_ms + kStepMs - 1) / kStepMs * kStepMs;
    last_keep_alive_ns_ = now_ns();
    group_.reactor().stop_timer(keep_alive_timer_);
    if (silence_max_ns() > 0) {
        group_.reactor().start_timer(keep_alive_timer_, silence_max_ns());
    }
}

uint64_t Controller::silence_max_ns() const {
    const bool is_fleeting = keep_alive_ms_ == 0 && subsystem_.is_discovery();
    return (is_fleeting ? kDiscoverySessionMs : keep_alive_ms_) * kNsPerMs;
}

void Controller::check_keep_alive() {
    // The clock of the turn may lie behind bytes that wait in the socket: the grace of one more
    // period would hide a dead host for too long, so only what has been received counts.
    if (admin_ != nullptr && admin_->is_authenticating()) {
        // It can't send any yet: authentication has a time of its own, and a slow host needs more
        // than its keep alive for a large group (Linux under emulation: 8 s for ffdhe8192).
        keep_alive();
    }
    if (is_resetting_ || is_shutting_down_) {
        keep_alive();  // Its host waits for us, and rightly: devices are at work for it.
    }
    const uint64_t deadline_ns = last_keep_alive_ns_ + silence_max_ns();
    const uint64_t at_ns = now_ns();
    if (at_ns < deadline_ns) {
        group_.reactor().start_timer(keep_alive_timer_, deadline_ns - at_ns);
        return;
    }
    BASALT_LOG(kWarn,
               "nvmf",
               "controller {} of {}: no keep alive from {} for {} ms",
               identity_.id.raw(),
               subsystem_.config().nqn,
               identity_.host_nqn,
               silence_max_ns() / kNsPerMs);
    status_ |= 1U << 1U;  // CSTS.CFS
    if (admin_ != nullptr) {
        admin_->close("keep alive expired");
    }
}

// --- Asynchronous events -----------------------------------------------------------------------

bool Controller::is_enabled(AsyncEvent event) const {
    const uint32_t enable_bit = kEventTraits[static_cast<size_t>(event)].enable_bit;
    return enable_bit == 0 || (features.async_event_configuration & enable_bit) != 0;
}

void Controller::add_event_request(Request& request) {
    if (event_request_count_ == kAsyncEventRequestsMax) {
        request.connection().complete(request, status::kAsyncEventLimitExceeded.with_dnr());
        return;
    }
    ++event_request_count_;
    event_requests_.push_back(request);
    deliver_events();
}

void Controller::raise(AsyncEvent event) {
    if (is_enabled(event)) {
        events_[static_cast<size_t>(event)].is_raised = true;
        deliver_events();
    }
}

void Controller::rearm(AsyncEvent event) {
    // The log told all that has happened up to now, so what was held back is no news any more.
    events_[static_cast<size_t>(event)] = {};
}

void Controller::deliver_events() {
    for (size_t i = 0; i < kAsyncEventKinds; ++i) {
        Pending& pending = events_[i];
        if (!pending.is_raised || pending.is_masked) {
            continue;
        }
        Request* next = event_requests_.pop_front();
        if (next == nullptr) {
            return;
        }
        pending.is_raised = false;
        pending.is_masked = true;
        --event_request_count_;
        Request& request = *next;
        const EventTraits& traits = kEventTraits[i];
        request.cqe.dw0.set(async_event_result(traits.type, traits.info, traits.log_page));
        request.connection().complete(request, status::kSuccess);
    }
}

uint8_t Controller::critical_warning() const {
    const bool is_temperature_wrong = kRoomTemperatureKelvin >= features.temperature_over ||
                                      kRoomTemperatureKelvin <= features.temperature_under;
    // All Media Read Only would have to be true of all, and must not be said of what is meant to be
    // so, a snapshot: a device that has stopped to take writes makes us less reliable instead.
    return static_cast<uint8_t>((is_temperature_wrong ? NVME_SMART_CRIT_TEMPERATURE : 0) |
                                (gathered_health.troubles != 0 ? NVME_SMART_CRIT_DEGRADED : 0));
}

void Controller::namespace_changed(Nsid nsid) {
    if (std::find(changed_namespaces_.begin(), changed_namespaces_.end(), nsid.raw()) ==
        changed_namespaces_.end()) {
        if (changed_namespaces_.size() == kChangedNamespacesMax) {
            has_changed_too_many_ = true;
        } else {
            changed_namespaces_.push_back(nsid.raw());
        }
    }
    raise(AsyncEvent::kNamespaceChanged);
}

size_t Controller::read_changed_namespaces(std::array<uint32_t, kChangedNamespacesMax>& out,
                                           bool retain) {
    size_t count = 0;
    if (has_changed_too_many_) {
        out[count++] = kNsidAll.raw();
    } else {
        std::sort(changed_namespaces_.begin(), changed_namespaces_.end());
        for (const uint32_t nsid : changed_namespaces_) {
            out[count++] = nsid;
        }
    }
    if (!retain) {
        changed_namespaces_.clear();
        has_changed_too_many_ = false;
        rearm(AsyncEvent::kNamespaceChanged);
    }
    return count;
}

}  // namespace basalt::nvmf
