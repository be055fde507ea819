#include "reactor/buffer_pool.h"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "reactor/io/random.h"

namespace basalt {
namespace {

constexpr BufferPool::Counts kCounts{4, 2, 1};

/// A pool with a region of its own.
class BufferPoolTest : public testing::Test {
  protected:
    BufferPoolTest()
        : region_(
              static_cast<std::byte*>(std::aligned_alloc(4096, BufferPool::region_bytes(kCounts)))),
          pool_(std::make_unique<BufferPool>(
              std::span<std::byte>(region_.get(), BufferPool::region_bytes(kCounts)), kCounts)) {}

    struct Free {
        void operator()(std::byte* memory) const { std::free(memory); }
    };
    struct Waiting {
        Waiting()
            : waiter([](void* self, Buffer b) { static_cast<Waiting*>(self)->got = b; }, this) {}
        BufferWaiter waiter;
        Buffer got;
    };

    std::unique_ptr<std::byte, Free> region_;
    std::unique_ptr<BufferPool> pool_;
};

TEST_F(BufferPoolTest, GivesTheSmallestClassThatFits) {
    for (const auto& [asked, given] :
         std::vector<std::pair<uint32_t, uint32_t>>{{1, 4096},
                                                    {4096, 4096},
                                                    {4097, 32768},
                                                    {32768, 32768},
                                                    {32769, 131072},
                                                    {131072, 131072}}) {
        const Buffer buffer = pool_->try_acquire(asked);
        ASSERT_TRUE(buffer.is_valid());
        EXPECT_EQ(buffer.size_bytes, given);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data) % 4096, 0U);
        pool_->release(buffer);
    }
}

TEST_F(BufferPoolTest, BuffersDoNotOverlapAndLieInTheRegion) {
    std::vector<Buffer> buffers;
    std::set<std::byte*> seen;
    for (size_t i = 0; i < BufferPool::kClasses; ++i) {
        while (true) {
            const Buffer buffer = pool_->try_acquire(BufferPool::kClassBytes[i]);
            if (!buffer.is_valid()) {
                break;
            }
            std::memset(buffer.data, static_cast<int>(buffers.size()), buffer.size_bytes);
            EXPECT_GE(buffer.data, region_.get());
            EXPECT_LE(buffer.data + buffer.size_bytes,
                      region_.get() + BufferPool::region_bytes(kCounts));
            buffers.push_back(buffer);
        }
    }
    ASSERT_EQ(buffers.size(), 7U);
    for (size_t i = 0; i < buffers.size(); ++i) {
        EXPECT_EQ(buffers[i].data[0], std::byte(i));
        EXPECT_EQ(buffers[i].data[buffers[i].size_bytes - 1], std::byte(i));
        pool_->release(buffers[i]);
    }
}

TEST_F(BufferPoolTest, AnEmptyClassDoesNotTakeFromALargerOne) {
    const Buffer large = pool_->try_acquire(131072);
    EXPECT_FALSE(pool_->try_acquire(131072).is_valid());
    EXPECT_TRUE(large.is_valid());
    EXPECT_EQ(pool_->free_count(2), 0U);
    EXPECT_EQ(pool_->free_count(1), 2U);
    pool_->release(large);
}

TEST_F(BufferPoolTest, TheLastBufferBackIsTheFirstOut) {
    const Buffer a = pool_->try_acquire(1);
    const Buffer b = pool_->try_acquire(1);
    pool_->release(a);
    pool_->release(b);
    const Buffer again = pool_->try_acquire(1);
    EXPECT_EQ(again.data, b.data);
    pool_->release(again);
}

TEST_F(BufferPoolTest, WaitersAreServedInOrderAndNobodyOvertakesThem) {
    const Buffer buffer = pool_->try_acquire(131072);
    Waiting first;
    Waiting second;
    pool_->wait(first.waiter, 131072);
    pool_->wait(second.waiter, 100'000);
    pool_->release(buffer);
    EXPECT_EQ(first.got.data, buffer.data);
    EXPECT_FALSE(first.waiter.is_waiting());
    EXPECT_FALSE(second.got.is_valid());
    EXPECT_FALSE(pool_->try_acquire(131072).is_valid());
    pool_->release(first.got);
    EXPECT_EQ(second.got.data, buffer.data);
    pool_->release(second.got);
    EXPECT_EQ(pool_->free_count(2), 1U);
}

TEST_F(BufferPoolTest, ACancelledWaiterGetsNothing) {
    const Buffer buffer = pool_->try_acquire(131072);
    Waiting waiting;
    pool_->wait(waiting.waiter, 131072);
    BufferPool::cancel(waiting.waiter);
    BufferPool::cancel(waiting.waiter);
    pool_->release(buffer);
    EXPECT_FALSE(waiting.got.is_valid());
    EXPECT_EQ(pool_->free_count(2), 1U);
}

TEST_F(BufferPoolTest, AWaiterMayGiveTheBufferBackAtOnce) {
    struct Generous {
        explicit Generous(BufferPool& p)
            : pool(p),
              waiter(
                  [](void* context, Buffer buffer) {
                      auto& self = *static_cast<Generous*>(context);
                      ++self.count;
                      self.pool.release(buffer);
                  },
                  this) {}
        BufferPool& pool;
        BufferWaiter waiter;
        int count = 0;
    };
    Generous first(*pool_);
    Generous second(*pool_);
    const Buffer buffer = pool_->try_acquire(131072);
    pool_->wait(first.waiter, 131072);
    pool_->wait(second.waiter, 131072);
    pool_->release(buffer);
    EXPECT_EQ(first.count + second.count, 2);
    EXPECT_EQ(pool_->free_count(2), 1U);
}

// --- Accounts ------------------------------------------------------------------------------------

constexpr BufferPool::Counts kSharedCounts{100, 0, 0};

/// A pool of 100 buffers and some who want all of them.
class BufferAccountTest : public testing::Test {
  protected:
    BufferAccountTest()
        : region_(static_cast<std::byte*>(
              std::aligned_alloc(4096, BufferPool::region_bytes(kSharedCounts)))),
          pool_({region_.get(), BufferPool::region_bytes(kSharedCounts)}, kSharedCounts) {}

    struct Free {
        void operator()(std::byte* memory) const { std::free(memory); }
    };
    struct User {
        explicit User(BufferPool& p) : pool(p) {}
        ~User() {
            stop();
            while (!held.empty()) {
                give_one();
            }
        }
        size_t take_all() {
            while (true) {
                const Buffer buffer = pool.try_acquire(4096, account);
                if (!buffer.is_valid()) {
                    return held.size();
                }
                held.push_back(buffer);
            }
        }
        void want(size_t count) {
            for (size_t i = 0; i < count; ++i) {
                waiters.push_back(std::make_unique<BufferWaiter>(
                    [](void* self, Buffer buffer) {
                        static_cast<User*>(self)->held.push_back(buffer);
                    },
                    this));
                pool.wait(*waiters.back(), 4096, account);
            }
        }
        void stop() {
            for (const auto& waiter : waiters) {
                BufferPool::cancel(*waiter);
            }
        }
        void give_one() {
            const Buffer buffer = held.back();
            held.pop_back();
            pool.release(buffer, account);
        }
        BufferPool& pool;
        BufferAccount account;
        std::vector<Buffer> held;
        std::vector<std::unique_ptr<BufferWaiter>> waiters;
    };

    std::unique_ptr<std::byte, Free> region_;
    BufferPool pool_;
};

TEST_F(BufferAccountTest, OneUserGetsFourOfFiveAndTheNextStillFindsSome) {
    User greedy(pool_);
    EXPECT_EQ(greedy.take_all(), 80U);
    User second(pool_);
    EXPECT_EQ(second.take_all(), 16U);
    User third(pool_);
    EXPECT_EQ(third.take_all(), 4U) << "the last may always be taken by one who has none";
}

TEST_F(BufferAccountTest, TheGreedyGiveWayAsTheirBuffersComeBack) {
    User greedy(pool_);
    User modest(pool_);
    static_cast<void>(greedy.take_all());
    greedy.want(5000);
    static_cast<void>(modest.take_all());
    modest.want(5000);
    // Whoever gives one back gets one again, or the other does.
    for (int i = 0; i < 1000; ++i) {
        greedy.give_one();
        modest.give_one();
    }
    EXPECT_NEAR(
        static_cast<double>(greedy.held.size()), static_cast<double>(modest.held.size()), 10.0);
    EXPECT_GT(greedy.held.size() + modest.held.size(), 80U);
}

TEST_F(BufferAccountTest, ALongLineOfOneDoesNotMakeAnotherWait) {
    std::vector<Buffer> all;
    for (int i = 0; i < 100; ++i) {
        all.push_back(pool_.try_acquire(4096));
    }
    User greedy(pool_);
    greedy.want(50);
    User modest(pool_);
    modest.want(1);
    for (int i = 0; i < 2; ++i) {
        pool_.release(all.back());
        all.pop_back();
    }
    EXPECT_EQ(greedy.held.size(), 1U);
    EXPECT_EQ(modest.held.size(), 1U);
    greedy.stop();
    for (const Buffer& buffer : all) {
        pool_.release(buffer);
    }
}

TEST_F(BufferAccountTest, WhatOthersGiveBackWakesThoseWhoHadTheirShare) {
    User greedy(pool_);
    User other(pool_);
    static_cast<void>(other.take_all());
    const size_t before = greedy.take_all();
    greedy.want(10);
    EXPECT_EQ(greedy.held.size(), before);
    for (int i = 0; i < 20; ++i) {
        other.give_one();
    }
    EXPECT_EQ(greedy.held.size(), before + 10);
}

TEST_F(BufferPoolTest, CountsAreRightAfterRandomUse) {
    Random random(1);
    std::vector<Buffer> held;
    for (int i = 0; i < 10'000; ++i) {
        if (!held.empty() && random.chance(1, 2)) {
            std::swap(held[random.below(held.size())], held.back());
            pool_->release(held.back());
            held.pop_back();
        } else {
            const auto size = static_cast<uint32_t>(1 + random.below(131072));
            const Buffer buffer = pool_->try_acquire(size);
            if (buffer.is_valid()) {
                ASSERT_GE(buffer.size_bytes, size);
                held.push_back(buffer);
            }
        }
        std::set<std::byte*> distinct;
        for (const Buffer& buffer : held) {
            distinct.insert(buffer.data);
        }
        ASSERT_EQ(distinct.size(), held.size());
        ASSERT_EQ(held.size() + pool_->free_count(0) + pool_->free_count(1) + pool_->free_count(2),
                  7U);
    }
    for (const Buffer& buffer : held) {
        pool_->release(buffer);
    }
}

TEST_F(BufferPoolTest, MisuseIsCaught) {
    EXPECT_DEATH(static_cast<void>(pool_->try_acquire(0)), "size_bytes > 0");
    EXPECT_DEATH(static_cast<void>(pool_->try_acquire(131073)), "kBufferBytesMax");
    EXPECT_DEATH(pool_->release(Buffer{}), "is_valid");
    EXPECT_DEATH(
        {
            const Buffer buffer = pool_->try_acquire(1);
            pool_->release(buffer);
            pool_->release(buffer);
        },
        "used_count");
    EXPECT_DEATH(
        {
            static_cast<void>(pool_->try_acquire(1));
            pool_.reset();
        },
        "total_count");
}

}  // namespace
}  // namespace basalt
