#include "reactor/base/intrusive_list.h"

#include <gtest/gtest.h>

namespace basalt {
namespace {

struct Item {
    int value = 0;
    ListLink link;
};
using List = IntrusiveList<Item, &Item::link>;

TEST(IntrusiveList, KeepsOrder) {
    Item a{1, {}};
    Item b{2, {}};
    Item c{3, {}};
    List list;
    list.push_back(b);
    list.push_back(c);
    list.push_front(a);
    EXPECT_EQ(list.next(a), &b);
    EXPECT_EQ(list.next(c), nullptr);
    EXPECT_EQ(list.pop_front()->value, 1);
    List::remove(c);
    EXPECT_EQ(list.pop_front()->value, 2);
    EXPECT_EQ(list.pop_front(), nullptr);
}

TEST(IntrusiveList, SplicesAllToTheEnd) {
    Item a{1, {}};
    Item b{2, {}};
    Item c{3, {}};
    List first;
    List second;
    first.push_back(a);
    second.push_back(b);
    second.push_back(c);
    first.splice_back(second);
    EXPECT_TRUE(second.empty());
    for (int expected = 1; expected <= 3; ++expected) {
        EXPECT_EQ(first.pop_front()->value, expected);
    }
    EXPECT_TRUE(first.empty());
}

TEST(IntrusiveListDeathTest, DiesWhenALinkedObjectIsAddedAgain) {
    Item a{1, {}};
    List list;
    list.push_back(a);
    EXPECT_DEATH(list.push_back(a), "is_linked");
    List::remove(a);
}

}  // namespace
}  // namespace basalt
