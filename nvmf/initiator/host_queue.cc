#include "nvmf/initiator/host_queue.h"

#include <algorithm>
#include <cstddef>

#include "nvmf/wire/command_build.h"
#include "reactor/base/log.h"

namespace basalt::nvmf {

namespace {

constexpr uint32_t kSlotMask = (1U << kSlotBits) - 1;

}  // namespace

HostQueue::HostQueue(Reactor& reactor, const HostQueueOptions& options)
    : reactor_(reactor),
      options_(options),
      receiver_(*this,
                PduRules{.side = Side::kHost,
                         .capsule_data_bytes_max = 0,
                         .data_bytes_max = kC2hDataBytesMax}) {
    BASALT_ASSERT(options.entries >= kHostQueueEntriesMin);
    BASALT_ASSERT(options.entries <= kHostQueueEntriesMax);
    phase_timer_.set(&HostQueue::on_phase_timer, this);
    age_timer_.set(&HostQueue::on_age_timer, this);
    slots_.resize(slot_count());
    receive_pieces_.resize(kHostPiecesMax);
    free_slots_.reserve(slots_.size());
    for (uint32_t i = slot_count(); i > 0; --i) {
        free_slots_.push_back(static_cast<uint16_t>(i - 1));
    }
}

HostQueue::~HostQueue() {
    if (reactor_.is_abandoned()) {
        output_.abandon();
        waiting_.clear();
        aging_.clear();
        return;
    }
    BASALT_ASSERT(phase_ == Phase::kNew || phase_ == Phase::kClosed);
    BASALT_ASSERT(outstanding_ == 0);
}

// --- Commands --------------------------------------------------------------------------------

Status HostQueue::submit(HostCommand& command) {
    if (phase_ != Phase::kLive) {
        return Errc::kConnectionClosed;
    }
    BASALT_ASSERT(command.pieces.size() <= kHostPiecesMax);
    command.reset();
    if (free_slots_.empty()) {
        command.set_state(HostCommand::State::kWaiting);
        waiting_.push_back(command);
        return kOk;
    }
    assign(command);
    return kOk;
}

/// Gives the command a slot, and so its identifier, and queues its capsule.
void HostQueue::assign(HostCommand& command) {
    const uint16_t index = free_slots_.back();
    free_slots_.pop_back();
    Slot& slot = slots_[index];
    BASALT_ASSERT(slot.command == nullptr);
    slot.command = &command;
    ++slot.generation;
    ++outstanding_;
    command.sqe.command_id.set(static_cast<uint16_t>((slot.generation << kSlotBits) | index));

    // Fabrics and admin commands may carry 8 KiB whatever IOCCSZ says (format.md).
    const uint32_t capsule_bytes_max =
        is_administrative(command) ? kAdminCapsuleDataBytes : options_.capsule_data_bytes;
    command.is_in_capsule_ = command.is_to_controller() && command.data_bytes <= capsule_bytes_max;
    if (command.is_in_capsule_) {
        set_in_capsule_data(command.sqe, command.data_bytes);
    } else {
        set_transport_data(command.sqe, command.data_bytes);
    }
    watch_age(command);
    command.set_state(HostCommand::State::kQueued);
    output_.queue(command);
    flush_later();
}

bool HostQueue::is_administrative(const HostCommand& command) const {
    return options_.qid == kAdminQueueId || command.sqe.is_fabrics();
}

HostCommand* HostQueue::find(CommandId cid) {
    const uint32_t index = cid.raw() & kSlotMask;
    if (index >= slots_.size()) {
        return nullptr;
    }
    HostCommand* command = slots_[index].command;
    if (command == nullptr || command->sqe.cid() != cid) {
        return nullptr;
    }
    const bool awaits_answer = command->state() == HostCommand::State::kInFlight ||
                               command->state() == HostCommand::State::kSendingData;
    return awaits_answer ? command : nullptr;
}

/// What the command's answer means for its user; `cqe` is null if the SUCCESS flag was the answer.
Status HostQueue::outcome(const HostCommand& command, const Cqe* cqe) {
    if (cqe != nullptr && !cqe->status().ok()) {
        return to_error(cqe->status());
    }
    if (command.has_digest_error_) {
        return Errc::kDataCorrupt;
    }
    // Success means that all data has moved; a controller that says so without has lied.
    const bool has_data = command.is_to_controller() || command.is_to_host();
    if (has_data && command.moved_bytes_ != command.data_bytes && !command.may_get_less) {
        return Errc::kProtocol;
    }
    return kOk;
}

void HostQueue::answered(HostCommand& command, const Cqe* cqe) {
    command.status = outcome(command, cqe);
    if (cqe != nullptr) {
        command.cqe = *cqe;
    }
    if (command.link.is_linked()) {
        HostCommandList::remove(command);  // The controller does not want the rest of the data.
    }
    if (command.send_link.is_linked()) {
        command.set_state(HostCommand::State::kEnding);
        return;
    }
    complete(command);
}

void HostQueue::complete(HostCommand& command) {
    const uint32_t index = command.sqe.cid().raw() & kSlotMask;
    BASALT_ASSERT(slots_[index].command == &command);
    slots_[index].command = nullptr;
    free_slots_.push_back(static_cast<uint16_t>(index));
    --outstanding_;
    if (command.age_link.is_linked()) {
        aging_.remove(command);
    }
    command.set_state(HostCommand::State::kIdle);
    if (phase_ == Phase::kLive && !waiting_.empty()) {
        assign(*waiting_.pop_front());
    }
    command.done_(command, command.context_);
}

/// The connection has ended: completes all with its reason. Nothing new comes in meanwhile.
void HostQueue::fail_all() {
    BASALT_ASSERT(phase_ == Phase::kClosed);
    output_.abandon();
    for (const Slot& slot : slots_) {
        HostCommand* command = slot.command;
        if (command != nullptr) {
            // One in kEnding had its answer already.
            if (command->state() != HostCommand::State::kEnding) {
                command->status = close_reason_;
            }
            complete(*command);
        }
    }
    while (HostCommand* command = waiting_.pop_front()) {
        command->status = close_reason_;
        command->set_state(HostCommand::State::kIdle);
        command->done_(*command, command->context_);
    }
    BASALT_ASSERT(outstanding_ == 0);
}

// --- Time ------------------------------------------------------------------------------------

/// All commands that have a time have the same, so the list is in the order of the deadlines, and
/// one timer that looks at its head is enough.
void HostQueue::watch_age(HostCommand& command) {
    uint64_t timeout_ns = options_.host.command_timeout_ns;
    if (timeout_ns == 0 && is_administrative(command)) {
        timeout_ns = kHostAdminTimeoutNs;
    }
    if (timeout_ns == 0 || command.never_times_out) {
        return;
    }
    command.deadline_ns_ = reactor_.now_ns() + timeout_ns;
    aging_.push_back(command);
    if (!age_timer_.is_running()) {
        reactor_.start_timer(age_timer_, timeout_ns);
    }
}

void HostQueue::on_age() {
    const HostCommand* oldest = aging_.front();
    if (oldest == nullptr) {
        return;
    }
    const uint64_t now_ns = reactor_.now_ns();
    if (oldest->deadline_ns_ > now_ns) {
        reactor_.start_timer(age_timer_, oldest->deadline_ns_ - now_ns);
        return;
    }
    BASALT_LOG(kWarn,
               "nvmf",
               "queue {} to {}: no answer to command {:#x} (opcode {:#x}) in time",
               options_.qid.raw(),
               options_.host.address.to_string(),
               oldest->sqe.cid().raw(),
               oldest->sqe.opcode);
    close(Error(Errc::kTimedOut));
}

void HostQueue::on_age_timer(Timer& /*timer*/, void* self) {
    static_cast<HostQueue*>(self)->on_age();
}

void HostQueue::on_phase_timer(Timer& /*timer*/, void* self) {
    static_cast<HostQueue*>(self)->close(Error(Errc::kTimedOut));
}

// --- Sending ---------------------------------------------------------------------------------

void HostQueue::flush_later() {
    if (!output_.is_sending() && !flush_event_.is_waiting()) {
        reactor_.defer_to_end_of_turn(flush_event_);
    }
}

void HostQueue::flush() {
    if (phase_ >= Phase::kAwaitingIc && phase_ < Phase::kClosing && !output_.is_sending() &&
        output_.has_work()) {
        socket_->send(output_.begin_send(format_, h2c_data_bytes_max_));
    }
}

void HostQueue::on_sent() {
    output_.finish_send([this](HostCommand& command) {
        if (command.state() == HostCommand::State::kEnding) {
            complete(command);
        }
    });
    if (output_.has_work()) {
        flush_later();
    } else if (phase_ == Phase::kTerminating) {
        close(close_reason_);
    }
}

// --- The end ---------------------------------------------------------------------------------

void HostQueue::close(Error reason) {
    if (phase_ == Phase::kNew || phase_ >= Phase::kClosing) {
        return;
    }
    if (phase_ != Phase::kTerminating) {
        close_reason_ = reason;
    }
    phase_ = Phase::kClosing;
    receiver_.stop();
    reactor_.stop_timer(phase_timer_);
    reactor_.stop_timer(age_timer_);
    socket_->close();
}

void HostQueue::on_closed(Error reason) {
    if (phase_ < Phase::kTerminating) {
        close_reason_ = reason;
    }
    phase_ = Phase::kClosed;
    receiver_.stop();
    reactor_.stop_timer(phase_timer_);
    reactor_.stop_timer(age_timer_);
    socket_.reset();
    fail_all();
    if (awaiter_ && !wake_event_.is_waiting()) {
        reactor_.defer(wake_event_);
    }
    if (closed_ != nullptr) {
        closed_(closed_context_, close_reason_);
    }
}

Task<void> HostQueue::end() {
    close(Error(Errc::kCancelled));
    if (phase_ != Phase::kNew) {
        co_await PhaseWait(*this, true);
    }
}

void HostQueue::wake() {
    const std::coroutine_handle<> awaiter = std::exchange(awaiter_, nullptr);
    if (awaiter) {
        awaiter.resume();
    }
}

}  // namespace basalt::nvmf
