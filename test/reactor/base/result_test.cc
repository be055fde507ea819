#include "reactor/base/result.h"

#include <cerrno>
#include <memory>
#include <type_traits>

#include <gtest/gtest.h>

namespace basalt {
namespace {

static_assert(sizeof(Result<uint64_t>) == 16);
static_assert(std::is_trivially_copyable_v<Status>);
static_assert(std::is_trivially_copyable_v<Result<uint64_t>>);
static_assert(!std::is_copy_constructible_v<Result<std::unique_ptr<int>>>);
static_assert(std::is_nothrow_move_assignable_v<Result<std::unique_ptr<int>>>);

Result<int> half(int value) {
    if (value % 2 != 0) {
        return Errc::kInvalidArgument;
    }
    return value / 2;
}

Result<int> quarter(int value) {
    BASALT_TRY(const int once, half(value));
    BASALT_TRY(const int twice, half(once));
    return twice;
}

TEST(Result, HoldsTheValueOrTheError) {
    EXPECT_EQ(half(8).value(), 4);
    EXPECT_EQ(half(7).error().code, Errc::kInvalidArgument);
}

TEST(Result, TryReturnsTheFirstError) {
    EXPECT_EQ(quarter(8).value(), 2);
    EXPECT_EQ(quarter(6).error().code, Errc::kInvalidArgument);
}

TEST(Result, MovesOwnersWithoutCopying) {
    Result<std::unique_ptr<int>> first(std::make_unique<int>(7));
    Result<std::unique_ptr<int>> second(std::move(first));
    EXPECT_EQ(*second.value(), 7);
    second = Result<std::unique_ptr<int>>(Errc::kIo);
    EXPECT_FALSE(second);
}

TEST(ResultDeathTest, DiesWhenTheWrongHalfIsRead) {
    EXPECT_DEATH(static_cast<void>(half(7).value()), "has_value_");
    EXPECT_DEATH(static_cast<void>(half(8).error()), "!has_value_");
}

TEST(Errc, EveryCodeHasWordsOfItsOwn) {
    for (uint16_t i = 0; i < kErrcCount; ++i) {
        EXPECT_FALSE(describe(static_cast<Errc>(i)).empty()) << i;
        for (uint16_t j = 0; j < i; ++j) {
            EXPECT_NE(describe(static_cast<Errc>(i)), describe(static_cast<Errc>(j)));
        }
    }
}

TEST(Errc, DataLossIsNeverRetryable) {
    for (uint16_t i = 0; i < kErrcCount; ++i) {
        const auto code = static_cast<Errc>(i);
        EXPECT_FALSE(is_data_loss(code) && is_retryable(code)) << describe(code);
    }
}

TEST(Error, KeepsTheErrnoItCameFrom) {
    const Error error = Error::from_errno(ENOSPC);
    EXPECT_EQ(error.code, Errc::kNoSpace);
    EXPECT_EQ(error.error_number, ENOSPC);
    EXPECT_EQ(Error::from_errno(EXFULL).code, Errc::kIo);
}

}  // namespace
}  // namespace basalt
