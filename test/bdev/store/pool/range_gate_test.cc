#include "bdev/store/pool/range_gate.h"

#include <array>

#include <gtest/gtest.h>

namespace basalt::bdev::store {
namespace {

struct Change : GateEntry {
    Change(uint64_t begin, uint64_t blocks) {
        first = begin;
        count = blocks;
        context = this;
        granted = [](void* self) { static_cast<Change*>(self)->is_granted = true; };
    }
    bool is_granted = false;
};

TEST(RangeGate, LetsThroughWhatDoesNotOverlap) {
    RangeGate gate;
    Change a(0, 4);
    Change b(4, 4);
    EXPECT_TRUE(gate.enter(a));
    EXPECT_TRUE(gate.enter(b));
    gate.leave(a);
    gate.leave(b);
    EXPECT_TRUE(gate.is_empty());
}

TEST(RangeGate, OverlappingOnesComeInTheirOrder) {
    RangeGate gate;
    Change a(0, 4);
    Change b(3, 4);
    Change c(6, 4);  // Does not touch a, but waits for b.
    EXPECT_TRUE(gate.enter(a));
    EXPECT_FALSE(gate.enter(b));
    EXPECT_FALSE(gate.enter(c));
    gate.leave(a);
    EXPECT_TRUE(b.is_granted);
    EXPECT_FALSE(c.is_granted);
    gate.leave(b);
    EXPECT_TRUE(c.is_granted);
    gate.leave(c);
}

TEST(RangeGate, OneThatEndsLetsInAllThatWaitedForItAlone) {
    RangeGate gate;
    Change wide(0, 100);
    std::array<Change, 3> narrow{Change(0, 1), Change(5, 1), Change(9, 1)};
    EXPECT_TRUE(gate.enter(wide));
    for (Change& one : narrow) {
        EXPECT_FALSE(gate.enter(one));
    }
    gate.leave(wide);
    for (Change& one : narrow) {
        EXPECT_TRUE(one.is_granted);
        gate.leave(one);
    }
}

}  // namespace
}  // namespace basalt::bdev::store
