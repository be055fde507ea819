#include "reactor/threads.h"

#include <fstream>
#include <set>

#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>

#include "reactor/base/allocation_counter.h"
#include "reactor/base/lock_counter.h"
#include "reactor/uring_services.h"
#include "test/reactor/eventfd_driver.h"
#include "test/reactor/process_memory.h"

namespace basalt {
namespace {

class ReactorThreadsTest : public testing::Test {
  public:
    // Two reactors, on two processors if there are two.
    void start(PollMode mode = PollMode::kAdaptive) {
        std::string problem;
        auto topology = Topology::load(problem);
        BASALT_ASSERT(topology);
        const std::vector<Processor>& all = topology->processors();
        auto started =
            ReactorThreads::start({.processors = {all.front(), all.back()}, .mode = mode},
                                  process_memory(),
                                  services_,
                                  problem);
        ASSERT_TRUE(started) << problem;
        threads_ = std::move(*started);
    }

    // Runs `sequence` on the control thread to its end.
    void run_to_end(Task<void> (*sequence)(ReactorThreadsTest& test)) {
        stop_after(sequence, *this).detach();
        threads_->run_control();
    }

    static Task<void> stop_after(Task<void> (*sequence)(ReactorThreadsTest& test),
                                 ReactorThreadsTest& test) {
        co_await sequence(test);
        test.threads_->control().stop();
    }

    EventfdServices services_;
    std::unique_ptr<ReactorThreads> threads_;
};

/// What a thread says of itself.
struct ThreadFacts {
    int processor = -1;
    std::string name;
    bool blocks_sigterm = false;
    uint64_t cpu_ns = 0;
};

Task<void> look_around(Reactor&, ThreadFacts& facts) {
    facts.processor = sched_getcpu();
    std::array<char, 16> name{};
    pthread_getname_np(pthread_self(), name.data(), name.size());
    facts.name = name.data();
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
    facts.blocks_sigterm = sigismember(&blocked, SIGTERM) == 1;
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    const auto ns = [](const timeval& time) {
        return static_cast<uint64_t>(time.tv_sec) * kNsPerSecond +
               static_cast<uint64_t>(time.tv_usec) * kNsPerUs;
    };
    facts.cpu_ns = ns(usage.ru_utime) + ns(usage.ru_stime);
    co_return;
}

TEST_F(ReactorThreadsTest, PinsAndNamesEachReactorAndBlocksItsSignals) {
    ASSERT_NO_FATAL_FAILURE(start());
    run_to_end([](ReactorThreadsTest& test) -> Task<void> {
        ReactorThreads& threads = *test.threads_;
        for (uint32_t i = 0; i < threads.count(); ++i) {
            ThreadFacts facts;
            co_await visit<ThreadFacts>(threads.control(), CoreId(i), facts, &look_around);
            EXPECT_EQ(facts.processor, static_cast<int>(threads.processor(CoreId(i)).os_index));
            EXPECT_EQ(facts.name, "basalt-r" + std::to_string(i));
            EXPECT_TRUE(facts.blocks_sigterm);
        }
    });
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
    EXPECT_EQ(sigismember(&blocked, SIGTERM), 0);
}

TEST_F(ReactorThreadsTest, UsesNoProcessorTimeWhenIdle) {
    ASSERT_NO_FATAL_FAILURE(start());
    run_to_end([](ReactorThreadsTest& test) -> Task<void> {
        ReactorThreads& threads = *test.threads_;
        ThreadFacts before;
        ThreadFacts after;
        co_await visit<ThreadFacts>(threads.control(), CoreId(0), before, &look_around);
        const ReactorCounters asleep_before = co_await threads.read_counters(CoreId(0));
        co_await sleep_for(threads.control(), 500 * kNsPerMs);
        co_await visit<ThreadFacts>(threads.control(), CoreId(0), after, &look_around);
        const ReactorCounters asleep_after = co_await threads.read_counters(CoreId(0));
        // 1 % of the time would be 5 ms; a reactor that polled through would use all of it.
        EXPECT_LT(after.cpu_ns - before.cpu_ns, 100 * kNsPerMs);
        EXPECT_GT(asleep_after.sleeps, asleep_before.sleeps);
        EXPECT_GT(asleep_after.sleep_ns - asleep_before.sleep_ns, 300 * kNsPerMs);
    });
}

TEST_F(ReactorThreadsTest, PollsThroughInBusyMode) {
    ASSERT_NO_FATAL_FAILURE(start(PollMode::kBusy));
    run_to_end([](ReactorThreadsTest& test) -> Task<void> {
        co_await sleep_for(test.threads_->control(), 50 * kNsPerMs);
        const ReactorCounters counters = co_await test.threads_->read_counters(CoreId(0));
        EXPECT_EQ(counters.sleeps, 0U);
        EXPECT_GT(counters.polls, 100U);
    });
}

/// One reactor sends numbered messages to another, which checks their order and sends each one
/// back to its home to be used again.
class Stream {
  public:
    struct Message : Event {
        Stream* stream = nullptr;
        uint64_t number = 0;
    };

    static constexpr uint64_t kMessages = 1'000'000;
    static constexpr size_t kInFlight = 3000;  // More than a ring holds: it does run full.

    explicit Stream(CoreId receiver) : receiver_(receiver), messages_(kInFlight) {}

    // On the sender's core.
    void begin(Reactor& home, Event& finished, CoreId control) {
        home_ = &home;
        finished_ = &finished;
        control_ = control;
        allocations_before_ = thread_allocations();
        locks_before_ = thread_locks();
        for (Message& message : messages_) {
            message.stream = this;
            send(message);
        }
    }

    uint64_t received = 0;
    uint64_t out_of_order = 0;
    uint64_t returned = 0;
    uint64_t allocations = 0;
    uint64_t locks = 0;

  private:
    void send(Message& message) {
        message.number = next_number_++;
        message.set_run([](Event& event, Reactor& there) {
            auto& arrived = static_cast<Message&>(event);
            Stream& stream = *arrived.stream;
            stream.out_of_order += arrived.number == stream.received ? 0 : 1;
            ++stream.received;
            arrived.set_run([](Event& back, Reactor&) {
                auto& home = static_cast<Message&>(back);
                home.stream->take_back(home);
            });
            there.post(stream.home_->core(), arrived);
        });
        home_->post(receiver_, message);
    }

    void take_back(Message& message) {
        ++returned;
        if (next_number_ < kMessages) {
            send(message);
        } else if (returned == kMessages) {
            allocations = thread_allocations() - allocations_before_;
            locks = thread_locks() - locks_before_;
            home_->post(control_, *finished_);
        }
    }

    const CoreId receiver_;
    Reactor* home_ = nullptr;
    Event* finished_ = nullptr;
    CoreId control_;
    uint64_t next_number_ = 0;
    uint64_t allocations_before_ = 0;
    uint64_t locks_before_ = 0;
    std::vector<Message> messages_;
};

TEST_F(ReactorThreadsTest, CarriesAMillionMessagesEachWayInOrderWithoutLossOrAllocation) {
    ASSERT_NO_FATAL_FAILURE(start());
    struct Finished : Event {
        uint32_t count = 0;
    };
    Stream there(CoreId(1));
    Stream back(CoreId(0));
    std::array<Finished, 2> finished;
    static uint32_t left;
    left = 2;
    for (Finished& each : finished) {
        each.set_run([](Event&, Reactor& here) {
            if (--left == 0) {
                here.stop();
            }
        });
    }
    struct Begin : Event {
        Stream* stream = nullptr;
        Event* finished = nullptr;
        CoreId control;
    };
    std::array<Begin, 2> begin;
    for (uint32_t i = 0; i < 2; ++i) {
        begin[i].stream = i == 0 ? &there : &back;
        begin[i].finished = &finished[i];
        begin[i].control = threads_->control_core();
        begin[i].set_run([](Event& event, Reactor& here) {
            auto& self = static_cast<Begin&>(event);
            self.stream->begin(here, *self.finished, self.control);
        });
        threads_->control().post(CoreId(i), begin[i]);
    }
    threads_->run_control();

    run_to_end([](ReactorThreadsTest& test) -> Task<void> {
        const ReactorCounters counters = co_await test.threads_->read_counters(CoreId(0));
        EXPECT_GT(counters.messages_stalled, 0U);
        EXPECT_GE(counters.messages_sent, 2 * Stream::kMessages);
        EXPECT_GE(counters.messages_received, 2 * Stream::kMessages);
    });
    for (const Stream* stream : {&there, &back}) {
        EXPECT_EQ(stream->received, Stream::kMessages);
        EXPECT_EQ(stream->returned, Stream::kMessages);
        EXPECT_EQ(stream->out_of_order, 0U);
        EXPECT_EQ(stream->allocations, 0U);
        EXPECT_EQ(stream->locks, 0U);
    }
}

TEST_F(ReactorThreadsTest, WakesSleepingReactorsForEachMessage) {
    ASSERT_NO_FATAL_FAILURE(start());
    run_to_end([](ReactorThreadsTest& test) -> Task<void> {
        // Around the moment when the reactor falls asleep, to hit the race between the two.
        for (uint64_t i = 0; i < 500; ++i) {
            co_await sleep_for(test.threads_->control(),
                               kIdleBeforeSleepNs - 20 * kNsPerUs + i % 40 * kNsPerUs);
            static_cast<void>(co_await test.threads_->read_counters(CoreId(i % 2)));
        }
        const ReactorCounters counters = co_await test.threads_->read_counters(CoreId(0));
        EXPECT_GT(counters.sleeps, 0U);
    });
}

TEST_F(ReactorThreadsTest, IsWokenByAThreadThatIsNoReactor) {
    ASSERT_NO_FATAL_FAILURE(start());
    /// Stops the control reactor when another thread says so.
    class Inbox final : public Poller {
      public:
        explicit Inbox(Reactor& reactor) : reactor_(reactor) {}
        PollResult poll() override {
            if (!is_set.load()) {
                return PollResult::kIdle;
            }
            reactor_.stop();
            return PollResult::kBusy;
        }
        std::atomic<bool> is_set{false};

      private:
        Reactor& reactor_;
    };
    Inbox inbox(threads_->control());
    threads_->control().add_poller(inbox);
    std::thread other([this, &inbox] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        inbox.is_set.store(true);
        threads_->wake_control();
    });
    threads_->run_control();
    EXPECT_TRUE(inbox.is_set.load());
    other.join();
    Reactor::remove_poller(inbox);
}

TEST_F(ReactorThreadsTest, SleepsAndWakesOnIoUring) {
    UringServices uring{UringOptions{}};
    std::string problem;
    auto started = ReactorThreads::start(
        {.processors = {{.os_index = 0}, {.os_index = 0}}}, process_memory(), uring, problem);
    ASSERT_TRUE(started) << problem;
    threads_ = std::move(*started);
    run_to_end([](ReactorThreadsTest& test) -> Task<void> {
        ReactorThreads& threads = *test.threads_;
        for (uint64_t i = 0; i < 200; ++i) {
            co_await sleep_for(threads.control(),
                               kIdleBeforeSleepNs - 20 * kNsPerUs + i % 40 * kNsPerUs);
            static_cast<void>(co_await threads.read_counters(CoreId(i % 2)));
        }
        ThreadFacts before;
        ThreadFacts after;
        co_await visit<ThreadFacts>(threads.control(), CoreId(0), before, &look_around);
        co_await sleep_for(threads.control(), 300 * kNsPerMs);
        co_await visit<ThreadFacts>(threads.control(), CoreId(0), after, &look_around);
        EXPECT_LT(after.cpu_ns - before.cpu_ns, 60 * kNsPerMs);
    });
    threads_.reset();
}

TEST_F(ReactorThreadsTest, ReadsTheCountersOfTheControlReactorToo) {
    ASSERT_NO_FATAL_FAILURE(start());
    run_to_end([](ReactorThreadsTest& test) -> Task<void> {
        const ReactorCounters counters =
            co_await test.threads_->read_counters(test.threads_->control_core());
        EXPECT_GT(counters.messages_sent, 0U);
    });
}

TEST_F(ReactorThreadsTest, GivesUpCleanlyWhenOneReactorCannotStart) {
    std::string problem;
    services_.fail_on = CoreId(1);
    const auto refused = ReactorThreads::start(
        {.processors = {{.os_index = 0}, {.os_index = 0}}}, process_memory(), services_, problem);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kPermissionDenied);
    EXPECT_NE(problem.find("reactor 1 does not start on processor 0"), std::string::npos)
        << problem;

    services_.fail_on = CoreId(2);
    const auto no_control = ReactorThreads::start(
        {.processors = {{.os_index = 0}, {.os_index = 0}}}, process_memory(), services_, problem);
    ASSERT_FALSE(no_control);
    EXPECT_NE(problem.find("control reactor"), std::string::npos) << problem;
}

TEST_F(ReactorThreadsTest, RefusesProcessorsThatAreNotThereAndSetsOfWrongSize) {
    std::string problem;
    const auto absent = ReactorThreads::start(
        {.processors = {{.os_index = 1000}}}, process_memory(), services_, problem);
    ASSERT_FALSE(absent);
    EXPECT_EQ(absent.error().code, Errc::kInvalidArgument);
    const auto none = ReactorThreads::start({}, process_memory(), services_, problem);
    ASSERT_FALSE(none);
    const auto many = ReactorThreads::start(
        {.processors = std::vector<Processor>(kReactorsMax)}, process_memory(), services_, problem);
    ASSERT_FALSE(many);
    EXPECT_NE(problem.find("1 to 63"), std::string::npos) << problem;
}

TEST(AllocationCounter, CountsMallocAndNewOfThisThreadOnly) {
    if (!is_counting_allocations()) {
        GTEST_SKIP() << "a sanitizer's malloc can't be counted";
    }
    const uint64_t before = thread_allocations();
    std::thread([] { std::vector<int> elsewhere(1000); }).join();
    const uint64_t between = thread_allocations();
    auto kept = std::make_unique<std::array<int, 100>>();
    const std::unique_ptr<void, void (*)(void*)> raw(std::malloc(10), &std::free);
    EXPECT_EQ(thread_allocations() - between, 2U);
    EXPECT_LE(between - before, 2U);  // The thread's own state and stack, not its vector.
    EXPECT_NE(kept.get(), raw.get());
}

TEST(LockCounter, CountsWhatThisThreadLocksOnly) {
    if (!is_counting_locks()) {
        GTEST_SKIP() << "a sanitizer has its own";
    }
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    const uint64_t before = thread_locks();
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    std::thread([] {
        pthread_rwlock_t elsewhere = PTHREAD_RWLOCK_INITIALIZER;
        for (int i = 0; i < 100; ++i) {
            pthread_rwlock_rdlock(&elsewhere);
            pthread_rwlock_unlock(&elsewhere);
        }
    }).join();
    const uint64_t counted = thread_locks() - before;
    EXPECT_GE(counted, 1U);
    EXPECT_LT(counted, 50U);  // Making a thread takes some.
}

}  // namespace
}  // namespace basalt
