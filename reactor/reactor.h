#pragma once

#include <array>
#include <cstdint>

#include "reactor/base/intrusive_list.h"
#include "reactor/base/strong_int.h"
#include "reactor/io/clock.h"
#include "reactor/io/io_driver.h"
#include "reactor/io/random.h"
#include "reactor/limits.h"
#include "reactor/msg/event.h"
#include "reactor/msg/mailbox.h"
#include "reactor/timer_queue.h"

namespace basalt {

/// What a poller's call achieved.
enum class PollResult : uint8_t { kIdle, kBusy };

/// Something that wants to be asked in every turn of the poll loop. Owner: whoever registers it;
/// must be removed before it is destroyed. A reactor with pollers still sleeps: a poller is for
/// work that an I/O completion, a message or a timer announced.
class Poller {
  public:
    virtual ~Poller() = default;
    /// Does bounded work.
    [[nodiscard]] virtual PollResult poll() = 0;

    ListLink link;
};

/// Whether an idle reactor sleeps.
enum class PollMode : uint8_t {
    kAdaptive,  ///< Sleeps after idle_before_sleep_ns without work; uses no CPU when idle.
    kBusy,      ///< Polls for ever; saves the wake-up.
};

struct ReactorOptions {
    CoreId core;
    PollMode mode = PollMode::kAdaptive;
    uint64_t idle_before_sleep_ns = kIdleBeforeSleepNs;
    uint64_t random_seed = 0;
};

/// What a reactor did since it was made. Times in nanoseconds.
struct ReactorCounters {
    uint64_t polls = 0;
    uint64_t busy_ns = 0;   ///< Time of turns that found work.
    uint64_t idle_ns = 0;   ///< Time of turns that found none; of simulated reactors all the rest.
    uint64_t sleep_ns = 0;  ///< Time asleep.
    uint64_t sleeps = 0;
    uint64_t messages_sent = 0;
    uint64_t messages_received = 0;
    uint64_t messages_stalled = 0;  ///< Found the ring full and were kept back.
    uint64_t events = 0;
    uint64_t timers = 0;
    uint64_t ios = 0;  ///< Completions of sockets and files.
};

/// One core's poll loop and the services that objects on that core use. Runs to completion: nothing
/// here blocks, locks or allocates. It is the same class in production, where a pinned thread calls
/// run(), and in a simulation, where the world calls poll_once() on each reactor in turn.
///
/// The order of a turn, and why:
///   1. messages   other cores wait for their answers
///   2. I/O        submits all that the last turn queued, in one system call, and reaps
///   3. timers     after I/O, so that an answer that is there beats its time-out
///   4. pollers
///   5. events     completions deferred by all of the above, until none is left (bounded)
///   6. last calls work that wants to be batched once a turn, such as a socket's output
///
/// Owner: ReactorThreads or sim::World. Core: its own; only post() targets name other cores.
class Reactor {
  public:
    /// The services outlive the reactor.
    Reactor(const ReactorOptions& options, Clock& clock, IoDriver& driver, Mailbox& mailbox);
    Reactor(const Reactor&) = delete;
    Reactor& operator=(const Reactor&) = delete;
    ~Reactor();

    [[nodiscard]] CoreId core() const { return options_.core; }

    /// The time at the start of this turn. Good for time-outs; latencies want clock().
    [[nodiscard]] uint64_t now_ns() const { return now_ns_; }
    [[nodiscard]] Clock& clock() { return clock_; }
    [[nodiscard]] Random& random() { return random_; }
    [[nodiscard]] Network& network() { return driver_.network(); }
    [[nodiscard]] Storage& storage() { return driver_.storage(); }

    /// Runs `event` later in this turn or in the next, on this core.
    void defer(Event& event) { ready_.push_back(event); }

    /// Runs `event` at the end of this turn, after all ready events, once.
    void defer_to_end_of_turn(Event& event) { last_calls_.push_back(event); }

    /// Sends `event` to run on reactor `to` (which may be this one). Events from one core to
    /// another arrive in order. Never fails: with a full ring it waits here.
    void post(CoreId to, Event& event);

    /// Starts `timer` to expire `delay_ns` from now.
    void start_timer(Timer& timer, uint64_t delay_ns) { timers_.start(timer, now_ns_ + delay_ns); }
    void stop_timer(Timer& timer) { timers_.stop(timer); }

    /// Polled from the next turn on (or later in this one, if it has not come to the pollers yet).
    void add_poller(Poller& poller) { pollers_.push_back(poller); }
    static void remove_poller(Poller& poller) { PollerList::remove(poller); }

    /// One turn. kIdle if it found nothing to do.
    PollResult poll_once();

    /// Turns until stop(), sleeping when idle as the mode says.
    void run();

    /// Ends run() after the current turn. On this core only: post an event that calls it.
    void stop() { is_stopping_ = true; }

    /// When poll_once() next has something to do by itself: now_ns() while events or held back
    /// messages wait, else the next timer, else UINT64_MAX. For a simulation's clock and for sleep.
    [[nodiscard]] uint64_t next_wakeup_ns() const;

    /// Forgets all that waits here, events, timers and pollers, without running it: the machine has
    /// lost its power. For simulations.
    void abandon();

    /// True after abandon(): what is under way here will never be answered.
    [[nodiscard]] bool is_abandoned() const { return is_abandoned_; }

    [[nodiscard]] const ReactorCounters& counters() const { return counters_; }

  private:
    using PollerList = IntrusiveList<Poller, &Poller::link>;

    void charge_last_turn();
    uint32_t receive_messages();
    uint32_t send_held_back();
    uint32_t run_pollers();
    uint32_t run_events();
    void run_last_calls();
    void sleep();

    const ReactorOptions options_;
    Clock& clock_;
    IoDriver& driver_;
    Mailbox& mailbox_;
    Random random_;
    TimerQueue timers_;
    EventList ready_;
    EventList last_calls_;
    PollerList pollers_;
    std::array<EventList, kReactorsMax> held_back_;  // By receiver, while its ring is full.
    uint32_t held_back_count_ = 0;
    ReactorCounters counters_;
    uint64_t now_ns_;
    uint64_t idle_since_ns_;
    uint64_t charged_until_ns_;
    PollResult last_turn_ = PollResult::kIdle;
    bool is_stopping_ = false;
    bool is_abandoned_ = false;
};

}  // namespace basalt
