#pragma once

#include <ctime>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "reactor/base/assert.h"
#include "reactor/threads.h"

namespace basalt {

/// The kernel's monotonic clock.
class SteadyClock final : public Clock {
  public:
    [[nodiscard]] uint64_t now_ns() override {
        timespec now{};
        clock_gettime(CLOCK_MONOTONIC, &now);
        return static_cast<uint64_t>(now.tv_sec) * kNsPerSecond +
               static_cast<uint64_t>(now.tv_nsec);
    }
};

/// A driver that can sleep and be woken, and has neither sockets nor files: for tests of threads
/// and messages.
class EventfdDriver final : public IoDriver, public Waker {
  public:
    explicit EventfdDriver(Clock& clock) : clock_(clock), fd_(eventfd(0, EFD_CLOEXEC)) {
        BASALT_ASSERT(fd_ >= 0);
    }
    EventfdDriver(const EventfdDriver&) = delete;
    EventfdDriver& operator=(const EventfdDriver&) = delete;
    ~EventfdDriver() override { close(fd_); }

    uint32_t poll() override { return 0; }

    void wait(uint64_t deadline_ns) override {
        timespec timeout{};
        if (deadline_ns != UINT64_MAX) {
            const uint64_t now_ns = clock_.now_ns();
            const uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
            timeout.tv_sec = static_cast<time_t>(left_ns / kNsPerSecond);
            timeout.tv_nsec = static_cast<long>(left_ns % kNsPerSecond);
        }
        pollfd wanted{.fd = fd_, .events = POLLIN, .revents = 0};
        if (ppoll(&wanted, 1, deadline_ns == UINT64_MAX ? nullptr : &timeout, nullptr) > 0) {
            eventfd_t count = 0;
            BASALT_ASSERT(eventfd_read(fd_, &count) == 0);
        }
    }

    void wake() override { BASALT_ASSERT(eventfd_write(fd_, 1) == 0); }

    [[nodiscard]] uint32_t in_flight() const override { return 0; }
    [[nodiscard]] Network& network() override { assertion_failed("no network", __FILE__, 0); }
    [[nodiscard]] Storage& storage() override { assertion_failed("no storage", __FILE__, 0); }

  private:
    Clock& clock_;
    const int fd_;
};

/// Makes such drivers.
class EventfdServices final : public ReactorServicesFactory {
  public:
    [[nodiscard]] Result<ReactorServices> make(CoreId core) override {
        if (core == fail_on) {
            return Errc::kPermissionDenied;
        }
        auto driver = std::make_unique<EventfdDriver>(clock_);
        Waker* const waker = driver.get();
        return ReactorServices{.clock = &clock_, .driver = std::move(driver), .waker = waker};
    }

    CoreId fail_on{UINT32_MAX};  ///< The reactor that gets an error instead.

  private:
    SteadyClock clock_;  // Stateless, so all threads share it.
};

}  // namespace basalt
