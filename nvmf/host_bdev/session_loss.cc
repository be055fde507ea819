#include "nvmf/host_bdev/controller_session.h"
#include "nvmf/host_bdev/fence_time.h"
#include "reactor/base/log.h"

// A session that has lost a connection: what ends, and when nothing of it is executed any more.

namespace basalt::nvmf {

namespace {

constexpr uint32_t kKeepAliveUnitMs = 100;             // Of KAS.
constexpr uint32_t kTrafficBasedKeepAlive = 1U << 6U;  // CTRATT: TBKAS.

struct PathVisit {
    bdev::PerCore<std::unique_ptr<CorePaths>>& paths;
    uint32_t path = 0;
    uint32_t epoch = 0;
};

Task<void> drop_there(Reactor& there, PathVisit& request) {
    co_await request.paths.on(there)->drop(request.path);
}

Task<void> lift_there(Reactor& there, PathVisit& request) {
    request.paths.on(there)->lift_fence(request.path, request.epoch);
    co_return;
}

}  // namespace

void ControllerSession::on_controller_lost(Error reason) {
    lost(reason);
}

void ControllerSession::on_queue_lost(uint32_t epoch, Error reason) {
    if (epoch == epoch_) {
        has_early_loss_ = !is_live();
        lost(reason);
    }
}

void ControllerSession::lost(Error reason) {
    if (!is_live() || is_stopping_) {
        return;
    }
    BASALT_LOG(kWarn,
               "nvmf",
               "lost {} at {}: {}",
               options_.host.subsystem_nqn,
               options_.host.address.to_string(),
               describe(reason.code));
    stop_watching();
    state_ = State::kRecovering;
    lost_reason_ = reason;
    recover().detach();
}

Task<void> ControllerSession::drop_queues() {
    PathVisit request{.paths = paths_, .path = index_};
    co_await bdev::visit_cores(control_, cores_, request, &drop_there);
}

SilentAssociation ControllerSession::what_is_known(uint64_t dropped_ns) const {
    const uint32_t chosen_ms = options_.host.keep_alive_ms;
    return {.keep_alive_ms = chosen_ms != 0 ? chosen_ms : HostOptions{}.keep_alive_ms,
            .granularity_ms = identity_.kas * kKeepAliveUnitMs,
            .counts_all_commands = (identity_.ctratt & kTrafficBasedKeepAlive) != 0,
            .last_answer_ns = controller_->last_answer_ns(),
            .dropped_ns = dropped_ns,
            .last_property_ns = controller_->last_property_ns()};
}

Task<void> ControllerSession::end_association() {
    co_await drop_queues();
    const uint64_t dropped_ns = control_.now_ns();
    const uint64_t silent_ns = silent_at_ns(what_is_known(dropped_ns)) + kFenceMarginNs;
    if (controller_->admin().is_live()) {
        const uint64_t now_ns = control_.now_ns();
        control_.start_timer(disable_timer_, silent_ns > now_ns ? silent_ns - now_ns : 0);
        const Status disabled = co_await controller_->disable();
        control_.stop_timer(disable_timer_);
        if (!disabled) {
            BASALT_LOG(kWarn,
                       "nvmf",
                       "controller {} does not say that it is disabled: {}",
                       cntlid_.raw(),
                       describe(disabled.error().code));
        }
    }
    co_await controller_->end();
    co_await forget_controller(dropped_ns);
}

Task<void> ControllerSession::forget_controller(uint64_t dropped_ns) {
    const Errc why = controller_->admin().close_reason().code;
    // All but these are ends that the controller's side has made.
    const bool is_ours =
        why == Errc::kTimedOut || why == Errc::kUnreachable || why == Errc::kCancelled;
    const bool is_over = !has_queues_ || controller_->has_stopped() || !is_ours;
    const uint64_t silent_ns = silent_at_ns(what_is_known(dropped_ns)) + kFenceMarginNs;
    ended_.add(epoch_, is_over ? control_.now_ns() : silent_ns);
    controller_.reset();
    co_await lift_fences();
}

Task<void> ControllerSession::lift_fences() {
    const uint32_t epoch = ended_.take_over(control_.now_ns());
    if (epoch != 0) {
        PathVisit request{.paths = paths_, .path = index_, .epoch = epoch};
        co_await bdev::visit_cores(control_, cores_, request, &lift_there);
    }
    control_.stop_timer(fence_timer_);
    if (!ended_.is_empty()) {
        const uint64_t now_ns = control_.now_ns();
        const uint64_t next_ns = ended_.next_ns();
        control_.start_timer(fence_timer_, next_ns > now_ns ? next_ns - now_ns : 0);
    }
}

/// By the timer, which nobody awaits.
Task<void> ControllerSession::lift_later() {
    ++running_;
    co_await lift_fences();
    --running_;
}

Task<void> ControllerSession::recover() {
    ++running_;
    co_await sequence_.acquire();
    const AsyncMutex::Turn turn(sequence_);
    co_await end_association();
    state_ = State::kWaiting;
    if (!is_stopping_) {
        perform(policy_.apply(ReconnectPolicy::Event::kLost, control_.now_ns()));
    }
    --running_;
}

}  // namespace basalt::nvmf
