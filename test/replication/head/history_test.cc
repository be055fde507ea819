#include "test/replication/head/history.h"

#include <gtest/gtest.h>

namespace basalt::replication::test {
namespace {

class HistoryTest : public ::testing::Test {
  protected:
    uint64_t write(uint64_t begin, uint64_t end, bool is_zero = false) {
        const uint64_t value = history_.begin_write(0, 2, begin, is_zero);
        if (end != 0) {
            history_.end_write(value, end);
        }
        return value;
    }
    bool read(uint64_t seen, uint64_t begin, uint64_t end) {
        return history_.check_read(0, seen, begin, end).empty();
    }
    History history_{2};
};

TEST_F(HistoryTest, TakesEitherOrderOfWritesThatWereUnderWayTogether) {
    const uint64_t first = write(10, 30);
    const uint64_t second = write(20, 40);
    EXPECT_TRUE(read(first, 41, 42));
    EXPECT_TRUE(read(first, 43, 44));
    EXPECT_EQ(history_.check_all(), "");
    EXPECT_TRUE(read(second, 45, 46));    // Alone it may be so ...
    EXPECT_NE(history_.check_all(), "");  // ... but it had ended before `first` was seen again.
}

TEST_F(HistoryTest, FindsAValueThatComesBack) {
    const uint64_t first = write(10, 30);
    const uint64_t second = write(20, 40);
    EXPECT_TRUE(read(first, 21, 22));
    EXPECT_TRUE(read(second, 23, 24));
    EXPECT_EQ(history_.check_all(), "");
    EXPECT_TRUE(read(first, 25, 26));
    EXPECT_NE(history_.check_all(), "");
}

TEST_F(HistoryTest, FindsWhatIsTooOldTooNewOrNobodys) {
    const uint64_t first = write(10, 20);
    EXPECT_FALSE(read(0, 21, 22));
    const uint64_t second = write(30, 40);
    EXPECT_FALSE(read(first, 41, 42));
    EXPECT_FALSE(read(second, 28, 29));
    EXPECT_FALSE(read(7, 41, 42));
    EXPECT_TRUE(read(second, 41, 42));
    EXPECT_EQ(history_.check_all(), "");
}

TEST_F(HistoryTest, LetsAWriteThatWasNotAnsweredComeLate) {
    const uint64_t first = write(10, 20);
    const uint64_t lost = write(30, 0);
    EXPECT_TRUE(read(first, 50, 51));
    EXPECT_TRUE(read(lost, 60, 61));
    EXPECT_EQ(history_.check_all(), "");
    EXPECT_FALSE(read(first, 70, 71) && history_.check_all().empty());
}

TEST_F(HistoryTest, FindsZeroesBetweenTwoReadsOfAValue) {
    const uint64_t zeroes = write(5, 0, true);
    const uint64_t value = write(10, 0);
    EXPECT_NE(zeroes, value);
    EXPECT_TRUE(read(value, 20, 21));
    EXPECT_TRUE(read(0, 22, 23));
    EXPECT_EQ(history_.check_all(), "");
    EXPECT_TRUE(read(value, 24, 25));
    EXPECT_NE(history_.check_all(), "");
}

TEST_F(HistoryTest, FindsACutThatHasALaterWriteAndLacksAnEarlierOne) {
    const uint64_t both = write(10, 20);
    const uint64_t second = history_.begin_write(0, 1, 30, false);
    history_.end_write(second, 40);
    const uint64_t third = history_.begin_write(1, 1, 50, false);
    history_.end_write(third, 60);
    EXPECT_EQ(history_.check_cut({second, third}, 25, 70), "");
    EXPECT_EQ(history_.check_cut({second, both}, 25, 55), "");
    EXPECT_EQ(History(history_).check_cut({both, both}, 25, 29), "");
    History torn = history_;
    EXPECT_NE(torn.check_cut({both, third}, 25, 70), "");
}

}  // namespace
}  // namespace basalt::replication::test
