#include "nvmf/target/connection.h"

#include <algorithm>

#include "nvmf/target/balance_policy.h"
#include "nvmf/target/command_executor.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/io_commands.h"
#include "nvmf/target/poll_group.h"
#include "reactor/base/log.h"

namespace basalt::nvmf {

namespace {

/// An admin command that came before its host reset the controller: the host takes it for ended,
/// and may have given its identifier to another one.
bool is_of_the_past(const Request& request) {
    const Controller* controller = request.connection().link.controller;
    return controller != nullptr && !request.sqe.is_fabrics() &&
           controller->resets() != request.checked_version;
}

PduRules initial_rules(const TransportOptions& options) {
    PduRules rules;
    rules.side = Side::kController;
    rules.capsule_data_bytes_max = std::max(kAdminCapsuleDataBytes, options.capsule_data_bytes);
    rules.data_bytes_max = options.io_bytes_max;
    return rules;
}

}  // namespace

Connection::Connection(PollGroup& group, uint64_t id, ListenerId listener)
    : group_(&group),
      id_(id),
      listener_(listener),
      receiver_(*this, initial_rules(group.options())),
      capsule_waiter_(
          [](void* self, Buffer granted) {
              Connection& connection = *static_cast<Connection*>(self);
              connection.capsule_buffer_ = granted;
              connection.resume_later();
          },
          this) {
    connect_timer_.set([](Timer&, void* self) { static_cast<Connection*>(self)->on_timer(); },
                       this);
    errors_.report.connection = this;
    move_.patience.set([](Timer&, void* self) { static_cast<Connection*>(self)->give_up_move(); },
                       this);
    choose_sources();
    data_timer_.set([](Timer&, void* self) { static_cast<Connection*>(self)->check_data_time(); },
                    this);
}

Connection::~Connection() {
    BASALT_ASSERT(phase_ == Phase::kClosed);
    BASALT_ASSERT(holds_ == 0);
}

SocketOptions Connection::socket_options() const {
    SocketOptions options;
    options.user_timeout_ms = group_->options().user_timeout_ms;
    options.priority = group_->options().socket_priority;
    return options;
}

Status Connection::start(AcceptedSocket accepted) {
    const SocketOptions options = socket_options();
    auto adopted = group_->tls().adopt(std::move(accepted), listener_, options, *this);
    if (!adopted) {
        phase_ = Phase::kClosed;
        return adopted.error();
    }
    socket_ = std::move(adopted->socket);
    tls_ = adopted->tls;
    peer_ = socket_->peer_address();
    local_ = socket_->local_address();
    group_->reactor().start_timer(connect_timer_,
                                  group_->options().handshake_timeout_ms * kNsPerMs);
    return kOk;
}

void Connection::go_live(uint32_t queue_entries, bool disables_sq_flow_control) {
    BASALT_ASSERT(phase_ == Phase::kAwaitingConnect || phase_ == Phase::kConnecting);
    if (must_authenticate(*this, link.subsystem->config(), link.host_nqn)) {
        phase_ = Phase::kAuthenticating;
        restart_timer(group_->options().authentication_timeout_ms * kNsPerMs);
    } else {
        phase_ = Phase::kLive;
        group_->reactor().stop_timer(connect_timer_);
        group_->admission().settle(beginner);
    }
    queue_entries_ = queue_entries;
    has_sq_flow_control_ = !disables_sq_flow_control;
    sq_head_ = 1;  // Behind Connect.
    choose_sources();
    requests_.deepen(queue_entries + kRequestSlack, is_admin_queue());
}

uint32_t Connection::connect_result() const {
    // AUTHREQ, bit 1: authentication transaction required (NVMe Base Specification 2.0, Connect
    // response).
    constexpr uint32_t kAuthenticationRequired = 1U << 17U;
    return link.cntlid.raw() | (is_authenticating() ? kAuthenticationRequired : 0U);
}

void Connection::authenticated() {
    BASALT_ASSERT(phase_ == Phase::kAuthenticating || phase_ == Phase::kLive);
    phase_ = Phase::kLive;
    choose_sources();
    group_->reactor().stop_timer(connect_timer_);
    group_->admission().settle(beginner);
}

void Connection::authentication_failed() {
    BASALT_ASSERT(phase_ == Phase::kAuthenticating || phase_ == Phase::kLive);
    phase_ = Phase::kAuthenticating;
    choose_sources();
    restart_timer(kAuthenticationLingerNs);
}

void Connection::watch_authentication() {
    if (is_live()) {
        restart_timer(group_->options().authentication_timeout_ms * kNsPerMs);
    }
}

void Connection::restart_timer(uint64_t delay_ns) {
    group_->reactor().stop_timer(connect_timer_);
    group_->reactor().start_timer(connect_timer_, delay_ns);
}

void Connection::on_timer() {
    if (!is_live() && !is_closing() && !authentication_.has_failed()) {
        ++group_->admission().stats().expired_connections;
    }
    if (is_live()) {
        authentication_.give_up();
    } else if (is_authenticating()) {
        close(authentication_.has_failed() ? "authentication failed"
                                           : "not authenticated within the time allowed");
    } else {
        close("no Connect within the time allowed");
    }
}

void Connection::set_connecting(bool is_connecting) {
    BASALT_ASSERT(phase_ == Phase::kAwaitingConnect || phase_ == Phase::kConnecting);
    phase_ = is_connecting ? Phase::kConnecting : Phase::kAwaitingConnect;
}

// --- A request's way -------------------------------------------------------------------------

void Connection::begin(Request& request) {
    if (link.controller != nullptr) {
        request.checked_version = link.controller->resets();
    }
    if (request.fused != nullptr) [[unlikely]] {
        static_cast<void>(link.lane == nullptr || rate_.pay(request));
        request.fused->capsule_received(request);
        return;
    }
    if (request.is_abort_wanted) {
        finish_abort(request);
        return;
    }
    if (request.has_digest_error) {
        complete(request, status::kTransientTransportError);
        return;
    }
    judge(request);
}

void Connection::judge(Request& request) {
    if (request.early_status.ok()) {
        request.early_status = check_command(request);
    }
    if (!request.early_status.ok()) {
        complete(request, request.early_status);
        return;
    }
    if (link.lane == nullptr || rate_.pay(request)) [[likely]] {
        go_on(request);
    }
}

void Connection::go_on(Request& request) {
    if (request.data_bytes == 0 || request.is_data_in_capsule || request.io.wants_device_memory) {
        execute(request);
        return;
    }
    need_buffer(request);
}

void Connection::check_data_time() {
    const uint64_t now_ns = rate_.receiving_ns();
    uint64_t oldest_ns = UINT64_MAX;
    for (const Request* at = requests_.front(); at != nullptr; at = requests_.next(*at)) {
        if (at->state() == Request::State::kAwaitingData) {
            oldest_ns = std::min(oldest_ns, at->asked_ns);
        }
    }
    if (oldest_ns == UINT64_MAX || is_closing()) {
        return;
    }
    if (now_ns - oldest_ns >= kDataTimeoutNs) {
        close("the data of a write did not come within the time allowed");
        return;
    }
    group_->reactor().start_timer(data_timer_, oldest_ns + kDataTimeoutNs - now_ns);
}

void Connection::buffer_granted(Request& request, Buffer buffer) {
    if (request.state() == Request::State::kExecuting) {
        group_->steps().granted(request, buffer);
        return;
    }
    use_buffer(request, buffer);
}

void Connection::use_buffer(Request& request, Buffer buffer) {
    request.buffer = buffer;
    request.is_buffer_of_share = true;
    if (is_of_the_past(request)) [[unlikely]] {
        free_request(request);
        return;
    }
    request.piece = iovec{buffer.data, request.data_bytes};
    if (request.sqe.data_direction() == DataDirection::kHostToController) {
        ask_for_data(request);
        return;
    }
    execute(request);
}

void Connection::ask_for_data(Request& request) {
    request.set_state(Request::State::kAwaitingData);
    request.asked_ns = rate_.receiving_ns();
    if (!data_timer_.is_running()) {
        group_->reactor().start_timer(data_timer_, kDataTimeoutNs);
    }
    output_.queue(request);
    flush_later();
}

void Connection::execute(Request& request) {
    request.set_state(Request::State::kExecuting);
    hold();
    execute_command(request);
}

inline void Connection::count_completion(const Request& request) {
    group_->count_completion(is_admin_queue());
    if (is_admin_queue()) {
        return;
    }
    if (period_work_.period != group_->period()) {
        period_work_ = {group_->period(), 0};
        group_->count_active_queue();
    }
    const uint64_t work = queue_work(request.data_bytes);
    period_work_.work += work;
    group_->count_work(work);
}

void Connection::complete(Request& request, NvmeStatus status) {
    const bool was_executing = request.state() == Request::State::kExecuting;
    // Nobody hears it any more: a terminate request is the last that a connection says.
    const bool is_unheard = is_closing() || is_of_the_past(request);
    if (is_unheard) [[unlikely]] {
        free_request(request);
    }
    if (was_executing) {
        release_hold();
    }
    if (is_unheard) [[unlikely]] {
        return;
    }
    if (!status.ok()) [[unlikely]] {
        request.cqe.set_status(note_error(request, status));  // It says success from the start.
    }
    request.set_state(Request::State::kResponding);
    request.cqe.command_id = request.sqe.command_id;
    request.cqe.sq_id.set(link.qid.raw());
    request.cqe.sq_head.set(sq_head_for(request));
    request.is_data_for_host = status.ok() && request.data_bytes > 0 &&
                               request.sqe.data_direction() == DataDirection::kControllerToHost;
    if (!request.is_data_for_host && request.holds_memory()) {
        release_memory(request);  // While it is hot, for the next.
    }
    request.may_elide_response =
        request.is_data_for_host && !has_sq_flow_control_ && group_->options().c2h_success;
    count_completion(request);
    output_.queue(request);
    flush_later();
}

void Connection::drop(Request& request) {
    BASALT_ASSERT(request.state() == Request::State::kExecuting);
    free_request(request);
    release_hold();
}

uint16_t Connection::sq_head_for(const Request& request) const {
    if (has_sq_flow_control_) {
        return static_cast<uint16_t>(sq_head_);
    }
    // The one way to tell the host that flow control is off, as it wished. Later the field means
    // nothing (technical proposal 8005, "fabrics SQ flow control", part of NVMe over Fabrics 1.1).
    const bool is_connect =
        request.sqe.is_fabrics() && request.sqe.fctype() == nvme_fabrics_type_connect;
    return is_connect ? uint16_t{0xffff} : uint16_t{0};
}

void Connection::free_request(Request& request) {
    BASALT_ASSERT(receiving_ != &request);
    if (request.holds_memory()) {
        release_memory(request);
    }
    if (request.fused != nullptr) [[unlikely]] {
        std::exchange(request.fused, nullptr)->forget(request);
    }
    request.set_state(Request::State::kFree);
    requests_.give_back(request);
    leave_later();
}

// --- Sending ---------------------------------------------------------------------------------

void Connection::flush_later() {
    if (!output_.is_sending() && !flush_event_.is_waiting()) {
        group_->reactor().defer_to_end_of_turn(flush_event_);
    }
}

void Connection::flush() {
    if (phase_ >= Phase::kClosing || output_.is_sending() || !output_.has_work()) {
        return;
    }
    if (group_->reactor().now_ns() < next_send_ns_ && is_host_busy()) {
        flush_later();
        return;
    }
    recent_depth_ = std::max(requests_.outstanding_count(),
                             recent_depth_ - (recent_depth_ + kDepthDecay - 1) / kDepthDecay);
    const std::span<const iovec> pieces = output_.begin_send(format_);
    if (output_.sent_count() < kSendPauseResponses &&
        requests_.outstanding_count() < kSendPauseResponses) {
        socket_->send_at_once(pieces);
    } else {
        socket_->send(pieces);
    }
}

bool Connection::is_host_busy() const {
    return requests_.outstanding_count() * kSendPauseDepthDivisor < recent_depth_;
}

void Connection::pace_sends() {
    // What this turn has taken until now is, nearly all of it, the send itself.
    const uint64_t now_ns = group_->reactor().clock().now_ns();
    const uint64_t took_ns = now_ns - group_->reactor().now_ns();
    next_send_ns_ = now_ns + std::min(took_ns * kSendPauseFactor, kSendPauseNsMax);
}

void Connection::on_sent() {
    if (output_.sent_count() >= kSendPauseResponses) {
        pace_sends();
    }
    output_.finish_send([this](Request& request) { free_request(request); });
    leave_later();
    if (output_.has_work()) {
        flush_later();
    } else if (phase_ == Phase::kTerminating) {
        close("protocol violation");
    }
}

// --- The end ---------------------------------------------------------------------------------

void Connection::close(std::string_view why) {
    if (phase_ >= Phase::kClosing) {
        return;
    }
    if (!why.empty()) {
        BASALT_LOG(kInfo,
                   "nvmf",
                   "connection {} from {}, queue {}: closing: {}",
                   id_,
                   peer_.to_string(),
                   link.qid.raw(),
                   why);
    }
    phase_ = Phase::kClosing;
    group_->admission().settle(beginner);
    receiver_.stop();
    group_->reactor().stop_timer(connect_timer_);
    group_->reactor().stop_timer(data_timer_);
    group_->reactor().stop_timer(move_.patience);
    if (link.controller == nullptr || link.controller->may_close()) {
        socket_->close();
    }
}

void Connection::close_socket() {
    BASALT_ASSERT(phase_ == Phase::kClosing);
    socket_->close();
}

void Connection::on_closed(Error reason) {
    if (phase_ != Phase::kClosing) {
        BASALT_LOG(kInfo,
                   "nvmf",
                   "connection {} from {}, queue {}: {}",
                   id_,
                   peer_.to_string(),
                   link.qid.raw(),
                   describe(reason.code));
    }
    phase_ = Phase::kClosed;
    group_->admission().settle(beginner);
    receiver_.stop();
    group_->reactor().stop_timer(connect_timer_);
    group_->reactor().stop_timer(data_timer_);
    group_->reactor().stop_timer(move_.patience);
    socket_.reset();
    tls_ = nullptr;
    abandon_aborts();
    abandon_requests();
    group_->connection_closed(*this);
    end_if_unused();
}

void Connection::abandon_requests() {
    receiving_ = nullptr;
    output_.abandon();
    stop_waiting();
    if (capsule_buffer_.is_valid()) {
        capsule_buffer_source_.release(std::exchange(capsule_buffer_, {}));
    }
    if (half_pair != nullptr) {
        half_pair->partner_missing();
    }
    requests_.visit([this](Request& request) {
        switch (request.state()) {
            case Request::State::kExecuting:
                // The device still has it, unless it waits for its turn.
                static_cast<void>(stop_io_command(request));
                break;
            case Request::State::kFree:
            case Request::State::kThrottled:
            case Request::State::kNeedsBuffer:
            case Request::State::kReceiving:
            case Request::State::kAwaitingData:
            case Request::State::kAwaitingPartner:
            case Request::State::kResponding: free_request(request); break;
        }
    });
}

void Connection::release_hold() {
    BASALT_ASSERT(holds_ > 0);
    --holds_;
    leave_later();
    end_if_unused();
}

void Connection::end_if_unused() {
    if (phase_ == Phase::kClosed && holds_ == 0 && !end_event_.is_waiting()) {
        group_->reactor().defer(end_event_);
    }
}

void Connection::end() {
    if (holds_ == 0) {
        group_->forget(*this);
    }
}

}  // namespace basalt::nvmf
