#include "reactor/task.h"

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "reactor/sim/world.h"

namespace basalt {
namespace {

/// A world with two reactors on one node.
class TaskTest : public testing::Test {
  protected:
    TaskTest()
        : world_(1),
          node_(world_.add_node()),
          first_(world_.add_reactor(node_)),
          second_(world_.add_reactor(node_)) {}

    sim::World world_;
    sim::NodeId node_;
    Reactor& first_;
    Reactor& second_;
};

Task<int> answer_at_once(int value) {
    co_return value;
}

Task<int> answer_later(Reactor& reactor, int value) {
    co_await sleep_for(reactor, kNsPerMs);
    co_return value;
}

Task<int> sum(Reactor& reactor, int depth) {
    if (depth == 0) {
        co_return 0;
    }
    const int rest = co_await sum(reactor, depth - 1);
    const int mine = co_await answer_later(reactor, depth);
    co_return rest + mine;
}

Task<std::unique_ptr<std::string>> make_text(Reactor& reactor) {
    auto text = std::make_unique<std::string>("moved");
    co_await sleep_for(reactor, 1);
    co_return text;
}

Task<void> set_after(Reactor& reactor, uint64_t delay_ns, std::shared_ptr<int> flag) {
    co_await sleep_for(reactor, delay_ns);
    *flag = 1;
}

TEST_F(TaskTest, StartsAtOnceAndMayBeDoneAtOnce) {
    Task<int> task = answer_at_once(7);
    EXPECT_TRUE(task.is_done());
    EXPECT_EQ(task.result(), 7);
}

TEST_F(TaskTest, GoesOnAfterItsSleep) {
    Task<int> task = answer_later(first_, 8);
    EXPECT_FALSE(task.is_done());
    const uint64_t start_ns = world_.now_ns();
    EXPECT_TRUE(world_.run_until([&] { return task.is_done(); }, kNsPerSecond));
    EXPECT_GE(world_.now_ns() - start_ns, kNsPerMs);
    EXPECT_EQ(task.result(), 8);
}

TEST_F(TaskTest, AwaitsTasksThatAwaitTasks) {
    Task<int> task = sum(first_, 10);
    EXPECT_TRUE(world_.run_until([&] { return task.is_done(); }, kNsPerSecond));
    EXPECT_EQ(task.result(), 55);
}

TEST_F(TaskTest, CarriesValuesThatOnlyMove) {
    Task<std::unique_ptr<std::string>> task = make_text(first_);
    EXPECT_TRUE(world_.run_until([&] { return task.is_done(); }, kNsPerSecond));
    EXPECT_EQ(*task.result(), "moved");
}

TEST_F(TaskTest, ADestroyedTaskGoesOnByItself) {
    auto flag = std::make_shared<int>(0);
    set_after(first_, kNsPerMs, flag).detach();
    {
        const Task<void> dropped = set_after(first_, 2 * kNsPerMs, flag);
        EXPECT_EQ(flag.use_count(), 3);
    }
    world_.run_for(10 * kNsPerMs);
    EXPECT_EQ(*flag, 1);
    EXPECT_EQ(flag.use_count(), 1) << "the frames are gone and what they owned";
}

Task<void> await_many(Reactor& reactor, int count, std::shared_ptr<int> done) {
    for (int i = 0; i < count; ++i) {
        *done += co_await answer_at_once(1);
    }
    co_await sleep_for(reactor, 1);
}

TEST_F(TaskTest, ManyTasksThatAreDoneAtOnceDoNotGrowTheStack) {
    auto done = std::make_shared<int>(0);
    Task<void> task = await_many(first_, 1'000'000, done);
    EXPECT_EQ(*done, 1'000'000);
    EXPECT_TRUE(world_.run_until([&] { return task.is_done(); }, kNsPerSecond));
}

struct Visitor {
    std::vector<uint32_t> cores;
    int answer = 0;
};

Task<void> compute_there(Reactor& there, Visitor& visitor) {
    visitor.cores.push_back(there.core().raw());
    co_await sleep_for(there, kNsPerMs);
    visitor.answer = 42;
}

Task<int> travel(Reactor& home, CoreId core, Visitor& visitor) {
    co_await visit(home, core, visitor, &compute_there);
    visitor.cores.push_back(home.core().raw());
    co_return visitor.answer;
}

TEST_F(TaskTest, VisitsAnotherCoreAndComesHome) {
    Visitor visitor;
    Task<int> task = travel(first_, second_.core(), visitor);
    EXPECT_TRUE(visitor.cores.empty());
    EXPECT_TRUE(world_.run_until([&] { return task.is_done(); }, kNsPerSecond));
    EXPECT_EQ(task.result(), 42);
    EXPECT_EQ(visitor.cores, (std::vector<uint32_t>{1, 0}));
    EXPECT_EQ(second_.counters().messages_received, 1U);
    EXPECT_EQ(first_.counters().messages_received, 1U);
}

TEST_F(TaskTest, VisitingTheHomeCoreWorksToo) {
    Visitor visitor;
    Task<int> task = travel(first_, first_.core(), visitor);
    EXPECT_TRUE(world_.run_until([&] { return task.is_done(); }, kNsPerSecond));
    EXPECT_EQ(task.result(), 42);
}

TEST(FramePool, GivesTheSameMemoryAgainWhenItIsReleased) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "sanitizer builds do not pool frames";
#endif
    void* first = FramePool::allocate(200);
    FramePool::release(first, 200);
    void* second = FramePool::allocate(256);  // Of the same size class.
    EXPECT_EQ(first, second);
    void* other = FramePool::allocate(200);
    EXPECT_NE(other, second);
    FramePool::release(second, 256);
    FramePool::release(other, 200);
    void* huge = FramePool::allocate(1 << 20);
    FramePool::release(huge, 1 << 20);
}

}  // namespace
}  // namespace basalt
