#include "reactor/timer_queue.h"

#include <algorithm>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "reactor/io/random.h"

namespace basalt {
namespace {

struct Probe {
    Probe() {
        timer.set(
            [](Timer&, void* context) {
                auto& self = *static_cast<Probe*>(context);
                self.fired->push_back(self.id);
            },
            this);
    }
    uint64_t id = 0;
    std::vector<uint64_t>* fired = nullptr;
    Timer timer;
};

TEST(TimerQueue, IsEmptyAtFirst) {
    TimerQueue queue;
    EXPECT_EQ(queue.next_deadline_ns(), UINT64_MAX);
    EXPECT_EQ(queue.expire(UINT64_MAX, 10), 0U);
}

TEST(TimerQueue, EqualDeadlinesExpireInTheOrderOfTheirStart) {
    TimerQueue queue;
    std::vector<uint64_t> fired;
    std::vector<Probe> probes(100);
    for (uint64_t i = 0; i < probes.size(); ++i) {
        probes[i].id = i;
        probes[i].fired = &fired;
        queue.start(probes[i].timer, 5);
    }
    EXPECT_EQ(queue.expire(4, 1000), 0U);
    EXPECT_EQ(queue.expire(5, 1000), 100U);
    EXPECT_TRUE(std::is_sorted(fired.begin(), fired.end()));
}

TEST(TimerQueue, ExpiresNoMoreThanItIsAllowed) {
    TimerQueue queue;
    std::vector<uint64_t> fired;
    std::vector<Probe> probes(5);
    for (Probe& probe : probes) {
        probe.fired = &fired;
        queue.start(probe.timer, 1);
    }
    EXPECT_EQ(queue.expire(9, 3), 3U);
    EXPECT_EQ(queue.next_deadline_ns(), 1U);
    EXPECT_EQ(queue.expire(9, 3), 2U);
}

TEST(TimerQueue, AnExpiringTimerMayStartItselfAndStopOthers) {
    struct Actors {
        TimerQueue queue;
        Timer repeating;
        Timer victim;
        int count = 0;
    } actors;
    actors.victim.set([](Timer&, void*) { FAIL() << "was stopped"; }, nullptr);
    actors.repeating.set(
        [](Timer& timer, void* context) {
            auto& self = *static_cast<Actors*>(context);
            EXPECT_FALSE(timer.is_running());
            self.queue.stop(self.victim);
            if (++self.count < 3) {
                self.queue.start(timer, timer.deadline_ns() + 10);
            }
        },
        &actors);
    actors.queue.start(actors.repeating, 10);
    actors.queue.start(actors.victim, 10);
    for (int turn = 1; turn <= 3; ++turn) {
        EXPECT_EQ(actors.queue.expire(100, 100), 1U) << "started meanwhile: waits for its turn";
        EXPECT_EQ(actors.count, turn);
    }
    EXPECT_EQ(actors.queue.expire(100, 100), 0U);
    EXPECT_FALSE(actors.victim.is_running());
}

TEST(TimerQueue, WhatIsStartedMeanwhileHoldsUpNoneThatWasDue) {
    struct Actors {
        TimerQueue queue;
        Timer first;
        Timer second;
        int count = 0;
    } actors;
    actors.first.set(
        [](Timer& timer, void* context) {
            auto& self = *static_cast<Actors*>(context);
            self.queue.start(timer, 7);
        },
        &actors);
    actors.second.set([](Timer&, void* context) { ++static_cast<Actors*>(context)->count; },
                      &actors);
    actors.queue.start(actors.first, 7);
    actors.queue.start(actors.second, 7);
    EXPECT_EQ(actors.queue.expire(7, 100), 2U);
    EXPECT_EQ(actors.count, 1);
    actors.queue.clear();
}

TEST(TimerQueue, StoppingAStoppedTimerDoesNothing) {
    TimerQueue queue;
    Probe probe;
    queue.stop(probe.timer);
    queue.start(probe.timer, 1);
    queue.stop(probe.timer);
    queue.stop(probe.timer);
    EXPECT_EQ(queue.next_deadline_ns(), UINT64_MAX);
}

TEST(TimerQueue, ClearStopsAll) {
    TimerQueue queue;
    std::vector<Probe> probes(50);
    for (size_t i = 0; i < probes.size(); ++i) {
        queue.start(probes[i].timer, i * 7 % 50);
    }
    queue.clear();
    for (const Probe& probe : probes) {
        EXPECT_FALSE(probe.timer.is_running());
    }
    EXPECT_EQ(queue.next_deadline_ns(), UINT64_MAX);
}

TEST(TimerQueue, RandomHistoriesAgreeWithASortedList) {
    for (uint64_t seed = 0; seed < 100; ++seed) {
        Random random(seed);
        TimerQueue queue;
        std::vector<uint64_t> fired;
        std::vector<Probe> probes(64);
        struct Entry {
            uint64_t deadline;
            uint64_t sequence;
            uint64_t id;
        };
        std::vector<Entry> model;
        uint64_t sequence = 0;
        uint64_t now = 0;
        for (uint64_t i = 0; i < probes.size(); ++i) {
            probes[i].id = i;
            probes[i].fired = &fired;
        }
        for (int i = 0; i < 2000; ++i) {
            Probe& probe = probes[random.below(probes.size())];
            const auto known = std::find_if(
                model.begin(), model.end(), [&](const Entry& e) { return e.id == probe.id; });
            ASSERT_EQ(probe.timer.is_running(), known != model.end());
            if (random.chance(1, 10)) {
                now += random.below(20);
                fired.clear();
                const uint32_t count = queue.expire(now, 1000);
                std::sort(model.begin(), model.end(), [](const Entry& a, const Entry& b) {
                    return a.deadline != b.deadline ? a.deadline < b.deadline
                                                    : a.sequence < b.sequence;
                });
                std::vector<uint64_t> expected;
                while (!model.empty() && model.front().deadline <= now) {
                    expected.push_back(model.front().id);
                    model.erase(model.begin());
                }
                ASSERT_EQ(fired, expected) << "seed " << seed;
                ASSERT_EQ(count, expected.size());
            } else if (known != model.end()) {
                queue.stop(probe.timer);
                model.erase(known);
            } else {
                const uint64_t deadline = now + random.below(40);
                queue.start(probe.timer, deadline);
                model.push_back(Entry{deadline, sequence++, probe.id});
            }
            uint64_t next = UINT64_MAX;
            for (const Entry& entry : model) {
                next = std::min(next, entry.deadline);
            }
            ASSERT_EQ(queue.next_deadline_ns(), next) << "seed " << seed;
        }
        queue.clear();
    }
}

TEST(TimerQueueDeathTest, StartingARunningTimerIsCaught) {
    TimerQueue queue;
    Probe probe;
    queue.start(probe.timer, 1);
    EXPECT_DEATH(queue.start(probe.timer, 2), "is_running_");
    queue.stop(probe.timer);
}

TEST(TimerQueueDeathTest, DestroyingARunningTimerIsCaught) {
    EXPECT_DEATH(
        {
            TimerQueue queue;
            auto probe = std::make_unique<Probe>();
            queue.start(probe->timer, 1);
            probe.reset();
        },
        "is_running_");
}

}  // namespace
}  // namespace basalt
