#include "reactor/reactor.h"

#include "reactor/base/assert.h"

namespace basalt {

Reactor::Reactor(const ReactorOptions& options, Clock& clock, IoDriver& driver, Mailbox& mailbox)
    : options_(options),
      clock_(clock),
      driver_(driver),
      mailbox_(mailbox),
      random_(options.random_seed),
      now_ns_(clock.now_ns()),
      idle_since_ns_(now_ns_),
      charged_until_ns_(now_ns_) {
    BASALT_ASSERT(options.core.raw() < kReactorsMax);
    driver.attach(*this);
}

Reactor::~Reactor() {
    BASALT_ASSERT(held_back_count_ == 0);
}

void Reactor::post(CoreId to, Event& event) {
    BASALT_ASSERT(to.raw() < kReactorsMax);
    ++counters_.messages_sent;
    if (to == options_.core) {
        ready_.push_back(event);
        return;
    }
    EventList& held_back = held_back_[to.raw()];
    // Nothing overtakes what waits already: events between two cores stay in order.
    if (held_back.empty() && mailbox_.send(to, event)) {
        return;
    }
    ++counters_.messages_stalled;
    ++held_back_count_;
    held_back.push_back(event);
}

uint32_t Reactor::send_held_back() {
    uint32_t sent = 0;
    for (uint32_t to = 0; to < kReactorsMax; ++to) {
        EventList& held_back = held_back_[to];
        while (Event* event = held_back.front()) {
            // Out of our list first: from the moment it is sent, the other core owns its link.
            EventList::remove(*event);
            if (!mailbox_.send(CoreId(to), *event)) {
                held_back.push_front(*event);
                break;
            }
            --held_back_count_;
            ++sent;
        }
    }
    return sent;
}

uint32_t Reactor::receive_messages() {
    // NOLINTNEXTLINE(*-member-init): each turn comes here, and receive() fills what counts.
    std::array<Event*, kMessagesPerPoll> batch;
    const uint32_t count = mailbox_.receive(batch);
    for (uint32_t i = 0; i < count; ++i) {
        batch[i]->run(*this);
    }
    counters_.messages_received += count;
    return count;
}

uint32_t Reactor::run_events() {
    uint32_t count = 0;
    while (count < kEventsPerPoll) {
        Event* event = ready_.pop_front();
        if (event == nullptr) {
            break;
        }
        event->run(*this);
        ++count;
    }
    counters_.events += count;
    return count;
}

uint32_t Reactor::run_pollers() {
    // A poller may remove or destroy any other, so nothing here remembers the next one.
    PollerList batch;
    batch.splice_back(pollers_);
    uint32_t busy = 0;
    while (Poller* poller = batch.pop_front()) {
        pollers_.push_back(*poller);
        busy += poller->poll() == PollResult::kBusy ? 1U : 0U;
    }
    return busy;
}

void Reactor::run_last_calls() {
    // Only those that are here now: one that calls again does so in the next turn.
    EventList batch;
    batch.splice_back(last_calls_);
    while (Event* event = batch.pop_front()) {
        event->run(*this);
    }
}

void Reactor::charge_last_turn() {
    // One look at the clock a turn: a turn's start is the end of the one before.
    (last_turn_ == PollResult::kBusy ? counters_.busy_ns : counters_.idle_ns) +=
        now_ns_ - charged_until_ns_;
    charged_until_ns_ = now_ns_;
}

PollResult Reactor::poll_once() {
    now_ns_ = clock_.now_ns();
    charge_last_turn();
    uint32_t work = receive_messages();
    if (held_back_count_ > 0) {
        work += send_held_back();
    }

    const uint32_t ios = driver_.poll();
    counters_.ios += ios;
    work += ios;

    // Most turns of a busy reactor find nothing, so to look must cost little.
    if (timers_.next_deadline_ns() <= now_ns_) {
        const uint32_t timers = timers_.expire(now_ns_, kTimersPerPoll);
        counters_.timers += timers;
        work += timers;
    }
    if (!pollers_.empty()) {
        work += run_pollers();
    }
    if (!ready_.empty()) {
        work += run_events();
    }
    if (!last_calls_.empty()) {
        run_last_calls();
        ++work;
    }
    ++counters_.polls;
    last_turn_ = work > 0 ? PollResult::kBusy : PollResult::kIdle;
    return last_turn_;
}

uint64_t Reactor::next_wakeup_ns() const {
    if (!ready_.empty() || !last_calls_.empty() || held_back_count_ > 0) {
        return now_ns_;
    }
    return timers_.next_deadline_ns();
}

void Reactor::abandon() {
    is_abandoned_ = true;
    for (EventList& held_back : held_back_) {
        held_back.clear();
    }
    held_back_count_ = 0;
    ready_.clear();
    last_calls_.clear();
    pollers_.clear();
    timers_.clear();
}

void Reactor::run() {
    is_stopping_ = false;
    charged_until_ns_ = clock_.now_ns();
    idle_since_ns_ = charged_until_ns_;
    last_turn_ = PollResult::kIdle;
    while (!is_stopping_) {
        if (poll_once() == PollResult::kBusy) {
            idle_since_ns_ = now_ns_;
        } else if (options_.mode == PollMode::kAdaptive &&
                   now_ns_ - idle_since_ns_ >= options_.idle_before_sleep_ns) {
            const uint64_t before_ns = clock_.now_ns();
            sleep();
            charged_until_ns_ = clock_.now_ns();
            counters_.sleep_ns += charged_until_ns_ - before_ns;
            idle_since_ns_ = charged_until_ns_;
        }
    }
}

void Reactor::sleep() {
    const uint64_t wakeup_ns = next_wakeup_ns();
    if (wakeup_ns <= clock_.now_ns() || !mailbox_.prepare_sleep()) {
        return;
    }
    ++counters_.sleeps;
    driver_.wait(wakeup_ns);
    mailbox_.awake();
}

}  // namespace basalt
