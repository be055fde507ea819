#include <utility>

#include "nvmf/target/connection.h"
#include "nvmf/target/poll_group.h"
#include "nvmf/target/subsystem.h"

// A connection goes to another core. What it has begun it ends here: devices answer to the core
// that asked them, and buffers and requests belong to a core. Commands without a buffer are set
// aside and travel along, and so does a header that waits in the receiver.

namespace basalt::nvmf {

void Connection::begin_move(CoreId to) {
    BASALT_ASSERT(can_move());
    move_.state = ConnectionMove::State::kQuieting;
    move_.to = to;
    group_->reactor().start_timer(move_.patience, kMovePatienceNs);
    // Those in line leave it; all of them before one gets a buffer that another leaves behind.
    RequestList waiting;
    for (RequestList& line : needy_) {
        waiting.splice_back(line);
    }
    requests_.visit([&](Request& request) {
        if (request.state() == Request::State::kNeedsBuffer && request.waiter.is_waiting()) {
            BufferPool::cancel(request.waiter);
            --share_used_[BufferPool::class_for(request.data_bytes)];
            waiting.push_back(request);
        }
    });
    while (Request* request = waiting.pop_front()) {
        set_aside(*request);
    }
    rate_.set_throttled_aside();
    leave_later();
}

bool Connection::holds_stream() const {
    if (move_.takes_commands() || half_pair != nullptr) {
        return false;
    }
    for (const Request* at = requests_.front(); at != nullptr; at = requests_.next(*at)) {
        if (at->state() == Request::State::kAwaitingData) {
            return false;
        }
    }
    return true;
}

bool Connection::is_quiet() const {
    return requests_.used_count() == 0 && receiving_ == nullptr && holds_ == 0 &&
           half_pair == nullptr && aborts_.empty() && !output_.is_sending() &&
           !output_.has_work() && authentication_.is_idle() && errors_.waiting.is_empty() &&
           !errors_.report.is_under_way;
}

void Connection::leave_later() {
    if (move_.is_quieting() && !leave_event_.is_waiting()) [[unlikely]] {
        group_->reactor().defer(leave_event_);
    }
}

void Connection::leave_if_quiet() {
    // If something is under way, its end calls again.
    if (!move_.is_quieting() || is_closing() || !is_quiet()) {
        return;
    }
    rate_.leave();
    requests_.leave();
    BufferPool::cancel(capsule_waiter_);
    if (capsule_buffer_.is_valid()) {
        capsule_buffer_source_.release(std::exchange(capsule_buffer_, {}));
    }
    move_.state = ConnectionMove::State::kLeaving;
    const bool is_released = socket_->release();
    BASALT_ASSERT(is_released);  // Who can't was not asked.
}

void Connection::give_up_move() {
    if (!move_.is_quieting() || is_closing()) {
        return;  // It is about to leave, or to end.
    }
    move_.state = ConnectionMove::State::kStays;
    resume_later();
}

void Connection::on_released(AcceptedSocket released) {
    BASALT_ASSERT(move_.state == ConnectionMove::State::kLeaving);
    BASALT_ASSERT(is_live());
    socket_.reset();
    for (Timer* timer : {&connect_timer_, &data_timer_, &move_.patience}) {
        group_->reactor().stop_timer(*timer);
    }
    for (Event* event : {static_cast<Event*>(&flush_event_), static_cast<Event*>(&resume_event_)}) {
        if (event->link.is_linked()) {
            EventList::remove(*event);
        }
    }
    group_->send_away(*this, std::move(released), move_.to);
}

void Connection::arrive(PollGroup& group, AcceptedSocket released) {
    group_ = &group;
    move_.state = ConnectionMove::State::kSettling;
    next_send_ns_ = 0;                       // By the other core's clock.
    period_work_ = {group.period() - 1, 0};  // It has done nothing here.
    choose_sources();
    auto adopted = group_->reactor().network().adopt(std::move(released), socket_options(), *this);
    if (!adopted) {
        on_closed(adopted.error());
        return;
    }
    socket_ = std::move(*adopted);
    resume_later();
}

void Connection::arrive_unwanted(PollGroup& group, AcceptedSocket released) {
    group_ = &group;
    move_.state = ConnectionMove::State::kSettling;
    group_->reactor().network().discard(std::move(released));
    on_closed(Error(Errc::kCancelled));
}

}  // namespace basalt::nvmf
