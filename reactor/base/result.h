#pragma once

#include <compare>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

#include "reactor/base/assert.h"
#include "reactor/base/errc.h"

namespace basalt {

/// An expected failure: what it was, a detail that its room defines (for example an NVMe status
/// code type and code), and the errno of the system call where there was one. 8 bytes, no strings:
/// the place where it happened logs it once with its ids.
struct Error {
    Errc code = Errc::kOk;
    uint16_t detail = 0;
    int32_t error_number = 0;

    constexpr Error() = default;
    constexpr explicit Error(Errc c, uint16_t d = 0, int32_t e = 0)
        : code(c), detail(d), error_number(e) {}

    /// The error for a failed system call; `error_number` is positive.
    [[nodiscard]] static Error from_errno(int32_t error_number) {
        return Error(errc_from_errno(error_number), 0, error_number);
    }

    constexpr bool operator==(const Error&) const = default;
};
static_assert(sizeof(Error) == 8);

namespace detail {

/// What a Result holds: a value or an error. Two classes, because clang 14 knows no destructor with
/// a requires clause: this one for a trivial T is trivial itself.
template <typename T, bool kIsTrivial = std::is_trivially_copyable_v<T>>
class ResultStorage {
  protected:
    explicit ResultStorage(bool has_value) : has_value_(has_value) {}
    union {
        T value_;
        Error error_;
    };
    bool has_value_;
};

template <typename T>
class ResultStorage<T, false> {
  public:
    ResultStorage(const ResultStorage&) = delete;
    ResultStorage& operator=(const ResultStorage&) = delete;
    ResultStorage(ResultStorage&& other) noexcept : has_value_(other.has_value_) {
        take(std::move(other));
    }
    ResultStorage& operator=(ResultStorage&& other) noexcept {
        if (this != &other) {
            clear();
            has_value_ = other.has_value_;
            take(std::move(other));
        }
        return *this;
    }
    ~ResultStorage() { clear(); }

  protected:
    explicit ResultStorage(bool has_value) : has_value_(has_value) {}
    union {
        T value_;
        Error error_;
    };
    bool has_value_;

  private:
    void take(ResultStorage&& other) {
        if (has_value_) {
            ::new (&value_) T(std::move(other.value_));
        } else {
            ::new (&error_) Error(other.error_);
        }
    }
    void clear() {
        if (has_value_) {
            value_.~T();
        }
    }
};

}  // namespace detail

/// Holds a T or an Error. Names follow std::expected, which GCC 12 lacks in C++20 and clang 14
/// can't read at all. Trivially copyable for trivial T, so that it travels in registers; else it
/// can be moved and not copied.
template <typename T>
class [[nodiscard]] Result : private detail::ResultStorage<T> {
    static_assert(!std::is_reference_v<T> && !std::is_same_v<T, Error>);
    using Storage = detail::ResultStorage<T>;
    using Storage::error_;
    using Storage::has_value_;
    using Storage::value_;

  public:
    // Implicit on purpose, as in std::expected: `return value;` and `return error;` both read well.
    // NOLINTNEXTLINE(google-explicit-constructor)
    Result(T value) : Storage(true) { ::new (&value_) T(std::move(value)); }
    // NOLINTNEXTLINE(google-explicit-constructor)
    Result(Error error) : Storage(false) {
        BASALT_ASSERT(error.code != Errc::kOk);
        ::new (&error_) Error(error);
    }
    // NOLINTNEXTLINE(google-explicit-constructor)
    Result(Errc code) : Result(Error(code)) {}

    [[nodiscard]] bool has_value() const { return has_value_; }
    explicit operator bool() const { return has_value_; }

    [[nodiscard]] T& value() & {
        BASALT_ASSERT(has_value_);
        return value_;
    }
    [[nodiscard]] const T& value() const& {
        BASALT_ASSERT(has_value_);
        return value_;
    }
    [[nodiscard]] T&& value() && {
        BASALT_ASSERT(has_value_);
        return std::move(value_);
    }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T&& operator*() && { return std::move(*this).value(); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }

    [[nodiscard]] Error error() const {
        BASALT_ASSERT(!has_value_);
        return error_;
    }
};

/// A Result without a value. A default-constructed one is success.
template <>
class [[nodiscard]] Result<void> {
  public:
    constexpr Result() = default;
    // NOLINTNEXTLINE(google-explicit-constructor)
    constexpr Result(Error error) : error_(error) {}
    // NOLINTNEXTLINE(google-explicit-constructor)
    constexpr Result(Errc code) : error_(code) {}

    [[nodiscard]] constexpr bool has_value() const { return error_.code == Errc::kOk; }
    constexpr explicit operator bool() const { return has_value(); }
    [[nodiscard]] constexpr Error error() const { return error_; }
    constexpr bool operator==(const Result&) const = default;

  private:
    Error error_;
};

using Status = Result<void>;
inline constexpr Status kOk{};

}  // namespace basalt

#define BASALT_CONCAT_INNER(a, b) a##b
#define BASALT_CONCAT(a, b) BASALT_CONCAT_INNER(a, b)

/// `BASALT_TRY(auto x, f());` declares x with f's value, or returns f's error from this function.
/// A declaration, not an expression: GCC 12 crashes on statement expressions around co_await.
#define BASALT_TRY(declaration, ...) \
    BASALT_TRY_INNER(BASALT_CONCAT(basalt_try_, __LINE__), declaration, __VA_ARGS__)
#define BASALT_TRY_INNER(result, declaration, ...) \
    auto result = __VA_ARGS__;                     \
    if (!result) {                                 \
        return result.error();                     \
    }                                              \
    declaration = std::move(result).value()

/// `BASALT_CHECK(f());` returns f's error from this function if it failed.
#define BASALT_CHECK(...)                                         \
    do {                                                          \
        if (auto basalt_status = (__VA_ARGS__); !basalt_status) { \
            return basalt_status.error();                         \
        }                                                         \
    } while (false)
