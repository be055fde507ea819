#include "nvmf/target/request_pool.h"

#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "nvmf/target/limits.h"
#include "reactor/sim/world.h"

namespace basalt::nvmf {
namespace {

TEST(RequestStore, HandsOutEachOnceAndTheLastBackFirst) {
    RequestStore store(100);
    store.add(1);
    Request* first = store.take();
    ASSERT_NE(first, nullptr);
    EXPECT_EQ(store.take(), nullptr);
    store.add(2);
    Request* second = store.take();
    Request* third = store.take();
    EXPECT_EQ(store.take(), nullptr);
    EXPECT_EQ((std::set<Request*>{first, second, third}).size(), 3U);
    EXPECT_EQ(store.free_count(), 0U);
    store.put(*second);
    store.put(*first);
    EXPECT_EQ(store.take(), first);
    EXPECT_EQ(store.free_count(), 1U);
    store.put(*first);
    store.put(*third);
}

TEST(RequestStore, FindsByTag) {
    RequestStore store(100);
    store.add(3);
    Request* first = store.take();
    Request* second = store.take();
    EXPECT_EQ(first->tag, 100U);
    EXPECT_EQ(second->tag, 101U);
    EXPECT_EQ(store.find(100), first);
    EXPECT_EQ(store.find(101), second);
    for (const uint32_t none : {0U, 99U, 102U, 103U, 0xffffU}) {
        EXPECT_EQ(store.find(none), nullptr);
    }
    store.put(*first);
    store.put(*second);
}

class RequestPoolTest : public testing::Test {
  protected:
    static constexpr uint32_t kCount = 10;

    /// Wants requests one after the other, and keeps what it gets.
    struct Taker {
        Taker(RequestPool& from, FairLine& whose)
            : pool(from),
              account(whose),
              waiter(
                  [](void* self, Request& given) {
                      auto& taker = *static_cast<Taker*>(self);
                      taker.held.push_back(&given);
                      return taker.held.size() < taker.wanted;
                  },
                  this) {}
        void take_all() {
            while (Request* request = pool.try_take(account)) {
                held.push_back(request);
            }
        }
        void put_one() {
            pool.put(*held.back(), account);
            held.pop_back();
        }
        void put_all() {
            FairLines::cancel(waiter);
            while (!held.empty()) {
                put_one();
            }
        }

        RequestPool& pool;
        FairLine& account;
        RequestWaiter waiter;
        std::vector<Request*> held;
        size_t wanted = 1;
    };

    void turn() { world.run_for(kNsPerUs); }

    sim::World world{1};
    RequestPool pool{world.add_reactor(world.add_node()), 0, kCount};
    FairLine first;
    FairLine second;
};

TEST_F(RequestPoolTest, LeavesSomeToTheNextHost) {
    Taker greedy(pool, first);
    greedy.take_all();
    EXPECT_EQ(greedy.held.size(), kCount * 4 / 5);
    Taker other(pool, second);
    other.take_all();
    EXPECT_EQ(other.held.size(), 2U);
    greedy.put_all();
    other.put_all();
}

TEST_F(RequestPoolTest, ServesHostsInTurnAndNotFromWithinPut) {
    Taker greedy(pool, first);
    greedy.take_all();
    Taker rest(pool, second);
    rest.take_all();
    greedy.wanted = greedy.held.size() + 100;
    pool.wait(greedy.waiter, first);
    FairLine third;
    Taker late(pool, third);
    pool.wait(late.waiter, third);
    EXPECT_EQ(pool.try_take(first), nullptr) << "others of this host wait";

    greedy.put_one();
    EXPECT_TRUE(late.held.empty());
    turn();
    EXPECT_EQ(late.held.size(), 1U) << "the greedy has its share already";
    late.put_all();
    turn();
    rest.put_all();
    greedy.put_all();
}

TEST_F(RequestPoolTest, GrantsSeveralInATurnButNotAllToTheFirst) {
    RequestPool deep(world.add_reactor(world.add_node()), 0, 4 * kRequestsPerGrant);
    for (FairLine* each : {&first, &second}) {
        each->set_unbounded();
    }
    FairLine third;
    third.set_unbounded();
    Taker holder(deep, third);
    holder.take_all();
    Taker greedy(deep, first);
    Taker sibling(deep, first);
    Taker other(deep, second);
    for (Taker* each : {&greedy, &sibling, &other}) {
        each->wanted = 1000;
        deep.wait(each->waiter, each->account);
    }
    const auto give_back = [&](uint32_t count) {
        for (uint32_t i = 0; i < count; ++i) {
            holder.put_one();
        }
        turn();
    };
    give_back(kRequestsPerGrant);
    EXPECT_EQ(greedy.held.size(), kRequestsPerGrant);
    EXPECT_EQ(other.held.size(), 0U);
    give_back(3 * kRequestsPerGrant);
    EXPECT_EQ(greedy.held.size(), kRequestsPerGrant) << "behind its sibling";
    EXPECT_EQ(sibling.held.size(), kRequestsPerGrant);
    EXPECT_EQ(other.held.size(), 2 * kRequestsPerGrant) << "a host of its own";
    for (Taker* each : {&greedy, &sibling, &other}) {
        each->put_all();
    }
}

TEST_F(RequestPoolTest, ATurnEndsWhereTheShareOfTheHostEnds) {
    Taker rest(pool, second);
    rest.take_all();
    Taker greedy(pool, first);
    greedy.take_all();
    greedy.wanted = 100;
    pool.wait(greedy.waiter, first);
    rest.put_all();
    turn();
    EXPECT_EQ(greedy.held.size(), kCount * 4 / 5);
    greedy.put_all();
}

TEST_F(RequestPoolTest, CountsWhatIsFree) {
    Taker greedy(pool, first);
    greedy.take_all();
    EXPECT_EQ(pool.free_count(), 2U);
    greedy.put_all();
    EXPECT_EQ(pool.free_count(), kCount);
}

}  // namespace
}  // namespace basalt::nvmf
