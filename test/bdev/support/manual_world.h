#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "reactor/base/assert.h"
#include "reactor/reactor.h"
#include "reactor/task.h"

namespace basalt::bdev {

/// Virtual time that stands still until a test moves it; with a tick, each look at it takes that
/// long.
class ManualClock final : public Clock {
  public:
    [[nodiscard]] uint64_t now_ns() override { return now += tick; }

    uint64_t now = kNsPerSecond;
    uint64_t tick = 0;
};

/// A driver without sockets and files, for what needs neither.
class IdleDriver final : public IoDriver {
  public:
    uint32_t poll() override { return 0; }
    void wait(uint64_t) override {}
    [[nodiscard]] uint32_t in_flight() const override { return 0; }
    [[nodiscard]] Network& network() override { assertion_failed("no network", "", 0); }
    [[nodiscard]] Storage& storage() override { assertion_failed("no storage", "", 0); }
};

/// Messages between reactors that one thread turns.
class QueueMailbox final : public Mailbox {
  public:
    explicit QueueMailbox(std::vector<std::deque<Event*>>& queues, uint32_t self)
        : queues_(queues), self_(self) {}

    [[nodiscard]] bool send(CoreId to, Event& event) override {
        queues_[to.raw()].push_back(&event);
        return true;
    }
    [[nodiscard]] uint32_t receive(std::span<Event*> out) override {
        uint32_t count = 0;
        while (count < out.size() && !queues_[self_].empty()) {
            out[count++] = queues_[self_].front();
            queues_[self_].pop_front();
        }
        return count;
    }
    [[nodiscard]] bool prepare_sleep() override { return false; }
    void awake() override {}

  private:
    std::vector<std::deque<Event*>>& queues_;
    uint32_t self_;
};

/// Some reactors in one thread, turned one after the other: cores 0 … n-1, and the control thread's
/// as core n. No I/O but that of `driver`, which all share; more runs in a sim::World.
class ManualWorld {
  public:
    explicit ManualWorld(uint32_t cores, IoDriver* driver = nullptr) : queues_(cores + 1) {
        for (uint32_t i = 0; i <= cores; ++i) {
            mailboxes_.push_back(std::make_unique<QueueMailbox>(queues_, i));
            const ReactorOptions options{.core = CoreId(i), .random_seed = i + 1};
            reactors_.push_back(std::make_unique<Reactor>(
                options, clock, driver != nullptr ? *driver : driver_, *mailboxes_.back()));
            if (i < cores) {
                cores_.emplace_back(i);
            }
        }
    }

    [[nodiscard]] Reactor& core(uint32_t index) { return *reactors_[index]; }
    [[nodiscard]] Reactor& control() { return *reactors_.back(); }
    [[nodiscard]] const std::vector<CoreId>& cores() const { return cores_; }

    /// One turn of each reactor.
    void turn() {
        for (const auto& reactor : reactors_) {
            static_cast<void>(reactor->poll_once());
        }
    }

    /// Turns until nothing is left to do now.
    void settle() {
        uint32_t idle_turns = 0;
        while (idle_turns < 2) {
            bool is_busy = false;
            for (const auto& reactor : reactors_) {
                is_busy |= reactor->poll_once() == PollResult::kBusy;
            }
            idle_turns = is_busy ? 0 : idle_turns + 1;
        }
    }

    /// Moves the time on, stopping at each timer on the way.
    void pass(uint64_t ns) {
        const uint64_t end = clock.now + ns;
        while (true) {
            settle();
            uint64_t next = end;
            for (const auto& reactor : reactors_) {
                next = std::min(next, std::max(reactor->next_wakeup_ns(), clock.now));
            }
            clock.now = next;
            settle();
            if (next >= end) {
                return;
            }
        }
    }

    /// Runs a sequence of the control thread to its end and returns its value.
    template <typename T>
    T wait(Task<T> task) {
        for (int turns = 0; !task.is_done(); ++turns) {
            BASALT_ASSERT(turns < 1'000'000);
            turn();
        }
        return task.result();
    }

    ManualClock clock;

  private:
    IdleDriver driver_;
    std::vector<std::deque<Event*>> queues_;
    std::vector<std::unique_ptr<QueueMailbox>> mailboxes_;
    std::vector<std::unique_ptr<Reactor>> reactors_;
    std::vector<CoreId> cores_;
};

}  // namespace basalt::bdev
