#include "control/health/repair_queue.h"

#include <algorithm>
#include <random>

#include <gtest/gtest.h>

namespace basalt::health {
namespace {

bdev::Uuid drive(uint32_t number) {
    bdev::Uuid uuid;
    uuid.bytes[15] = static_cast<uint8_t>(number);
    return uuid;
}

Repair repair(uint64_t id, uint32_t spare, uint32_t from, uint32_t to) {
    return {id, spare, drive(from), drive(to)};
}

std::vector<uint64_t> ids(const std::vector<Repair>& repairs) {
    std::vector<uint64_t> found;
    found.reserve(repairs.size());
    for (const Repair& one : repairs) {
        found.push_back(one.id);
    }
    return found;
}

using Ids = std::vector<uint64_t>;

TEST(RepairQueue, TheMostDangerousGoFirstAndThenTheOldest) {
    RepairQueue queue({2, 8});
    queue.add(repair(1, 1, 1, 2));
    queue.add(repair(2, 1, 3, 4));
    queue.add(repair(3, 0, 5, 6));
    EXPECT_EQ(ids(queue.start()), (Ids{3, 1}));
    EXPECT_EQ(queue.state(2), RepairQueue::State::kWaiting);
    EXPECT_EQ(queue.waiting(), (std::map<uint32_t, uint64_t>{{1, 1}}));
    EXPECT_EQ(queue.remove(3), RepairQueue::State::kRunning);
    EXPECT_EQ(ids(queue.start()), (Ids{2}));
    EXPECT_EQ(queue.running(), 2);
    EXPECT_EQ(queue.remove(3), RepairQueue::State::kUnknown);
}

TEST(RepairQueue, ABusyDriveHoldsUpOnlyWhatNeedsIt) {
    RepairQueue queue({8, 1});
    queue.add(repair(1, 0, 1, 2));
    queue.add(repair(2, 0, 1, 3));
    queue.add(repair(3, 0, 4, 2));
    queue.add(repair(4, 2, 5, 6));
    EXPECT_EQ(ids(queue.start()), (Ids{1, 4}));
    EXPECT_TRUE(queue.start().empty());
    queue.remove(1);
    EXPECT_EQ(ids(queue.start()), (Ids{2, 3}));
}

TEST(RepairQueue, APlaceThatTheFirstInLineCannotUseIsForTheNext) {
    RepairQueue queue({8, 1});
    queue.add(repair(1, 0, 1, 2));
    queue.add(repair(2, 0, 3, 4));
    queue.add(repair(3, 0, 1, 3));  // Waits for 1; then for 3.
    queue.add(repair(4, 0, 1, 5));
    EXPECT_EQ(ids(queue.start()), (Ids{1, 2}));
    queue.remove(1);
    EXPECT_EQ(ids(queue.start()), (Ids{4}));
}

TEST(RepairQueue, MoreDangerMovesForward) {
    RepairQueue queue({1, 1});
    queue.add(repair(1, 2, 1, 2));
    EXPECT_EQ(ids(queue.start()), (Ids{1}));
    queue.add(repair(2, 2, 1, 3));
    queue.add(repair(3, 2, 1, 4));
    EXPECT_TRUE(queue.add(repair(3, 0, 1, 4)));
    EXPECT_FALSE(queue.add(repair(1, 0, 1, 2))) << "it runs";
    queue.remove(1);
    EXPECT_EQ(ids(queue.start()), (Ids{3}));
}

TEST(RepairQueue, NewLimitsCount) {
    RepairQueue queue({1, 1});
    for (uint64_t id = 0; id < 4; ++id) {
        queue.add(repair(id, 0, 1, 2 + static_cast<uint32_t>(id)));
    }
    EXPECT_EQ(queue.start().size(), 1);
    queue.set({8, 3});
    EXPECT_EQ(ids(queue.start()), (Ids{1, 2}));
    queue.set({8, 1});
    queue.remove(1);
    EXPECT_TRUE(queue.start().empty());
}

/// The same in the plainest way: looks at all that wait, in order.
class Plain {
  public:
    explicit Plain(const RepairLimits& limits) : limits_(limits) {}

    bool add(const Repair& repair) {
        for (size_t i = 0; i < all_.size(); ++i) {
            if (all_[i].repair.id != repair.id) {
                continue;
            }
            if (all_[i].is_running) {
                return false;
            }
            if (all_[i].repair.spare == repair.spare) {
                all_[i].repair = repair;
                return true;
            }
            all_.erase(all_.begin() + static_cast<ptrdiff_t>(i));
            break;
        }
        all_.push_back({repair, false});
        return true;
    }
    void remove(uint64_t id) {
        std::erase_if(all_, [id](const One& one) { return one.repair.id == id; });
    }
    void set(const RepairLimits& limits) { limits_ = limits; }
    std::vector<Repair> start() {
        std::vector<Repair> started;
        std::vector<One*> order;
        for (One& one : all_) {
            order.push_back(&one);
        }
        std::stable_sort(order.begin(), order.end(), [](const One* a, const One* b) {
            return a->repair.spare < b->repair.spare;
        });
        for (One* one : order) {
            const Repair& repair = one->repair;
            if (!one->is_running && running() < limits_.in_all &&
                uses(repair.from) < limits_.per_drive && uses(repair.to) < limits_.per_drive) {
                one->is_running = true;
                started.push_back(repair);
            }
        }
        return started;
    }
    [[nodiscard]] uint64_t running() const {
        return static_cast<uint64_t>(
            std::count_if(all_.begin(), all_.end(), [](const One& one) { return one.is_running; }));
    }

  private:
    struct One {
        Repair repair;
        bool is_running = false;
    };
    [[nodiscard]] uint32_t uses(const bdev::Uuid& drive) const {
        uint32_t count = 0;
        for (const One& one : all_) {
            if (one.is_running && (one.repair.from == drive || one.repair.to == drive)) {
                ++count;
            }
        }
        return count;
    }

    RepairLimits limits_;
    std::vector<One> all_;
};

TEST(RepairQueue, DoesWhatAPlainOneDoes) {
    for (uint32_t seed = 1; seed <= 200; ++seed) {
        std::mt19937 random(seed);
        const auto pick = [&random](uint32_t count) {
            return static_cast<uint32_t>(random() % count);
        };
        const RepairLimits limits{1 + pick(6), 1 + pick(3)};
        RepairQueue queue(limits);
        Plain plain(limits);
        for (uint32_t step = 0; step < 300; ++step) {
            const uint32_t what = pick(20);
            if (what < 10) {
                const uint32_t from = pick(6);
                const Repair one = repair(pick(40), pick(3), from, (from + 1 + pick(5)) % 6);
                EXPECT_EQ(queue.add(one), plain.add(one)) << "seed " << seed;
            } else if (what < 19) {
                const uint64_t id = pick(40);
                queue.remove(id);
                plain.remove(id);
            } else {
                const RepairLimits other{1 + pick(6), 1 + pick(3)};
                queue.set(other);
                plain.set(other);
            }
            if (pick(2) == 0) {
                ASSERT_EQ(queue.start(), plain.start()) << "seed " << seed << ", step " << step;
                ASSERT_EQ(queue.running(), plain.running());
            }
        }
    }
}

TEST(RepairQueue, AHundredThousandThatWaitForOneDriveAreNoBurden) {
    RepairQueue queue({64, 2});
    for (uint32_t id = 0; id < 100'000; ++id) {
        queue.add(repair(id, 1, 1, 2 + id % 200));
    }
    uint64_t done = 0;
    for (std::vector<Repair> running = queue.start(); !running.empty(); running = queue.start()) {
        for (const Repair& one : running) {
            ++done;
            queue.remove(one.id);
        }
    }
    EXPECT_EQ(done, 100'000);
    EXPECT_TRUE(queue.waiting().empty());
}

}  // namespace
}  // namespace basalt::health
