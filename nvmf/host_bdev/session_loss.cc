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

/// Ends the association so that nothing of it is executed any more, and tells the cores.
Task<void> ControllerSession::fence() {
    co_await drop_queues();
    const uint32_t chosen_ms = options_.host.keep_alive_ms;
    const SilentAssociation silent{
        .keep_alive_ms = chosen_ms != 0 ? chosen_ms : HostOptions{}.keep_alive_ms,
        .granularity_ms = identity_.kas * kKeepAliveUnitMs,
        .counts_all_commands = (identity_.ctratt & kTrafficBasedKeepAlive) != 0,
        .last_answer_ns = controller_->last_answer_ns(),
        .dropped_ns = control_.now_ns()};
    const uint64_t silent_at = silent_at_ns(silent) + kFenceMarginNs;
    const uint64_t left_ns = silent_at > control_.now_ns() ? silent_at - control_.now_ns() : 0;
    bool is_confirmed = false;
    if (controller_->admin().is_live()) {
        control_.start_timer(fence_timer_, left_ns);
        is_confirmed = (co_await controller_->disable()).has_value();
        control_.stop_timer(fence_timer_);
    }
    const Errc why = controller_->admin().close_reason().code;
    const bool is_silent = why == Errc::kTimedOut || why == Errc::kUnreachable;
    if (!is_confirmed && is_silent && silent_at > control_.now_ns()) {
        co_await sleep_for(control_, silent_at - control_.now_ns());
    }
    co_await controller_->end();
    controller_.reset();
    co_await lift_fence();
}

Task<void> ControllerSession::lift_fence() {
    PathVisit request{.paths = paths_, .path = index_, .epoch = epoch_};
    co_await bdev::visit_cores(control_, cores_, request, &lift_there);
}

Task<void> ControllerSession::recover() {
    ++running_;
    co_await sequence_.acquire();
    const AsyncMutex::Turn turn(sequence_);
    co_await fence();
    state_ = State::kWaiting;
    if (!is_stopping_) {
        perform(policy_.apply(ReconnectPolicy::Event::kLost, control_.now_ns()));
    }
    --running_;
}

}  // namespace basalt::nvmf
