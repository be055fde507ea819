#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "control/metadata/store.h"
#include "reactor/io/clock.h"

namespace basalt::metadata {

/// An empty MetadataStore of some kind, and the world that it runs in.
class StoreUnderTest {
  public:
    virtual ~StoreUnderTest() = default;

    [[nodiscard]] virtual MetadataStore& store() = 0;
    /// Of another control process with the same state; of a kind that has only one, that one.
    [[nodiscard]] virtual MetadataStore& other() = 0;
    /// Lets some time pass, and what happens meanwhile happen.
    virtual void step() = 0;
    [[nodiscard]] virtual uint64_t now_ns() = 0;

    /// False: not within a time that is long for all of them.
    template <typename Predicate>
    bool run_until(Predicate predicate, uint64_t limit_ns = 20 * kNsPerSecond) {
        const uint64_t end_ns = now_ns() + limit_ns;
        while (!predicate() && now_ns() < end_ns) {
            step();
        }
        return predicate();
    }
    void run_for(uint64_t duration_ns) {
        run_until([] { return false; }, duration_ns);
    }
    template <typename T>
    T wait(Task<T> task) {
        EXPECT_TRUE(run_until([&task] { return task.is_done(); }));
        return task.result();
    }
};

/// What a watch was told.
class Watcher : public WatchUser {
  public:
    void changed(std::span<const WatchEvent> events) override {
        EXPECT_FALSE(is_lost);
        EXPECT_FALSE(events.empty());
        // A revision comes whole: none goes on in the next call.
        EXPECT_TRUE(told.empty() || told.back().revision < events.front().revision);
        told.insert(told.end(), events.begin(), events.end());
    }
    void lost() override {
        EXPECT_FALSE(is_lost);
        is_lost = true;
    }

    std::vector<WatchEvent> told;
    bool is_lost = false;
};

[[nodiscard]] inline Change put_of(std::string key, std::string value, LeaseId lease = {}) {
    return {.key = std::move(key), .value = std::move(value), .lease = lease};
}
[[nodiscard]] inline Change erase_of(std::string key) {
    return {.key = std::move(key), .value = {}, .lease = {}};
}

}  // namespace basalt::metadata
