// The poll loop, run turn by turn on fakes that show what it asks of its services.
#include "reactor/reactor.h"

#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "reactor/sim/world.h"

namespace basalt {
namespace {

/// Takes messages until it is told that the ring is full; gives what it was given.
class FakeMailbox final : public Mailbox {
  public:
    bool send(CoreId to, Event& event) override {
        if (is_full) {
            return false;
        }
        sent.emplace_back(to.raw(), &event);
        return true;
    }
    uint32_t receive(std::span<Event*> out) override {
        uint32_t count = 0;
        while (count < out.size() && !inbox.empty()) {
            out[count++] = inbox.front();
            inbox.erase(inbox.begin());
        }
        return count;
    }
    bool prepare_sleep() override { return true; }
    void awake() override {}

    bool is_full = false;
    std::vector<std::pair<uint32_t, Event*>> sent;
    std::vector<Event*> inbox;
};

class FakeClock final : public Clock {
  public:
    uint64_t now_ns() override { return time_ns; }
    uint64_t time_ns = 1000;
};

/// Only counts: the simulated world tests the real use of drivers.
class FakeDriver final : public IoDriver {
  public:
    uint32_t poll() override {
        if (on_poll) {
            on_poll();
        }
        return 0;
    }
    void wait(uint64_t deadline_ns) override {
        deadline = deadline_ns;
        if (on_wait) {
            on_wait();
        }
    }
    uint32_t in_flight() const override { return 0; }
    Network& network() override { assertion_failed("no network here", __FILE__, __LINE__); }
    Storage& storage() override { assertion_failed("no storage here", __FILE__, __LINE__); }

    std::function<void()> on_poll;
    std::function<void()> on_wait;
    uint64_t deadline = 0;
};

struct Note : Event {
    Note(std::string t, std::vector<std::string>& l) : text(std::move(t)), log(l) {
        set_run([](Event& event, Reactor&) {
            auto& self = static_cast<Note&>(event);
            self.log.push_back(self.text);
        });
    }
    std::string text;
    std::vector<std::string>& log;
};

struct NotePoller : Poller {
    explicit NotePoller(std::function<PollResult()> f) : function(std::move(f)) {}
    PollResult poll() override { return function(); }
    std::function<PollResult()> function;
};

class ReactorTest : public testing::Test {
  protected:
    FakeClock clock_;
    FakeDriver driver_;
    FakeMailbox mailbox_;
    Reactor reactor_{ReactorOptions{}, clock_, driver_, mailbox_};
    std::vector<std::string> log_;
};

TEST_F(ReactorTest, ATurnWithoutWorkIsIdle) {
    EXPECT_EQ(reactor_.poll_once(), PollResult::kIdle);
    EXPECT_EQ(reactor_.counters().polls, 1U);
    EXPECT_EQ(reactor_.next_wakeup_ns(), UINT64_MAX);
}

TEST_F(ReactorTest, TheTimeOfATurnIsChargedToWhatItFound) {
    Note event("event", log_);
    clock_.time_ns += 40;
    reactor_.defer(event);
    EXPECT_EQ(reactor_.poll_once(), PollResult::kBusy);
    EXPECT_EQ(reactor_.counters().idle_ns, 40U) << "before the first turn";
    clock_.time_ns += 700;
    EXPECT_EQ(reactor_.poll_once(), PollResult::kIdle);
    EXPECT_EQ(reactor_.counters().busy_ns, 700U);
    clock_.time_ns += 300;
    EXPECT_EQ(reactor_.poll_once(), PollResult::kIdle);
    EXPECT_EQ(reactor_.counters().busy_ns, 700U);
    EXPECT_EQ(reactor_.counters().idle_ns, 340U);
}

TEST_F(ReactorTest, ATurnFollowsItsOrder) {
    Note message("message", log_);
    Note event("event", log_);
    Note last("last", log_);
    Timer timer;
    timer.set(
        [](Timer&, void* log) { static_cast<std::vector<std::string>*>(log)->push_back("timer"); },
        &log_);
    NotePoller poller([&] {
        log_.push_back("poller");
        return PollResult::kIdle;
    });
    driver_.on_poll = [&] { log_.push_back("io"); };
    reactor_.defer_to_end_of_turn(last);
    reactor_.defer(event);
    reactor_.add_poller(poller);
    reactor_.start_timer(timer, 0);
    mailbox_.inbox.push_back(&message);
    EXPECT_EQ(reactor_.poll_once(), PollResult::kBusy);
    EXPECT_EQ(log_,
              (std::vector<std::string>{"message", "io", "timer", "poller", "event", "last"}));
    Reactor::remove_poller(poller);
}

TEST_F(ReactorTest, EventsThatEventsDeferRunInTheSameTurnButBounded) {
    Event endless([](Event& event, Reactor& here) { here.defer(event); });
    reactor_.defer(endless);
    EXPECT_EQ(reactor_.poll_once(), PollResult::kBusy);
    EXPECT_EQ(reactor_.counters().events, kEventsPerPoll);
    EXPECT_EQ(reactor_.next_wakeup_ns(), reactor_.now_ns());
    reactor_.abandon();
}

TEST_F(ReactorTest, ALastCallThatCallsAgainWaitsForTheNextTurn) {
    static int runs;
    runs = 0;
    Event again([](Event& event, Reactor& here) {
        ++runs;
        here.defer_to_end_of_turn(event);
    });
    reactor_.defer_to_end_of_turn(again);
    EXPECT_EQ(reactor_.poll_once(), PollResult::kBusy);
    EXPECT_EQ(runs, 1);
    EXPECT_EQ(reactor_.poll_once(), PollResult::kBusy);
    EXPECT_EQ(runs, 2);
    reactor_.abandon();
}

TEST_F(ReactorTest, PostingToItselfRunsLaterOnTheSameCore) {
    Note note("self", log_);
    reactor_.post(CoreId(0), note);
    EXPECT_TRUE(log_.empty());
    EXPECT_EQ(reactor_.poll_once(), PollResult::kBusy);
    EXPECT_EQ(log_.size(), 1U);
    EXPECT_TRUE(mailbox_.sent.empty());
}

TEST_F(ReactorTest, AFullRingHoldsMessagesBackInOrder) {
    std::vector<std::unique_ptr<Note>> notes;
    notes.reserve(5);
    for (int i = 0; i < 5; ++i) {
        notes.push_back(std::make_unique<Note>("", log_));
    }
    mailbox_.is_full = true;
    reactor_.post(CoreId(1), *notes[0]);
    reactor_.post(CoreId(1), *notes[1]);
    reactor_.post(CoreId(2), *notes[2]);
    EXPECT_EQ(reactor_.counters().messages_stalled, 3U);
    EXPECT_EQ(reactor_.next_wakeup_ns(), reactor_.now_ns());
    mailbox_.is_full = false;
    // Room now, but nothing may overtake what waits.
    reactor_.post(CoreId(1), *notes[3]);
    EXPECT_TRUE(mailbox_.sent.empty());
    reactor_.post(CoreId(3), *notes[4]);
    EXPECT_EQ(mailbox_.sent.size(), 1U);
    EXPECT_EQ(reactor_.poll_once(), PollResult::kBusy);
    ASSERT_EQ(mailbox_.sent.size(), 5U);
    EXPECT_EQ(mailbox_.sent[1].second, notes[0].get());
    EXPECT_EQ(mailbox_.sent[2].second, notes[1].get());
    EXPECT_EQ(mailbox_.sent[3].second, notes[3].get());
    EXPECT_EQ(mailbox_.sent[4].second, notes[2].get());
    EXPECT_EQ(reactor_.next_wakeup_ns(), UINT64_MAX);
    EXPECT_EQ(reactor_.counters().messages_sent, 5U);
}

TEST_F(ReactorTest, ATurnTakesABoundedNumberOfMessages) {
    std::vector<std::unique_ptr<Note>> notes;
    for (uint32_t i = 0; i < kMessagesPerPoll + 1; ++i) {
        notes.push_back(std::make_unique<Note>("", log_));
        mailbox_.inbox.push_back(notes.back().get());
    }
    EXPECT_EQ(reactor_.poll_once(), PollResult::kBusy);
    EXPECT_EQ(log_.size(), kMessagesPerPoll);
}

TEST_F(ReactorTest, APollerMayRemoveItselfAndAnyOther) {
    NotePoller second([&] {
        log_.push_back("second");
        return PollResult::kBusy;
    });
    auto third = std::make_unique<NotePoller>([&] {
        log_.push_back("third");
        return PollResult::kBusy;
    });
    NotePoller* self = nullptr;
    NotePoller first([&] {
        Reactor::remove_poller(*third);
        third.reset();
        Reactor::remove_poller(*self);
        return PollResult::kIdle;
    });
    self = &first;
    reactor_.add_poller(first);
    reactor_.add_poller(*third);  // The one that follows is the one that goes.
    reactor_.add_poller(second);
    EXPECT_EQ(reactor_.poll_once(), PollResult::kBusy);
    EXPECT_EQ(reactor_.poll_once(), PollResult::kBusy);
    EXPECT_EQ(log_, (std::vector<std::string>{"second", "second"}));
    Reactor::remove_poller(second);
}

TEST_F(ReactorTest, TimersRunWhenTheClockHasCome) {
    int fired = 0;
    Timer timer;
    timer.set([](Timer&, void* count) { ++*static_cast<int*>(count); }, &fired);
    reactor_.start_timer(timer, 500);
    EXPECT_EQ(reactor_.next_wakeup_ns(), 1500U);
    clock_.time_ns = 1499;
    EXPECT_EQ(reactor_.poll_once(), PollResult::kIdle);
    clock_.time_ns = 1500;
    EXPECT_EQ(reactor_.poll_once(), PollResult::kBusy);
    EXPECT_EQ(fired, 1);
}

TEST_F(ReactorTest, AnIdleReactorSleepsUntilItsNextTimerAndStops) {
    struct State {
        Reactor& reactor;
        bool fired = false;
    } state{reactor_};
    Timer timer;
    timer.set(
        [](Timer&, void* context) {
            auto& self = *static_cast<State*>(context);
            self.fired = true;
            self.reactor.stop();
        },
        &state);
    driver_.on_poll = [&] { clock_.time_ns += 10'000; };
    driver_.on_wait = [&] { clock_.time_ns = driver_.deadline; };
    reactor_.start_timer(timer, kNsPerSecond);
    reactor_.run();
    EXPECT_TRUE(state.fired);
    EXPECT_EQ(reactor_.counters().sleeps, 1U);
    EXPECT_GT(reactor_.counters().sleep_ns, kNsPerSecond / 2);
    EXPECT_GE(reactor_.counters().idle_ns, kIdleBeforeSleepNs);
}

TEST_F(ReactorTest, AbandonForgetsEverything) {
    Note event("event", log_);
    Note last("last", log_);
    Note held("held", log_);
    Timer timer;
    timer.set([](Timer&, void*) {}, nullptr);
    NotePoller poller([] { return PollResult::kBusy; });
    mailbox_.is_full = true;
    reactor_.defer(event);
    reactor_.defer_to_end_of_turn(last);
    reactor_.post(CoreId(1), held);
    reactor_.start_timer(timer, 1);
    reactor_.add_poller(poller);
    reactor_.abandon();
    EXPECT_FALSE(event.link.is_linked() || last.link.is_linked() || held.link.is_linked());
    EXPECT_FALSE(timer.is_running() || poller.link.is_linked());
    EXPECT_EQ(reactor_.poll_once(), PollResult::kIdle);
    EXPECT_TRUE(log_.empty());
}

}  // namespace
}  // namespace basalt
