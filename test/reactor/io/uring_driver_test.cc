#include "reactor/io/uring_driver.h"

#include <atomic>
#include <thread>

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "test/reactor/io/uring_test_support.h"

namespace basalt {
namespace {

using test::test_clock;

class UringDriverTest : public testing::TestWithParam<test::Kernel> {
  protected:
    void SetUp() override {
        driver_ = test::make_driver({.allowed = GetParam().allowed, .ring = {}, .buffers = {}});
        ASSERT_TRUE(driver_);
        while (driver_->poll() > 0) {
        }
    }

    uint64_t waited_ns(uint64_t deadline_ns) {
        const uint64_t start_ns = test_clock().now_ns();
        driver_->wait(deadline_ns);
        return test_clock().now_ns() - start_ns;
    }

    std::unique_ptr<UringDriver> driver_;
};

INSTANTIATE_TEST_SUITE_P(Kernels,
                         UringDriverTest,
                         testing::ValuesIn(test::kernels()),
                         test::kernel_name);

TEST_P(UringDriverTest, SleepsUntilTheDeadline) {
    const uint64_t waited = waited_ns(test_clock().now_ns() + 20 * kNsPerMs);
    EXPECT_GE(waited, 19 * kNsPerMs);
    EXPECT_LT(waited, 2 * kNsPerSecond);
}

TEST_P(UringDriverTest, DoesNotSleepPastADeadlineThatIsOver) {
    const uint64_t enters = driver_->counters().enters;
    EXPECT_LT(waited_ns(test_clock().now_ns() - 1), kNsPerSecond);
    EXPECT_EQ(driver_->counters().enters, enters);
}

TEST_P(UringDriverTest, AWakeUpEndsASleepWithoutDeadline) {
    std::atomic<uint64_t> woken_at_ns = 0;
    for (int i = 0; i < 20; ++i) {
        std::thread waker([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
            woken_at_ns = test_clock().now_ns();
            driver_->wake();
        });
        driver_->wait(UINT64_MAX);
        const uint64_t now_ns = test_clock().now_ns();
        waker.join();
        EXPECT_GE(now_ns, woken_at_ns);
        EXPECT_LT(now_ns - woken_at_ns, 200 * kNsPerMs);
        EXPECT_GT(driver_->poll(), 0U);
        while (driver_->poll() > 0) {
        }
    }
}

TEST_P(UringDriverTest, AWakeUpBeforeTheSleepIsNotLost) {
    driver_->wake();
    EXPECT_LT(waited_ns(test_clock().now_ns() + 10 * kNsPerSecond), kNsPerSecond);
}

TEST_P(UringDriverTest, AWakeUpDoesNotEndTheSleepAfterTheNext) {
    driver_->wake();
    driver_->wait(test_clock().now_ns() + kNsPerSecond);
    while (driver_->poll() > 0) {
    }
    EXPECT_GE(waited_ns(test_clock().now_ns() + 20 * kNsPerMs), 19 * kNsPerMs);
}

TEST_P(UringDriverTest, ASleeperUsesNoProcessorTime) {
    rusage before{};
    rusage after{};
    getrusage(RUSAGE_THREAD, &before);
    driver_->wait(test_clock().now_ns() + 200 * kNsPerMs);
    getrusage(RUSAGE_THREAD, &after);
    const auto used_us = [](const rusage& usage) {
        return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1'000'000 +
               usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    };
    EXPECT_LT(used_us(after) - used_us(before), 20'000);
}

class CountingWatcher : public FdWatcher {
  public:
    void on_ready(uint32_t /*events*/) override {
        ++calls;
        if (driver != nullptr && calls == calls_max) {
            driver->unwatch(*this);
        }
    }
    uint32_t calls = 0;
    uint32_t calls_max = 0;
    UringDriver* driver = nullptr;
};

TEST_P(UringDriverTest, AWatchedDescriptorEndsTheSleepAndIsReportedWhileItIsReady) {
    const int fd = eventfd(0, EFD_NONBLOCK);
    CountingWatcher watcher;
    driver_->watch(fd, watcher);
    driver_->wait(test_clock().now_ns() + 5 * kNsPerMs);
    driver_->poll();
    EXPECT_EQ(watcher.calls, 0U);

    ASSERT_EQ(eventfd_write(fd, 1), 0);
    EXPECT_LT(waited_ns(test_clock().now_ns() + 10 * kNsPerSecond), kNsPerSecond);
    for (int i = 0; i < 10; ++i) {
        driver_->poll();
    }
    EXPECT_GE(watcher.calls, 5U);  // Nobody read it: level triggered.

    eventfd_t value = 0;
    ASSERT_EQ(eventfd_read(fd, &value), 0);
    while (driver_->poll() > 0) {
    }
    const uint32_t calls = watcher.calls;
    driver_->poll();
    EXPECT_EQ(watcher.calls, calls);

    driver_->unwatch(watcher);
    ASSERT_EQ(eventfd_write(fd, 1), 0);
    for (int i = 0; i < 10; ++i) {
        driver_->poll();
    }
    EXPECT_EQ(watcher.calls, calls);
    close(fd);
}

TEST_P(UringDriverTest, AWatcherMayLeaveFromItsOwnCall) {
    const int fd = eventfd(1, EFD_NONBLOCK);
    CountingWatcher watcher;
    watcher.driver = driver_.get();
    watcher.calls_max = 3;
    driver_->watch(fd, watcher);
    for (int i = 0; i < 20; ++i) {
        driver_->poll();
    }
    EXPECT_EQ(watcher.calls, 3U);
    close(fd);
}

TEST_P(UringDriverTest, UsesNoFeatureThatIsSwitchedOff) {
    EXPECT_EQ(driver_->features() & GetParam().allowed, driver_->features());
}

TEST(UringDriver, IsMadeOnOneThreadAndRunsOnAnother) {
    auto driver = test::make_driver({});
    std::thread runner([&] {
        for (int i = 0; i < 10; ++i) {
            driver->poll();
        }
        driver->wait(test_clock().now_ns() + kNsPerMs);
    });
    runner.join();
}

TEST(UringFeatures, FindsAllOfThemOnAKernelThatIsNewEnough) {
    const auto features = UringFeatures::probe();
    ASSERT_TRUE(features);
    EXPECT_EQ(*features, UringFeatures());
}

}  // namespace
}  // namespace basalt
