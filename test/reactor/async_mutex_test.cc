#include "reactor/async_mutex.h"

#include <vector>

#include <gtest/gtest.h>

#include "reactor/sim/world.h"
#include "reactor/task.h"

namespace basalt {
namespace {

class AsyncMutexTest : public testing::Test {
  protected:
    AsyncMutexTest() : world_(1), reactor_(world_.add_reactor(world_.add_node())) {}

    /// Waits `delay_ns` with the mutex held; notes when it had it and when it let go.
    Task<void> hold(AsyncMutex& mutex, uint64_t delay_ns, int number) {
        co_await mutex.acquire();
        const AsyncMutex::Turn turn(mutex);
        ++inside_;
        most_inside_ = std::max(most_inside_, inside_);
        order_.push_back(number);
        if (delay_ns > 0) {
            co_await sleep_for(reactor_, delay_ns);
        }
        --inside_;
    }

    sim::World world_;
    Reactor& reactor_;
    int inside_ = 0;
    int most_inside_ = 0;
    std::vector<int> order_;
};

TEST_F(AsyncMutexTest, LetsOneThroughAtATimeInTheOrderOfArrival) {
    AsyncMutex mutex(reactor_);
    for (int number = 0; number < 5; ++number) {
        hold(mutex, number % 2 == 0 ? kNsPerMs : 0, number).detach();
    }
    ASSERT_TRUE(world_.run_until([&] { return order_.size() == 5 && inside_ == 0; }, kNsPerSecond));
    EXPECT_EQ(order_, (std::vector<int>{0, 1, 2, 3, 4}));
    EXPECT_EQ(most_inside_, 1);
    world_.run_for(kNsPerMs);
}

TEST_F(AsyncMutexTest, ALongLineOfShortOnesNeedsNoDeepStack) {
    AsyncMutex mutex(reactor_);
    constexpr int kCount = 200'000;  // 64 bytes of stack each are more than there is.
    hold(mutex, kNsPerMs, -1).detach();
    for (int number = 0; number < kCount; ++number) {
        hold(mutex, 0, number).detach();
    }
    ASSERT_TRUE(world_.run_until([&] { return order_.size() == kCount + 1; }, kNsPerSecond));
    world_.run_for(kNsPerMs);
    EXPECT_EQ(most_inside_, 1);
}

}  // namespace
}  // namespace basalt
